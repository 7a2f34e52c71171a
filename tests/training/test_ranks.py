"""One, two and three processes train the same run; what depends on the launcher is tried with torchrun."""

import errno
import os
import re
import signal
import time
from pathlib import Path

import pytest
import torch
from ranks import each_forked, finished, forked, torchrun
from training import worker
from training.tiny import SIZES, TINY, checkpoint, train

from triptych.checkpoints.find import FOLDER
from triptych.distributed import ALONE, Ranks
from triptych.record.events import Finished, HeldOut, Resumed, Started, Stopped
from triptych.record.record import Record
from triptych.training.stop import AgreedStop, StopRequest

WORKER = Path(worker.__file__)


def together(tmp_path, ranks, dtype, steps, microbatch=0):
    """Return what each of several ranks found."""
    code, said = forked(ranks, WORKER, tmp_path, dtype, steps, microbatch)
    assert code == 0, said
    return [torch.load(tmp_path / f"{rank}-of-{ranks}.pt", weights_only=True) for rank in range(ranks)]


@pytest.fixture(scope="module")
def alone():
    """What one process finds, in either precision."""
    return {
        dtype: worker.losses(ALONE, dtype, steps)
        for dtype, steps in ((torch.float64, 100), (torch.float32, 3))
    }


def test_every_image_is_computed_once_whatever_the_number_of_ranks():
    for count in (1, 2, 7, 128):
        for size in (1, 2, 3, 5, 7):
            shares = [Ranks(rank, size).share(count) for rank in range(size)]
            assert [place for share in shares for place in share] == list(range(count))
            assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("size", [2, 3, 5])
def test_images_flips_noise_labels_and_dropout_belong_to_a_place_in_the_global_batch(size, monkeypatch):
    """What reaches the network on each rank, put together, is what reaches it on one."""
    takes = worker.stepper(ALONE, torch.float32)
    seen = []
    monkeypatch.setattr(
        takes.loss.objective.__class__,
        "loss",
        lambda self, denoiser, x0, eps, t, label, progress: (
            seen.append((x0, eps, t, label)) or x0.sum((1, 2, 3))
        ),
    )
    for step in (0, 5):
        batch = takes.batches.at(step)
        takes.loss(batch, step=step, salt=0, progress=0.0)
        whole = seen.pop()
        for rank in range(size):
            part = takes.batches.at(step, 0, Ranks(rank, size).share(7))
            takes.loss(part, step=step, salt=0, progress=0.0)
        for found, wanted in zip(zip(*seen, strict=True), whole, strict=True):
            assert torch.equal(torch.cat(found), wanted)
        seen.clear()


@pytest.mark.parametrize("ranks", [2, 3])
def test_many_ranks_train_as_one(alone, tmp_path, ranks):
    """A batch of 7, which neither 2 nor 3 divide: float64 over 100 steps to 1e-9."""
    found = together(tmp_path, ranks, "float64", 100)
    one = alone[torch.float64]
    assert len(set(one["losses"])) == 100
    for other in found:
        torch.testing.assert_close(other["losses"], one["losses"], rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(other["held_out"], one["held_out"], rtol=1e-9, atol=0)
        for name, weight in other["weights"].items():
            assert torch.equal(weight, found[0]["weights"][name]), "ranks drift apart"
            torch.testing.assert_close(weight, one["weights"][name], rtol=0, atol=1e-8)


def test_the_first_gradients_of_two_ranks_are_those_of_one(alone, tmp_path):
    for other in together(tmp_path, 2, "float32", 1):
        for name, gradient in other["gradients"].items():
            torch.testing.assert_close(
                gradient, alone[torch.float32]["gradients"][name], rtol=1e-6, atol=1e-6
            )


@pytest.mark.parametrize("microbatch", [1, 2, 3, 7, 100])
def test_gradients_that_are_added_up_are_those_of_the_whole_batch(alone, microbatch):
    config = worker.TrainingConfig(**(vars(worker.CONFIG) | {"microbatch": microbatch}))
    found = worker.losses(ALONE, torch.float64, 5, config)
    torch.testing.assert_close(found["losses"], alone[torch.float64]["losses"][:5], rtol=1e-12, atol=0)


def test_two_ranks_add_up_their_gradients_in_pieces(alone, tmp_path):
    for other in together(tmp_path, 2, "float64", 5, microbatch=3):
        torch.testing.assert_close(other["losses"], alone[torch.float64]["losses"][:5], rtol=1e-10, atol=0)


STEADY = ("--training.learning-rate-schedule", "constant")
"""A rate that does not depend on how long training will be, so that it can be cut by its length."""


def command(runs, *extra):
    """Return the tiny run's command, for torchrun."""
    own = ["--name", "tiny", "--runs", str(runs)]
    return ["-m", "triptych", "train", "digits-dit", *own, *SIZES["dit"], *TINY, *STEADY, *extra]


def assert_close(a, b, tolerance):
    """Two checkpoints hold the same weights, averages and gradients' averages up to rounding."""
    assert a.state["step"] == b.state["step"]
    for part in ("weights", "ema", "ema_long"):
        for name, tensor in a.tensors[part].items():
            torch.testing.assert_close(tensor, b.tensors[part][name], rtol=0, atol=tolerance)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The tiny run by one process."""
    runs = tmp_path_factory.mktemp("whole")
    assert train(runs, *STEADY) == 0
    return runs


def test_stop_on_two_resume_on_three_and_on_one(whole, tmp_path):
    code, said = forked(2, *command(tmp_path, "--training.max-steps", "6"))
    assert code == 0, said
    code, said = forked(3, *command(tmp_path, "--training.max-steps", "12"))
    assert code == 0, said
    assert said.count("resumed at step 6") == 1
    assert train(tmp_path, *STEADY) == 0
    history = Record.of_run(tmp_path / "tiny").history()
    assert [e.data.ranks for e in history.events if isinstance(e.data, Started | Resumed)] == [2, 3, 1]
    assert len(history.of_kind(Finished)) == 3
    assert_close(checkpoint(tmp_path, "epoch-00006"), checkpoint(whole, "epoch-00006"), 1e-4)
    errors = [
        [e.data.mse for e in Record.of_run(runs / "tiny").history().of_kind(HeldOut)][-1]
        for runs in (tmp_path, whole)
    ]
    assert errors[0] == pytest.approx(errors[1], rel=1e-4)


def test_time_that_is_over_at_the_start_is_noticed_before_the_first_step(tmp_path):
    code, said = forked(2, *command(tmp_path, "--max-minutes", "0.0001"))
    assert code == 0, said
    assert said.count("stopped (max-minutes) before the first step") == 1
    assert not list((tmp_path / "tiny").glob("checkpoints/epoch-*"))


DYING = """
import os, signal, sys
from training.worker import gloo_threads
from triptych.cli import main
from triptych.training.loop import Training

honest, within = Training.step, []

def step(self):
    first = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
    if first and self.state.step == 9 and os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGKILL)
    within[:] = gloo_threads()
    honest(self)

Training.step = step
code = main(sys.argv[1:])
print(f"{len(within)} threads of gloo, then {len(gloo_threads())};")
sys.exit(code)
"""
"""The program, but for one rank that kills itself in step 9 of the first start.

At its end it tells how many threads speak with other processes, in training and now.
"""


def test_torchrun_goes_on_after_the_death_of_a_rank_and_a_stop_reaches_all(tmp_path):
    """Where they stop, the weights are bit by bit those of two ranks that were left alone.

    They end without a word of torch and without a thread: one that lets go of a tensor while the interpreter
    ends would abort a process that is done. The network has a weight of one channel, whose strides are
    ambiguous: torch warned of that.
    """
    script = tmp_path / "dying.py"
    script.write_text(DYING)
    long = ("--training.epochs", "2000", "--training.preview-every", "0")
    process = torchrun(2, script, *command(tmp_path / "killed", *long)[2:], restarts=3)
    record = tmp_path / "killed" / "tiny" / "record.jsonl"
    while not record.exists() or '"saved"' not in record.read_text().partition('"resumed"')[2]:
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, said = finished(process)
    assert "stopped (SIGTERM) and saved" in said
    assert "strides" not in said
    assert "deprecated" not in said
    resumed = said.partition("resumed at step")[2]
    assert "exitcode" not in resumed  # as torchrun lists those that failed; it ends by the signal itself
    told = re.findall(r"(\d+) threads of gloo, then (\d+);", resumed)
    assert len(told) == 2
    for within, after in told:
        assert int(within) > 0
        assert int(after) == 0
    history = Record.of_run(tmp_path / "killed" / "tiny").history()
    assert [attempt.end for attempt in history.attempts] == ["open", "stopped"]
    assert 0 < history.attempts[1].first_step < 9
    (stopped,) = history.of_kind(Stopped)
    assert stopped.data.reason == "SIGTERM"
    newest = sorted((tmp_path / "killed" / "tiny" / FOLDER).glob("epoch-*"))[-1].name
    found = checkpoint(tmp_path / "killed", newest)
    assert found.state["step"] == stopped.step > 9
    code, said = forked(
        2, *command(tmp_path / "left-alone", *long, "--training.max-steps", str(stopped.step))
    )
    assert code == 0, said
    alone = checkpoint(tmp_path / "left-alone", newest)
    for part, tensors in found.tensors.items():
        for name, tensor in tensors.items():
            assert torch.equal(tensor, alone.tensors[part][name]), (part, name)
    # What a training that has come to its end has measured besides, which may be the lowest error yet.
    measured = len(found.state["best"])
    assert alone.state["best"][:measured] == found.state["best"]
    ended = {"attempt", "held_out", "running", "best"}
    there, here = ({k: v for k, v in each.state.items() if k not in ended} for each in (alone, found))
    assert here == there


def test_what_the_user_did_wrong_is_told_once(tmp_path):
    code, said = forked(2, *command(tmp_path, "--training.batch-size", "1"))
    assert code != 0
    assert said.count("training.batch-size 1 on 2 processes: some would have no image") == 1
    assert not (tmp_path / "tiny").exists()
    assert "deprecated" not in said


FAULTY = """
import os, sys
from triptych.cli import main
from triptych.commands import ready
from triptych.errors import UserError

honest = ready.check_memory

def check(*args, saves):
    if os.environ["RANK"] == "1":
        assert not saves
        raise UserError("train tiny", "no memory on the second machine", "take another")
    honest(*args, saves=saves)

ready.check_memory = check
sys.exit(main(sys.argv[1:]))
"""
"""The program, but for a fault that only one rank finds."""


def test_what_another_rank_finds_is_told_by_the_first(tmp_path):
    script = tmp_path / "faulty.py"
    script.write_text(FAULTY)
    code, said = forked(2, script, *command(tmp_path)[2:])
    assert code != 0
    assert said.count("triptych: train tiny: no memory on the second machine; take another") == 1
    assert not (tmp_path / "tiny").exists()


FULL = """
import errno, os, sys, threading
from triptych.cli import main

honest = os.write

def full(descriptor, data):
    if threading.current_thread().name.startswith("checkpoint"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return honest(descriptor, data)

os.write = full
sys.exit(main(sys.argv[1:]))
"""
"""The program, but for a disk that takes no checkpoint."""


def test_what_the_disk_refuses_ends_all_ranks(tmp_path):
    """Also those that do not write: with the same exit code, and one line of the first."""
    script = tmp_path / "full.py"
    script.write_text(FULL)
    (first, line), (other, nothing) = each_forked(2, script, *command(tmp_path, "--quiet")[2:])
    assert first == other == 2
    assert line.startswith("triptych: ") and line.count("\n") == 1
    assert os.strerror(errno.ENOSPC) in line
    assert nothing == ""


def test_one_device_is_not_shared_by_its_number(tmp_path):
    code, said = forked(2, *command(tmp_path, "--device", "cuda:0"))
    assert code != 0
    assert said.count("--device cuda:0 on 2 processes: all of them would take the same one") == 1


def test_a_batch_size_per_rank_is_multiplied(tmp_path):
    asked = command(tmp_path, "--training.max-steps", "1")
    at = asked.index("--training.batch-size")
    asked[at : at + 2] = ["--training.batch-size-per-rank", "250"]
    code, said = forked(2, *asked)
    assert code == 0, said
    started = Record.of_run(tmp_path / "tiny").history().started
    assert started.config["training"]["batch_size"] == 500


def test_one_rank_alone_is_asked_directly():
    assert AgreedStop(StopRequest(), ALONE).reason is None
    assert AgreedStop(StopRequest(deadline=0.0), ALONE).now() == "max-minutes"
