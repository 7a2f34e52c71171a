"""What the machine does at most, and how much of it a network needs."""

import pytest
import torch
from torch import nn

from benchmarks.ceilings import PASSES, REPEATS, Shape, ceilings, measured_ceilings, operations_of
from benchmarks.comparison import CONVOLUTION, COPY, PRODUCT, TRAINED_CONVOLUTION
from benchmarks.measure import Row, Times, ideal


class Both(nn.Module):
    """A convolution, then a product of what it found."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(2, 4, 3, padding=1)
        self.product = nn.Linear(4 * 25, 7)

    def forward(self, x):
        return self.product(self.convolution(x).flatten(1))


CONVOLVED, MULTIPLIED = 2 * 9 * 2 * 4 * 25, 2 * 100 * 7


def test_operations_are_those_of_each_layer_by_what_bounds_it():
    found = operations_of(Both(), [torch.ones(1, 2, 5, 5)], 3, training=False)
    assert found == {PRODUCT: 3 * MULTIPLIED, CONVOLUTION: 3 * CONVOLVED}


def test_training_has_two_more_passes():
    network = Both().train()
    found = operations_of(network, [torch.ones(1, 2, 5, 5)], 3, training=True)
    assert found == {PRODUCT: 9 * MULTIPLIED, TRAINED_CONVOLUTION: 9 * CONVOLVED}
    assert network.training


def test_attention_is_two_products():
    class Attention(nn.Module):
        def forward(self, x):
            return nn.functional.scaled_dot_product_attention(x, x, x)

    found = operations_of(Attention(), [torch.ones(1, 2, 5, 8)], 1, training=False)
    assert found == {PRODUCT: 2 * 2 * 2 * 5 * 5 * 8}


def test_a_backward_pass_is_two_more_of_the_same_size():
    from torch.utils.flop_counter import FlopCounterMode

    found = ceilings(quick=True)
    for kind in (PRODUCT, CONVOLUTION, TRAINED_CONVOLUTION):
        counter, call = FlopCounterMode(display=False), found[kind].make()
        with counter:
            call()
        assert counter.get_total_flops() == found[kind].amount
    shape = Shape(2, 8, 8)
    assert found[TRAINED_CONVOLUTION].amount == REPEATS * PASSES * shape.operations()


def test_each_ceiling_has_a_rate_in_its_unit():
    found = measured_ceilings(2, quick=True)
    assert {kind: ceiling.unit for kind, (ceiling, _) in found.items()} == {
        PRODUCT: "GFLOP/s",
        CONVOLUTION: "GFLOP/s",
        TRAINED_CONVOLUTION: "GFLOP/s",
        COPY: "GB/s",
    }
    assert all(rate.lower > 0 for _, rate in found.values())


def test_the_ceiling_of_two_kinds_is_the_sum_of_their_times():
    bounds = ceilings(quick=True)
    amounts = {PRODUCT: 3 * bounds[PRODUCT].amount, COPY: bounds[COPY].amount / 2}
    assert ideal(amounts, bounds, {PRODUCT: [1.0, 2.0], COPY: [4.0, 4.0]}) == pytest.approx([5.0, 8.0])


def test_the_share_of_a_ceiling_is_told_round_by_round():
    times = Times({"ours": [10.0, 20.0, 40.0]}, {"ours": [5.0, 16.0, 20.0]}, {}, {})
    assert times.told(Row("ours"), "ours").ceiling.median == 0.5
