"""What draws on a GPU: the kernel, where it gives the same bits, and otherwise the operations."""

import sys
from types import SimpleNamespace

import pytest
import torch

from triptych.philox import fused, reference
from triptych.philox.fused import REFERENCE, drawn_by, tried

CPU, GPU = torch.device("cpu"), torch.device("cuda", 1)


def kernels(**changes):
    """Return what computes as the operations do, but for these."""
    return SimpleNamespace(**{"words": reference.words, "below": reference.below} | changes)


def test_a_processor_is_not_tried(monkeypatch):
    monkeypatch.setattr(fused, "_chosen", lambda device: pytest.fail("it was"))
    assert drawn_by(CPU) is drawn_by(torch.device("meta")) is REFERENCE


def one_bit(*given):
    drawn = reference.words(*given).clone()
    if drawn.shape[1] > 30:
        drawn[-1, -1] ^= 1
    return drawn


@pytest.mark.parametrize(
    ("changes", "right"),
    [
        ({}, True),
        ({"words": one_bit}, False),
        ({"words": lambda *given: reference.words(*given).int()}, False),
        ({"below": lambda threshold, *given: reference.below(min(threshold, 60000), *given)}, False),
        ({"below": lambda threshold, *given: ~reference.below(threshold, *given)}, False),
    ],
)
def test_every_bit_counts(changes, right):
    assert tried(kernels(**changes), CPU) == right


@pytest.fixture
def offered(monkeypatch):
    """Return a function that offers kernels on a GPU, and says what draws there."""
    monkeypatch.setattr(fused, "CHOSEN", {})
    honest = tried

    def offer(load):
        monkeypatch.setattr(fused.importlib, "import_module", load)
        monkeypatch.setattr(fused, "tried", lambda found, device: honest(found, CPU))
        return drawn_by(GPU)

    return offer


def test_what_passes_draws_and_is_tried_once(offered, monkeypatch):
    good = kernels()
    assert offered(lambda name: good) is good
    monkeypatch.setattr(fused, "_chosen", lambda device: pytest.fail("it was tried again"))
    assert drawn_by(GPU) is good


def failing(error):
    def load(name):
        raise error

    return load


def test_without_triton_nothing_is_said(offered, recwarn):
    assert offered(failing(ModuleNotFoundError("no", name="triton"))) is REFERENCE
    assert not recwarn.list


@pytest.mark.parametrize(
    ("load", "told"),
    [
        (lambda name: kernels(words=one_bit), "it draws something else"),
        (failing(ModuleNotFoundError("no libtriton", name="libtriton")), "no libtriton"),
        (failing(RuntimeError("no\n compiler")), "RuntimeError: no compiler"),
        (lambda name: kernels(below=lambda *_: 1 / 0), "ZeroDivisionError: division by zero"),
    ],
)
def test_what_is_wrong_is_told_and_passed_over(load, told, offered):
    with pytest.warns(UserWarning, match=f"take many operations on the GPU: no kernel .{told}"):
        assert offered(load) is REFERENCE


def test_nothing_of_it_is_imported_on_a_processor():
    assert fused.KERNELS not in sys.modules or "triton" in sys.modules
