"""Several runs draw the same images: each its own grid, and one picture that shows them side by side."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from commands.command_line import say, the_line
from PIL import Image
from training.tiny import train

from triptych.commands.bout import LONGEST_NAME, common_parent, joined
from triptych.record.events import Sampled
from triptych.record.record import Record
from triptych.record.side_by_side import side_by_side

ASK = ("--sampler", "ddim:3", "--guidance", "2", "--per-class", "2")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    usual = ("--sampling.sampler", "ddim:2", "--sampling.guidance", "3", "--sampling.per-class", "1")
    short = ("--training.max-steps", "2", "--training.preview-every", "0")
    assert train(folder, *short, *usual, name="a") == 0
    assert train(folder, *short, "--backbone.width", "8", name="b") == 0
    assert train(folder, *short, "--conditional", "False", name="free") == 0
    return folder


@pytest.fixture
def runs(trained, tmp_path, monkeypatch):
    """Return a copy of the runs, in the working folder."""
    shutil.copytree(trained, tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    return Path("runs")


def told(capsys, *tokens):
    capsys.readouterr()
    assert say("sample", *tokens, "--json") == 0
    return json.loads(capsys.readouterr().out)


def drawn(run):
    return [event.data for event in Record.of_run(run).history().of_kind(Sampled)]


def size(path):
    with Image.open(path) as picture:
        return picture.size


def test_one_picture_of_both_beside_the_grid_of_each(runs, capsys):
    alone = [told(capsys, runs / name, *ASK)[0] for name in "ab"]
    grids = [Path(each["grid"]).read_bytes() for each in alone]
    together = told(capsys, runs / "a", runs / "b", *ASK)
    assert [each["run"] for each in together] == ["runs/a", "runs/b"]
    assert [each["grid"] for each in together] == [each["grid"] for each in alone]
    assert [Path(each["grid"]).read_bytes() for each in together] == grids
    (picture,) = {each["side_by_side"] for each in together}
    what = "epoch-00000-step-00000002-ddim-3-scale-2-seed-0-2-per-class"
    assert picture == f"runs/bout-a-b/{what}/side-by-side.png"
    assert size(picture)[0] > 1.8 * 2 * 64
    assert {each["side_by_side"] for each in alone} == {None}
    for name in "ab":
        before, event = drawn(runs / name)
        assert before.side_by_side is None
        assert event.side_by_side == f"../bout-a-b/{what}/side-by-side.png"
        assert (runs / name / event.side_by_side).is_file()


def test_the_picture_shows_what_each_run_drew(runs, capsys):
    """Blocks of pixels large enough to be found again: the same images in rows of classes as in the grids."""
    told(capsys, runs / "a", runs / "b", *ASK, "--out", "out")
    with Image.open("out/side-by-side.png") as picture:
        shared = np.asarray(picture)
    for name in "ab":
        with Image.open(f"out/{name}/grid.png") as picture:
            grid = np.asarray(picture)
        label = grid.shape[1] - 12 - 2 * 64 - 4  # margin, two images and a gap from the right
        wanted = grid[12 : 12 + 64, label : label + 64]
        spots = np.argwhere(shared[: -64 + 1, : -64 + 1] == wanted[0, 0])
        assert any((shared[y : y + 64, x : x + 64] == wanted).all() for y, x in spots), name


def test_a_picture_for_every_sampler_and_scale(runs, capsys):
    several = ("--sampler", "ddim:2", "ddpm:2", "--guidance", "1", "3", "--per-class", "1")
    pictures = [each["side_by_side"] for each in told(capsys, runs / "a", runs / "b", *several)]
    assert pictures[::2] == pictures[1::2]
    assert len(set(pictures)) == 4
    assert all(map(os.path.isfile, pictures))
    inside = told(capsys, runs / "a", runs / "b", *several, "--out", "out")
    assert len({each["side_by_side"] for each in inside} | {each["grid"] for each in inside}) == 4 + 8
    assert all(Path(each["grid"]).parts[:2] in (("out", "a"), ("out", "b")) for each in inside)


def test_what_is_left_open_is_as_in_the_recipe_of_the_first(runs, capsys):
    assert say("sample", runs / "a", runs / "b", "--quiet") == 0
    assert say("sample", runs / "b", runs / "a", "--quiet") == 0
    asked = [[(s.sampler, s.guidance, s.per_class) for s in drawn(runs / name)] for name in "ab"]
    assert asked[0] == asked[1] == [("ddim:2", 3, 1), ("ddim:50", 1.25, 8)]


def test_images_without_classes_stand_in_one_block(runs, capsys):
    both = (runs / "a", runs / "free", "--guidance", "0", "--count", "9", "--sampler", "ddim:2")
    (picture, _) = (each["side_by_side"] for each in told(capsys, *both))
    assert "scale-0-seed-0-n-9" in picture
    counted = told(capsys, runs / "a", runs / "b", "--count", "9", "--guidance", "1", "--sampler", "ddim:2")
    assert size(counted[0]["side_by_side"])[0] == size(picture)[0] > 2 * 3 * 64


def test_what_is_printed(runs, capsys):
    capsys.readouterr()
    assert say("sample", runs / "a", runs / "b", *ASK) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.rpartition("/")[2] for line in lines[::2]] == ["grid.png", "grid.png", "side-by-side.png"]
    assert all(os.path.isfile(line) for line in lines[::2])


def recorded_data(**fields):
    """Return a function that changes what the record of a run says of its images."""

    def change(run):
        first, *rest = (run / "record.jsonl").read_text().splitlines(keepends=True)
        event = json.loads(first)
        event["data"]["data"] |= fields
        (run / "record.jsonl").write_text("".join([json.dumps(event) + "\n", *rest]))

    return change


OTHER_NAMES = ["0", "1", "2", "three", *"456789"]
other_classes = recorded_data(class_names=OTHER_NAMES)
other_size = recorded_data(image_size=16)
other_images = recorded_data(name="letters", digest="ab" * 32, train_images=1000)
other_version = recorded_data(digest="ab" * 32)


@pytest.mark.parametrize(
    ("change", "names", "extra", "line"),
    [
        (None, "a a", (), "given twice"),
        (None, "a free", (), "add --guidance 0"),
        (None, "a free", ("--guidance", "0", "1"), "add --guidance 0"),
        (None, "a missing", (), "there is no such folder"),
        (other_classes, "a b", (), "the classes of digits are not those of digits"),
        (other_size, "a b", (), "images of 1 x 8 x 8, the other of 1 x 16 x 16"),
        (other_images, "a b", (), "the other on letters (1,000 images, sha256 abababababab)"),
        (other_images, "a b", ("--guidance", "0"), "the one was trained on digits (1,442 images, sha256 "),
        (recorded_data(digest="ab" * 32, class_names=OTHER_NAMES), "a b", (), "draw from them one by one"),
        (None, "a b", ("--sampler", "ddim:2000", "--spacing", "leading"), "the schedule has 1000"),
        (None, "a b", ("--checkpoint", "epoch-9"), "name one of"),
        (None, "a b", ("--out", "runs/a/record.jsonl"), "file exists"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_is_drawn(
    change, names, extra, line, runs, monkeypatch, capsys
):
    def refuse(*args, **options):
        raise AssertionError("an image was drawn")

    monkeypatch.setattr("triptych.commands.sample_pictures.generate", refuse)
    if change:
        change(runs / "b")
    before = {path: path.read_bytes() for path in runs.rglob("record.jsonl")}
    assert line in the_line(capsys, "sample", *(runs / name for name in names.split()), *extra)
    assert {path: path.read_bytes() for path in runs.rglob("record.jsonl")} == before
    assert not list(Path().rglob("*.png"))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (recorded_data(name="the-same-elsewhere"), ""),
        (other_version, "; trained on 2 versions of digits"),
        (recorded_data(digest="", held_out_digest=""), ""),  # as of a model that was trained elsewhere
    ],
)
def test_runs_of_the_same_images_or_versions_of_them_are_compared(change, told, runs, monkeypatch, capsys):
    captions = []

    def see(*args, caption, **options):
        captions.append(caption)
        return side_by_side(*args, caption=caption, **options)

    monkeypatch.setattr("triptych.commands.bout.side_by_side", see)
    change(runs / "b")
    assert say("sample", runs / "a", runs / "b", *ASK, "--quiet") == 0
    assert captions == [
        f"ddim:3, guidance 2, seed 0; the same noise and class in the same place of every block{told}"
    ]


def test_runs_that_call_themselves_alike_are_told_apart_by_their_folders(runs, capsys):
    shutil.copytree(runs / "a", Path("elsewhere") / "a")
    both = told(capsys, runs / "a", "elsewhere/a", *ASK)
    picture = Path(both[0]["side_by_side"])
    assert picture.parts[0] == "bout-runs-a-elsewhere-a"
    assert size(picture)[0] > size(both[0]["grid"])[0]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_report_shows_the_picture_once(runs, language, capsys):
    told(capsys, runs / "a", runs / "b", *ASK)
    out = Path("docs") / "record.md"
    ask = ("report", runs / "a", runs / "b", "--out", out, "--language", language, "--quiet")
    assert say(*ask) == 0
    text = out.read_text()
    (source,) = [line.split('"')[1] for line in text.splitlines() if "side-by-side" in line]
    assert (out.parent / source).is_file()
    assert text.index(source) < text.index("samples/")
    assert say("report", runs / "a", "--out", out, "--quiet") == 0
    assert "side-by-side" not in out.read_text()


def test_a_star_means_the_runs_and_not_what_lies_beside_them(runs, capsys):
    shutil.rmtree(runs / "free")
    told(capsys, runs / "a", runs / "b", *ASK)
    everything = sorted(runs.iterdir())
    assert len(everything) == 3
    assert [each["run"] for each in told(capsys, *everything, *ASK)] == ["runs/a", "runs/b"]
    assert say("report", *everything, "--quiet") == 0
    assert say("info", *everything, "--json") == 0
    assert [each["name"] for each in json.loads(capsys.readouterr().out)] == ["runs/a", "runs/b"]
    for verb in ("sample", "report", "info"):
        assert the_line(capsys, verb, runs / "bout-a-b")
    assert "there is no such folder" in the_line(capsys, "report", runs / "a", runs / "bout-a-c")


def test_a_run_behind_a_link_names_the_picture_from_where_it_is(runs, capsys):
    real = Path("disk") / "b"
    real.parent.mkdir()
    shutil.move(runs / "b", real)
    (runs / "b").symlink_to(real.resolve())
    (picture, _) = (each["side_by_side"] for each in told(capsys, runs / "a", runs / "b", *ASK))
    assert picture.startswith("runs/bout-a-b/")
    assert (real / drawn(real)[-1].side_by_side).resolve() == Path(picture).resolve()
    assert say("report", runs / "a", runs / "b", "--out", "r.md", "--quiet") == 0
    assert f'src="{picture}"' in Path("r.md").read_text()


def test_runs_with_older_configurations_are_drawn_too(runs, capsys):
    """A copy under another name keeps the name that its configuration has."""
    shutil.move(runs / "b", runs / "c")
    assert yaml.safe_load((runs / "c" / "config.yaml").read_text())["name"] == "b"
    assert "bout-a-c" in told(capsys, runs / "a", runs / "c", *ASK)[0]["side_by_side"]


def test_many_names_are_abridged_and_still_told_apart():
    names = [f"cifar10-unet-variant-{i}" for i in range(20)]
    assert joined(["a", "b"]) == "a-b"
    assert len({joined(names), joined(names[::-1]), joined(names[1:])}) == 3
    assert len(joined(["图" * 300, "b"]).encode()) <= LONGEST_NAME


def test_the_common_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert common_parent([Path("runs/a"), Path("runs/b")]) == Path("runs")
    assert common_parent([Path("a"), Path("runs/b")]) == Path()
    assert common_parent([tmp_path / "x" / "a", tmp_path / "y" / "b"]) == Path()
    assert common_parent([Path("../a"), Path("../b")]) == tmp_path.parent
