"""A hundred steps of each backbone, as they were when this was written: nothing drifts unnoticed.

Everything of a step is in these numbers: data order, flips, times, noise, dropped labels, dropout, network,
loss, clipping, optimiser. A change that is meant to alter them says so, and puts the new ones here.
"""

import pytest
import torch
from training import worker

from triptych.backbones.dim import DiMConfig
from triptych.backbones.dit import DiTConfig
from triptych.distributed import ALONE

TOLERANCE = 1e-5
"""The network computes in float64; noise and times are float32, whose last bit another processor may turn."""

GOLDEN = {
    "unet": (
        worker.NETWORK,
        *(0.6390666377, 0.8059508229, 0.6245674587, 0.5800906012, 0.5247963615),
        *(0.5803690434, 0.6615232285, 0.4571872261, 0.5560399007, 0.6585144455),
    ),
    "dit": (
        DiTConfig(patch=2, width=16, depth=2, heads=2),
        *(0.7349132756, 0.8426652624, 0.6435416625, 0.5857384917, 0.5295784769),
        *(0.5759243054, 0.6381829314, 0.4653916777, 0.5460161510, 0.6826589240),
    ),
    "dim": (
        DiMConfig(patch=2, width=16, depth=2, head_width=8, state=4),
        *(0.6819517922, 0.8139593477, 0.6188304310, 0.5780884798, 0.5184968248),
        *(0.5843445828, 0.6513737848, 0.4650711603, 0.5571694870, 0.6758972858),
    ),
    "dim, s6": (
        DiMConfig(patch=2, width=16, depth=2, mixer="s6", state=4),
        *(0.7070215071, 0.8292626067, 0.6453613904, 0.5812011308, 0.5254071178),
        *(0.5773727499, 0.6590634936, 0.4489868606, 0.5630437794, 0.6810553260),
    ),
}
"""Backbone, and the loss of every tenth step."""


@pytest.mark.parametrize("name", GOLDEN)
def test_a_hundred_steps_have_the_losses_that_they_had(name):
    backbone, *golden = GOLDEN[name]
    takes = worker.stepper(ALONE, torch.float64, backbone=backbone)
    losses, honest = [], takes._backward

    def backward():
        losses.append(float(honest()))
        return torch.tensor(losses[-1], dtype=torch.float64)

    takes._backward = backward
    for _ in range(100):
        takes.take()
    torch.testing.assert_close(losses[9::10], golden, rtol=TOLERANCE, atol=0)
