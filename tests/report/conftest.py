"""Runs that several tests report on."""

import copy
import shutil

import pytest
from report.synthetic_run import RunWriter, fid, inception_score

from triptych.record.record import Record
from triptych.report.assets import Assets


@pytest.fixture(scope="session")
def mamba_template(tmp_path_factory):
    """The log's conditional Mamba: 2,500 epochs, extended by 1,500, sampled and evaluated."""
    run = RunWriter(tmp_path_factory.mktemp("template") / "cifar10-dim-cfg", epochs=2500)
    run.train(range(50, 2501, 50))
    run.finish(2500, total=36 * 3600 + 49 * 60 + 25.928)
    run.resume(2500, epochs=(2500, 4000))
    run.train(range(2550, 4001, 50))
    run.finish(4000, total=22 * 3600 + 16 * 60 + 42.744)
    run.sample(4000, "ddim:50", 25.9995, gif=True)
    run.sample(4000, "ddpm:1000", 406.346)
    run.evaluate(3350, (fid(15.999), inception_score(8.745, 0.192)), took=27957.8)
    run.evaluate(4000, (fid(13.131), inception_score(9.038, 0.338)))
    run.evaluate(3350, (fid(12.090), inception_score(7.81, 0.19)), guidance=1.8)
    return run


@pytest.fixture
def mamba(mamba_template, tmp_path):
    """A copy of that run, to be written on."""
    run = copy.copy(mamba_template)
    run.folder = tmp_path / "runs" / run.folder.name
    shutil.copytree(mamba_template.folder, run.folder)
    run.record = Record(run.folder / "record.jsonl")
    return run


@pytest.fixture(autouse=True)
def quick_pictures(monkeypatch):
    """Leave pictures undrawn: one takes longer than all the rest of a report."""
    with monkeypatch.context() as patched:
        patched.setattr(Assets, "draw", lambda self, run, name, draw: self.path(run, name))
        yield patched


@pytest.fixture
def true_pictures(quick_pictures):
    """Draw pictures after all."""
    quick_pictures.undo()
