"""A small copy of a run: every command takes it for the run itself, and it says what it is."""

import json
import shlex
import shutil
from pathlib import Path

import pytest
import torch
from commands.command_line import say, the_line
from training.tiny import train

from triptych.checkpoints.contents import Contents
from triptych.checkpoints.find import FOLDER
from triptych.checkpoints.manifest import Manifest
from triptych.checkpoints.read import read
from triptych.checkpoints.write import write
from triptych.exchange.small_copy import pictures
from triptych.record.events import Event, Exported, Previewed
from triptych.record.history import History
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
    assert last.data == Exported("tiny", LAST, "ema", "bf16", manifest.digest("ema"))
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


@pytest.mark.parametrize("tail", [b"", b'{"kind": "prog'])
def test_every_whole_event_of_a_record_comes_over(tail, runs, tmp_path):
    """Also the last one where its newline is missing, as after a crash."""
    torn = tmp_path / "torn"
    shutil.copytree(runs / "tiny", torn)
    whole = (torn / "record.jsonl").read_bytes()
    (torn / "record.jsonl").write_bytes(whole + tail if tail else whole[:-1])
    assert say("export", torn, "--format", "run", "--out", tmp_path / "out", "--quiet") == 0
    assert (tmp_path / "out" / "record.jsonl").read_bytes().startswith(whole + b'{"kind": "exported"')


def pictured(*names: str) -> History:
    """Return the history of a run whose previews have these names."""
    previews = [Previewed(1.0, name, "ddim:2", 1.0, 4, 0.1) for name in names]
    return History(
        tuple(Event("previewed", 1, 0, 0.0, preview) for preview in previews), Path("record.jsonl")
    )


def test_pictures_are_those_in_the_run_s_own_folders():
    inside = ("previews/a.png", "samples/b/grid.png", "evaluations/c.png", "samples/..b/ d.png")
    outside = (
        *(
            "../a.png",
            "/a.png",
            "previews/../../a.png",
            "previews/./a.png",
            "previews//a.png",
            "a.png",
            "previews",
        ),
        *(
            "checkpoints/epoch-00004/x.png",
            ".lock",
            "config.yaml",
            "..\\a.png",
            "previews\\a.png",
            "C:\\a.png",
        ),
        *("previews/C:a.png", "previews/..\\..\\a.png", "samples/a\0.png", ""),
    )
    assert list(pictures(pictured(*inside, *outside, *inside))) == list(inside)


def test_links_and_files_that_are_no_pictures_stay_there(runs, tmp_path):
    odd = tmp_path / "odd"
    shutil.copytree(runs / "tiny", odd)
    record = (odd / "record.jsonl").read_text()
    drawn = next(line for line in record.splitlines() if '"previewed"' in line)
    for name in ("link.png", "folder/picture.png", "text.png", "none.png"):
        event = json.loads(drawn)
        event["data"]["picture"] = f"previews/{name}"
        record += json.dumps(event) + "\n"
    (odd / "record.jsonl").write_text(record)
    secret = tmp_path / "outside" / "picture.png"
    secret.parent.mkdir()
    shutil.copyfile(next((runs / "tiny" / "previews").iterdir()), secret)
    (odd / "previews" / "link.png").symlink_to(secret)
    (odd / "previews" / "folder").symlink_to(secret.parent)
    (odd / "previews" / "text.png").write_text("no picture")
    assert say("export", odd, "--format", "run", "--out", tmp_path / "out", "--quiet") == 0
    here, there = (
        {path.name for path in (f / "previews").iterdir()} for f in (tmp_path / "out", runs / "tiny")
    )
    assert here == there


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        ("bf16", "float32", "bf16"),
        ("bf16", "bf16", "bf16"),
        ("fp16", "bf16", "fp16, bf16"),
        ("float32", "fp16", "fp16"),
    ],
)
def test_a_copy_of_a_copy_tells_all_that_its_weights_were_rounded_to(
    first, second, told, copied, tmp_path, capsys
):
    out, again = copied("--dtype", first), tmp_path / "again"
    assert say("export", out, "--format", "run", "--out", again, "--dtype", second, "--quiet") == 0
    assert Record.of_run(again).history().exported.dtype == told
    if second == "float32":  # nothing is made larger for nothing
        stored = read(again / FOLDER / LAST).tensors["ema"]
        assert {t.dtype for t in stored.values() if t.ndim > 1} == {torch.bfloat16}


def test_the_best_of_all_is_not_the_only_one_for_that(runs, copied, capsys):
    best = Record.of_run(runs / "tiny").history().best_held_out
    assert best.step > 6
    line = the_line(
        capsys, "sample", copied("--checkpoint", "epoch-2"), "--checkpoint", "best-mse", "--quiet"
    )
    assert "is not there; name one of epoch-00002" in line


def test_a_copy_without_its_model_is_told(copied, capsys):
    out = copied()
    shutil.rmtree(out / FOLDER / LAST)
    assert f"{LAST}: its folder is gone" in the_line(capsys, "verify", out, "--quiet")


def test_figures_of_rounded_weights_are_rows_of_their_own(copied, tmp_path, capsys):
    out = copied()
    row = ("--sampler", "ddim:2", "--guidance", "1", "--count", "20", "--force", "--quiet")
    assert say("evaluate", out, *row, "--metrics", "classifier_accuracy") == 0
    assert say("report", out, "--out", tmp_path / "report.md", "--quiet") == 0
    text = (tmp_path / "report.md").read_text()
    assert "| usual average |" in text
    assert "| usual average, bf16 |" in text


def test_a_copy_is_told_from_its_run(runs, copied, tmp_path):
    out = copied()
    assert say("report", runs / "tiny", out, "--out", tmp_path / "report.md", "--quiet") == 0
    overview = (tmp_path / "report.md").read_text()
    assert "| 1 | Diffusion Transformer, tiny |" in overview
    assert "| 2 | Diffusion Transformer, tiny (copy) |" in overview


def test_rows_of_a_run_and_its_copy_are_told_apart(runs, copied, capsys):
    out = copied(name="tiny")
    capsys.readouterr()
    row = ("--sampler", "ddim:2", "--guidance", "1", "--count", "20", "--force")
    assert say("evaluate", runs / "tiny", out, *row, "--metrics", "classifier_accuracy") == 0
    printed = capsys.readouterr().out
    assert f"{out}  {LAST}" in printed
    assert f"{runs / 'tiny'}  {LAST}" in printed


def test_info_tells_of_the_copy(copied, capsys):
    out = copied()
    capsys.readouterr()
    assert say("info", out) == 0
    printed = capsys.readouterr().out
    assert f"a copy of the run tiny: {LAST}, ema, bf16" in printed
    assert "time left" not in printed
    assert "checkpoints" not in printed


def test_the_next_command_is_one_that_the_copy_can_do(runs, tmp_path, capsys):
    several = tmp_path / "several"
    shutil.copytree(runs / "tiny", several)
    row = ("--sampler", "ddim:2", "--guidance", "1", "2", "--count", "20", "--force", "--quiet")
    rows = ("--checkpoint", "epoch-2", "last", "--ema", "ema", "none", "--metrics", "classifier_accuracy")
    assert say("evaluate", several, *row, *rows) == 0
    out = tmp_path / "out"
    chosen = ("--checkpoint", "epoch-2", "--quiet")
    assert say("export", several, "--format", "run", "--out", out, *chosen) == 0
    assert say("report", out, "--out", tmp_path / "report.md", "--quiet") == 0
    (line,) = [
        line for line in (tmp_path / "report.md").read_text().splitlines() if line.startswith("triptych ")
    ]
    assert "--checkpoint" not in line and "--ema" not in line
    verb, _, *options, _, _ = shlex.split(line)[1:]
    assert (verb, say(verb, out, *options, "--count", "10", "--quiet")) == ("sample", 0)


@pytest.mark.filterwarnings("default")
def test_a_guide_that_the_copy_cannot_follow_is_told(runs, tmp_path, capsys):
    led = tmp_path / "led"
    shutil.copytree(runs / "tiny", led)
    config = (led / "config.yaml").read_text().replace("guide: cfg\n", "guide: cfg,against=epoch-2\n", 1)
    (led / "config.yaml").write_text(config)
    capsys.readouterr()
    assert say("export", led, "--format", "run", "--out", tmp_path / "out", "--quiet") == 0
    assert "its recipe guides against epoch-2, which the copy does not hold" in capsys.readouterr().err


def test_a_run_needs_no_import(copied, tmp_path, capsys):
    line = the_line(capsys, "import", copied(), "--runs", tmp_path / "runs")
    assert "it is a run already; sample or evaluate it where it lies" in line


def test_it_is_not_put_into_the_run(runs, capsys):
    line = the_line(capsys, "export", runs / "tiny", "--format", "run", "--out", runs / "tiny" / "inside")
    assert "it lies in the run itself" in line
    assert not (runs / "tiny" / "inside").exists()


def test_a_broken_copy_is_to_be_restored(copied, capsys):
    out = copied()
    (out / FOLDER / LAST / "ema.safetensors").write_bytes(b"")
    line = the_line(capsys, "sample", out, "--quiet")
    assert "ema.safetensors has 0 bytes" in line and "restore" in line and "name one of" not in line


@pytest.mark.parametrize(
    ("tokens", "told"),
    [
        (("--max-file-mb", "0"), "--max-file-mb 0: out of range"),
        (("--max-file-mb", "nan"), "--max-file-mb nan: out of range"),
        (("--max-file-mb", "0.0005"), "alone takes 4,355 bytes; say --max-file-mb 0.005 or more"),
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
    found = read(large / FOLDER / LAST)
    name = next(name for name, tensor in found.tensors["ema"].items() if tensor.ndim > 1)
    found.tensors["ema"][name][0] = 1e6
    write(large / FOLDER, LAST, Contents(found.tensors, found.state))
    out = ("--format", "run", "--out", tmp_path / "out")
    line = the_line(capsys, "export", large, *out, "--dtype", "fp16")
    assert f"{name} has numbers that are too large for it; choose bf16 or float32" in line
    assert not (tmp_path / "out").exists()
    assert say("export", large, *out, "--quiet") == 0
