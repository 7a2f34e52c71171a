"""Gate and normalisation in one operation are the two in turn."""

import pytest
import torch

from triptych.backbones.state_space.gated_norm import GatedNorm, GatedNormFunction, gated_norm_reference


def tensors(dtype):
    g = torch.Generator().manual_seed(0)
    return [
        torch.randn(shape, generator=g).to(dtype).requires_grad_() for shape in ((2, 7, 12),) * 2 + ((12,),)
    ]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-6), (torch.float64, 1e-14)])
def test_values_and_gradients_are_those_of_its_parts(dtype, tolerance):
    def results(function, leaves):
        y = function(*leaves, 1e-5)
        weight = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view(y.shape)
        return [y.detach(), *torch.autograd.grad(y, leaves, weight)]

    expected = results(gated_norm_reference, [t.detach().double().requires_grad_() for t in tensors(dtype)])
    found = results(GatedNormFunction.apply, tensors(dtype))
    for a, b in zip(found, expected, strict=True):
        assert float((a.double() - b).abs().max() / b.abs().max()) < tolerance


def test_gradients_are_those_of_finite_differences():
    y, z, weight = tensors(torch.float64)
    assert torch.autograd.gradcheck(lambda *t: GatedNormFunction.apply(*t, 1e-5), (y, z, weight))


def test_fresh_tokens_have_mean_square_one():
    y, z, _ = tensors(torch.float32)
    normed = GatedNorm(12)(y, z)
    torch.testing.assert_close(normed.square().mean(2), torch.ones(2, 7), rtol=1e-3, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("size", [1e-3, 1, 100])
def test_half_precision_is_rounded_once(dtype, size):
    """Squares of 100 are beyond fp16, those of 0.001 below it; under autocast, backward outside."""
    y, z, _ = (t.detach() for t in tensors(torch.float32))
    norm = GatedNorm(12)
    half = [(size * y).to(dtype).requires_grad_(), z.to(dtype).requires_grad_()]
    with torch.autocast("cpu", dtype=dtype):
        normed = norm(*half)
    assert normed.dtype == dtype
    single = [t.detach().float().requires_grad_() for t in half]
    assert torch.equal(normed, norm(*single).to(dtype))
    weight = torch.linspace(-1, 1, y.numel()).view(y.shape)
    (normed.float() * weight).sum().backward()
    (norm(*single) * weight).sum().backward()
    for a, b in zip(half, single, strict=True):
        assert a.grad.dtype == dtype and a.grad.isfinite().all()
        assert (a.grad.float() - b.grad).abs().max() < 0.02 * b.grad.abs().max()
