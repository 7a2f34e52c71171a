"""Peak memory of a call is what it holds at its fullest, and not what was there before."""

from functools import partial

import pytest
import torch

from benchmarks.memory import extra_peak_apart, extra_peak_on, unmeasurable

MIB = 2**20


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("torch.ones(16 << 20)", 64),
        ("held = [torch.ones(16 << 20) for _ in range(3)]; del held", 192),
        ("for _ in range(3): held = torch.ones(16 << 20); del held", 64),
        ("kept = globals().get('kept'); kept = torch.ones(16 << 20) if kept is None else kept", 0),
    ],
)
def test_the_peak_of_known_tensors(code, expected):
    if unmeasurable():  # what is said instead: test_every_case.py
        return
    make = partial(partial, exec, f"import torch\n{code}", {})
    assert extra_peak_apart(make) == pytest.approx(expected * MIB, rel=0.02, abs=MIB)


def test_a_process_that_dies_has_told_nothing():
    if not unmeasurable():
        assert extra_peak_apart(partial(partial, exec, "import os; os._exit(1)", {})) is None


def test_a_gpu_is_asked_what_its_tensors_take_over_what_was_there(monkeypatch):
    held = {"now": 100, "peak": 900}  # of an earlier call
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: held.update(peak=held["now"]))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: held["now"])
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: held["peak"])
    assert extra_peak_on(torch.device("cuda"), lambda: held.update(peak=170)) == 70
