"""Names of checkpoint folders."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triptych.checkpoints.names import Position, name_of, parse

EPOCHS = st.integers(0, 10**9)
STEPS = st.none() | st.integers(0, 10**12)


@given(EPOCHS, STEPS)
def test_names_parse_back(epoch: int, step: int | None):
    assert parse(name_of(epoch, step)) == Position(epoch, step)


@given(EPOCHS, st.integers(1, 18))
def test_any_width_is_accepted(epoch: int, width: int):
    assert parse(f"epoch-{epoch:0{width}d}") == Position(epoch, None)


def test_names_are_those_of_the_contract():
    assert name_of(350) == "epoch-00350"
    assert name_of(3, 1234) == "epoch-00003-step-00001234"


@pytest.mark.parametrize(
    "name",
    ["epoch-", "epoch-1x", "epoch--1", "Epoch-1", "epoch-1-step-", "epoch-1/../2", "epoch-1\n", "epoch-١", "",
     ".writing", "epoch-1.old", "epoch-1-step-2-step-3", "epoch-" + "9" * 5000],
)  # fmt: skip
def test_other_names_are_none(name: str):
    assert parse(name) is None


@given(st.lists(st.tuples(st.integers(0, 5), st.none() | st.integers(0, 500)), min_size=2, max_size=2))
def test_order_is_that_of_training(pair: list[tuple[int, int | None]]):
    (epoch, step), (other_epoch, other_step) = pair
    before = Position(epoch, step).order < Position(other_epoch, other_step).order
    if epoch != other_epoch:
        assert before == (epoch < other_epoch)
    elif step is None:
        assert before == (other_step is not None)
    else:
        assert before == (other_step is not None and step < other_step)


@pytest.mark.parametrize(("epoch", "step"), [(-1, None), (1, -2)])
def test_negative_positions_have_no_name(epoch: int, step: int | None):
    with pytest.raises(ValueError, match="no checkpoint"):
        name_of(epoch, step)
