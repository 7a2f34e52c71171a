"""Checkpoints are written beside training: it waits for a copy, and neither of them disturbs the other."""

import errno
import os
import signal
import threading
import time
from concurrent import futures
from concurrent.futures import CancelledError, Future
from types import SimpleNamespace

import pytest
import torch
from checkpoints.small import make
from training.test_resume import LAST, assert_same
from training.tiny import SIZES, TINY, checkpoint, figures, train

from triptych.checkpoints.compare import difference
from triptych.checkpoints.contents import Contents
from triptych.checkpoints.find import FOLDER, all_checkpoints
from triptych.checkpoints.prune import Retention
from triptych.checkpoints.read import read
from triptych.checkpoints.verify import verify
from triptych.checkpoints.write import write_finite
from triptych.cli import main
from triptych.errors import UserError
from triptych.record.history import lowest_error
from triptych.record.record import FILE_NAME, Record
from triptych.training import saving
from triptych.training.loop import Training
from triptych.training.saving import Begun, Saver
from triptych.training.step import Unsound

PATIENCE = 60.0
"""Seconds after which something hangs."""


class Gate:
    """A disk so slow that a checkpoint is written only when it is told to be."""

    def __init__(self, monkeypatch):
        self.begun, self.open = threading.Event(), threading.Event()
        monkeypatch.setattr(saving, "write_finite", self._write)

    def _write(self, root, name, contents, proceed):
        self.begun.set()
        until = time.monotonic() + PATIENCE
        while not self.open.wait(0.001):
            proceed()
            assert time.monotonic() < until, "nobody opened the gate"
        return write_finite(root, name, contents, proceed)


@pytest.fixture
def gate(monkeypatch):
    return Gate(monkeypatch)


@pytest.fixture
def saver(tmp_path):
    return Saver(tmp_path, Retention(), Record(tmp_path / FILE_NAME))


def at_step(monkeypatch, act):
    """Call `act(training)` after every step."""
    original = Training.step

    def step(self):
        original(self)
        act(self)

    monkeypatch.setattr(Training, "step", step)


def saved(runs, name="tiny"):
    """Return the step, and the place in the record, of each save."""
    events = Record.of_run(runs / name).events()
    return [(event.step, place) for place, event in enumerate(events) if event.kind == "saved"]


def test_training_goes_on_while_a_checkpoint_is_written(whole, tmp_path, gate, monkeypatch):
    """Two steps further on it is written, as of the step that it was begun at."""

    def watch(training):
        if training.state.step == 8:
            assert gate.begun.is_set()
            assert not all_checkpoints(tmp_path / "tiny" / FOLDER)
            gate.open.set()

    at_step(monkeypatch, watch)
    assert train(tmp_path) == 0
    assert [step for step, _ in saved(tmp_path)] == [6, 12, 18]
    for name in ("epoch-00002", "epoch-00004", LAST):
        assert_same(checkpoint(tmp_path, name), checkpoint(whole, name))
    assert figures(tmp_path) == figures(whole)


def test_a_save_is_recorded_when_it_is_safe(tmp_path, gate, monkeypatch):
    """Not before it, and after the step that is taken meanwhile."""
    seen = {}

    def watch(training):
        step = training.state.step
        if step == 8:
            gate.open.set()
            training.saver._outcome.result(PATIENCE)
        seen[step] = [step for step, _ in saved(tmp_path)]

    at_step(monkeypatch, watch)
    assert train(tmp_path) == 0
    assert seen[7] == seen[8] == []
    assert seen[9] == [6]


def test_the_next_save_waits_for_the_one_before(tmp_path, gate, monkeypatch):
    """Not even the copy is made before: two might be more than the memory holds. It is told how long."""
    order, clock = [], SimpleNamespace(now=0.0)
    write, copy, result = saving.write_finite, saving.sound_copy, Saver._result

    def writing(root, name, *args):
        folder = write(root, name, *args)
        order.append(("written", name))
        return folder

    def copying(contents):
        order.append(("copied", contents.state["step"]))
        clock.now += 1.0
        return copy(contents)

    def waiting(saver, wait):
        if wait and not gate.open.is_set():
            clock.now += 5.0
            gate.open.set()
        return result(saver, wait)

    monkeypatch.setattr(saving, "write_finite", writing)
    monkeypatch.setattr(saving, "sound_copy", copying)
    monkeypatch.setattr(Saver, "_result", waiting)
    monkeypatch.setattr(saving, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    assert train(tmp_path) == 0
    assert order == [
        *(("copied", 6), ("written", "epoch-00002")),
        *(("copied", 12), ("written", "epoch-00004")),
        *(("copied", 18), ("written", LAST)),
    ]
    events = [e.data for e in Record.of_run(tmp_path / "tiny").events() if e.kind == "saved"]
    assert [event.stalled for event in events] == [6.0, 1.0, 1.0]
    assert [event.took for event in events] == [6.0, 1.0, 1.0]


@pytest.mark.parametrize("sound", [0, 1], ids=["the first save", "the second save"])
def test_a_disk_that_refuses_is_told_with_the_next_figures(tmp_path, monkeypatch, capsys, sound):
    """In one line, with exit code 2; with space again the same command goes on, and nothing is different."""
    steps, refusing = [], threading.Event()
    honest = os.write

    def watch(training):
        steps.append(training.state.step)
        if len(steps) == 6 * sound + 1:
            if sound:
                training.saver._outcome.result(PATIENCE)
            refusing.set()

    def full(descriptor, data):
        if refusing.is_set() and threading.current_thread() is not threading.main_thread():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return honest(descriptor, data)

    with monkeypatch.context() as patched:
        at_step(patched, watch)
        patched.setattr(os, "write", full)
        assert train(tmp_path) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.endswith("give the same command to go on from there")
    assert os.strerror(errno.ENOSPC) in line
    assert steps[-1] <= 6 * (sound + 2)  # as soon as it was known, or with the next save
    whole = all_checkpoints(tmp_path / "tiny" / FOLDER)
    assert [folder.name for folder in whole] == ["epoch-00002"][:sound]
    for folder in whole:
        verify(folder)
    assert train(tmp_path) == 0
    assert train(tmp_path, name="alone") == 0
    assert_same(checkpoint(tmp_path, LAST), checkpoint(tmp_path, LAST, "alone"))


def test_a_fault_of_the_thread_is_one_of_training(whole, tmp_path, monkeypatch):
    """It is not lost with the thread, and what is published by then is gone on from."""

    def broken(*args):
        raise KeyError("of a test")

    with monkeypatch.context() as patched:
        patched.setattr(saving, "prune", broken)
        with pytest.raises(KeyError, match="of a test"):
            train(tmp_path)
    assert [folder.name for folder in all_checkpoints(tmp_path / "tiny" / FOLDER)] == ["epoch-00002"]
    assert saved(tmp_path) == []
    assert train(tmp_path) == 0
    assert_same(checkpoint(tmp_path, LAST), checkpoint(whole, LAST))


def test_a_rollback_waits_for_the_save_and_goes_back_to_it(tmp_path, gate, monkeypatch):
    """What is being written when training goes astray was sound."""

    def astray(training):
        if training.state.step == 8 and not gate.open.is_set():
            threading.Timer(0.2, gate.open.set).start()
            raise Unsound("of a test")

    at_step(monkeypatch, astray)
    assert train(tmp_path) == 0
    kinds = [(e.kind, e.step) for e in Record.of_run(tmp_path / "tiny").events()]
    place = kinds.index(("saved", 6))
    assert kinds[place + 1 : place + 3] == [("stopped", 8), ("resumed", 6)]
    assert kinds[-1] == ("finished", 18)


def test_an_interruption_gives_up_the_save_and_any_other_end_waits_for_it(tmp_path, gate, monkeypatch):
    root = tmp_path / "tiny" / FOLDER

    def interrupt(training):
        if training.state.step == 8:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        at_step(patched, interrupt)
        assert train(tmp_path) == 130
    assert all_checkpoints(root) == []
    assert not (root / ".writing").exists()

    class Death(BaseException):
        pass

    def die(training):
        if training.state.step == 8:
            threading.Timer(0.2, gate.open.set).start()
            raise Death

    with monkeypatch.context() as patched:
        at_step(patched, die)
        with pytest.raises(Death):
            train(tmp_path)
    assert [folder.name for folder in all_checkpoints(root)] == ["epoch-00002"]
    assert saved(tmp_path) == []  # the next start makes good for that
    assert train(tmp_path) == 0
    assert [step for step, _ in saved(tmp_path)] == [6, 12, 18]


def test_an_interruption_while_training_waits_for_a_save_gives_it_up(tmp_path, gate, monkeypatch):
    """Ctrl-C, which asks training to stop and save, and again while it waits for what it saved."""
    honest = Future.result

    def result(self, timeout=None):
        signal.raise_signal(signal.SIGINT)
        return honest(self, timeout)

    savers = []
    with monkeypatch.context() as patched:

        def interrupt(training):
            if training.state.step == 8:
                savers.append(training.saver)
                signal.raise_signal(signal.SIGINT)
                patched.setattr(Future, "result", result)

        at_step(patched, interrupt)
        assert train(tmp_path) == 130
    (saver,) = savers
    assert isinstance(saver._outcome.exception(), CancelledError)
    gate.open.set()
    root = tmp_path / "tiny" / FOLDER
    assert all_checkpoints(root) == []
    assert not (root / ".writing").exists()
    assert train(tmp_path) == 0


def test_the_console_tells_each_checkpoint_with_its_own_error(tmp_path, gate, monkeypatch, capsys):
    """Also where the next one is measured before it is safe."""

    def watch(training):
        if training.state.step == 12:
            threading.Timer(0.2, gate.open.set).start()

    at_step(monkeypatch, watch)
    own = ["--name", "tiny", "--runs", str(tmp_path)]
    assert main(["train", "digits-unet", *own, *SIZES["unet"], *TINY]) == 0
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("saved epoch")]
    events = Record.of_run(tmp_path / "tiny").events()
    errors = {event.step: lowest_error(event.data)[0] for event in events if event.kind == "held-out"}
    assert len(told) == len(errors) == 3
    for line, (_, error) in zip(told, sorted(errors.items()), strict=True):
        assert f"held-out MSE {error:.5f}" in line


def test_the_lock_is_held_until_nothing_is_written(saver, gate):
    """However often the user interrupts, and whatever ended training before."""
    honest, calls = futures.wait, []

    def interrupted(waited):
        calls.append(saver._outcome.done())
        if len(calls) < 3:
            raise KeyboardInterrupt
        return honest(waited)

    def died():
        with saver:
            saver.begin(Begun("epoch-00001", 1.0, 10), lambda: make(1))
            raise ValueError("of a test")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(futures, "wait", interrupted)
        with pytest.raises(ValueError, match="of a test"):
            died()
    assert saver._outcome.done()
    assert calls[0] is False
    assert not all_checkpoints(saver.root)  # the first interruption gave it up


def test_what_is_written_is_a_copy(tmp_path, saver, gate):
    contents, expected = make(3), make(3)
    with saver:
        saver.begin(Begun("epoch-00003", 3.0, 30), lambda: contents)
        for named in contents.tensors.values():
            for tensor in named.values():
                tensor.zero_()
        assert saver.collect(wait=False) is None
        gate.open.set()
        step, event = saver.collect(wait=True)
        assert saver.collect(wait=True) is None  # there is no other
    assert (step, event.checkpoint, event.epoch) == (30, "epoch-00003", 3.0)
    assert event.size == sum(path.stat().st_size for path in (tmp_path / FOLDER / "epoch-00003").iterdir())
    assert difference(read(tmp_path / FOLDER / "epoch-00003"), expected, set()) is None


@pytest.mark.parametrize("layout", ["shared", "transposed", "channels last"])
def test_a_copy_holds_the_values_in_order_and_shares_nothing(layout):
    whole = torch.arange(48.0).view(1, 4, 3, 4)
    tensor = {
        "shared": whole[:, 1:],
        "transposed": whole.transpose(1, 3),
        "channels last": whole.to(memory_format=torch.channels_last),
    }[layout]
    copy = Contents({"weights": {"a": tensor, "b": tensor}}, {}).copied().tensors["weights"]
    for part in copy.values():
        assert part.is_contiguous()
        assert torch.equal(part, tensor)
    addresses = {part.untyped_storage().data_ptr() for part in (tensor, *copy.values())}
    assert len(addresses) == 3


def test_weights_that_are_not_finite_are_refused_before_anything_begins(tmp_path, saver):
    bad = make(1)
    next(iter(bad.tensors["weights"].values())).fill_(float("nan"))
    with saver:
        with pytest.raises(Unsound, match="is not finite everywhere"):
            saver.begin(Begun("epoch-00001", 1.0, 10), lambda: bad)
        assert saver.collect(wait=True) is None
        saver.begin(Begun("epoch-00001", 1.0, 10), lambda: make(1))  # and the next one is none the worse
        assert saver.collect(wait=True) is not None


def test_a_save_that_was_given_up_leaves_what_was_there(tmp_path, saver, gate):
    gate.open.set()
    with saver:
        saver.begin(Begun("epoch-00001", 1.0, 10), lambda: make(1))
        assert saver.collect(wait=True) is not None
    gate.open.clear()
    gate.begun.clear()

    def interrupted():
        with saver:
            saver.begin(Begun("epoch-00002", 2.0, 20), lambda: make(2))
            assert gate.begun.wait(PATIENCE)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert isinstance(saver._outcome.exception(), CancelledError)
    assert [folder.name for folder in all_checkpoints(tmp_path / FOLDER)] == ["epoch-00001"]
    assert not (tmp_path / FOLDER / ".writing").exists()


def test_a_full_disk_is_the_users_to_mend(tmp_path, saver, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with saver:
        saver.begin(Begun("epoch-00001", 1.0, 10), lambda: make(1))
        saver.collect(wait=True)
        monkeypatch.setattr(os, "write", full)
        saver.begin(Begun("epoch-00002", 2.0, 20), lambda: make(2))
        with pytest.raises(UserError, match=os.strerror(errno.ENOSPC)):
            saver.collect(wait=True)
    assert [folder.name for folder in all_checkpoints(tmp_path / FOLDER)] == ["epoch-00001"]
