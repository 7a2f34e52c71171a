"""Diffusion Mamba: its size, and what it refuses."""

import pytest
from backbones.small import SMALL

from triptych.backbones.costs import costs, outline
from triptych.backbones.dim import DiMConfig
from triptych.backbones.dit import DiTConfig
from triptych.errors import UserError


def test_the_default_is_as_large_as_the_transformer():
    mamba, transformer = (
        costs(outline(config, 3, 32, 10)).parameters for config in (DiMConfig(), DiTConfig())
    )
    assert mamba == pytest.approx(transformer, rel=0.01)


@pytest.mark.parametrize("mixer", ["ssd", "s6"])
def test_costs_grow_with_the_tokens(mixer):
    """Four times the tokens, four times the arithmetic but for what happens once an image."""
    config = DiMConfig(depth=4, mixer=mixer, state=16)
    small, large = (costs(outline(config, 3, side, 10)).flops for side in (32, 64))
    assert 3.95 < large / small < 4.05


def test_the_selective_scan_is_counted():
    without, with_scan = (
        costs(outline(DiMConfig(width=32, depth=1, mixer="s6", state=state), 3, 8, 0)).flops
        for state in (1, 2)
    )
    tokens, inner = 16, 64
    projections = 2 * 2 * tokens * inner  # one more number of B and of C, each from half of the inner width
    read = 2 * tokens * inner
    assert with_scan - without == 5 * tokens * inner + read + projections


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"patch": 3}, "backbone.patch 3"),
        ({"depth": 0}, "backbone.depth 0"),
        ({"expand": 0}, "backbone.expand 0"),
        ({"state": 0}, "backbone.state 0"),
        ({"kernel": 2}, "backbone.kernel 2"),
        ({"kernel": -1}, "backbone.kernel -1"),
        ({"kernel": 9999999999}, "backbone.kernel 9999999999"),
        ({"expand": 9 * 10**18}, "backbone.expand 9000000000000000000"),
        ({"head_width": 64}, "backbone.head-width 64"),
        ({"head_width": 12, "directions": "double"}, "backbone.head-width 12"),
        ({"mixer": "s6", "directions": "mirrored"}, "backbone.directions mirrored"),
    ],
)
def test_sizes_that_cannot_be_built_are_refused(fields, told):
    with pytest.raises(UserError, match=told) as refused:
        (SMALL["dim"].__class__(**{"width": 16, "depth": 2, "head_width": 8} | fields)).build(3, 8, 10)
    assert "\n" not in str(refused.value)
