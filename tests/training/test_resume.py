"""N steps = k steps + resume + (N - k) steps, bitwise: through the command line, as a user resumes."""

import signal

import pytest
import torch
from training.tiny import checkpoint, figures, train

from triptych.record.events import Resumed
from triptych.record.record import Record
from triptych.training.loop import Training

LAST = "epoch-00006"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run left alone."""
    runs = tmp_path_factory.mktemp("whole")
    assert train(runs) == 0
    return runs


def assert_same(a, b):
    """Two checkpoints hold the same bits in weights, average, optimiser and counters."""
    assert a.tensors.keys() == b.tensors.keys() == {"weights", "ema", "optimizer"}
    for part, tensors in a.tensors.items():
        assert tensors.keys() == b.tensors[part].keys()
        assert len(tensors) > 10
        for name, tensor in tensors.items():
            assert torch.equal(tensor, b.tensors[part][name]), (part, name)
    ignored = {"attempt"}
    assert {k: v for k, v in a.state.items() if k not in ignored} == {
        k: v for k, v in b.state.items() if k not in ignored
    }


def stop_at(monkeypatch, step, how):
    """Interrupt training when `step` steps are taken: ask it to stop, or let it die."""
    original = Training.step

    def interrupted(self):
        original(self)
        if self.state.step == step:
            how(self)

    monkeypatch.setattr(Training, "step", interrupted)


class Killed(BaseException):
    """Stands for a death that nothing in the program catches."""


@pytest.mark.parametrize("step", [1, 2, 3, 4, 7, 12, 17])
def test_stop_and_resume_anywhere(whole, tmp_path, monkeypatch, step):
    """Stops during warm-up, inside an epoch and at its end, with dropout: 18 steps, epochs of 2.9."""
    with monkeypatch.context() as patched:
        stop_at(patched, step, lambda training: signal.raise_signal(signal.SIGTERM))
        assert train(tmp_path) == 75
    assert train(tmp_path) == 0
    assert_same(checkpoint(tmp_path, LAST), checkpoint(whole, LAST))
    assert figures(tmp_path) == figures(whole)


@pytest.mark.parametrize("step", [2, 8, 16])
def test_death_and_resume_from_the_last_checkpoint(whole, tmp_path, monkeypatch, step):
    def die(training):
        raise Killed

    with monkeypatch.context() as patched:
        stop_at(patched, step, die)
        with pytest.raises(Killed):
            train(tmp_path)
    assert train(tmp_path) == 0
    assert_same(checkpoint(tmp_path, LAST), checkpoint(whole, LAST))
    assert figures(tmp_path) == figures(whole)


def test_two_runs_are_the_same_and_another_seed_is_not(whole, tmp_path):
    assert train(tmp_path) == 0
    assert_same(checkpoint(tmp_path, LAST), checkpoint(whole, LAST))
    assert train(tmp_path, "--seed", "1", name="other") == 0
    a, b = checkpoint(tmp_path, LAST), checkpoint(tmp_path, LAST, name="other")
    assert not torch.equal(a.tensors["weights"]["conv_in.weight"], b.tensors["weights"]["conv_in.weight"])


def test_a_finished_run_is_left_alone_and_can_be_extended(tmp_path):
    assert train(tmp_path) == 0
    before = (tmp_path / "tiny" / "record.jsonl").read_bytes()
    assert train(tmp_path) == 0
    assert (tmp_path / "tiny" / "record.jsonl").read_bytes() == before
    assert train(tmp_path, "--training.epochs", "8") == 0
    resumes = [e for e in Record.of_run(tmp_path / "tiny").events() if isinstance(e.data, Resumed)]
    assert resumes[0].data.changes == {"training.epochs": (6, 8)}
    assert resumes[0].data.total_steps == 24
    assert checkpoint(tmp_path, "epoch-00008").state["step"] == 24
