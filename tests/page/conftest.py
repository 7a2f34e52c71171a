"""Runs that the page shows: a tiny one that can draw, and synthetic ones that are records alone."""

import shutil

import pytest
from PIL import Image
from report.synthetic_run import RunWriter, fid
from training.tiny import train

from triptych.page.shelf import Shelf


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """The folder of a tiny run, trained for a few steps, with previews."""
    place = tmp_path_factory.mktemp("trained")
    assert train(place) == 0
    return place / "tiny"


@pytest.fixture
def runs(tmp_path, trained):
    """A folder with a run that can draw, and one of a log with samples and evaluations."""
    folder = tmp_path / "runs"
    shutil.copytree(trained, folder / "tiny")
    log = RunWriter(folder / "log", epochs=100)
    log.train(range(50, 101, 50))
    log.sample(100, "ddim:50", 2.0, gif=True)
    for name in ("png", "gif"):
        (folder / "log" / "samples").mkdir(exist_ok=True)
        Image.new("L", (8, 8), 9).save(folder / "log" / "samples" / f"epoch-00100 ddim-50.{name}")
    log.evaluate(100, (fid(9.0),))
    log.evaluate(100, (fid(8.0),), guidance=1.5)
    log.evaluate(50, (fid(7.5),), count=50_000)
    return folder


@pytest.fixture
def shelf(runs):
    return Shelf(runs)
