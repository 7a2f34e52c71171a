"""Triton's kernel draws what the operations draw: compiled on a GPU, interpreted where there is none."""

from pathlib import Path

import pytest
from interpreted import skip_without_triton, told_by

skip_without_triton()


@pytest.fixture(scope="module")
def found():
    """Return which cases are the same, and whether the trial is passed."""
    return told_by(Path(__file__).with_name("kernel_cases.py"))


def test_every_draw_is_the_same(found):
    assert len(found["same"]) > 30
    assert [case for case, same in found["same"].items() if not same] == []


def test_they_pass_the_trial_before_which_they_draw_nothing(found):
    assert found["tried"]
