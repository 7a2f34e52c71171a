"""Exporting a run: diffusers loads the folder as its own, and draws the same images from the same noise."""

import errno
import json
import os
import shutil
import warnings

import diffusers.pipelines.ddpm.pipeline_ddpm as peer_pipeline
import diffusers.schedulers.scheduling_ddpm as peer_ddpm
import pytest
import torch
from commands.command_line import say, the_line
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from diffusers.utils import logging
from training.tiny import train

from triptych.images import to_pixels
from triptych.random import Stream, normal
from triptych.runs import Run


def fields(schedule, prediction):
    return ("--diffusion.schedule", schedule, "--diffusion.prediction", prediction)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder of runs with a conditional one, `tiny`, and an unconditional one that predicts v, `free`."""
    folder = tmp_path_factory.mktemp("runs")
    assert train(folder, "--training.epochs", "4", *fields("linear", "eps"), kind="unet") == 0
    unconditional = ("--conditional", "False", *fields("cosine", "v"))
    assert train(folder, "--training.epochs", "2", *unconditional, name="free", kind="unet") == 0
    return folder


@pytest.fixture
def silence(caplog):
    """Fail where diffusers says anything while it loads."""
    logging.disable_progress_bar()
    with warnings.catch_warnings(), caplog.at_level("WARNING"):
        warnings.simplefilter("error")
        yield
    assert [record.getMessage() for record in caplog.get_records("call")] == []


@pytest.mark.parametrize("name", ["tiny", "free"])
def test_the_peer_loads_what_was_written(name, runs, tmp_path, silence):
    assert say("export", runs / name, "--out", tmp_path / "out", "--quiet") == 0
    network = UNet2DModel.from_pretrained(tmp_path / "out" / "unet", low_cpu_mem_usage=False)
    pipeline = DDPMPipeline.from_pretrained(tmp_path / "out", low_cpu_mem_usage=False)
    mine = Run(runs / name).model(device="cpu").denoiser.backbone
    x, steps = torch.randn(2, 1, 8, 8), torch.tensor([1.0, 999.0])
    label = torch.tensor([3, 10]) if name == "tiny" else None
    with torch.no_grad():
        expected = mine(x, steps, label)
        for peer in (network, pipeline.unet):
            torch.testing.assert_close(peer(x, steps, label).sample, expected, rtol=0, atol=1e-5)
    assert pipeline.scheduler.config.prediction_type == ("epsilon" if name == "tiny" else "v_prediction")
    assert pipeline.scheduler.config.beta_schedule == ("linear" if name == "tiny" else "squaredcos_cap_v2")


@pytest.mark.parametrize("steps", [5, 50])
def test_the_peer_draws_the_same_images_from_the_same_noise(steps, runs, tmp_path, monkeypatch):
    assert say("export", runs / "free", "--out", tmp_path / "out", "--quiet") == 0
    run = Run(runs / "free")
    model = run.model(device="cpu")
    pixels, _ = run.sample(model, run.request(model, count=3, sampler=f"ddpm:{steps}"))

    index, drawn = torch.arange(3), iter(range(steps))
    start = normal(0, Stream.INITIAL_NOISE, 0, index, (1, 8, 8))
    monkeypatch.setattr(peer_pipeline, "randn_tensor", lambda *_, **__: start)
    monkeypatch.setattr(
        peer_ddpm,
        "randn_tensor",
        lambda *_, **__: normal(0, Stream.SAMPLER_NOISE, next(drawn), index, (1, 8, 8)),
    )
    pipeline = DDPMPipeline.from_pretrained(tmp_path / "out")
    pipeline.set_progress_bar_config(disable=True)
    images = pipeline(batch_size=3, num_inference_steps=steps, output_type="pt").images
    theirs = to_pixels(2 * images - 1)
    # A pixel may fall on the other side of a half.
    assert (theirs.int() - pixels.int()).abs().max() <= 1
    assert pixels.float().std() > 10


def test_there_and_back_changes_no_bit_and_forgets_no_name(runs, tmp_path):
    assert say("export", runs / "tiny", "--out", tmp_path / "out", "--quiet") == 0
    assert say("import", tmp_path / "out", "--runs", tmp_path, "--name", "back", "--quiet") == 0
    assert say("export", tmp_path / "back", "--out", tmp_path / "again", "--quiet") == 0
    before, back = Run(runs / "tiny"), Run(tmp_path / "back")
    weights = [run.model(device="cpu").denoiser.backbone.state_dict() for run in (before, back)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert back.class_names == before.class_names
    assert back.experiment.diffusion == before.experiment.diffusion
    assert back.experiment.backbone == before.experiment.backbone
    for name in ("unet/diffusion_pytorch_model.safetensors", "unet/config.json", "model_index.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    for sampler in ("ddim:3", "ddpm:3"):
        drawn = []
        for run in (before, back):
            model = run.model(device="cpu")
            drawn.append(run.sample(model, run.request(model, count=4, guidance=2.0, sampler=sampler))[0])
        assert torch.equal(*drawn)


@pytest.fixture
def called(runs, tmp_path):
    """Return a function that makes a copy of the run whose classes have other names."""

    def rename(*names):
        copy = tmp_path / "called"
        shutil.copytree(runs / "tiny", copy)
        origin, *rest = (copy / "record.jsonl").read_text().splitlines()
        event = json.loads(origin)
        event["data"]["data"]["class_names"] = names
        (copy / "record.jsonl").write_text("\n".join([json.dumps(event), *rest]) + "\n")
        return copy

    return rename


@pytest.mark.parametrize("steps", [50, 1000])
def test_an_imported_folder_s_spacing_does_not_come_back(steps, runs, tmp_path):
    """As docs/exchange.md says: other steps than the original's, unless all are walked or they are set."""
    assert say("export", runs / "free", "--out", tmp_path / "original", "--quiet") == 0
    path = tmp_path / "original" / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"timestep_spacing": "leading"}))
    assert say("import", tmp_path / "original", "--runs", tmp_path / "runs", "--quiet") == 0
    assert say("export", tmp_path / "runs" / "original", "--out", tmp_path / "back", "--quiet") == 0
    original, back = (
        DDPMScheduler.from_pretrained(tmp_path / name / "scheduler") for name in ("original", "back")
    )
    mended = DDPMScheduler.from_config(back.config, timestep_spacing="leading")
    for scheduler in (original, back, mended):
        scheduler.set_timesteps(steps)
    assert torch.equal(original.timesteps, back.timesteps) == (steps == 1000)
    assert torch.equal(original.timesteps, mended.timesteps)


def test_a_model_without_classes_names_none(runs, tmp_path):
    for name, count in (("free", 0), ("tiny", 10)):
        assert say("export", runs / name, "--out", tmp_path / name, "--quiet") == 0
        assert len(json.loads((tmp_path / name / "triptych.json").read_text())["class_names"]) == count


ODD = ("_background", "(misc)", "n: 3", "🐈", "x" * 100, "apartment_building/outdoor", "..", "a b", "ñ", "狗")


def test_every_name_that_a_class_may_have_goes_there_and_back(called, tmp_path):
    assert say("export", called(*ODD), "--out", tmp_path / "out", "--quiet") == 0
    assert say("import", tmp_path / "out", "--runs", tmp_path / "runs", "--quiet") == 0
    back = Run(tmp_path / "runs" / "out")
    assert back.class_names == ODD
    # No name leads a picture out of its folder.
    assert say("sample", back.folder, "--sampler", "ddim:2", "--per-class", "1", "--singles", "--quiet") == 0
    assert len(list((back.folder / "samples").glob("*/images/*.png"))) == len(ODD)


def test_a_name_that_would_not_come_back_is_told_at_once(called, tmp_path, capsys):
    line = the_line(capsys, "export", called(*"012345678", "a\nb"), "--out", tmp_path / "out")
    assert "class 9 is called 'a\\nb'" in line
    assert not (tmp_path / "out").exists()


def test_checkpoint_and_weights_are_chosen(runs, tmp_path, capsys):
    capsys.readouterr()
    chosen = ("--checkpoint", "epoch-2", "--ema", "none")
    assert say("export", runs / "tiny", "--out", tmp_path / "out", *chosen, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["checkpoint"], told["weights"]) == ("epoch-00002", "raw")
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert told["bytes"] == sum(path.stat().st_size for path in files)
    raw = Run(runs / "tiny").model("epoch-2", "raw", "cpu").denoiser.backbone.conv_in.weight
    assert torch.equal(UNet2DModel.from_pretrained(tmp_path / "out" / "unet").conv_in.weight, raw)


@pytest.mark.parametrize(
    ("tokens", "told"),
    [
        (["{runs}/none", "--out", "{tmp}/out"], "there is no such folder"),
        (["{runs}/tiny"], "--out"),
        (["{runs}/tiny", "--out", "{tmp}/out", "--format", "onnx"], "onnx"),
        (["{runs}/tiny", "--out", "{tmp}/out", "--checkpoint", "epoch-9"], "name one of"),
        (["{runs}/tiny", "--out", "{tmp}/full"], "something is there already"),
        (["{runs}/tiny", "--out", "{tmp}/full/mine"], "something is there already"),
        (["{runs}/tiny", "--out", "{tmp}/full/mine/out"], "choose another place with --out"),
        (["{runs}/tiny", "--out", "/proc/x/y"], "choose another place with --out"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(tokens, told, runs, tmp_path, capsys):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    line = the_line(capsys, "export", *(token.format(runs=runs, tmp=tmp_path) for token in tokens))
    assert told in line
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["full", "mine"]


def test_what_the_peer_does_not_have_is_refused(runs, tmp_path, capsys):
    folded = ("--backbone.patch", "2", "--backbone.attention", "--training.epochs", "1")
    assert train(runs, *folded, name="patch", kind="unet") == 0
    assert "backbone.patch 2" in the_line(capsys, "export", runs / "patch", "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_empty_folder_is_written_into(runs, tmp_path):
    (tmp_path / "out").mkdir()
    assert say("export", runs / "tiny", "--out", tmp_path / "out", "--quiet") == 0
    assert (tmp_path / "out" / "model_index.json").is_file()


def test_a_full_disk_leaves_nothing(runs, tmp_path, capsys, monkeypatch):
    really = os.open

    def full(path, *rest, **named):
        if str(path).endswith("config.json"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return really(path, *rest, **named)

    monkeypatch.setattr(os, "open", full)
    assert "no space left" in the_line(capsys, "export", runs / "tiny", "--out", tmp_path / "new" / "out")
    assert list(tmp_path.iterdir()) == []
