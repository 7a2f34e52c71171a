"""The scan of Mamba-2 by matrix products is the recurrence: values and every gradient, for any decay."""
# ruff: noqa: N806 -- the letters A, B, C, D are the paper's

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from triptych.backbones.state_space import chunks_at_once, chunks_in_turn
from triptych.backbones.state_space import ssd as module
from triptych.backbones.state_space.chunks import CHUNK
from triptych.backbones.state_space.ssd import mirrored_reference, ssd, ssd_mirrored, ssd_reference

NAMES = ("y", "x", "dt", "A", "B", "C", "D")
STRENGTHS = {"almost none": (1e-6, 1e-6), "usual": (1e-3, 1e-1), "strong": (1, 10), "mixed": (1e-6, 50)}
"""Step sizes dt of decays exp(-dt |A|) with 1 <= |A| <= 16."""


def inputs(dt=(1e-3, 1e-1), length=2 * CHUNK + 5, heads=4, groups=1, dtype=torch.float32, seed=0):
    """Return x, dt, A, B, C, D of 2 images, heads of width 5, states of width 6; dt even by its logarithm."""
    g = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(shape, generator=g)

    low, high = torch.tensor(dt).log()
    steps = (low + (high - low) * torch.rand(2, length, heads, generator=g)).exp()
    rates = -1 - 15 * torch.rand(heads, generator=g)
    B, C = (normal(2, length, groups, 6) for _ in range(2))
    tensors = (normal(2, length, heads, 5), steps, rates, B, C, normal(heads))
    return [t.to(dtype).requires_grad_() for t in tensors]


def results(scan, tensors, dtype):
    """Return y and the gradients of all inputs, for a fixed gradient of y."""
    leaves = [t.detach().to(dtype).requires_grad_() for t in tensors]
    y = scan(*leaves)
    weight = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return [y.detach(), *torch.autograd.grad((y * weight.to(dtype)).sum(), leaves)]


def assert_equal(found, expected, tolerance, names=NAMES):
    """Compare tensors, each relative to its own largest entry."""
    for name, a, b in zip(names, found, expected, strict=True):
        error = float((a.double() - b).abs().max() / b.abs().max())
        assert error < tolerance, f"{name} differs by {error:.1e}"


WAYS = {"forward": (False,), "reverse": (True,), "split": (False, True)}


@pytest.mark.parametrize("strength", STRENGTHS)
@pytest.mark.parametrize("way", WAYS)
def test_values_and_gradients_are_the_recurrence_s(way, strength):
    reverse = WAYS[way]
    tensors = inputs(STRENGTHS[strength], groups=len(reverse))
    expected = results(lambda *t: ssd_reference(*t, reverse=reverse), tensors, torch.float64)
    for dtype, tolerance in ((torch.float32, 5e-6), (torch.float64, 1e-12)):
        assert_equal(results(lambda *t: ssd(*t, reverse=reverse), tensors, dtype), expected, tolerance)


@pytest.mark.parametrize("strength", STRENGTHS)
def test_mirrored_values_and_gradients_are_the_whole_matrix_s(strength):
    """The matrix is made of differences of long sums, which are exact to about 1e-12 themselves."""
    tensors = inputs(STRENGTHS[strength])
    expected = results(mirrored_reference, tensors, torch.float64)
    for dtype, tolerance in ((torch.float32, 5e-6), (torch.float64, 1e-11)):
        assert_equal(results(ssd_mirrored, tensors, dtype), expected, tolerance)


@pytest.mark.parametrize("length", [1, 2, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_any_number_of_tokens(length):
    tensors = inputs(length=length, groups=2)
    ways = {"reverse": (True, False)}
    expected = results(lambda *t: ssd_reference(*t, **ways), tensors, torch.float64)
    found = results(lambda *t: ssd(*t, **ways), tensors, torch.float64)
    for name, a, b in zip(NAMES, found, expected, strict=True):  # of one token, no decay has a gradient
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12, msg=name)


def test_the_length_of_chunks_changes_nothing(monkeypatch):
    tensors = inputs(groups=2)
    found = []
    for busy in (1, 2**30):
        monkeypatch.setattr(chunks_in_turn, "BUSY", busy)
        found.append(results(lambda *t: ssd(*t, reverse=(True, False)), tensors, torch.float64))
    assert not torch.equal(found[0][0], found[1][0])  # they were cut otherwise
    assert_equal(*found, 1e-12)


@pytest.mark.parametrize("strength", STRENGTHS)
@pytest.mark.parametrize("way", WAYS)
def test_chunks_at_once_are_chunks_in_turn(way, strength, monkeypatch):
    """In values, gradients and pictures; and, as they are, the recurrence."""
    reverse = WAYS[way]
    tensors = inputs(STRENGTHS[strength], length=3 * CHUNK, groups=len(reverse))
    expected = results(lambda *t: ssd_reference(*t, reverse=reverse), tensors, torch.float64)
    in_turn = results(lambda *t: ssd(*t, reverse=reverse), tensors, torch.float64)
    monkeypatch.setattr(chunks_at_once, "fits", lambda x: x.shape[1] % CHUNK == 0)
    assert_equal(results(lambda *t: ssd(*t, reverse=reverse), tensors, torch.float64), in_turn, 1e-12)
    single = results(lambda *t: ssd(*t, reverse=reverse), tensors, torch.float32)
    assert_equal(single, expected, 5e-6)
    with torch.no_grad():
        drawn = ssd(*(t.detach().float() for t in tensors), reverse=reverse)
    torch.testing.assert_close(drawn, single[0], rtol=0, atol=0)


def test_chunks_at_once_are_for_other_devices_than_processors():
    there = torch.device("meta")
    for tokens, device, fits in (
        (3 * CHUNK, there, True),
        (CHUNK, there, True),
        (CHUNK + 1, there, False),
        (CHUNK // 2, there, False),  # one short chunk either way
        (3 * CHUNK, torch.device("cpu"), False),
    ):
        assert chunks_at_once.fits(torch.empty(2, tokens, 4, 5, device=device)) == fits


def test_a_token_sees_those_before_it_or_those_behind_it():
    tensors = inputs(dtype=torch.float64, groups=2)
    changed = [t.detach().clone() for t in tensors]
    changed[0][:, 40] += 1
    before, after = (ssd(*t, reverse=(False, True)) for t in (tensors, changed))
    differs = (before != after).any(3).any(0)  # L H
    assert differs[:40, 2:].all() and not differs[41:, 2:].any()
    assert differs[40:, :2].all() and not differs[:40, :2].any()


def test_reverse_is_the_scan_of_tokens_in_the_other_order():
    x, dt, A, B, C, D = inputs(dtype=torch.float64)
    turned = ssd(x.flip(1), dt.flip(1), A, B.flip(1), C.flip(1), D).flip(1)
    torch.testing.assert_close(ssd(x, dt, A, B, C, D, reverse=(True,)), turned, rtol=1e-12, atol=1e-12)


def test_constant_input_approaches_its_geometric_series():
    """With x, B, C all 1 in one dimension: y_L = dt (1 - r^L) / (1 - r), r = exp(dt A)."""
    dt, A, length = 0.1, -2.0, 300
    one = torch.ones(1, length, 1, 1, dtype=torch.float64)
    y = ssd(one, one[..., 0] * dt, torch.tensor([A], dtype=torch.float64), one, one)
    r = torch.tensor(dt * A, dtype=torch.float64).exp()
    series = dt * (1 - r ** torch.arange(1, length + 1)) / (1 - r)
    torch.testing.assert_close(y.flatten(), series, rtol=1e-12, atol=0)


def test_gradients_of_a_tiny_scan_are_those_of_finite_differences():
    x, dt, A, B, C, D = inputs(length=CHUNK + 2, heads=2, groups=2, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda *t: ssd(*t, reverse=(False, True)), (x, dt, A, B, C, D), atol=1e-6, fast_mode=True
    )


def test_views_are_read_where_they_lie():
    x, dt, A, B, C, D = inputs()
    strided = x.detach().transpose(2, 3).contiguous().transpose(2, 3)
    torch.testing.assert_close(ssd(strided, dt, A, B, C, D), ssd(x, dt, A, B, C, D), rtol=0, atol=0)


def test_half_precision_is_that_of_the_tensors_alone():
    """bf16 tensors are widened before anything is summed, and autocast narrows nothing."""
    x, dt, A, B, C, D = (t.detach() for t in inputs())
    half = [t.bfloat16() for t in (x, B, C)]
    y = ssd(half[0], dt, A, half[1], half[2], D)
    assert y.dtype == torch.bfloat16
    wide = ssd(half[0].float(), dt, A, half[1].float(), half[2].float(), D)
    assert torch.equal(y, wide.bfloat16())
    plain = ssd(x, dt, A, B, C, D)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(ssd(x, dt, A, B, C, D), plain)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under = ssd_mirrored(x, dt, A, B, C, D)
    assert torch.equal(under, ssd_mirrored(x, dt, A, B, C, D))


def test_a_step_of_zero_takes_up_nothing():
    """softplus gives exactly zero far below it."""
    tensors = inputs()
    with torch.no_grad():
        tensors[1][:, 5:9] = 0
    y, *gradients = results(ssd, tensors, torch.float32)
    assert all(t.isfinite().all() for t in (y, *gradients))
    assert_equal([y], [ssd_reference(*(t.detach().double() for t in tensors))], 1e-6, ("y",))


def test_without_float64_weak_decays_beside_strong_ones_lose_digits_and_no_more(monkeypatch):
    """As on a device that has none."""
    monkeypatch.setattr(module, "precise_dtype", lambda device: torch.float32)
    for strength, tolerance in (("usual", 2e-5), ("mixed", 1e-3)):
        tensors = inputs(STRENGTHS[strength])
        assert_equal(
            results(ssd, tensors, torch.float32), results(ssd_reference, tensors, torch.float64), tolerance
        )


def test_drawing_computes_what_training_does():
    tensors = inputs(groups=2)
    trained = ssd(*tensors, reverse=(True, False))
    with torch.no_grad():
        assert torch.equal(ssd(*tensors, reverse=(True, False)), trained)


def test_groups_and_directions_are_as_many():
    x, dt, A, B, C, D = inputs(groups=2)
    with pytest.raises(ValueError, match="2 groups of 4 heads need 2 directions, not 1"):
        ssd(x, dt, A, B, C, D)


def test_matrix_products_are_those_of_its_chunks():
    """Of each chunk: C B^T, its product with x, and, between chunks, states written and read."""
    b, heads, width, state, chunks = 2, 4, 5, 6, 3
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        ssd(*inputs(length=chunks * CHUNK))
    inside = chunks * (2 * CHUNK**2 * state + heads * 2 * CHUNK**2 * width)
    between = 2 * (chunks - 1) * 2 * CHUNK * state * heads * width
    assert counter.get_total_flops() == b * (inside + between)


def test_checkpointing_changes_nothing():
    tensors = inputs()
    plain = results(ssd, tensors, torch.float32)
    again = results(lambda *t: checkpoint(ssd, *t, use_reentrant=False), tensors, torch.float32)
    assert all(torch.equal(a, b) for a, b in zip(plain, again, strict=True))


def test_what_is_kept_for_the_backward_pass_grows_with_the_tokens_and_not_their_square():
    kept = {}
    for length in (4 * CHUNK, 8 * CHUNK, 16 * CHUNK):
        seen = {}
        tensors = inputs(length=length)
        with saved_tensors_hooks(lambda t, seen=seen: seen.setdefault(t.data_ptr(), t), lambda t: t):
            ssd(*tensors)
        kept[length] = sum(t.numel() for t in seen.values())
    first, second, third = kept.values()
    assert third - second == pytest.approx(2 * (second - first), rel=0.05)
