"""Which weights of a checkpoint a word means, and that images, passports and tables are of those."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from checkpoints.test_manifest import rewrite
from commands.command_line import say, the_line
from training.tiny import checkpoint, train

from triptych.checkpoints.contents import Contents
from triptych.checkpoints.find import FOLDER
from triptych.checkpoints.write import write
from triptych.errors import UserError
from triptych.evaluation.weights import part_of, recorded_name
from triptych.record.events import Evaluated, Sampled
from triptych.record.record import Record
from triptych.runs import Run

WEIGHTS = {"w": torch.zeros(1)}


def saved(root: Path, *parts: str, name: str = "epoch-00003", **state: object) -> Path:
    return write(root, name, Contents(dict.fromkeys(parts, WEIGHTS), {"epoch": 3} | state))


def measured(name: str, weights: str | None) -> dict:
    return {"epoch": 3, "checkpoint": name, "mse": 0.1} | ({"weights": weights} if weights else {})


@pytest.mark.parametrize(
    ("wanted", "part"),
    [("ema", "ema"), ("ema_long", "ema_long"), ("none", "weights"), ("raw", "weights"), ("best", "ema_long")],
)
def test_words_and_parts(tmp_path: Path, wanted: str, part: str):
    history = [measured("epoch-00002", "ema"), measured("epoch-00003", "ema_long")]
    folder = saved(tmp_path, "ema", "ema_long", "weights", "optimizer", held_out=history)
    assert part_of(folder, wanted) == part
    assert recorded_name(part) == ("raw" if part == "weights" else part)


@pytest.mark.parametrize(
    ("history", "part"),
    [
        ([measured("epoch-00003", None)], "ema"),  # by a version that had no other
        ([measured("epoch-3", "ema_long")], "ema_long"),
        ([measured("epoch-00003", "ema"), measured("epoch-00003", "ema_long")], "ema_long"),  # taken again
    ],
)
def test_the_better_average_is_the_one_that_the_state_names(tmp_path: Path, history: list, part: str):
    assert part_of(saved(tmp_path, "ema", "ema_long", held_out=history), "best") == part


@pytest.mark.parametrize(
    "history",
    [
        [],
        None,
        "epoch-00003",
        [3, None, {}],
        [measured("epoch-00002", "ema")],
        [measured("epoch-00003", "optimizer")],
        [measured("epoch-00003", "weights")],
    ],
)
def test_what_was_not_measured_is_not_the_best(tmp_path: Path, history: object):
    folder = saved(tmp_path, "ema", "ema_long", "weights", "optimizer", held_out=history)
    with pytest.raises(UserError, match=r"no held-out error was measured there; choose from ema, ema_long$"):
        part_of(folder, "best")


def test_a_single_average_is_the_best(tmp_path: Path):
    assert part_of(saved(tmp_path, "ema", "weights"), "best") == "ema"


@pytest.mark.parametrize(
    ("parts", "wanted", "told"),
    [
        (("ema", "ema_long"), "none", "it holds ema, ema_long; choose from ema, ema_long, best"),
        (("ema",), "ema_long", "it holds ema; choose from ema, best"),
        (("ema", "optimizer"), "optimizer", "it holds ema, optimizer; choose from ema, best"),
        (("weights",), "best", "it holds weights; choose from none"),
        (("weights",), "ema", "it holds weights; choose from none"),
        ((), "ema", "it holds no weights; choose another checkpoint"),
        (("ema",), "fast", "--ema fast of checkpoint"),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(tmp_path: Path, parts: tuple, wanted: str, told: str):
    with pytest.raises(UserError, match=re.escape(told)):
        part_of(saved(tmp_path, *parts), wanted)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    few = ("--training.keep-full", "1", "--training.epochs", "4", "--training.preview-every", "0")
    assert train(folder, *few) == 0
    return folder


@pytest.fixture
def run(runs, tmp_path) -> Path:
    shutil.copytree(runs / "tiny", tmp_path / "tiny")
    return tmp_path / "tiny"


def answer(capsys, *tokens):
    capsys.readouterr()
    assert say(*tokens, "--json") == 0
    return json.loads(capsys.readouterr().out)


def events(run, payload):
    return [event.data for event in Record.of_run(run).history().of_kind(payload)]


def better(runs) -> str:
    """Return the average with the lower held-out error at the newest checkpoint of the tiny run."""
    return checkpoint(runs, "epoch-00004").state["held_out"][-1]["weights"]


@pytest.mark.parametrize("wanted", ["ema", "ema_long", "none", "best"])
def test_a_model_has_the_weights_that_were_asked_for(runs, wanted):
    model = Run(runs / "tiny").model("last", wanted, "cpu")
    part = better(runs) if wanted == "best" else {"none": "weights"}.get(wanted, wanted)
    assert model.weights == {"weights": "raw"}.get(part, part)
    for name, tensor in checkpoint(runs, "epoch-00004").tensors[part].items():
        assert torch.equal(model.denoiser.backbone.state_dict()[name], tensor)


SMALL = ("--sampler", "ddim:2", "--guidance", "1")


def test_samples_of_unlike_weights_are_recorded_and_kept_apart(run, capsys):
    grids = []
    for wanted in ("ema", "ema_long", "none"):
        (told,) = answer(capsys, "sample", run, *SMALL, "--per-class", "1", "--ema", wanted)
        grids.append(told["grid"])
    assert [sampled.weights for sampled in events(run, Sampled)] == ["ema", "ema_long", "raw"]
    assert len({Path(grid).read_bytes() for grid in grids}) == 3
    assert ["ema_long" in grid for grid in grids] == [False, True, False]


def test_several_runs_each_draw_from_their_better_average(runs, run, capsys, tmp_path):
    other = run.with_name("other")
    shutil.copytree(run, other)
    folder = other / FOLDER / "epoch-00004"
    contents = checkpoint(tmp_path, "epoch-00004", "other")
    worse = {"ema": "ema_long", "ema_long": "ema"}[better(runs)]
    contents.state["held_out"][-1]["weights"] = worse
    shutil.rmtree(folder)
    write(folder.parent, folder.name, contents)
    ask = (*SMALL, "--per-class", "1", "--ema", "best")
    told = answer(capsys, "sample", run, other, *ask)
    assert "/epoch-00004-best-ddim-2" in told[0]["side_by_side"]
    assert [events(each, Sampled)[0].weights for each in (run, other)] == [better(runs), worse]


def test_every_average_is_a_row_of_its_own(run, capsys):
    ask = ("evaluate", run, *SMALL, "--count", "70", "--ema", "ema", "none", "best", "ema_long", "ema")
    rows = answer(capsys, *ask)
    kinds = [row["passport"]["weights"] for row in rows]
    assert kinds[:2] == ["ema", "raw"]
    assert sorted(kinds) == ["ema", "ema_long", "raw"]
    assert len({row["figures"][0]["estimate"] for row in rows}) == 3
    assert answer(capsys, *ask) == rows  # each found in the record by its weights
    assert len(events(run, Evaluated)) == 3


def test_averages_are_set_against_one_another_as_checkpoints_are(run, capsys):
    ask = (*SMALL, "--count", "70", "--ema", "ema", "ema_long")
    assert say("evaluate", run, "--checkpoint", "2", "4", *ask) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "epoch-00004 (ema_long)  ddim:2" in line]
    (best,) = [line for line in lines if line.startswith("best fd_classifier:")]
    others = re.findall(r"(\d) (?:not distinguishable from it|worse)", best)
    assert sum(map(int, others)) == 3


@pytest.mark.parametrize("verb", ["sample", "evaluate"])
def test_weights_that_are_not_there_cost_nothing(verb, run, capsys, monkeypatch):
    thinned = run / FOLDER / "epoch-00002"
    rewrite(thinned, lambda fields: fields["parts"].pop("ema_long"))
    record = (run / "record.jsonl").read_bytes()
    for wanted in ("ema_long", "none", "optimizer", ""):
        line = the_line(capsys, verb, run, "--checkpoint", "2", "--ema", wanted)
        assert line.startswith(f"triptych: --ema {wanted} of checkpoint ")
        assert line.endswith("epoch-00002: it holds ema; choose from ema, best")
    assert (run / "record.jsonl").read_bytes() == record
