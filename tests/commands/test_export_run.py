"""A small copy of a run: every command takes it for the run itself, and it says what it is."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from commands.command_line import say, the_line
from training.tiny import train

from triptych.checkpoints.find import FOLDER
from triptych.checkpoints.manifest import Manifest
from triptych.checkpoints.read import read
from triptych.record.events import Exported
from triptych.record.record import Record
from triptych.runs import Run

LAST = "epoch-00004"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with a run, `tiny`, that was sampled and evaluated."""
    folder = tmp_path_factory.mktemp("runs")
    assert train(folder, "--training.epochs", "4", kind="dit") == 0
    drawn = ("--sampler", "ddim:2", "--guidance", "2", "--per-class", "1", "--quiet")
    assert say("sample", folder / "tiny", *drawn, "--gif") == 0
    measured = ("--sampler", "ddim:2", "--guidance", "1", "--count", "20", "--force", "--quiet")
    metrics = ("--metrics", "classifier_accuracy")
    assert say("evaluate", folder / "tiny", *measured, *metrics) == 0
    return folder


@pytest.fixture
def copied(runs, tmp_path):
    """Return a function that writes a copy with some options, and returns its folder."""

    def copy(*options: str, name: str = "copy") -> Path:
        out = tmp_path / name
        assert say("export", runs / "tiny", "--format", "run", "--out", out, *options, "--quiet") == 0
        return out

    return copy


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Return the weights that images are drawn from by default."""
    return Run(folder).model(device="cpu").denoiser.backbone.state_dict()


def test_it_draws_what_the_run_draws(runs, copied):
    whole, small = weights(runs / "tiny"), weights(copied())
    assert whole.keys() == small.keys()
    for name, tensor in whole.items():
        if tensor.ndim > 1:
            assert torch.equal(small[name], tensor.to(torch.bfloat16).float())
        else:
            assert torch.equal(small[name], tensor)
    drawn = []
    for folder in (runs / "tiny", copied(name="again")):
        run = Run(folder)
        model = run.model(device="cpu")
        drawn.append(run.sample(model, run.request(model, count=10, guidance=2.0, sampler="ddim:10"))[0])
    # A hundredth of the range at most, by matrices that are off by half a percent.
    assert 0 < (drawn[0].float() - drawn[1].float()).abs().mean() < 2.55


def test_as_float32_it_is_the_model_bit_by_bit(runs, copied):
    whole, small = weights(runs / "tiny"), weights(copied("--dtype", "float32"))
    assert all(torch.equal(whole[name], small[name]) for name in whole)


def test_it_holds_one_model_and_everything_else(runs, copied):
    out = copied()
    assert [path.name for path in (out / FOLDER).iterdir()] == [LAST]
    manifest = Manifest.load(out / FOLDER / LAST)
    assert list(manifest.parts) == ["ema"]
    stored = read(out / FOLDER / LAST).tensors["ema"]
    assert {t.dtype for t in stored.values() if t.ndim > 1} == {torch.bfloat16}
    assert (out / "config.yaml").read_bytes() == (runs / "tiny" / "config.yaml").read_bytes()
    before = (runs / "tiny" / "record.jsonl").read_bytes()
    assert (out / "record.jsonl").read_bytes().startswith(before)
    last = Record.of_run(out).events()[-1]
    assert last.data == Exported("tiny", LAST, "ema", "bf16")
    pictures = {
        path.relative_to(out).as_posix() for path in out.rglob("*") if path.suffix in (".png", ".gif")
    }
    named = {path.relative_to(runs / "tiny").as_posix() for path in (runs / "tiny" / "previews").iterdir()}
    assert named <= pictures
    assert {Path(name).name for name in pictures - named} == {"grid.png", "denoising.gif"}
    small, whole = (sum(p.stat().st_size for p in f.rglob("*.safetensors")) for f in (out, runs / "tiny"))
    assert small < whole / 8


def test_its_files_are_as_small_as_one_wants(runs, copied):
    one = copied()
    few = copied("--max-file-mb", "0.006", name="few")
    files = list((few / FOLDER / LAST).glob("*.safetensors"))
    assert len(files) > 1
    assert all(path.stat().st_size <= 6000 for path in files)
    assert all(torch.equal(a, b) for a, b in zip(weights(one).values(), weights(few).values(), strict=True))


@pytest.mark.parametrize(("word", "part", "recorded"), [("none", "weights", "raw"), ("ema_long",) * 3])
def test_the_weights_that_it_has_are_its_usual_ones(word, part, recorded, runs, copied):
    out = copied("--ema", word, "--checkpoint", "epoch-2", "--dtype", "float32")
    model = Run(out).model(device="cpu")
    assert (model.checkpoint, model.weights) == ("epoch-00002", recorded)
    expected = read(runs / "tiny" / FOLDER / "epoch-00002").tensors[part]
    found = model.denoiser.backbone.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("checkpoint", ["epoch-2", "last"])
def test_every_command_takes_it(checkpoint, copied, tmp_path, capsys):
    out = copied("--checkpoint", checkpoint)
    few = ("--sampler", "ddim:2", "--guidance", "1", "--quiet")
    assert say("sample", out, *few, "--per-class", "1") == 0
    row = ("--count", "20", "--force", "--metrics", "classifier_accuracy")
    assert say("evaluate", out, *few, *row) == 0
    capsys.readouterr()
    assert say("verify", out, "--resume") == 0
    printed = capsys.readouterr().out
    assert "whole" in printed and "broken" not in printed and "gone" not in printed
    assert "a copy of the run tiny with its model alone: there is no training to go on with" in printed
    assert say("info", out, "--json") == 0
    assert json.loads(capsys.readouterr().out)
    assert say("report", out, "--out", tmp_path / "report.md", "--quiet") == 0
    text = (tmp_path / "report.md").read_text()
    assert "a small copy of the run tiny: of its models it holds epoch-0000" in text
    assert "triptych train" not in text
    again = ("--format", "run", "--out", tmp_path / "again", "--quiet")
    assert say("export", out, *again) == 0
    assert say("verify", tmp_path / "again") == 0


def test_it_is_not_trained_on(runs, copied, tmp_path, capsys):
    out = copied(name="tiny")
    recorded = (out / "record.jsonl").read_bytes()
    line = the_line(capsys, "train", out / "config.yaml", "--runs", tmp_path)
    assert "it is a copy of the run tiny with its model alone" in line
    assert "start another one with --name" in line
    assert (out / "record.jsonl").read_bytes() == recorded


def test_the_checkpoint_that_is_not_in_it_is_told(copied, capsys):
    line = the_line(capsys, "sample", copied(), "--checkpoint", "epoch-2", "--quiet")
    assert f"epoch 2 is not there; name one of {LAST}" in line


def test_a_record_that_is_being_written_comes_over_in_whole_lines(runs, tmp_path):
    torn = tmp_path / "torn"
    shutil.copytree(runs / "tiny", torn)
    whole = (torn / "record.jsonl").read_bytes()
    (torn / "record.jsonl").write_bytes(whole + b'{"kind": "prog')
    assert say("export", torn, "--format", "run", "--out", tmp_path / "out", "--quiet") == 0
    assert (tmp_path / "out" / "record.jsonl").read_bytes().startswith(whole + b'{"kind": "exported"')


def test_pictures_outside_of_the_run_stay_there(runs, tmp_path):
    odd = tmp_path / "odd"
    shutil.copytree(runs / "tiny", odd)
    record = (odd / "record.jsonl").read_text()
    grid = next(line for line in record.splitlines() if '"previewed"' in line)
    secret = next((runs / "tiny" / "previews").iterdir())
    for name in ("../secret.png", "/secret.png", str(secret)):
        event = json.loads(grid)
        event["data"]["picture"] = name
        record += json.dumps(event) + "\n"
    (odd / "record.jsonl").write_text(record)
    shutil.copyfile(secret, tmp_path / "secret.png")
    (odd / "previews" / "link.png").symlink_to(tmp_path / "secret.png")
    assert say("export", odd, "--format", "run", "--out", tmp_path / "in" / "out", "--quiet") == 0
    assert not (tmp_path / "in" / "secret.png").exists()
    assert not (tmp_path / "in" / "out" / "previews" / "link.png").exists()


@pytest.mark.parametrize(
    ("tokens", "told"),
    [
        (("--max-file-mb", "0"), "--max-file-mb 0: out of range"),
        (("--max-file-mb", "nan"), "--max-file-mb nan: out of range"),
        (("--max-file-mb", "0.0005"), "alone takes"),
        (("--dtype", "int8"), "--dtype"),
        (("--ema", "ema_short"), "choose from ema, ema_long, none, best"),
    ],
)
def test_what_cannot_be_is_one_line_and_leaves_nothing(tokens, told, runs, tmp_path, capsys):
    out = ("--format", "run", "--out", tmp_path / "out")
    assert told in the_line(capsys, "export", runs / "tiny", *out, *tokens)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", [("--dtype", "bf16"), ("--max-file-mb", "16")])
def test_other_programs_files_are_as_these_have_them(option, runs, tmp_path, capsys):
    line = the_line(capsys, "export", runs / "tiny", "--format", "dit", "--out", tmp_path / "out", *option)
    assert "the files of dit have a form of their own; say --format run, or leave it out" in line


def test_too_large_for_half_precision_is_told(runs, tmp_path, capsys):
    large = tmp_path / "large"
    shutil.copytree(runs / "tiny", large)
    from triptych.checkpoints.contents import Contents
    from triptych.checkpoints.write import write

    found = read(large / FOLDER / LAST)
    name = next(name for name, tensor in found.tensors["ema"].items() if tensor.ndim > 1)
    found.tensors["ema"][name][0] = 1e6
    write(large / FOLDER, LAST, Contents(found.tensors, found.state))
    out = ("--format", "run", "--out", tmp_path / "out")
    line = the_line(capsys, "export", large, *out, "--dtype", "fp16")
    assert f"{name} has numbers that are too large for it; choose bf16 or float32" in line
    assert not (tmp_path / "out").exists()
    assert say("export", large, *out, "--quiet") == 0
