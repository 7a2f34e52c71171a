"""Sampling, evaluating and reporting a real run through the command line."""

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from training.tiny import train

from triptych.backbones.costs import Costs, costs
from triptych.cli import main
from triptych.commands import VERBS
from triptych.record.events import Evaluated, Sampled
from triptych.record.record import Record
from triptych.runs import Run


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    assert train(folder) == 0
    assert train(folder, "--conditional", "False", name="free") == 0
    return folder


def answer(capsys, *tokens):
    """Run a verb with --json and return what it printed."""
    capsys.readouterr()
    assert main([*map(str, tokens), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


def events(folder, payload):
    return [event.data for event in Record.of_run(folder).history().of_kind(payload)]


def test_training_outcome_as_json(runs, capsys):
    told = answer(
        capsys,
        "train",
        "digits-unet",
        "--runs",
        runs / "more",
        "--training.max-steps",
        "1",
        "--training.preview-count",
        "1",
        "--training.held-out-count",
        "1",
    )
    assert told == [{"run": str(runs / "more" / "digits-unet"), "stopped": None}]


@pytest.mark.parametrize("name", ["tiny", "free"])
def test_a_start_records_what_the_network_costs(runs, name):
    run = Run(runs / name)
    started = run.record.history().started
    assert Costs(started.parameters, int(started.flops)) == costs(run.model().denoiser.backbone)


def test_class_grid_singles_and_gif(runs, capsys):
    run = runs / "tiny"
    (told,) = answer(
        capsys,
        "sample",
        run,
        "--sampler",
        "ddim:4",
        "--guidance",
        "2",
        "--per-class",
        "3",
        "--singles",
        "--gif",
    )
    assert told["count"] == 30
    assert told["network_calls"] == 8
    singles = sorted((run / "samples").rglob("images/*.png"))
    assert [path.stem for path in singles[:11]] == [f"{j:05d}-{j % 10}" for j in range(11)]
    assert {pixels(path).shape for path in singles} == {(8, 8)}
    with Image.open(told["gif"]) as film:
        assert film.n_frames == 5
    (sampled,) = events(run, Sampled)
    assert (sampled.sampler, sampled.guidance, sampled.per_class) == ("ddim:4", 2.0, 3)
    assert (run / sampled.grid).exists()
    assert (run / sampled.gif).exists()


def test_a_grid_for_every_sampler_and_scale(runs, capsys, tmp_path):
    ask = ("sample", runs / "tiny", "--sampler", "ddim:2", "ddpm:3", "--guidance", "0", "1", "3")
    told = answer(capsys, *ask, "--per-class", "1", "--out", tmp_path)
    assert [written["network_calls"] for written in told] == [2, 2, 4, 3, 3, 6]
    assert len({written["grid"] for written in told}) == 6
    assert all(Path(written["grid"]).is_relative_to(tmp_path) for written in told)
    drawn = events(runs / "tiny", Sampled)[-6:]
    assert [(s.sampler, s.guidance) for s in drawn] == [
        (sampler, scale) for sampler in ("ddim:2", "ddpm:3") for scale in (0, 1, 3)
    ]


def test_what_is_not_said_is_the_recipe_s(tmp_path, capsys):
    """Samplers and scale of `sample`, checkpoints and scales of `evaluate`; details mean one sampler."""
    usual = (
        "--sampling.sampler",
        "ddim:2",
        "ddpm:3",
        "--sampling.guidance",
        "2",
        "--sampling.per-class",
        "1",
    )
    rows = ("--evaluation.checkpoint", "epoch-2", "last", "--evaluation.guidance", "1", "3")
    assert train(tmp_path, *usual, *rows, "--evaluation.count", "80") == 0
    run = tmp_path / "tiny"
    assert [told["network_calls"] for told in answer(capsys, "sample", run)] == [4, 6]
    assert [told["network_calls"] for told in answer(capsys, "sample", run, "--eta", "1")] == [4]
    measured = [row["passport"] for row in answer(capsys, "evaluate", run)]
    assert [(row["epoch"], row["guidance"]) for row in measured] == [(2, 1), (2, 3), (6, 1), (6, 3)]
    assert {(row["sampler"], row["count"]) for row in measured} == {("ddim:2", 80)}


def test_everything_is_checked_before_the_first_grid(runs, capsys):
    before = (runs / "tiny" / "record.jsonl").read_bytes()
    assert main(["sample", str(runs / "tiny"), "--sampler", "ddim:2", "ddpm:3,eta=1"]) == 2
    assert main(["sample", str(runs / "tiny"), "--sampler", "ddim:2", "--guidance", "1", "-1"]) == 2
    assert (runs / "tiny" / "record.jsonl").read_bytes() == before


def test_images_depend_on_seed_and_number_alone(runs, capsys, tmp_path):
    """The same image whatever the batch size and however many others are drawn."""

    def images(*options):
        out = tmp_path / "-".join(options)
        answer(capsys, "sample", runs / "tiny", "--sampler", "ddpm:4", "--out", out, "--singles", *options)
        paths = sorted((out / "images").iterdir())
        return np.stack([pixels(path) for path in paths]).astype(int)

    many, few = images("--count", "23"), images("--count", "7", "--batch-size", "3")
    # Another batch size may round differently, and a pixel may fall on the other side of a half.
    assert np.abs(many[:7] - few).max() <= 1
    assert np.abs(many - images("--count", "23", "--seed", "1")).max() > 50


def test_unconditional_run(runs, capsys):
    (told,) = answer(capsys, "sample", runs / "free", "--count", "5", "--sampler", "ddim:3")
    assert told["network_calls"] == 3
    (row,) = answer(capsys, "evaluate", runs / "free", "--sampler", "ddim:2", "--count", "80")
    assert {figure["metric"] for figure in row["figures"]} == {
        "fd_classifier",
        "diversity_classifier_all",
        "nearest_classifier",
    }


def test_evaluation_rows_and_their_reuse(runs, capsys):
    run = runs / "tiny"
    ask = ("evaluate", run, "--checkpoint", "epoch-2", "last", "--guidance", "1", "2", "--sampler", "ddim:2")
    rows = answer(capsys, *ask)
    assert [(r["passport"]["checkpoint"], r["passport"]["guidance"]) for r in rows] == [
        ("epoch-00002", 1.0),
        ("epoch-00002", 2.0),
        ("epoch-00006", 1.0),
        ("epoch-00006", 2.0),
    ]
    for row in rows:
        assert row["passport"]["count"] == 340
        figures = {figure["metric"]: figure for figure in row["figures"]}
        assert figures["fd_classifier"]["estimate"] > figures["fd_classifier"]["real"]
        assert len(figures["classifier_accuracy"]["per_class"]) == 10
    assert answer(capsys, *ask) == rows  # from the record
    assert len(events(run, Evaluated)) == 4
    answer(capsys, *ask[:2], "--guidance", "1", "--sampler", "ddim:2", "--again")
    assert len(events(run, Evaluated)) == 5


def test_typed_steps_go_before_the_recipes(runs, capsys):
    answer(capsys, "sample", runs / "tiny", "--steps", "3", "--per-class", "1")
    assert events(runs / "tiny", Sampled)[-1].sampler == "ddim:3"


def test_images_of_no_class_are_not_said_to_have_one(runs, capsys):
    """At guidance 0 a conditional model is told no class, so that rows named by class would be wrong."""
    run = runs / "tiny"
    ask = ("sample", run, "--sampler", "ddim:2", "--guidance", "0", "--per-class", "2", "--singles")
    (told,) = answer(capsys, *ask)
    assert told["count"] == 20
    assert events(run, Sampled)[-1].per_class is None
    (with_classes,) = answer(capsys, *ask[:4], "--guidance", "1", "--per-class", "2")
    assert pixels(told["grid"]).shape != pixels(with_classes["grid"]).shape
    singles = sorted(path.name for path in Path(told["singles"]).iterdir())
    assert singles == [f"{j:05d}.png" for j in range(20)]


def test_another_layout_is_another_folder(runs, capsys):
    ask = ("sample", runs / "tiny", "--sampler", "ddim:2", "--guidance", "1")
    rows, plain = (answer(capsys, *ask, *how)[0]["grid"] for how in (("--per-class", "2"), ("--count", "20")))
    assert rows != plain
    assert pixels(rows).shape != pixels(plain).shape


def test_empty_lists_are_the_recipes(runs, capsys):
    empty = ("--checkpoint", "--guidance", "--sampler")
    plain, row = answer(capsys, "evaluate", runs / "tiny", *empty, "--steps", "2", "--count", "70")
    passport = row["passport"]
    assert (passport["checkpoint"], passport["sampler"], passport["guidance"]) == (
        "epoch-00006",
        "ddim:2",
        1.25,
    )
    assert plain["passport"]["guidance"] == 1.0
    figures = {figure["metric"]: figure for figure in row["figures"]}
    assert figures["fd_classifier"]["n"] == figures["fd_classifier"]["real_n"] == 70
    assert len(figures["fd_classifier"]["groups"]) > 1


def test_one_checkpoint_by_two_names_is_one_row(runs, capsys):
    ask = ("evaluate", runs / "tiny", "--checkpoint", "last", "6", "epoch-2", "--sampler", "ddim:2")
    ask += ("--guidance", "1")
    rows = answer(capsys, *ask, "--count", "80")
    assert [row["passport"]["checkpoint"] for row in rows] == ["epoch-00006", "epoch-00002"]


def test_what_a_report_is_made_of_is_told_as_json(runs, tmp_path, capsys):
    folders = [runs / "tiny", runs / "free"]
    told = answer(capsys, "report", *folders, "--out", tmp_path)
    assert told["files"] == [str(tmp_path / name) for name in ("EXPERIMENTS.md", "EXPERIMENTS.html")]
    assert all(Path(name).is_file() for name in told["files"])
    assert [run["run"] for run in told["runs"]] == [str(folder) for folder in folders]
    for folder, run in zip(folders, told["runs"], strict=True):
        assert run["origin"]["config"]["name"] == folder.name
        assert run["best_held_out"]["mse"] > 0
        assert len(run["evaluations"]) == len(events(folder, Evaluated))
        assert len(run["samples"]) == len(events(folder, Sampled))
    assert main(["report", str(folders[0]), "--out", str(tmp_path), "--json", "--watch"]) == 2


NOT = {"quiet": {"completion", "info", "bench"}, "json": {"completion", "serve"}}
"""Verbs that print their answer and nothing else, and those without an answer that a script could use."""


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_can_be_silenced_and_read_by_scripts(verb, capsys):
    with pytest.raises(SystemExit):
        main([verb, "--help"])
    told = capsys.readouterr().out
    for option, without in NOT.items():
        assert (f"--{option}" in told) == (verb not in without), option


@pytest.mark.parametrize("language", ["en", "zh"])
def test_report_shows_what_was_done(runs, language, tmp_path, capsys):
    out = tmp_path / "record.md"
    assert main(["report", str(runs / "tiny"), "--out", str(out), "--language", language]) == 0
    text = out.read_text()
    assert "tiny" in text
    assert "Diffusion Transformer" in text
    first = text
    assert main(["report", str(runs / "tiny"), "--out", str(out), "--language", language]) == 0
    assert out.read_text() == first


def test_a_broken_newest_checkpoint_is_passed_over_aloud(runs, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(runs / "tiny", copy)
    manifest = copy / "checkpoints" / "epoch-00006" / "manifest.json"
    manifest.unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert main(["sample", str(copy), "--count", "2", "--sampler", "ddim:2", "--quiet"]) == 0
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line == "triptych: epoch-00006 is broken and was passed over for epoch-00004"
    assert events(copy, Sampled)[-1].checkpoint == "epoch-00004"
