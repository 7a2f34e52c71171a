"""The images of an evaluation are shared out between processes, and its figures are those of one process."""

import json
import shutil
from dataclasses import replace

import pytest
from commands.command_line import say, the_line
from ranks import forked
from training.tiny import train

from triptych.record.events import Evaluated
from triptych.record.record import Record

ASK = ("--sampler", "ddim:2", "--guidance", "1", "2", "--count", "80", "--batch-size", "20")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    assert train(folder, "--training.max-steps", "4", "--training.preview-every", "0") == 0
    return folder / "tiny"


@pytest.fixture
def run(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    return tmp_path / "run"


def rows_of(run):
    return [event.data for event in Record.of_run(run).history().of_kind(Evaluated)]


def together(ranks, *command):
    """Return what the processes said, on both streams."""
    code, said = forked(ranks, "-m", "triptych", *command)
    assert code == 0, said
    return said


@pytest.mark.parametrize("ranks", [2, 3])
def test_figures_of_many_ranks_are_those_of_one(run, trained, tmp_path, ranks):
    alone = tmp_path / "alone"
    shutil.copytree(trained, alone)
    assert say("evaluate", alone, *ASK, "--quiet") == 0
    said = together(ranks, "evaluate", run, *ASK)
    assert said.count("2 rows of 80 images") == 1
    found, wanted = rows_of(run), rows_of(alone)
    assert len(found) == len(wanted) == 2  # of all ranks one has recorded them
    for row, one in zip(found, wanted, strict=True):
        assert row.passport.device == replace(one.passport.device, used=ranks)
        assert row.figures == one.figures  # to the last bit: batches are dealt out whole
        assert (row.network_calls, row.batch_size) == (one.network_calls, 20)
        assert row.generation_took > 0
        assert row.measuring_took > 0


def test_what_one_process_measured_many_do_not_measure_again(run):
    assert say("evaluate", run, *ASK, "--quiet") == 0
    said = together(2, "evaluate", run, *ASK, "--json")
    told = json.loads(said[said.index("[\n") : said.rindex("]") + 1])
    assert [row["passport"]["guidance"] for row in told] == [1, 2]
    assert said.count("(from the record)") == 2
    assert len(rows_of(run)) == 2


def test_fewer_images_than_ranks(run):
    together(3, "evaluate", run, "--sampler", "ddim:2", "--count", "2", "--guidance", "0", "--force")
    (row,) = rows_of(run)
    assert (row.passport.count, row.network_calls) == (2, 2)


def test_a_mistake_is_told_once(run):
    code, said = forked(2, "-m", "triptych", "evaluate", run, "--ema", "fast")
    assert code != 0
    assert said.count("triptych: --ema fast of checkpoint") == 1


def test_samples_are_drawn_by_one_process(run, capsys, monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    line = the_line(capsys, "sample", run)
    found = "2 processes were started, of which each would draw all images; start it without torchrun"
    assert line == f"triptych: triptych sample by torchrun: {found}"
    assert not (run / "samples").exists()
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert say("sample", run, "--sampler", "ddim:2", "--count", "2", "--quiet") == 0
