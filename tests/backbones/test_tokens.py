"""The trunk of tokens: patches, positions, long skips."""

import math

import pytest
import torch
from backbones.small import awake

from triptych.backbones.dit import DiTConfig
from triptych.backbones.tokens import LongSkip, grid_positions
from triptych.errors import UserError


def test_positions_are_their_formula():
    """Column, then row; sines, then cosines; frequencies 10000^(-2k/(D/2))."""
    side, width = 3, 8
    positions = grid_positions(side, width)
    for token in range(side * side):
        row, column = divmod(token, side)
        for half, place in ((0, column), (1, row)):
            for k in range(width // 4):
                angle = place * 10000 ** (-4 * k / width)
                start = half * width // 2
                assert positions[token, start + k] == pytest.approx(math.sin(angle), abs=1e-6)
                assert positions[token, start + width // 4 + k] == pytest.approx(math.cos(angle), abs=1e-6)


def test_a_network_with_fresh_skips_is_the_one_without():
    torch.manual_seed(0)
    plain = awake(DiTConfig(width=16, depth=5, heads=2).build(3, 8, 0))
    torch.manual_seed(0)
    joined = DiTConfig(width=16, depth=5, heads=2, long_skips=True).build(3, 8, 0).eval()
    joined.load_state_dict(plain.state_dict(), strict=False)
    x, noise = torch.randn(2, 3, 8, 8), torch.tensor([3.0, 500.0])
    torch.testing.assert_close(joined(x, noise), plain(x, noise), rtol=1e-5, atol=1e-5)
    assert len(joined.skips) == 2


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
def test_the_last_blocks_are_joined_to_the_first_in_mirrored_order(depth):
    network = DiTConfig(width=16, depth=depth, heads=2, long_skips=True).build(3, 8, 0)
    seen = {}
    for i, block in enumerate(network.blocks):
        block.register_forward_hook(lambda *a, i=i: seen.__setitem__(i, a[-1]))
    pairs = []
    for i, skip in enumerate(network.skips):
        skip.register_forward_pre_hook(lambda m, a, i=i: pairs.append((i, a[1])))
    network(torch.randn(1, 3, 8, 8), torch.tensor([1.0]))
    assert len(pairs) == depth // 2
    assert all(earlier is seen[depth // 2 - 1 - i] for i, earlier in pairs)


def test_a_skip_can_bring_back_the_earlier_tokens():
    skip = LongSkip(4)
    a, b = torch.randn(1, 3, 4), torch.randn(1, 3, 4)
    assert torch.equal(skip(a, b), a)
    with torch.no_grad():
        skip.linear.weight.copy_(torch.eye(4).repeat(1, 2))
    torch.testing.assert_close(skip(a, b), a + b)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"patch": 3}, "backbone.patch 3 on 8-pixel images"),
        ({"patch": 0}, "backbone.patch 0"),
        ({"width": 18}, "backbone.width 18"),
        ({"width": 0}, "backbone.width 0"),
        ({"width": 4_000_000_000}, "backbone.width 4000000000"),
        ({"depth": 20_000_000}, "backbone.depth 20000000"),
        ({"depth": 0}, "backbone.depth 0"),
        ({"heads": 3}, "backbone.heads 3"),
        ({"heads": 0}, "backbone.heads 0"),
        ({"mlp_ratio": 0.0}, "backbone.mlp-ratio 0"),
        ({"mlp_ratio": float("nan")}, "backbone.mlp-ratio nan"),
    ],
)
def test_sizes_that_cannot_be_built_are_refused(fields, told):
    with pytest.raises(UserError, match=told) as refused:
        DiTConfig(**{"width": 16, "depth": 2, "heads": 2} | fields).build(3, 8, 10)
    assert "\n" not in str(refused.value)


def test_a_detail_head_sees_over_the_borders_of_patches():
    """A pixel's output moves with a noisy pixel of the next patch, though no token tells of it."""
    network = awake(DiTConfig(width=16, depth=1, heads=2, patch=4, detail_channels=6).build(3, 8, 0))
    x = torch.zeros(1, 3, 8, 8, requires_grad=True)
    with torch.no_grad():
        network.project.weight.zero_()  # the tokens fall silent
    network(x, torch.zeros(1))[0, :, 3, 3].sum().backward()
    seen = x.grad[0].abs().sum(0) > 0
    assert seen[3, 3] and seen[3, 4] and seen[4, 3]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"detail_channels": -1}, "backbone.detail-channels -1: out of range"),
        ({"detail_channels": 8, "output_conv": True}, "both end in a convolution over the pixels"),
    ],
)
def test_a_detail_head_that_cannot_be_is_refused(fields, told):
    with pytest.raises(UserError, match=told):
        DiTConfig(width=16, depth=1, heads=2, **fields).build(3, 8, 0)
