"""A run is measured and trained on with its own images, wherever they lie, and with no others."""

import shutil

import numpy as np
import pytest
from PIL import Image

from triptych.cli import main

TINY = [
    *(
        "--backbone.patch",
        "1",
        "--backbone.width",
        "4",
        "--backbone.multipliers",
        "1",
        "--backbone.groups",
        "2",
    ),
    *(
        "--backbone.attention",
        "8",
        "--data.image-size",
        "8",
        "--training.batch-size",
        "16",
        "--device",
        "cpu",
    ),
    *("--training.preview-every", "0", "--training.held-out-count", "8", "--sampling.sampler", "ddim:2"),
]


def pictures(folder, seed=0, names=("cat", "dog")):
    """Write 40 pictures of each class to train on, and 20 held out."""
    draw = np.random.default_rng(seed)
    for split, count in (("train", 40), ("test", 20)):
        for name in names:
            (folder / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = draw.integers(0, 256, (8, 8, 3), np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{i:02d}.png")
    return folder


def train(runs, data, *extra):
    arguments = ["train", "cifar10-unet-small", "--name", "r", "--runs", str(runs), "--quiet", *TINY]
    return main([*arguments, "--data.path", str(data), *extra])


@pytest.fixture
def trained(tmp_path, monkeypatch):
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path / "cache"))
    pictures(tmp_path / "mine")
    assert train(tmp_path / "runs", tmp_path / "mine", "--training.max-steps", "2") == 0
    return tmp_path / "runs" / "r"


def evaluate(run, *extra):
    return main(["evaluate", str(run), "--count", "40", "--force", "--quiet", *extra])


def test_images_may_move(trained, tmp_path, capsys):
    shutil.move(tmp_path / "mine", tmp_path / "elsewhere")
    assert evaluate(trained) == 2
    assert "its images lay in" in capsys.readouterr().err
    assert evaluate(trained, "--data.path", str(tmp_path / "elsewhere")) == 0
    assert train(tmp_path / "runs", tmp_path / "elsewhere", "--training.max-steps", "4") == 0


def other(folder):
    pictures(folder, seed=1)


def other_test_split(folder):
    pictures(folder)
    shutil.rmtree(folder / "test")
    shutil.copytree(pictures(folder.parent / "aside", seed=1) / "test", folder / "test")


def other_names(folder):
    pictures(folder, names=("cat", "hound"))


@pytest.mark.parametrize(
    ("change", "told"),
    [(other, "training images"), (other_test_split, "held-out images"), (other_names, "classes were called")],
)
def test_other_images_are_refused_in_one_line(trained, tmp_path, capsys, change, told):
    shutil.rmtree(tmp_path / "mine")
    change(tmp_path / "mine")
    record = (trained / "record.jsonl").read_bytes()
    capsys.readouterr()
    for command in (lambda: evaluate(trained), lambda: train(tmp_path / "runs", tmp_path / "mine")):
        assert command() == 2
        line = capsys.readouterr().err
        assert line.count("\n") == 1
        assert told in line
    assert (trained / "record.jsonl").read_bytes() == record


@pytest.mark.parametrize(("limit", "more"), [("max-steps", "2"), ("epochs", "1")])
def test_the_end_of_training_names_the_limit_that_was_reached(trained, tmp_path, capsys, limit, more):
    arguments = ["train", "cifar10-unet-small", "--name", limit, "--runs", str(tmp_path / "runs"), *TINY]
    arguments += ["--data.path", str(tmp_path / "mine"), f"--training.{limit}", more]
    assert main(arguments) == main(arguments) == 0
    assert f"more --training.{limit} would go on" in capsys.readouterr().err
