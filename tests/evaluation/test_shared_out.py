"""The images of an evaluation are shared out between processes, and its figures are those of one process."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from commands.command_line import say, the_line
from evaluation.test_measure import Pooled, drawn
from training.test_ranks import finished, torchrun
from training.tiny import train

from triptych.data import digits
from triptych.distributed import Ranks
from triptych.evaluation.measure import figures, measure, measure_together, metrics_for
from triptych.evaluation.reference import real_features, reference_features
from triptych.record.events import Evaluated
from triptych.record.record import Record

ASK = ("--sampler", "ddim:2", "--guidance", "1", "2", "--count", "80", "--batch-size", "20")


class Gathered(Ranks):
    """A rank that is told what the others found."""

    def gather(self, value):
        return [*OTHERS, value] if self.first else OTHERS.append(value) or []


OTHERS: list = []


@pytest.mark.parametrize("labelled", [True, False])
def test_features_of_three_ranks_are_those_of_one_to_the_last_bit(labelled):
    """Rank by rank, the last one first, with a batch that ends where a share does."""
    OTHERS.clear()
    dataset, metrics = digits.load(), metrics_for("classifier")
    batches = drawn(dataset, 200, labelled, size=10)
    for rank in (1, 2):
        mine = [batches[place] for place in Ranks(rank, 3).share(20)]
        assert len(measure_together(mine, Pooled(), "cpu", metrics, Gathered(rank, 3))) == 0
    mine = [batches[place] for place in Ranks(0, 3).share(20)]
    shared = measure_together(mine, Pooled(), "cpu", metrics, Gathered(0, 3))
    alone = measure([*batches[6:], *batches[:6]], Pooled(), "cpu", metrics)
    reference = reference_features(dataset, Pooled(), "cpu")
    real = real_features(dataset, alone, Pooled(), "cpu")
    assert figures(shared, reference, real) == figures(alone, reference, real)
    assert torch.equal(shared.index, torch.arange(200))


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
    code, said = finished(torchrun(ranks, "-m", "triptych", *command))
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
        for a, b in zip(row.figures, one.figures, strict=True):
            # A third of the images is no whole number of batches, and other batches round otherwise.
            tolerance = 1e-6 if ranks == 2 else 1e-3
            assert (a.metric, a.n, a.real) == (b.metric, b.n, b.real)
            assert a.estimate == pytest.approx(b.estimate, rel=tolerance)
            assert a.spread == pytest.approx(b.spread, rel=10 * tolerance)
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
    code, said = finished(torchrun(2, "-m", "triptych", "evaluate", run, "--ema", "fast"))
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
