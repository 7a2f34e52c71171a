"""N steps = k steps + resume + (N - k) steps, bitwise: through the command line, as a user resumes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from training.tiny import SIZES, TINY, checkpoint, figures, train

import triptych
from triptych.checkpoints.find import FOLDER
from triptych.cli import main
from triptych.commands import training_session
from triptych.data import DataConfig
from triptych.record.events import Resumed
from triptych.record.record import Record
from triptych.runs import Run
from triptych.training.loop import Training

LAST = "epoch-00006"


def assert_same(a, b):
    """Two checkpoints hold the same bits in weights, average, optimiser and counters."""
    assert a.tensors.keys() == b.tensors.keys() == {"weights", "ema", "ema_long", "optimizer"}
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


@pytest.fixture(scope="module")
def with_dropout(tmp_path_factory):
    """The tiny run of the backbone that has it, left alone."""
    runs = tmp_path_factory.mktemp("with-dropout")
    assert train(runs, kind="unet") == 0
    return runs


@pytest.mark.parametrize("step", [1, 2, 3, 4, 7, 12, 17])
def test_stop_and_resume_anywhere(with_dropout, tmp_path, monkeypatch, step):
    """Stops during warm-up, inside an epoch and at its end, with dropout: 18 steps, epochs of 2.9."""
    with monkeypatch.context() as patched:
        stop_at(patched, step, lambda training: signal.raise_signal(signal.SIGTERM))
        assert train(tmp_path, kind="unet") == 75
    assert train(tmp_path, kind="unet") == 0
    assert_same(checkpoint(tmp_path, LAST), checkpoint(with_dropout, LAST))
    assert figures(tmp_path) == figures(with_dropout)


@pytest.mark.parametrize("step", [2, 8, 16])
def test_death_and_resume_from_the_last_checkpoint(with_dropout, tmp_path, monkeypatch, step):
    def die(training):
        raise Killed

    with monkeypatch.context() as patched:
        stop_at(patched, step, die)
        with pytest.raises(Killed):
            train(tmp_path, kind="unet")
    assert train(tmp_path, kind="unet") == 0
    assert_same(checkpoint(tmp_path, LAST), checkpoint(with_dropout, LAST))
    assert figures(tmp_path) == figures(with_dropout)


@pytest.mark.parametrize("kind", ["started", "progress", "previewed", "held-out", "saved", "finished"])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_death_beside_any_event(whole, tmp_path, monkeypatch, kind, moment):
    """Whatever the second event of a kind (the only one, of some) finds done, a resume makes good."""
    original, met = Record.append, []

    def append(self, payload, *args):
        if type(payload).__name__.lower() == kind.replace("-", ""):
            met.append(payload)
            if len(met) == (1 if kind in ("started", "finished") else 2):
                if moment == "after":
                    original(self, payload, *args)
                raise Killed
        return original(self, payload, *args)

    with monkeypatch.context() as patched:
        patched.setattr(Record, "append", append)
        with pytest.raises(Killed):
            train(tmp_path)
    assert train(tmp_path) == 0
    assert_same(checkpoint(tmp_path, LAST), checkpoint(whole, LAST))
    assert figures(tmp_path) == figures(whole)


def test_death_between_the_resume_and_its_configuration(tmp_path, monkeypatch):
    """The change is not lost: the record has it, and the next start finds the old file and says it again."""
    assert train(tmp_path) == 0

    def die(folder, experiment):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(training_session, "write_config", die)
        with pytest.raises(Killed):
            train(tmp_path, "--training.epochs", "8")
    assert train(tmp_path, "--training.epochs", "8") == 0
    history = Record.of_run(tmp_path / "tiny").history()
    assert history.config["training"]["epochs"] == 8
    assert Run(tmp_path / "tiny").experiment.training.epochs == 8


def test_resume_where_old_checkpoints_are_pruned(whole, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        stop_at(patched, 7, lambda training: signal.raise_signal(signal.SIGTERM))
        assert train(tmp_path, "--training.keep-full", "1") == 75
    assert train(tmp_path, "--training.keep-full", "1") == 0
    assert_same(checkpoint(tmp_path, LAST), checkpoint(whole, LAST))
    kept = sorted(path.name for path in (tmp_path / "tiny" / FOLDER).iterdir())
    assert [name for name in kept if name.startswith("epoch")] == ["epoch-00002", "epoch-00004", LAST]
    assert set(checkpoint(tmp_path, "epoch-00002").tensors) == {"ema", "ema_long"}


def test_threads_are_frozen_at_the_first_start(tmp_path, monkeypatch):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with monkeypatch.context() as patched:
            stop_at(patched, 4, lambda training: signal.raise_signal(signal.SIGTERM))
            assert train(tmp_path) == 75
        torch.set_num_threads(1)
        assert train(tmp_path) == 0
        assert torch.get_num_threads() == 2
        assert checkpoint(tmp_path, LAST).state["threads"] == 2
    finally:
        torch.set_num_threads(before)


def test_a_run_that_diverges_says_so_and_keeps_what_was_good(tmp_path, monkeypatch, capsys):
    def poison(training):
        with torch.no_grad():
            next(training.state.network.parameters()).fill_(float("nan"))

    with monkeypatch.context() as patched:
        stop_at(patched, 8, poison)
        assert train(tmp_path) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "is not finite everywhere" in line
    assert "again after it went back to epoch-00002" in line
    assert checkpoint(tmp_path, "epoch-00002").state["step"] == 6
    assert not (tmp_path / "tiny" / FOLDER / "epoch-00004").exists()
    stops = [e.data.reason for e in Record.of_run(tmp_path / "tiny").events() if e.kind == "stopped"]
    assert stops == ["diverged", "diverged"]


def test_max_minutes_stops_after_saving(tmp_path):
    assert train(tmp_path, "--max-minutes", "0.0001") == 75
    assert train(tmp_path) == 0


IMPATIENT = """
import atexit, signal, sys
from pathlib import Path
from triptych.training.loop import Training
from training.tiny import train

honest = Training.step

def step(self):
    honest(self)
    signal.raise_signal(signal.SIGTERM)

Training.step = step
atexit.register(signal.raise_signal, signal.SIGINT)
sys.exit(train(Path(sys.argv[1])))
"""
"""The tiny run, stopped in its first step, and Ctrl-C while the interpreter ends."""


def test_ctrl_c_after_all_is_saved_is_no_interruption(tmp_path):
    paths = f"{Path(__file__).parents[1]}{os.pathsep}{Path(triptych.__file__).parents[1]}"
    command = [sys.executable, "-c", IMPATIENT, str(tmp_path)]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (75, b"")
    assert checkpoint(tmp_path, "epoch-00000-step-00000001").state["step"] == 1


def test_two_runs_are_the_same_and_another_seed_is_not(whole, tmp_path):
    assert train(tmp_path) == 0
    assert_same(checkpoint(tmp_path, LAST), checkpoint(whole, LAST))
    assert train(tmp_path, "--seed", "1", name="other") == 0
    a, b = checkpoint(tmp_path, LAST), checkpoint(tmp_path, LAST, name="other")
    first = "blocks.1.mlp.down.weight"
    assert not torch.equal(a.tensors["weights"][first], b.tensors["weights"][first])


def test_that_nothing_is_left_to_train_is_told_without_the_images(tmp_path, monkeypatch, capsys):
    """Unless a checkpoint is broken: then training goes on, which takes them."""
    assert train(tmp_path, "--training.keep-full", "2") == 0
    own = ["train", "digits-dit", "--name", "tiny", "--runs", str(tmp_path), *SIZES["dit"], *TINY]
    loaded, honest = [], DataConfig.load

    def load(*args):
        loaded.append(1)
        return honest(*args)

    monkeypatch.setattr(DataConfig, "load", load)
    capsys.readouterr()
    assert main(own) == 0
    told = "tiny is trained to its end; more --training.epochs would go on from there\n"
    assert capsys.readouterr().err.endswith(told)
    assert main([*own, "--seed", "1"]) == 2
    assert "it was trained with 0" in capsys.readouterr().err
    assert not loaded
    (tmp_path / "tiny" / FOLDER / LAST / "state.json").unlink()
    assert main(own) == 0
    assert loaded
    assert "resumed at step 12 from epoch-00004" in capsys.readouterr().err
    assert checkpoint(tmp_path, LAST).state["step"] == 18


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
