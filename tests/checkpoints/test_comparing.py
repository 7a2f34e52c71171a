"""No difference between two checkpoints goes unseen, whatever parts and fields they are made of."""

import math

import pytest
import torch
from checkpoints.small import make, same

from triptych.checkpoints.compare import difference, distance
from triptych.checkpoints.contents import Contents


def changed(part: str = "", name: str = "w", value: torch.Tensor | None = None, **fields: object) -> Contents:
    """Contents like `make(1)` but for one tensor, or for some fields of the state."""
    contents = make(1)
    tensors = contents.tensors
    if part:
        tensors = tensors | {part: tensors.get(part, {}) | {name: value}}
    return Contents(tensors, contents.state | fields)


def test_equal_ones():
    assert same(make(1), make(1))
    assert difference(make(1), make(1)) is None
    assert distance(make(1), make(1)) == 0
    odd = torch.tensor([math.nan, -0.0, math.inf])
    assert difference(changed("odd", "x", odd), changed("odd", "x", odd.clone())) is None
    empty = torch.empty(0, 3, dtype=torch.bool)
    assert difference(changed("odd", "x", empty), changed("odd", "x", empty.clone())) is None


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (changed("ema_long", "w", torch.ones(1)), "only one has the part ema_long"),
        (changed("ema", "x", torch.ones(1)), "ema: only one has x"),
        (changed("ema", "w", torch.ones(3, 2)), r"ema: w is torch.float32 [2, 3] and torch.float32 [3, 2]"),
        (changed("ema", "w", torch.ones(2, 3).double()), "torch.float64 [2, 3]"),
        (changed("weights", "step", torch.tensor(2)), "weights: step differs in 1 of 1 values"),
        (changed(epoch=2), "state.epoch is 1 and 2"),
        (changed(epoch=1.0), "state.epoch is 1 and 1.0"),
        (changed(elapsed=math.nextafter(1 / 3, 1)), "state.elapsed is 0.333333"),
        (changed(best=[{"mse": 1}]), 'state.best is [] and [{"mse": 1}]'),
        (changed(guard={"norms": [1.0]}), "only one has state.guard"),
    ],
)
def test_every_difference_is_told(other: Contents, told: str):
    found = difference(make(1), other)
    assert found is not None and told in found
    assert difference(other, make(1)) is not None


def test_a_difference_deep_in_the_state_is_told_by_its_place():
    left, right = ({"guard": {"norms": [1.0, last]}} for last in (2.0, -0.0))
    assert difference(Contents({}, left), Contents({}, right)) == "state.guard.norms[1] is 2.0 and -0.0"


def test_a_single_bit_is_a_difference():
    flipped = make(1).tensors["ema"]["w"].clone()
    flipped.view(torch.int32)[1, 2] ^= 1
    assert difference(make(1), changed("ema", "w", flipped)) == "ema: w differs in 1 of 6 values"
    zero, minus = (changed("ema", "w", torch.full((2, 3), x)) for x in (0.0, -0.0))
    assert difference(zero, minus) == "ema: w differs in 6 of 6 values"


def test_some_fields_may_be_left_out():
    assert difference(make(1), changed(attempt=3, epoch=1), {"attempt"}) is None
    assert distance(make(1), changed(attempt=3), {"attempt"}) == 0


def test_a_newer_version_may_know_more():
    newer = changed("ema_long", "w", torch.ones(1), guard={"norms": []}, best=[])
    assert difference(make(1), newer, grown=True) is None
    assert difference(newer, make(1), grown=True) == "only one has the part ema_long"
    older = {"best": [{"mse": 1}], "running": {"steps": 1}}
    for change, told in (
        ({}, None),
        ({"running": {"steps": 2, "spikes": 0}}, "state.running.steps is 1 and 2"),
        ({"best": [{"mse": 1}, {"mse": 2}]}, 'state.best is [{"mse": 1}]'),
    ):
        grown = {"best": [{"mse": 1, "weights": "ema"}], "running": {"steps": 1, "spikes": 0}} | change
        found = difference(Contents({}, older), Contents({}, grown), grown=True)
        assert found == told or (told and found and told in found)
    more = Contents({"ema": {"w": torch.ones(1), "x": torch.ones(1)}}, {})
    less = Contents({"ema": {"w": torch.ones(1)}}, {})
    assert difference(less, more, grown=True) == "ema: only one has x"


def test_a_distance_is_relative_and_knows_the_entries_of_an_optimiser():
    def state(counter: float, average: float, noise: float) -> Contents:
        named = {"a/step": counter, "a/average": average, "b/step": counter, "b/average": noise}
        return Contents({"optimizer": {name: torch.tensor(value) for name, value in named.items()}}, {})

    # What is rounding alone counts by its size among its like, and no counter outweighs an average.
    assert distance(state(1000, 0.5, 1e-12), state(1000, 0.5, -1e-12)) < 1e-11
    assert distance(state(1000, 0.5, 0), state(1000, 0.25, 0)) == pytest.approx(1)
    assert distance(state(1000, 0.5, 0), state(1001, 0.5, 0)) == pytest.approx(1 / 1001)
    assert distance(Contents({}, {"loss": 1.0}), Contents({}, {"loss": 1.25})) == 0.2


@pytest.mark.parametrize(
    "other",
    [
        changed("ema", "x", torch.ones(1)),
        changed("ema_long"),
        changed("ema", "w", torch.full((2, 3), math.nan)),
        changed("ema", "w", torch.ones(3, 2)),
        changed(epoch=2),
        changed(best=[1]),
    ],
)
def test_what_is_of_another_form_is_infinitely_far(other: Contents):
    assert distance(make(1), other) == math.inf
