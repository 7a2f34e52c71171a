"""The moving average against its definition."""

import copy

import pytest
import torch
from torch import nn

from triptych.training.ema import ema_decay, move, update_ema


def test_half_life_is_counted_in_images():
    """A contribution is halved after `half_life` images, whatever the batch size."""
    for batch in (10, 50, 250):
        seen = 100_000
        assert ema_decay(seen, batch, 1000, 0.05) ** (1000 / batch) == pytest.approx(0.5)


def test_the_start_is_forgotten():
    assert ema_decay(1000, 10, 500_000, 0.05) == pytest.approx(0.5 ** (10 / 50))
    assert ema_decay(10, 10, 0.0, 0.05) == 0.0


def test_update_is_the_weighted_mean():
    network = nn.Linear(3, 2)
    average = copy.deepcopy(network)
    before = [p.clone() for p in average.parameters()]
    with torch.no_grad():
        for p in network.parameters():
            p.add_(1.0)
    update_ema(average, network, 0.9)
    for old, new, mean in zip(before, network.parameters(), average.parameters(), strict=True):
        torch.testing.assert_close(mean, 0.9 * old + 0.1 * new)


def test_a_share_that_the_device_knows_is_that_of_the_host():
    generator = torch.Generator().manual_seed(0)
    kept, new = ([torch.randn(n, 3, generator=generator) for n in (1, 5, 40)] for _ in range(2))
    right = [old.clone() for old in kept]
    torch._foreach_lerp_(right, new, 0.02)
    move(kept, new, torch.tensor(0.02))
    for found, expected in zip(kept, right, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)
    before = [old.clone() for old in kept]
    move(kept, new, torch.tensor(0.02) * ~torch.tensor(True))
    assert all(torch.equal(a, b) for a, b in zip(kept, before, strict=True))
