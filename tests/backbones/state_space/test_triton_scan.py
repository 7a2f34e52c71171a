"""The Triton kernels compute the scan: compiled where there is a GPU, interpreted where there is none."""

from pathlib import Path

import pytest
import torch
from backbones.state_space.triton_cases import CASES, NAMES, TRIALS
from interpreted import skip_without_triton, told_by

skip_without_triton()

TOLERANCES = {torch.float32: 5e-6, torch.float64: 1e-12, torch.float16: 2e-3, torch.bfloat16: 2e-2}


@pytest.fixture(scope="module")
def found():
    """Return what every case differs by, from recurrence and plain scan, and what trials find."""
    return told_by(Path(__file__).with_name("triton_cases.py"))


@pytest.fixture(scope="module")
def differences(found):
    return found["cases"]


def test_they_pass_the_trial_before_which_they_compute_nothing(found):
    assert found["trials"] == dict.fromkeys(TRIALS, "")


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_are_the_recurrence_s_and_those_of_the_plain_scan(differences, name):
    tolerance = TOLERANCES[CASES[name].get("dtype", torch.float32)]
    assert list(differences[name]) == list(NAMES)
    for of, (from_recurrence, from_plain) in differences[name].items():
        assert from_recurrence < tolerance, f"{of} differs from the recurrence's by {from_recurrence:.1e}"
        assert from_plain < tolerance, f"{of} differs from the plain scan's by {from_plain:.1e}"


@pytest.mark.parametrize("name", ["float64", "too wide a head", "too wide a state"])
def test_what_the_kernels_are_not_made_for_is_computed_by_the_plain_scan(differences, name):
    assert all(from_plain == 0 for _, from_plain in differences[name].values())
