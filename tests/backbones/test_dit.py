"""The Diffusion Transformer: the paper's sizes, and options of equal size."""

import pytest
import torch
from backbones.small import SMALL, awake

from triptych.backbones.costs import costs, outline
from triptych.backbones.dit import SIZES, DiTConfig, GatedPerceptron, Perceptron, sized


@pytest.mark.parametrize(("size", "million"), [("S", 32.96), ("B", 130.51), ("L", 458.10), ("XL", 675.13)])
def test_the_paper_s_parameters(size, million):
    """Table 4 of arXiv 2212.09748: on latents of 4 channels, 1,000 classes, learned variances; patch 2.

    Its networks predict 8 channels, which is 16 more rows of the last layer; ours have no room for variances.
    """
    network = outline(sized(size, 2), 4, 32, 1000)
    width = SIZES[size][0]
    variances = 16 * (width + 1)
    positions = 256 * width  # fixed, but counted there
    assert (costs(network).parameters + variances + positions) / 1e6 == pytest.approx(million, abs=0.01)


def test_the_default_is_the_smallest():
    assert DiTConfig() == sized("S", 2)


def test_the_paper_s_operations():
    """6.06 billion multiply-adds for S/2, table 4; two operations each."""
    assert costs(outline(sized("S", 2), 4, 32, 1000)).flops / 2e9 == pytest.approx(6.06, rel=0.01)


def test_a_gated_perceptron_has_as_many_parameters():
    plain, gated = (
        sum(p.numel() for p in kind.parameters()) for kind in (Perceptron(48, 192), GatedPerceptron(48, 128))
    )
    assert gated == pytest.approx(plain, rel=0.01)


def test_shifting_all_tokens_of_a_network_without_positions_changes_nothing_else():
    """Attention and perceptrons know no order: only positions tell tokens apart."""
    network = awake(SMALL["dit"].build(3, 8, 0))
    with torch.no_grad():
        network.positions.zero_()
        x = torch.randn(1, 3, 8, 8)
        rolled = network(x.roll(2, 3), torch.tensor([7.0]))
        torch.testing.assert_close(rolled, network(x, torch.tensor([7.0])).roll(2, 3), rtol=1e-4, atol=1e-5)
