"""What the user can get wrong, told in one line before anything is drawn or written."""

from dataclasses import replace
from pathlib import Path

import pytest
from training.tiny import train

from triptych.cli import main
from triptych.metrics.extractors import EXTRACTORS


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    assert train(runs) == 0
    return runs / "tiny"


@pytest.fixture
def never_drawn(monkeypatch):
    """Fail where an image is drawn after all, or the classifier is trained that would judge it."""

    def refuse(*args, **options):
        raise AssertionError("an image was drawn, or a classifier trained")

    available = replace(EXTRACTORS["classifier"], make=refuse)
    monkeypatch.setitem(EXTRACTORS, "classifier", available)
    monkeypatch.setattr("triptych.evaluation.drawing.generate", refuse)
    monkeypatch.setattr("triptych.commands.sample_pictures.generate", refuse)


def the_line(capsys, *tokens):
    """Return the one line that the program says about a mistake."""
    capsys.readouterr()
    assert main([str(token) for token in tokens]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


@pytest.mark.parametrize(
    ("tokens", "told"),
    [
        (["--device", "meta"], "choose auto, cpu, cuda, mps"),
        (["--sampler", "ddim:99999999999"], "at most 100,000"),
        (["--steps", "99999999999"], "choose 1 to 100,000"),
        (["--sampler", "ddpm", "--eta", "0.5"], "it has no option 'eta'"),
        (["--sampler", "ddim:4,eta=0.5", "--eta", "0.6"], "two values of eta"),
        (["--sampler", "ddim:4,eta=0.5", "ddim:2000", "--spacing", "leading"], "the schedule has 1000"),
        (["--spacing", "random"], "choose from trailing, leading"),
        (["--checkpoint", "last", "epoch-9"], "name one of"),
        (["--guidance", "0", "1", "--count", "10"], "takes at least"),
        (["--count", "5"], "takes at least 65"),
        (["--count", "0"], "--count 0: less than 1"),
    ],
)
def test_evaluation_is_refused_before_the_first_image(tokens, told, run, never_drawn, capsys):
    record = (run / "record.jsonl").read_bytes()
    assert told in the_line(capsys, "evaluate", run, *tokens)
    assert (run / "record.jsonl").read_bytes() == record


@pytest.mark.parametrize(
    ("tokens", "told"),
    [
        (["--device", "meta"], "choose auto, cpu, cuda, mps"),
        (["--sampler", "ddpm", "--eta", "0.5"], "it has no option 'eta'"),
        (["--classes", "3", "--guidance", "0"], "draws no class"),
        (["--out", "{file}"], "file exists"),
        (["--out", "{file}/inside"], "not a directory"),
        (["--out", "/proc/x"], "no such file"),
    ],
)
def test_sampling_is_refused_before_the_first_image(tokens, told, run, never_drawn, tmp_path, capsys):
    file = tmp_path / "file"
    file.write_text("mine")
    tokens = [token.format(file=file) for token in tokens]
    assert told in the_line(capsys, "sample", run, *tokens)
    assert file.read_text() == "mine"


@pytest.mark.parametrize(
    ("out", "told"),
    [
        ("{file}", "file exists"),
        ("{file}/E.md", "file exists"),
        ("{folder}", "is a directory"),
        ("/proc/x/y.md", "no such file"),
    ],
)
def test_a_report_that_cannot_be_written(out, told, run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("triptych.report.assets.Assets.draw", lambda self, run, name, draw: None)
    file, folder = tmp_path / "file", tmp_path / "folder.md"
    file.write_text("mine")
    folder.mkdir()
    assert told in the_line(capsys, "report", run, "--out", out.format(file=file, folder=folder))
    assert file.read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.md"]


@pytest.mark.parametrize("name", ["", "E.md", "E.html", "folder"])
@pytest.mark.parametrize(("language", "usual"), [("en", "EXPERIMENTS"), ("zh", "EXPERIMENTS.zh")])
def test_the_printed_paths_are_the_files_that_were_written(
    name, language, usual, run, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("triptych.report.assets.Assets.draw", lambda self, run, name, draw: None)
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    out = ["--out", name] if name else []
    assert main(["report", str(run), "--language", language, *out]) == 0
    written = [tmp_path / line for line in capsys.readouterr().out.splitlines()]
    assert all("tiny" in path.read_text(encoding="utf-8") for path in written)
    both = [Path(name, f"{usual}.md"), Path(name, f"{usual}.html")]
    assert written == [tmp_path / path for path in ([name] if "." in name else both)]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"seed: 2024-13-45", "a date that there is not"),
        (b"seed: !!int x", "does not fit its tag"),
        (b"seed: !!bool x", "does not fit its tag"),
        (b"seed: !!timestamp x", "does not fit its tag"),
        (b"a: &a {b: *a}", "without end"),
        (b"a: " + b"[" * 5000, "without end"),
        (b"name: \xff\xfe", "not a text file"),
    ],
)
def test_malformed_recipes(text, told, tmp_path, capsys):
    recipe = tmp_path / "mine.yaml"
    recipe.write_bytes(text)
    assert told in the_line(capsys, "train", recipe, "--runs", tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("tokens", "told"),
    [
        (["--backbone.width", "9", "--backbone.groups", "3"], "even number"),
        (["--backbone.width", "-8", "--backbone.groups", "1"], "even number"),
        (["--device", "meta"], "choose auto, cpu, cuda, mps"),
        (["--training.preview-sampler", "ddim:99999999999"], "at most 100,000"),
        (["--sampling.sampler", "ddpm:5,eta=1"], "it has no option 'eta'"),
    ],
)
def test_fields_that_cannot_be_trained_with(tokens, told, tmp_path, capsys):
    assert told in the_line(capsys, "train", "digits-unet", "--runs", tmp_path, "--quiet", *tokens)
    assert not list(tmp_path.rglob("record.jsonl"))
