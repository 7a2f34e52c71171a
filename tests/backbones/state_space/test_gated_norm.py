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


def test_a_gate_in_half_precision():
    y, z, _ = tensors(torch.float32)
    half = z.detach().bfloat16().requires_grad_()
    GatedNorm(12)(y, half).sum().backward()
    assert half.grad.dtype == torch.bfloat16
