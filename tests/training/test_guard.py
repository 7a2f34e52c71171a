"""What is masked, what is counted, and what the whole program does about it."""

import math
import statistics

import pytest
import torch
from training.tiny import checkpoint, train

from triptych.record.events import Progress, Resumed, Stopped
from triptych.record.record import Record
from triptych.training.ema import move, update_ema
from triptych.training.guard import LEAST_NORMS, WINDOW, Guard
from triptych.training.loss import StepLoss

NAN, INF = float("nan"), float("inf")


def judge(guard, loss, norm, half=False):
    return bool(guard.judge(torch.tensor(float(loss)), torch.tensor(float(norm)), half))


class Sequential:
    """The guard again, number by number on the host, as one would say it."""

    def __init__(self, spike):
        self.spike, self.norms, self.accepted, self.streak, self.longest = spike, [], 0, 0, 0
        self.not_finite = self.spikes = 0

    def judge(self, loss, norm):
        finite = math.isfinite(loss) and math.isfinite(norm)
        usual = statistics.median_low(self.norms[-WINDOW:]) if self.norms else 0.0
        spike = finite and self.spike > 0 and self.accepted >= LEAST_NORMS and norm > self.spike * usual
        self.not_finite += not finite
        self.spikes += spike
        self.streak = self.streak + 1 if spike or not finite else 0
        self.longest = max(self.longest, self.streak)
        if finite and not spike:
            self.norms.append(norm)
            self.accepted += 1
        return spike or not finite


@pytest.mark.parametrize("spike", [0.0, 3.0])
def test_it_decides_as_one_would_number_by_number(spike):
    draw = torch.Generator().manual_seed(0)
    ours, truth = Guard("cpu", spike), Sequential(spike)
    for _ in range(5):
        for _ in range(97):
            norm = float(torch.randn((), generator=draw).mul(1.0).exp())
            kind = float(torch.rand((), generator=draw))
            loss = NAN if kind < 0.03 else 1.0
            norm = INF if 0.03 < kind < 0.06 else norm
            # As float32, which is what the device compares.
            norm = float(torch.tensor(norm))
            assert judge(ours, loss, norm) == truth.judge(loss, norm)
        found = ours.read()
        assert (found.not_finite, found.spikes, found.longest) == (
            truth.not_finite,
            truth.spikes,
            truth.longest,
        )
        assert found.overflows == 0
        truth.not_finite = truth.spikes = 0
        truth.longest = truth.streak
    assert truth.accepted > 2 * WINDOW


def test_its_state_goes_through_plain_values():
    whole, parts = Guard("cpu", 4.0), Guard("cpu", 4.0)
    for i in range(200):
        norm = 100.0 if i % 17 == 16 else 1 + 0.1 * math.sin(i)
        assert judge(whole, 1.0, norm) == judge(parts, 1.0, norm)
        if i % 30 == 29:
            parts.read()
            state = parts.state()
            parts = Guard("cpu", 4.0)
            parts.restore(state)
    assert parts.state() == whole.state()


def test_overflows_of_fp16_are_masked_and_do_not_count():
    guard = Guard("cpu", 20.0)
    outcomes = [
        judge(guard, 1, INF, half=True),
        judge(guard, NAN, 1, half=True),
        judge(guard, 1, 1, half=True),
    ]
    assert outcomes == [True, True, False]
    found = guard.read()
    assert (found.overflows, found.longest_overflow, found.not_finite, found.longest) == (2, 2, 0, 0)


def test_an_overflow_does_not_end_a_row_of_spikes():
    guard = Guard("cpu", 2.0)
    for _ in range(LEAST_NORMS):
        judge(guard, 1, 1, half=True)
    for norm in (9, INF, 9):
        assert judge(guard, 1, norm, half=True)
    assert guard.read().longest == 2


@pytest.mark.parametrize("masked", [False, True])
def test_averages_by_either_way_of_masking_agree(masked):
    torch.manual_seed(0)
    network, average = (torch.nn.Linear(3, 2) for _ in range(2))
    before = [p.detach().clone() for p in average.parameters()]
    moved = [p.clone() for p in before]
    flag = torch.tensor(masked)
    update_ema(average, network, 0.75, flag)
    move(moved, [p.detach() for p in network.parameters()], 0.25 * ~flag)
    for old, new, found, other in zip(before, network.parameters(), average.parameters(), moved, strict=True):
        expected = old if masked else 0.75 * old + 0.25 * new
        tolerance = {"rtol": 0, "atol": 0} if masked else {}
        torch.testing.assert_close(found, expected, **tolerance)
        torch.testing.assert_close(other, expected.detach(), **tolerance)


def inject(monkeypatch, steps, spoil=lambda self, losses: losses * NAN, salted=False):
    """Spoil the losses of these steps, only before any rollback unless `salted`; return the steps spoilt."""
    honest, spoilt = StepLoss.forward, []

    def forward(self, batch, step, salt, progress):
        losses = honest(self, batch, step, salt, progress)
        if step in steps and (salted or salt == 0):
            spoilt.append((salt, step))
            return spoil(self, losses)
        return losses

    monkeypatch.setattr(StepLoss, "forward", forward)
    return spoilt


def events(runs, kind):
    return [
        event.data for event in Record.of_run(runs / "tiny").history().events if isinstance(event.data, kind)
    ]


def test_one_spoilt_batch_changes_nothing_but_itself(tmp_path, monkeypatch):
    """Weights, averages and optimiser are those of before the step, bit by bit; the mean loss is finite."""
    spoilt = inject(monkeypatch, {7})
    before = []
    honest = StepLoss.forward

    def looking(self, batch, step, **kwargs):
        if step in (7, 8):
            before.append([p.detach().clone() for p in self.parameters()])
        return honest(self, batch, step, **kwargs)

    monkeypatch.setattr(StepLoss, "forward", looking)
    assert train(tmp_path) == 0
    assert spoilt == [(0, 7)]
    assert all(map(torch.equal, *before))
    progress = events(tmp_path, Progress)
    assert sum(p.not_finite for p in progress) == 1
    assert all(math.isfinite(p.loss + p.gradient_norm) for p in progress)
    last = checkpoint(tmp_path, "epoch-00006")
    assert all(t.isfinite().all() for part in last.tensors.values() for t in part.values())
    assert last.state["salt"] == 0
    # The optimiser counts the steps that it took.
    steps = {int(t) for name, t in last.tensors["optimizer"].items() if name.endswith("/step")}
    assert steps == {17}


TEN = set(range(7, 17))


def test_ten_in_a_row_lead_back_to_the_checkpoint_with_other_draws(tmp_path, monkeypatch, capsys):
    spoilt = inject(monkeypatch, TEN)
    assert train(tmp_path) == 0
    assert len(spoilt) == 10
    (back,) = events(tmp_path, Resumed)
    assert back.checkpoint == "epoch-00004"  # saved amid the row: its weights are those of before
    assert "10 steps in a row had a loss or gradient that was not finite" in back.fault
    assert [stopped.reason for stopped in events(tmp_path, Stopped)] == ["diverged"]
    last = checkpoint(tmp_path, "epoch-00006")
    assert last.state["salt"] == 1
    assert last.state["attempt"] == 1
    assert all(t.isfinite().all() for part in last.tensors.values() for t in part.values())


def test_a_fault_that_comes_back_ends_training_with_its_reason(tmp_path, monkeypatch, capsys):
    inject(monkeypatch, TEN, salted=True)
    assert train(tmp_path, "--training.patience", "4") == 2
    told = capsys.readouterr().err
    assert "5 steps in a row" in told
    assert "again after it went back to epoch-00002" in told
    assert told.count("\n") == 1
    assert checkpoint(tmp_path, "epoch-00002").state["salt"] == 0


@pytest.mark.parametrize(
    ("spoil", "reason", "remedy"),
    [
        (
            lambda self, losses: losses * NAN,
            "a loss or gradient that was not finite",
            "; lower --training.le",
        ),
        (
            lambda self, losses: losses * 1e6,
            "a gradient of more than 20 times the usual norm",
            "; raise --training.spike if such gradients are to be taken, or lower --training.learning-rate",
        ),
    ],
    ids=["not finite", "spikes"],
)
def test_the_reason_tells_spikes_from_what_is_not_finite(
    spoil, reason, remedy, tmp_path, monkeypatch, capsys
):
    """They have another remedy: a spike may be what the data are like."""
    inject(monkeypatch, set(range(40, 60)), spoil, salted=True)
    steps = ("--training.batch-size", "150", "--training.max-steps", "60", "--training.patience", "5")
    assert train(tmp_path, *steps, "--training.checkpoint-every", "1") == 2
    told = capsys.readouterr().err
    assert f" steps in a row had {reason}, again after" in told
    assert f"nothing of it was saved{remedy}" in told


def test_a_fault_before_the_first_checkpoint_ends_training(tmp_path, monkeypatch, capsys):
    inject(monkeypatch, set(range(20)))
    assert train(tmp_path, "--training.patience", "3") == 2
    assert "steps in a row had a loss or gradient that was not finite" in capsys.readouterr().err
    assert not list((tmp_path / "tiny" / "checkpoints").glob("epoch-*"))


def test_spoilt_weights_are_never_saved_and_training_goes_back(tmp_path, monkeypatch):
    """A weight becomes NaN, as by a fault of the memory."""

    def poison(self, losses):
        with torch.no_grad():
            next(self.parameters()).view(-1)[0] = NAN
        return losses

    inject(monkeypatch, {8}, poison)
    assert train(tmp_path, "--training.patience", "2") == 0
    (back,) = events(tmp_path, Resumed)
    assert back.checkpoint == "epoch-00002"
    for epoch in ("epoch-00002", "epoch-00004", "epoch-00006"):
        parts = checkpoint(tmp_path, epoch).tensors
        assert all(t.isfinite().all() for part in parts.values() for t in part.values())


def test_a_rollback_leaves_the_layout_that_was_asked_for(tmp_path, monkeypatch):
    """The checkpoint that it goes back to was written with another."""
    inject(monkeypatch, {8, 9, 10, 11})
    nhwc = ["--training.layout", "nhwc", "--training.patience", "2"]
    assert train(tmp_path, "--training.max-steps", "6") == 0
    assert train(tmp_path, *nhwc) == 0
    back = events(tmp_path, Resumed)[-1]
    found = [checkpoint(tmp_path, name).state["layout"] for name in (back.checkpoint, "epoch-00006")]
    assert (found, back.fault != "") == (["nchw", "nhwc"], True)


def test_the_averages_are_not_poisoned_by_spoilt_weights(tmp_path, monkeypatch):
    """Weights that are not finite are found by the step's loss, before the averages look at them."""
    from triptych.training.loop import Training

    seen = []
    honest = Training.step

    def step(self):
        if self.state.step == 8 and self.state.salt == 0:
            with torch.no_grad():
                next(self.state.network.parameters()).view(-1)[0] = NAN
        honest(self)
        seen.append(all(p.isfinite().all() for a in self.state.averages.values() for p in a.parameters()))

    monkeypatch.setattr(Training, "step", step)
    assert train(tmp_path, "--training.patience", "2") == 0
    assert all(seen)


def test_a_spike_is_left_out(tmp_path, monkeypatch):
    inject(monkeypatch, {40}, lambda self, losses: losses * 1e6)
    assert train(tmp_path, "--training.batch-size", "150", "--training.keep-full", "2") == 0
    assert sum(p.spikes for p in events(tmp_path, Progress)) == 1
    assert max(p.gradient_norm for p in events(tmp_path, Progress)) < 1e3


def test_a_rollback_is_not_forgotten_at_a_kill(tmp_path, monkeypatch):
    """Killed after the rollback, before the next save: the run goes on with the other draws, bit by bit."""
    from triptych.training.loop import Training

    inject(monkeypatch, TEN)
    assert train(tmp_path / "whole") == 0
    honest = Training.step

    class Killed(BaseException):
        """Stands for a death that nothing in the program catches."""

    def step(self):
        if self.state.salt == 1 and self.state.step == 14:
            raise Killed
        honest(self)

    with monkeypatch.context() as patched:
        patched.setattr(Training, "step", step)
        with pytest.raises(Killed):
            train(tmp_path / "killed")
    assert train(tmp_path / "killed") == 0
    whole, killed = (checkpoint(tmp_path / name, "epoch-00006") for name in ("whole", "killed"))
    assert killed.state["salt"] == whole.state["salt"] == 1
    for part, tensors in whole.tensors.items():
        assert all(torch.equal(tensor, killed.tensors[part][name]) for name, tensor in tensors.items())


def test_a_fault_that_a_kill_interrupted_does_not_begin_anew(tmp_path, monkeypatch, capsys):
    """Where training went back once and was killed, the same fault ends it: it is not tried for ever."""
    from triptych.training.loop import Training

    inject(monkeypatch, TEN, salted=True)
    honest = Training.step

    def step(self):
        if self.state.salt == 1 and self.state.step == 8:
            raise KeyboardInterrupt
        honest(self)

    with monkeypatch.context() as patched:
        patched.setattr(Training, "step", step)
        assert train(tmp_path, "--training.patience", "4") == 130
    assert train(tmp_path, "--training.patience", "4") == 2
    assert "again after it went back to epoch-00002" in capsys.readouterr().err


def test_a_held_out_error_that_is_not_finite_is_a_fault(tmp_path, monkeypatch, capsys):
    from triptych.training import loop

    honest = loop.held_out_error
    monkeypatch.setattr(loop, "held_out_error", lambda *a: honest(*a)._replace(mse=NAN))
    assert train(tmp_path) == 2
    assert "the held-out error is not finite" in capsys.readouterr().err


def test_patience_that_was_shortened_judges_only_what_comes(tmp_path, monkeypatch):
    inject(monkeypatch, {2, 3, 4, 5})
    assert train(tmp_path, "--training.max-steps", "6") == 0
    monkeypatch.undo()
    assert train(tmp_path, "--training.patience", "3") == 0


def test_no_decision_asks_the_host():
    """On the meta device nothing can be read: whatever would ask for a number fails there."""
    guard = Guard("meta", 20.0)
    masked = guard.judge(torch.ones((), device="meta"), torch.ones((), device="meta"), half=True)
    assert masked.device.type == "meta"
