"""Importing diffusers' folders: runs that can be sampled, evaluated and reported; mistakes are one line."""

import errno
import json
import os
import pickle
import warnings
import zipfile

import numpy as np
import pytest
import torch
from backbones.peer_unet import peer_of, randomise
from commands.command_line import say, the_line
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from PIL import Image
from safetensors.torch import load_file
from training.tiny import train

from triptych.backbones.costs import costs
from triptych.backbones.unet import UNetConfig
from triptych.record.record import Record
from triptych.runs import Run

DIGITS = UNetConfig(width=8, multipliers=(1, 2), blocks=1, attention=(4,), groups=4, dropout=0.0)
"""A network for images like the digits."""


def save(folder, *, classes=0, channels=1, image_size=8, **scheduler):
    """Save diffusers' own pipeline of a small network with random weights; return its network."""
    peer = randomise(peer_of(DIGITS, channels, image_size, classes))
    DDPMPipeline(peer, DDPMScheduler(**scheduler)).save_pretrained(folder)
    return peer


@pytest.fixture
def theirs(tmp_path):
    """A folder of theirs, unconditional."""
    save(tmp_path / "theirs")
    return tmp_path / "theirs"


def edit(path, **fields):
    """Change fields of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_an_imported_run_is_sampled_evaluated_and_reported(theirs, tmp_path, capsys):
    runs = tmp_path / "runs"
    assert say("import", theirs, "--runs", runs, "--data.name", "digits", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    run = runs / "theirs"
    assert told["run"] == str(run)
    backbone = Run(run).model().denoiser.backbone
    assert vars(costs(backbone)).items() <= vars(Run(run).record.history().origin).items()
    assert say("info", run, "--json") == 0
    (facts,) = json.loads(capsys.readouterr().out)
    assert vars(costs(backbone)).items() <= facts.items()
    assert (facts["training"], facts["done"], facts["data"]["train"]) == (None, None, None)
    assert say("info", run) == 0
    assert "imported, trained elsewhere" in capsys.readouterr().out
    assert told["parameters"] == UNet2DModel.from_pretrained(theirs / "unet").num_parameters()
    assert say("sample", run, "--count", "4", "--sampler", "ddim:2", "--quiet") == 0
    assert say("sample", run, "--sampler", "ddim:2", "--quiet") == 0
    assert say("evaluate", run, "--count", "70", "--sampler", "ddim:2", "--quiet") == 0
    for language in ("en", "zh"):
        assert say("report", run, "--out", tmp_path / language, "--language", language, "--quiet") == 0
    text = (tmp_path / "en" / "EXPERIMENTS.md").read_text()
    file = theirs / "unet" / "diffusion_pytorch_model.safetensors"
    assert f"diffusers, {file} (sha256 {told['digest'][:12]})" in text
    assert "trained elsewhere" in text
    assert f"triptych evaluate {os.path.relpath(run, tmp_path / 'en')}" in text
    assert "triptych train" not in text


def test_an_imported_model_is_drawn_beside_a_run_of_the_images_that_it_is_said_to_draw(
    theirs, tmp_path, capsys
):
    short = ("--training.max-steps", "1", "--training.preview-every", "0", "--conditional", "False")
    assert train(tmp_path, *short, name="ours") == 0
    for name, data in (("same", ()), ("other", ("--data.name", "letters"))):
        assert say("import", theirs, "--runs", tmp_path, "--name", name, "--quiet", *data) == 0
    ask = ("--count", "2", "--sampler", "ddim:2", "--quiet")
    assert say("sample", tmp_path / "ours", tmp_path / "same", *ask) == 0
    line = the_line(capsys, "sample", tmp_path / "ours", tmp_path / "other", *ask)
    assert "the other on letters (as it was said at its import)" in line
    assert "with --data.name digits and another --name" in line


def test_the_images_are_those_of_the_peer_s_network(theirs, tmp_path):
    """One step of the denoiser at every noise level, by the peer's own arithmetic."""
    say("import", theirs, "--runs", tmp_path, "--name", "ours", "--quiet")
    denoiser = Run(tmp_path / "ours").model(device="cpu").denoiser
    pipeline = DDPMPipeline.from_pretrained(theirs)
    x = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    for k in (0, 250, 999):
        level = denoiser.schedule.level(torch.tensor((k + 1) / 1000, dtype=torch.float64))
        with torch.no_grad():
            output = pipeline.unet(x, k).sample
            step = DDPMScheduler(clip_sample=False).step(output, k, x)
            torch.testing.assert_close(denoiser(x, level), step.pred_original_sample, rtol=1e-3, atol=1e-3)


def test_files_side_by_side_with_old_names_and_a_pickle(tmp_path, capsys):
    """As the first models on the hub lie there."""
    peer = save(tmp_path / "new")
    old = tmp_path / "old"
    old.mkdir()
    names = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
    tensors = {}
    for name, tensor in peer.state_dict().items():
        for new, former in names.items():
            name = name.replace(new, former)
        tensors[name] = tensor
    torch.save(tensors, old / "diffusion_pytorch_model.bin")
    (old / "config.json").write_bytes((tmp_path / "new" / "unet" / "config.json").read_bytes())
    scheduler = {"_class_name": "DDPMScheduler", "variance_type": "fixed_large", "tensor_format": "pt"}
    (old / "scheduler_config.json").write_text(json.dumps(scheduler))
    for folder in ("new", "old"):
        assert say("import", tmp_path / folder, "--runs", tmp_path / "runs", "--quiet") == 0
    new, old = (Run(tmp_path / "runs" / name).model().denoiser.state_dict() for name in ("new", "old"))
    assert all(torch.equal(new[name], old[name]) for name in new)


def test_what_is_predicted_and_how_noise_rises_is_carried_over(tmp_path):
    save(tmp_path / "theirs", prediction_type="v_prediction", beta_schedule="squaredcos_cap_v2")
    assert say("import", tmp_path / "theirs", "--runs", tmp_path / "runs", "--quiet") == 0
    diffusion = Run(tmp_path / "runs" / "theirs").experiment.diffusion
    assert (diffusion.schedule, diffusion.prediction) == ("cosine", "v")


def test_a_null_class_has_to_be_known(tmp_path, capsys):
    theirs, runs = tmp_path / "theirs", tmp_path / "runs"
    save(theirs, classes=10)
    assert "--null-class last" in the_line(capsys, "import", theirs, "--runs", runs)
    assert not runs.exists()
    assert say("import", theirs, "--runs", runs, "--null-class", "last", "--quiet") == 0
    run = Run(runs / "theirs")
    assert run.model().denoiser.backbone.classes == 10
    assert run.class_names == tuple("0123456789")
    guided = ("--per-class", "1", "--guidance", "2", "--sampler", "ddim:2", "--quiet")
    assert say("sample", run.folder, *guided) == 0


@pytest.mark.parametrize(
    ("size", "classes", "options", "name", "names"),
    [
        (32, 10, ("--data.name", "cifar10"), "cifar10", ("airplane", "truck", 10)),
        (32, 0, ("--data.name", "cifar10"), "cifar10", ("airplane", "truck", 10)),
        (32, 7, ("--data.name", "cifar10"), "cifar10", ("0", "6", 7)),
        (32, 10, (), "cifar10", ("0", "9", 10)),
        (32, 0, (), "cifar10", ("0", "0", 1)),
        (32, 10, ("--data.name", "svhn"), "svhn", ("0", "9", 10)),
        (16, 0, (), "unknown", ("0", "0", 1)),
    ],
)
def test_what_the_images_are_taken_for(size, classes, options, name, names, tmp_path):
    save(tmp_path / "theirs", classes=classes, channels=3, image_size=size)
    options += ("--null-class", "last") if classes else ()
    assert say("import", tmp_path / "theirs", "--runs", tmp_path, "--name", "ours", "--quiet", *options) == 0
    run = Run(tmp_path / "ours")
    assert run.experiment.data.name == name
    assert (run.class_names[0], run.class_names[-1], len(run.class_names)) == names


@pytest.mark.parametrize(
    ("options", "guessed"),
    [((), True), (("--data.name", "digits"), False)],
)
def test_a_guess_is_told_and_not_measured_in_silence(options, guessed, theirs, tmp_path, capsys):
    runs = tmp_path / "runs"
    assert say("import", theirs, "--runs", runs, *options) == 0
    assert ("taken for digits, by the size" in capsys.readouterr().out) == guessed
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        # Refused all the same, for too few images: the warning comes before anything is measured.
        assert say("evaluate", runs / "theirs", "--sampler", "ddim:2", "--count", "5", "--quiet") == 2
    err = capsys.readouterr().err
    assert ("measured against digits for the size of its images alone" in err) == guessed
    assert ("--data.name and another --name" in err) == guessed
    assert say("report", runs / "theirs", "--out", tmp_path, "--quiet") == 0
    assert ("taken for Digits by their size alone" in (tmp_path / "EXPERIMENTS.md").read_text()) == guessed


def test_what_a_guess_is_told_to_be_mended_by_mends_it(theirs, tmp_path, capsys):
    assert say("import", theirs, "--runs", tmp_path / "runs") == 0
    assert "import it again with --data.name NAME and another --name" in capsys.readouterr().out
    assert say("import", theirs, "--runs", tmp_path / "runs", "--data.name", "mine", "--name", "again") == 0
    assert "taken for" not in capsys.readouterr().out


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """A folder, `pets`, with eleven pictures of each of three classes."""
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path / "cache"))
    numbers = np.random.default_rng(0)
    for name in ("bird", "cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for i in range(11):
            pixels = numbers.integers(0, 256, (16, 16, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pets" / name / f"{i}.png")
    return tmp_path / "pets"


@pytest.mark.parametrize(
    ("options", "name"),
    [((), "pets"), (("--data.name", "cifar10"), "pets"), (("--data.name", "Ours"), "Ours")],
)
@pytest.mark.parametrize("classes", [0, 3])
def test_own_images_are_called_as_training_calls_them(options, name, classes, pictures, tmp_path, capsys):
    """By their folder's name, even where they are said to be a published set."""
    save(tmp_path / "theirs", classes=classes, channels=3, image_size=32)
    options += ("--null-class", "last") if classes else ()
    command = ("import", tmp_path / "theirs", "--runs", tmp_path / "runs", "--data.path", pictures)
    assert say(*command, *options, "--json", "--quiet") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["data"], told["data_guessed"]) == (name, False)
    run = Run(tmp_path / "runs" / "theirs")
    assert run.class_names == ("bird", "cat", "dog")
    assert (run.dataset.name, run.record.history().origin.data.name) == (name, name)
    assert say("report", run.folder, "--out", tmp_path, "--quiet") == 0
    text = (tmp_path / "EXPERIMENTS.md").read_text()
    assert f"like {name}, 32×32" in text
    assert "CIFAR-10" not in text


@pytest.mark.parametrize(
    ("classes", "size", "options", "told"),
    [
        (10, 32, ("--data.path", "{pets}"), "3 classes, the model 3 channels, 32 pixels a side, 10 classes"),
        (0, 8, ("--data.path", "{pets}", "--data.name", "digits"), "the digits are embedded"),
        (0, 32, ("--data.path", "{pets}/none"), "there is nothing"),
        (0, 32, ("--data.path", "{pets}", "--data.name", "bad/name\nx"), "no name for a data set"),
        (0, 32, ("--data.name", "bad/name\nx"), "no name for a data set"),
    ],
)
def test_images_that_cannot_be_the_model_s_are_told_at_import(
    classes, size, options, told, pictures, tmp_path, capsys
):
    save(tmp_path / "theirs", classes=classes, channels=3, image_size=size)
    chosen = [option.format(pets=pictures) for option in options]
    chosen += ("--null-class", "last") if classes else ()
    assert told in the_line(capsys, "import", tmp_path / "theirs", "--runs", tmp_path / "runs", *chosen)
    assert not (tmp_path / "runs").exists()


def test_images_of_another_colour_are_told_at_import(theirs, pictures, tmp_path, capsys):
    line = the_line(capsys, "import", theirs, "--runs", tmp_path / "runs", "--data.path", pictures)
    assert "its images have 3 channels, 8 pixels a side, the model 1 channels" in line


def test_images_of_an_unusual_size_are_not_guessed_at(tmp_path, capsys):
    save(tmp_path / "theirs", channels=3, image_size=16)
    assert say("import", tmp_path / "theirs", "--runs", tmp_path / "told") == 0
    assert "nothing says what its images are" in capsys.readouterr().out
    assert say("import", tmp_path / "theirs", "--runs", tmp_path / "runs", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["data"], told["data_guessed"]) == ("unknown", False)
    assert "no such data set" in the_line(capsys, "evaluate", tmp_path / "runs" / "theirs")


def test_data_of_another_kind_are_refused_at_evaluation(tmp_path, capsys):
    save(tmp_path / "theirs", channels=3)
    runs = tmp_path / "runs"
    assert say("import", tmp_path / "theirs", "--runs", runs, "--data.name", "digits", "--quiet") == 0
    assert "channels" in the_line(capsys, "evaluate", runs / "theirs", "--sampler", "ddim:2")


def test_an_imported_run_is_not_trained_on(theirs, tmp_path, capsys):
    runs = tmp_path / "runs"
    say("import", theirs, "--runs", runs, "--quiet")
    before = (runs / "theirs" / "record.jsonl").read_bytes()
    line = the_line(capsys, "train", runs / "theirs" / "config.yaml", "--name", "theirs", "--runs", runs)
    assert "trained elsewhere" in line
    assert (runs / "theirs" / "record.jsonl").read_bytes() == before


def test_an_existing_run_is_not_touched(theirs, tmp_path, capsys):
    runs = tmp_path / "runs"
    say("import", theirs, "--runs", runs, "--quiet")
    before = sorted((path, path.stat().st_mtime_ns) for path in runs.rglob("*"))
    assert "something is there already" in the_line(capsys, "import", theirs, "--runs", runs)
    assert sorted((path, path.stat().st_mtime_ns) for path in runs.rglob("*")) == before


class Code:
    """Something that a pickle would call."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def break_files(theirs, how):
    """Make one of the mistakes that a folder can hold."""
    unet, weights = theirs / "unet", theirs / "unet" / "diffusion_pytorch_model.safetensors"
    binary = weights.with_suffix(".bin")
    match how:
        case "no config":
            (unet / "config.json").unlink()
        case "config is no JSON":
            (unet / "config.json").write_text("{")
        case "config is a list":
            (unet / "config.json").write_text("[]")
        case "config is nested without end":
            (unet / "config.json").write_text("[" * 100_000)
        case "another class":
            edit(unet / "config.json", _class_name="UNet2DConditionModel")
        case "another pipeline":
            edit(theirs / "model_index.json", _class_name="LDMPipeline")
        case "another network":
            edit(unet / "config.json", norm_eps=1e-5)
        case "another width":
            edit(unet / "config.json", block_out_channels=[8, 24])
        case "a giant":
            edit(unet / "config.json", block_out_channels=[2**18, 2**19])
        case "no scheduler":
            (theirs / "scheduler" / "scheduler_config.json").unlink()
        case "another schedule":
            edit(theirs / "scheduler" / "scheduler_config.json", beta_end=0.5)
        case "no weights":
            weights.unlink()
        case "several files":
            weights.rename(unet / "diffusion_pytorch_model.safetensors.index.json")
        case "truncated":
            weights.write_bytes(weights.read_bytes()[:-100])
        case "truncated header":
            weights.write_bytes(weights.read_bytes()[:50])
        case "empty":
            weights.write_bytes(b"")
        case "code":
            weights.unlink()
            binary.write_bytes(pickle.dumps({"conv_in.weight": Code(theirs / "executed")}))
        case "code in a zip":
            weights.unlink()
            torch.save({"conv_in.weight": Code(theirs / "executed")}, binary)
        case "no tensors":
            weights.unlink()
            torch.save({"state_dict": {"a": 1}}, binary)
        case "a list":
            weights.unlink()
            torch.save([torch.zeros(1)], binary)
        case "not finite":
            tensors = load_file(weights)
            tensors["conv_in.bias"][0] = float("nan")
            weights.unlink()
            torch.save(tensors, binary)
        case "a sparse tensor":
            tensors = load_file(weights)
            tensors["conv_in.bias"] = tensors["conv_in.bias"].to_sparse()
            weights.unlink()
            torch.save(tensors, binary)
        case "a number for a thousand":
            tensors = load_file(weights)
            tensors["conv_in.weight"] = torch.zeros(()).expand(2**20, 2**20, 3, 3)
            weights.unlink()
            torch.save(tensors, binary)
        case "tensors that share their numbers":
            tensors = load_file(weights)
            shared = max(tensors.values(), key=torch.numel).flatten()
            weights.unlink()
            torch.save({name: shared[: t.numel()].view(t.shape) for name, t in tensors.items()}, binary)
        case "compressed":
            tensors = {name: torch.zeros_like(tensor) for name, tensor in load_file(weights).items()}
            weights.unlink()
            torch.save(tensors, binary)
            with zipfile.ZipFile(binary) as archive:
                entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
            with zipfile.ZipFile(binary, "w", zipfile.ZIP_DEFLATED) as archive:
                for name, content in entries.items():
                    archive.writestr(name, content)
        case "a class of two lines":
            (theirs / "triptych.json").write_text('{"class_names": ["a", "b\\nc"]}')
        case "classes of one name":
            (theirs / "triptych.json").write_text('{"class_names": ["a", "b", "a"]}')
        case "classes by number":
            (theirs / "triptych.json").write_text('{"class_names": [0, 1]}')
        case "our file is not ours":
            (theirs / "triptych.json").write_text('{"null_class": "first"}')


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("no config", "no config.json in it"),
        ("config is no JSON", "no JSON object"),
        ("config is a list", "no JSON object"),
        ("config is nested without end", "no JSON object"),
        ("another class", "UNet2DConditionModel"),
        ("another pipeline", "LDMPipeline"),
        ("another network", "norm_eps 1e-05"),
        ("another width", "do not fit its config.json"),
        ("a giant", "do not fit its config.json"),
        ("no scheduler", "no scheduler_config.json in it"),
        ("another schedule", "beta_end 0.5"),
        ("no weights", "no diffusion_pytorch_model.safetensors in it, nor diffusion_pytorch_model.bin"),
        ("several files", "in several files"),
        ("truncated", "damaged"),
        ("truncated header", "damaged"),
        ("empty", "damaged"),
        ("code", "nothing of it was run"),
        ("code in a zip", "nothing of it was run"),
        ("no tensors", "'state_dict' in it is no tensor"),
        ("a list", "no tensors by name"),
        ("not finite", "conv_in.bias is not finite"),
        ("a sparse tensor", "no tensor of plain numbers"),
        ("a number for a thousand", "claim 39,582"),
        ("tensors that share their numbers", "more than the"),
        ("compressed", "no file of tensors alone"),
        ("a class of two lines", "class 1 is called 'b\\nc', which cannot be shown on one line"),
        ("classes of one name", "class 2 is called 'a', as another one is"),
        ("classes by number", "no list of texts"),
        ("our file is not ours", "its null_class is not 'last'"),
    ],
)
def test_broken_folders_are_one_line_and_leave_nothing(how, told, theirs, tmp_path, capsys):
    break_files(theirs, how)
    assert told in the_line(capsys, "import", theirs, "--runs", tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
    assert not (theirs / "executed").exists()


@pytest.mark.parametrize(
    ("tokens", "told"),
    [
        (["{tmp}/none"], "there is no such folder"),
        (["google/ddpm-cifar10-32"], "downloaded first"),
        (["{tmp}/theirs", "--name", "a/b"], "no name for a run's folder"),
        (["{tmp}/theirs", "--runs", "{tmp}/theirs/model_index.json"], "choose another place with --runs"),
        (["{tmp}/theirs", "--null-class", "first"], "--null-class"),
    ],
)
def test_mistakes_on_the_command_line(tokens, told, theirs, tmp_path, capsys):
    before = sorted(tmp_path.rglob("*"))
    chosen = [token.format(tmp=tmp_path) for token in tokens]
    assert told in the_line(capsys, "import", "--runs", tmp_path / "runs", *chosen)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("written", ["config.yaml", "ema.safetensors", "record.jsonl"])
def test_a_full_disk_leaves_nothing(written, theirs, tmp_path, capsys, monkeypatch):
    really = os.open

    def full(path, flags, *rest, **named):
        if os.path.basename(path) == written and flags & os.O_CREAT:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return really(path, flags, *rest, **named)

    monkeypatch.setattr(os, "open", full)
    line = the_line(capsys, "import", theirs, "--runs", tmp_path / "new" / "runs")
    assert "no space left" in line.lower()
    assert not (tmp_path / "new").exists()


def test_the_record_says_where_the_model_came_from(theirs, tmp_path):
    say("import", theirs, "--runs", tmp_path / "runs", "--name", "ours", "--quiet")
    history = Record.of_run(tmp_path / "runs" / "ours").history()
    (event,) = history.events
    assert event.kind == "imported"
    assert event.data.source == str(theirs / "unet" / "diffusion_pytorch_model.safetensors")
    assert event.data.versions["torch"] == torch.__version__
    assert history.attempts == ()
    assert history.imported is event.data
