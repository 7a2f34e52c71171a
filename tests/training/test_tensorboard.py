"""TensorBoard shows the figures of the record, once each, also after a resume."""

import signal
import time

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from training.tiny import train

from triptych.record.events import HeldOut, Progress
from triptych.record.record import Record
from triptych.training.loop import Training


@pytest.mark.parametrize("stop", [6, 8], ids=["at the end of an epoch", "inside an epoch"])
def test_scalars_are_those_of_the_record(stop, tmp_path, monkeypatch):
    original = Training.step

    def interrupted(self):
        original(self)
        if self.state.step == stop:
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(Training, "step", interrupted)
        assert train(tmp_path) == 75
    # Its files are read in the order of their names, which begin with the second; starts of one process that
    # share one are told apart by a number without leading zeros.
    stopped = int(time.time())
    while int(time.time()) == stopped:
        time.sleep(0.05)
    assert train(tmp_path) == 0
    shown = EventAccumulator(str(tmp_path / "tiny" / "tensorboard"))
    shown.Reload()
    history = Record.of_run(tmp_path / "tiny").history()
    for payload, kind, name in ((Progress, "progress", "loss"), (HeldOut, "held-out", "mse")):
        recorded = [(event.step, getattr(event.data, name)) for event in history.of_kind(payload)]
        scalars = [(scalar.step, scalar.value) for scalar in shown.Scalars(f"{kind}/{name}")]
        assert [step for step, _ in scalars] == [step for step, _ in recorded]
        assert [value for _, value in scalars] == pytest.approx([value for _, value in recorded], rel=1e-6)
