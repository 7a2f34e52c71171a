"""The fast scan against the recurrence as it stands, and against what every such scan must satisfy."""
# ruff: noqa: N803, N806 -- the letters A, B, C are the paper's

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.checkpoint import checkpoint

from triptych.backbones.state_space import selective_scan as module
from triptych.backbones.state_space.selective_scan import BLOCK, selective_scan, selective_scan_reference

DIRECTIONS = pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
NAMES = ("y", "x", "dt", "A", "B", "C")


def inputs(images=2, tokens=2 * BLOCK + 5, channels=6, numbers=4, dtype=torch.float64, seed=0):
    """Return x, dt, A, B, C as a network makes them."""
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    x, dt = normal(images, tokens, channels), F.softplus(normal(images, tokens, channels))
    A = -normal(channels, numbers).exp()
    B, C = normal(images, tokens, numbers), normal(images, tokens, numbers)
    return [t.to(dtype) for t in (x, dt, A, B, C)]


def decaying(kind, images=2, tokens=100, channels=16, numbers=16):
    """Return float32 inputs whose decays per step, dt |A|, are of the kind that is asked for."""
    x, dt, A, B, C = inputs(images, tokens, channels, numbers, torch.float32)
    evenly = torch.rand(dt.shape, generator=torch.Generator().manual_seed(1))
    if kind == "almost none":
        dt, A = 1e-3 * (1 + evenly), A.clamp(-2, -0.5) * 1e-3
    elif kind == "very strong":
        dt, A = 0.5 + evenly, A.clamp(-2, -1) * 50
    elif kind == "mixed":
        dt, A = (8 * evenly - 7).exp(), -(A.abs().log() * 4).exp()
    return [x, dt, A, B, C]


def results(scan, tensors, reverse=False, dtype=None, dy=None):
    """Return y and the gradients of all inputs."""
    leaves = [t.detach().clone().to(dtype or t.dtype).requires_grad_() for t in tensors]
    y = scan(*leaves, reverse=reverse)
    if dy is None:
        dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    y.backward(dy.to(y.dtype))
    return [y.detach(), *(leaf.grad for leaf in leaves)]


def assert_equal(found, expected, tolerance):
    """Compare each tensor relative to its own largest entry."""
    for name, a, b in zip(NAMES, found, expected, strict=True):
        assert a.shape == b.shape
        assert (a.double() - b).abs().max() <= tolerance * b.abs().max(), name


@DIRECTIONS
@pytest.mark.parametrize("kind", ["usual", "almost none", "very strong", "mixed"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_and_gradients_are_those_of_the_recurrence(kind, dtype, reverse):
    # A gradient of A that exp(-50) leaves is as inexact as exp(-50): fifty times its exponent's last place.
    tolerance = (4e-6 if kind == "very strong" else 1e-6) * (1 if dtype == torch.float32 else 1e-8)
    tensors = decaying(kind)
    expected = results(selective_scan_reference, tensors, reverse, torch.float64)
    assert_equal(results(selective_scan, tensors, reverse, dtype), expected, tolerance)


def test_kinds_of_decay_are_what_they_are_called():
    steps = {kind: decaying(kind) for kind in ("almost none", "very strong", "mixed")}
    steps = {kind: dt.mean() * A.abs() for kind, (_, dt, A, _, _) in steps.items()}
    assert steps["almost none"].max() < 4e-6
    assert steps["very strong"].min() > 40
    assert steps["mixed"].min() < 1e-3 and steps["mixed"].max() > 100


@DIRECTIONS
@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 3), st.integers(1, 3 * BLOCK), st.integers(1, 4), st.integers(1, 4), st.integers(0, 999)
)
def test_every_size(reverse, images, tokens, channels, numbers, seed):
    tensors = inputs(images, tokens, channels, numbers, seed=seed)
    expected = results(selective_scan_reference, tensors, reverse)
    # Atop the tolerance of sums that nearly cancel: with one channel, each gradient may be such a sum.
    for a, b in zip(results(selective_scan, tensors, reverse), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-11)


@DIRECTIONS
def test_gradients_are_those_of_finite_differences(reverse, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 2)
    tensors = [t.requires_grad_() for t in inputs(2, 5, 3, 2)]
    assert torch.autograd.gradcheck(lambda *t: selective_scan(*t, reverse=reverse), tensors)


def test_constant_inputs_give_a_geometric_series():
    """h_t = u (1 + a + ... + a^t) with a = exp(dt A) and u = dt x B."""
    tokens = 3 * BLOCK
    dt, x, A, B, C = 0.3, 1.7, torch.tensor([[-0.1, -2.0]], dtype=torch.float64), 0.6, -1.1
    full = torch.ones(1, tokens, 1, dtype=torch.float64)
    twice = full.expand(1, tokens, 2)
    a = (dt * A).exp()[:, None]  # 1 1 N
    t = torch.arange(tokens)[None, :, None]
    expected = (C * dt * x * B * (1 - a ** (t + 1)) / (1 - a)).sum(2)
    y = selective_scan(x * full, dt * full, A, B * twice, C * twice)
    torch.testing.assert_close(y[..., 0], expected, rtol=1e-12, atol=0)


def test_without_decay_it_is_a_running_sum():
    x, dt, A, B, C = inputs()
    total = torch.einsum("bld,bln->bldn", dt * x, B).cumsum(1)
    y = selective_scan(x, dt, -1e-300 * torch.ones_like(A), B, C)
    torch.testing.assert_close(y, torch.einsum("bldn,bln->bld", total, C))


@DIRECTIONS
def test_no_token_reads_what_is_written_later(reverse):
    tensors = inputs()
    at = BLOCK + 3
    y = selective_scan(*tensors, reverse=reverse)
    for i in (0, 1, 3, 4):
        changed = list(tensors)
        changed[i] = changed[i].clone()
        changed[i][:, at] += 1.0
        different = (selective_scan(*changed, reverse=reverse) != y).any(2).any(0)
        if i == 4:  # how a token reads is its own affair
            assert different.nonzero().flatten().tolist() == [at]
        else:
            later = different[: at + 1] if reverse else different[at:]
            assert later.all() and different.sum() == len(later)


def test_reverse_is_flip_scan_flip():
    x, dt, A, B, C = inputs()
    flipped = selective_scan(*(t.flip(1) for t in (x, dt)), A, *(t.flip(1) for t in (B, C))).flip(1)
    torch.testing.assert_close(selective_scan(x, dt, A, B, C, reverse=True), flipped, rtol=0, atol=0)


@DIRECTIONS
def test_an_image_does_not_depend_on_its_batch(reverse, monkeypatch):
    """However the batch is split by the caller, and however into groups by the scan."""
    tensors = inputs(images=5)
    expected = results(selective_scan, tensors, reverse)
    dy = torch.randn(expected[0].shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    x, dt, A, B, C = tensors
    parts = [
        results(selective_scan, (x[s], dt[s], A, B[s], C[s]), reverse, dy=dy[s])
        for s in (slice(0, 2), slice(2, 5))
    ]
    y, dx, ddt, dA, dB, dC = (list(part) for part in zip(*parts, strict=True))
    joined = [torch.cat(y), torch.cat(dx), torch.cat(ddt), sum(dA), torch.cat(dB), torch.cat(dC)]
    assert_equal(joined, expected, 1e-13)
    monkeypatch.setattr(module, "GRAIN", 2 * A.numel())
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert [s.stop - s.start for s in module._groups(x, A.shape[1])] == [1, 2, 2]
    assert_equal(results(selective_scan, tensors, reverse), expected, 1e-13)


def test_the_same_inputs_give_the_same_bits():
    tensors = inputs(dtype=torch.float32)
    first, second = results(selective_scan, tensors), results(selective_scan, tensors)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@DIRECTIONS
def test_strides_do_not_matter(reverse):
    """Inputs as transposed, expanded and sliced views, and an expanded gradient."""
    x, dt, A, B, C = inputs()
    one_dt = dt[:, :, :1]
    dy = torch.ones((), dtype=x.dtype).expand_as(x)

    def of_views(x, dt, A, B, C, reverse):
        wide = torch.cat([C, C], dim=2)
        views = (x.mT.contiguous().mT, dt.expand_as(x), A.T.contiguous().T, B.mT.contiguous().mT)
        return selective_scan(*views, wide[:, :, : C.shape[2]], reverse=reverse)

    def of_copies(x, dt, A, B, C, reverse):
        return selective_scan_reference(x, dt.expand_as(x).contiguous(), A, B, C, reverse)

    found, expected = (results(scan, (x, one_dt, A, B, C), reverse, dy=dy) for scan in (of_views, of_copies))
    assert_equal(found, expected, 1e-13)


@pytest.mark.parametrize("wanted", range(5))
def test_inputs_that_need_no_gradient(wanted):
    tensors = inputs()
    expected = results(selective_scan, tensors)[1 + wanted]
    dy = torch.randn(tensors[0].shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    tensors[wanted].requires_grad_()
    selective_scan(*tensors).backward(dy)
    torch.testing.assert_close(tensors[wanted].grad, expected, rtol=0, atol=0)
    assert [t.grad is not None for t in tensors] == [i == wanted for i in range(5)]


def test_without_gradients_the_values_are_the_same():
    tensors = [t.requires_grad_() for t in inputs()]
    y = selective_scan(*tensors)
    for context in (torch.no_grad(), torch.inference_mode()):
        with context:
            alone = selective_scan(*tensors)
        assert not alone.requires_grad and torch.equal(alone, y)


@pytest.mark.parametrize("autocast", [False, True])
def test_half_precision_is_computed_in_float32(autocast):
    tensors = inputs(dtype=torch.float32)
    half = [tensors[0].bfloat16(), tensors[1], tensors[2], tensors[3].bfloat16(), tensors[4].bfloat16()]
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found = results(selective_scan, half)
    assert [t.dtype for t in found] == [t.dtype for t in (half[0], *half)]
    dy = torch.randn(found[0].shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    expected = results(selective_scan_reference, half, dtype=torch.float64, dy=dy.bfloat16())
    for name, a, b in zip(NAMES, found, expected, strict=True):
        tolerance = 2**-8 if a.dtype == torch.bfloat16 else 1e-6
        assert (a.double() - b).abs().max() <= tolerance * b.abs().max(), name


def test_autocast_changes_no_bit_of_float32():
    tensors = inputs(dtype=torch.float32)
    expected = results(selective_scan, tensors)
    with torch.autocast("cpu", torch.bfloat16):
        found = results(selective_scan, tensors)  # the backward pass as well
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_float64_anywhere_is_float64_everywhere():
    tensors = inputs()
    tensors[0] = tensors[0].float()
    y = selective_scan(*tensors)
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, selective_scan_reference(*(t.double() for t in tensors)).float())


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_changes_nothing(reentrant):
    tensors = inputs()

    def scan(*leaves, reverse):
        return checkpoint(selective_scan, *leaves, reverse, use_reentrant=reentrant)

    expected = results(selective_scan, tensors)
    assert all(torch.equal(a, b) for a, b in zip(results(scan, tensors), expected, strict=True))


def test_what_is_kept_for_the_backward_pass():
    """The inputs and one state per block: not a state per token."""
    tensors = [t.requires_grad_() for t in inputs(images=3, tokens=8 * BLOCK, dtype=torch.float32)]
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        selective_scan(*tensors)
    others = [t for t in kept if all(t.data_ptr() != i.data_ptr() for i in tensors)]
    states = 3 * tensors[2].numel() * 8
    assert sum(t.numel() for t in others) <= states
    assert len(kept) == len(tensors) + 1
    assert {t.dtype for t in kept} == {torch.float32}


def test_sizes_are_known_without_numbers():
    """On torch's meta device, where costs are counted."""
    tensors = [t.to("meta") for t in inputs()]
    assert selective_scan(*tensors).shape == tensors[0].shape
