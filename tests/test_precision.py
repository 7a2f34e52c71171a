"""Precision: granted where the device gains by it, confined to the network, and harmless to training."""

import pytest
import torch
from training.tiny import SIZES
from training.tiny import TINY as SCHEDULE

from triptych.checkpoints.find import FOLDER
from triptych.checkpoints.read import read
from triptych.cli import main
from triptych.denoiser import Denoiser
from triptych.diffusion.noise_level import add_noise
from triptych.errors import UserError
from triptych.experiment import load_experiment
from triptych.precision import best_precision, select_precision
from triptych.record.events import Progress, Resumed, Sampled, Started
from triptych.record.record import Record
from triptych.training import step
from triptych.training.loss import StepLoss

TINY = [*SIZES["unet"], *SCHEDULE]
GPU, CPU = torch.device("cuda"), torch.device("cpu")


@pytest.mark.parametrize(
    ("capability", "best"),
    [((6, 1), "float32"), ((7, 0), "fp16"), ((7, 5), "fp16"), ((8, 0), "bf16"), ((9, 0), "bf16")],
)
def test_each_generation_of_gpu_gets_what_it_gains_by(monkeypatch, capability, best):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert best_precision(GPU) == select_precision("auto", GPU) == select_precision(best, GPU) == best
    assert select_precision("float32", GPU) == "float32"


@pytest.mark.parametrize(
    ("capability", "name"), [((6, 1), "fp16"), ((6, 1), "bf16"), ((7, 0), "bf16"), ((7, 5), "bf16")]
)
def test_what_a_gpu_loses_by_is_refused_unless_forced(monkeypatch, capability, name):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    with pytest.raises(UserError, match="gains nothing"):
        select_precision(name, GPU)
    assert select_precision(name, GPU, force=True) == name


@pytest.mark.parametrize("name", ["bf16", "fp16"])
def test_half_precision_on_a_processor_is_one_line_before_any_folder(tmp_path, capsys, name):
    arguments = ["train", "digits-unet", *TINY, "--runs", str(tmp_path), "--precision", name]
    assert main([*arguments, "--device", "cpu"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "hundred times slower" in told
    assert not list(tmp_path.iterdir())
    assert select_precision("auto", CPU) == "float32"


def tiny_denoiser(precision="float32"):
    backbone = load_experiment("digits-unet", TINY).build(1, 8, 10).backbone.eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    built = load_experiment("digits-unet", TINY).build(1, 8, 10)
    return Denoiser(backbone, built.schedule, built.prediction, precision)


@pytest.mark.parametrize(("precision", "tolerance"), [("bf16", 0.05), ("fp16", 0.006)])
def test_only_the_network_computes_in_half_precision(precision, tolerance):
    exact, half = tiny_denoiser(), tiny_denoiser(precision)
    x0, eps = torch.rand(4, 1, 8, 8) * 2 - 1, torch.randn(4, 1, 8, 8)
    level = exact.schedule.level(torch.tensor(0.3, dtype=torch.float64))
    x, label = add_noise(x0, eps, level), torch.arange(4)
    with torch.no_grad():
        a, b = exact(x, level, label), half(x, level, label)
    assert a.dtype == b.dtype == torch.float32
    assert not torch.equal(a, b)
    assert (a - b).abs().max() < tolerance * a.abs().max()


def train(runs, *extra):
    tokens = [*TINY, "--device", "cpu", "--training.epochs", "2", "--training.preview-every", "0", *extra]
    return main(["train", "digits-unet", "--name", "tiny", "--runs", str(runs), "--quiet", *tokens])


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_training_in_half_precision_follows_float32_and_tells_the_record(tmp_path, precision):
    assert train(tmp_path / "exact") == 0
    assert train(tmp_path / "half", "--precision", precision, "--force-precision", "True") == 0
    exact, half = (Record.of_run(tmp_path / name / "tiny").history() for name in ("exact", "half"))
    assert (exact.started.precision, half.started.precision) == ("float32", precision)
    losses = [[event.data.loss for event in history.of_kind(Progress)] for history in (exact, half)]
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
    weights = read(tmp_path / "half" / "tiny" / FOLDER / "epoch-00002").tensors["weights"]
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
    # To sample, the processor takes the precision that suits it, whatever the training was forced to.
    assert main(["sample", str(tmp_path / "half" / "tiny"), "--sampler", "ddim:2", "--quiet"]) == 0
    (drawn,) = Record.of_run(tmp_path / "half" / "tiny").history().of_kind(Sampled)
    assert drawn.data.precision == "float32"


def test_fp16_resumes_with_its_loss_scale(tmp_path):
    forced = ("--precision", "fp16", "--force-precision", "True", "--training.checkpoint-every", "1")
    assert train(tmp_path / "whole", *forced) == 0
    assert train(tmp_path / "parts", *forced, "--training.max-steps", "3") == 0
    assert train(tmp_path / "parts", *forced) == 0
    whole, parts = (read(tmp_path / name / "tiny" / FOLDER / "epoch-00002") for name in ("whole", "parts"))
    assert parts.state["scaler"] == whole.state["scaler"] != {}


@pytest.mark.parametrize("size", [1e38, float("inf"), float("nan")])
def test_a_step_that_overflows_fp16_changes_no_weight_and_spoils_no_mean(tmp_path, monkeypatch, size):
    """One step of several overflows: in the gradient alone, or in the loss itself."""
    honest, before = StepLoss.forward, []

    def overflowing(self, batch, step, **kwargs):
        if step == 1:
            before.extend(parameter.clone() for parameter in self.parameters())
            return size * next(self.parameters()).square().sum()
        if step == 2:
            assert all(map(torch.equal, before, self.parameters()))
        return honest(self, batch, step, **kwargs)

    monkeypatch.setattr(StepLoss, "forward", overflowing)
    assert train(tmp_path, "--precision", "fp16", "--force-precision", "True") == 0
    assert before
    means = [event.data for event in Record.of_run(tmp_path / "tiny").history().of_kind(Progress)]
    assert all(0 < mean.loss < 2 and 0 < mean.gradient_norm < 100 for mean in means)
    assert read(tmp_path / "tiny" / FOLDER / "epoch-00002").state["scaler"]["scale"] < 65536


def test_fp16_that_never_finds_its_scale_is_a_divergence(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(step, "MOST_OVERFLOWS", 3)
    monkeypatch.setattr(
        StepLoss, "forward", lambda self, *a, **k: next(self.parameters()).sum() * float("inf")
    )
    assert train(tmp_path, "--precision", "fp16", "--force-precision", "True") == 2
    assert "steps in a row were not finite in fp16" in capsys.readouterr().err


def test_a_change_of_precision_is_recorded_when_a_run_goes_on(tmp_path):
    assert train(tmp_path, "--training.max-steps", "2") == 0
    assert train(tmp_path, "--precision", "bf16", "--force-precision", "True") == 0
    history = Record.of_run(tmp_path / "tiny").history()
    (resumed,) = history.of_kind(Resumed)
    (started,) = history.of_kind(Started)
    assert (started.data.precision, resumed.data.precision) == ("float32", "bf16")
    assert resumed.data.changes["precision"] == ("auto", "bf16")
