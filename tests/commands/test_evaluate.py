"""A sweep through the command line: what is asked for, what is said before it, and what rows say together."""

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from commands.command_line import say, the_line
from training.tiny import train

from triptych.cli import main
from triptych.commands import evaluation_lines
from triptych.commands.evaluation_lines import quote
from triptych.evaluation.judge import Judge
from triptych.metrics.feature_store import FeatureStore
from triptych.record.events import Evaluated
from triptych.record.record import Record
from triptych.runs import Run

QUICK = ("--sampler", "ddim:2", "--count", "80")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    for seed in range(2):
        for name, rate in (("fast", "0.002"), ("slow", "0.00001")):
            options = ("--seed", str(seed), "--training.learning-rate", rate)
            assert train(runs, *options, name=f"{name}-{seed}") == 0
    return runs


@pytest.fixture
def run(trained, tmp_path) -> Path:
    return Path(shutil.copytree(trained / "fast-0", tmp_path / "run"))


def told(capsys, *tokens) -> list[str]:
    """The lines that a verb prints when all is well, but for what the cache spares the next one."""
    capsys.readouterr()
    assert say(*tokens) == 0
    return [line for line in capsys.readouterr().out.splitlines() if not line.startswith("training the")]


def last_line(capsys, *tokens) -> str:
    """Return the last line that the program says of a mistake that shows late."""
    capsys.readouterr()
    assert say(*tokens) == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


def rows_of(run: Path) -> list[Evaluated]:
    return [event.data for event in Record.of_run(run).history().of_kind(Evaluated)]


def test_everything_is_swept_and_quoted_before_the_first_image(run, capsys):
    swept = ("--checkpoint", "2", "6", "--ema", "none", "ema", "--guidance", "0", "2", "--seed", "0", "5")
    samplers = ("--sampler", "ddim:2", "ddpm:3", "--no-unguided")
    lines = told(capsys, "evaluate", run, *swept, *samplers, "--count", "40", "--force")
    assert lines.pop(1) == "by --force, of fewer images than they take: fd_classifier"
    assert re.match(r"32 rows of 40 images: about [\d.]+s \([\d.]+s to draw, [\d.]+s to measure\)", lines[0])
    rows = rows_of(run)
    how = [
        (r.passport.epoch, r.passport.weights, r.passport.sampler, r.passport.guidance, r.passport.seed)
        for r in rows
    ]
    assert len(set(how)) == 32
    assert {row.network_calls for row in rows if row.passport.guidance == 0} == {2, 3}
    assert lines[1].startswith("epoch-00002 (raw)  ddim:2  scale 0  fd_classifier ")
    assert lines[2].startswith("epoch-00002 (raw)  ddim:2  scale 0  seed 5  fd_classifier ")
    assert lines[33].startswith("measured in ")


def test_the_unguided_row_is_beside_guided_ones_whether_named_or_not(run, capsys):
    told(capsys, "evaluate", run, *QUICK, "--guidance", "2", "--guide", "cfg,below=2", "apg")
    how = [(r.passport.guidance, r.passport.guide, r.network_calls) for r in rows_of(run)]
    assert how == [(1.0, "cfg", 2), (2.0, "cfg,below=2", 3), (2.0, "apg", 4)]
    assert told(capsys, "evaluate", run, *QUICK, "--guidance", "1", "2")[0].startswith(
        "2 rows of 80 images, 1 to"
    )
    told(capsys, "evaluate", run, *QUICK, "--guidance", "3", "--no-unguided", "--seed", "1")
    assert [r.passport.guidance for r in rows_of(run)[4:]] == [3.0]


def test_a_weaker_checkpoint_to_guide_against_is_part_of_the_passport(run, capsys):
    quick = (*QUICK, "--guidance", "2", "--no-unguided")
    told(capsys, "evaluate", run, *quick, "--guide", "cfg,against=2", f"cfg,against={run}@epoch-2", "cfg")
    own, other, plain = (row.passport for row in rows_of(run))
    assert own.weak_digest == other.weak_digest != plain.weak_digest == ""
    assert own.guide == "cfg,against=epoch-00002"
    figures = [row.figures[0].estimate for row in rows_of(run)]
    assert figures[0] == figures[1] != figures[2]


def test_the_weaker_model_has_the_average_of_the_stronger_whatever_else_is_asked_for(run, capsys):
    quick = (*QUICK, "--guidance", "2", "--no-unguided", "--guide", "cfg,against=2")
    for order in (("ema", "ema_long"), ("ema_long", "ema"), ("ema",)):
        told(capsys, "evaluate", run, *quick, "--ema", *order, "--again")
    of = [(row.passport.weights, row.passport.weak_digest, row.figures[0].estimate) for row in rows_of(run)]
    assert [weights for weights, *_ in of] == ["ema", "ema_long", "ema_long", "ema", "ema"]
    assert len(set(of)) == 2


def test_a_guide_that_no_scale_uses_is_told(run, capsys):
    for verb in ("evaluate", "sample"):
        line = the_line(capsys, verb, run, "--sampler", "ddim:2", "--guidance", "1", "--guide", "apg")
        assert "--guide apg: no scale is above 1, and 1 guides nothing; add --guidance 2" in line


@pytest.mark.parametrize(
    ("guide", "line"),
    [
        ("cgf", "guide cgf: no such guidance; choose from cfg, apg"),
        ("cfg,against=epoch-9", "epoch 9 is not there"),
        ("cfg,against=elsewhere@last", "elsewhere"),
        ("cfg,against=last", "epoch-00006 is the model itself; name a weaker one"),
        ("cfg,above=1e9", "guide cfg,above=1000000000: ddim:2 shows the model noise of "),
        ("apg,below=1e-9", "alone; choose above and below around some of it"),
    ],
)
def test_guides_that_are_none_are_one_line(run, capsys, guide, line):
    assert say("evaluate", run, *QUICK, "--guidance", "2", "--guide", guide) == 2
    assert line in capsys.readouterr().err
    assert rows_of(run) == []


def test_what_is_known_costs_nothing_and_is_said(run, capsys):
    told(capsys, "evaluate", run, *QUICK, "--guidance", "1")
    lines = told(capsys, "evaluate", run, *QUICK, "--guidance", "1", "2")
    assert lines[0].startswith("2 rows of 80 images, 1 to measure: about ")
    assert lines[1].endswith("(from the record)") and not lines[2].endswith("(from the record)")
    assert told(capsys, "evaluate", run, *QUICK, "--guidance", "1", "2")[0] == "2 rows, all in the record"
    assert len(rows_of(run)) == 2


def test_the_disk_that_features_take_is_told_where_it_is_much_and_must_be_free(run, capsys, monkeypatch):
    monkeypatch.setattr(evaluation_lines, "WORTH_TELLING", 1e4)
    lines = told(capsys, "evaluate", run, *QUICK, "--metrics", "fd_classifier")
    assert lines[0].endswith(" to measure), and 0.1 MB of disk for features")
    assert not (run / "evaluations").exists()
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
    line = the_line(capsys, "evaluate", run, *QUICK, "--metrics", "fd_classifier", "--seed", "1")
    assert "keep the features of 80 images, 0.1 MB: 0.1 MB are free in" in line


def test_further_metrics_are_a_further_row_and_then_known(run, capsys):
    quick = (*QUICK, "--guidance", "1")
    told(capsys, "evaluate", run, *quick, "--metrics", "fd_classifier")
    told(capsys, "evaluate", run, *quick, "--metrics", "classifier_accuracy", "recall_classifier")
    first, second = rows_of(run)
    assert [figure.metric for figure in first.figures] == ["fd_classifier"]
    assert [figure.metric for figure in second.figures] == ["classifier_accuracy", "recall_classifier"]
    both = ("--metrics", "recall_classifier", "fd_classifier", "--json")
    capsys.readouterr()
    assert say("evaluate", run, *quick, *both) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert [figure["metric"] for figure in row["figures"]] == ["recall_classifier", "fd_classifier"]
    assert row["figures"][1]["estimate"] == first.figures[0].estimate
    assert len(rows_of(run)) == 2


def test_a_protocol_says_how_many_are_compared_with_which_split(run, capsys):
    quick = ("--sampler", "ddim:2", "--guidance", "1")
    told(capsys, "evaluate", run, *quick, "--protocol", "70/test", "--metrics", "classifier")
    (row,) = rows_of(run)
    p = row.passport
    assert (p.count, p.reference, p.beside, p.reference_count) == (70, "digits/held-out", "digits/train", 355)
    assert row.nearest is not None and (run / row.nearest).is_file()
    told(capsys, "evaluate", run, *quick, "--protocol", "80/train")
    assert rows_of(run)[1].passport.reference == "digits/train"


@pytest.mark.parametrize(
    ("tokens", "line"),
    [
        (
            ["--protocol", "10k"],
            "protocol '10k': it is not of that form; write images/split, such as 10k/test",
        ),
        (["--protocol", "10k/dev"], "protocol '10k/dev': it is not of that form"),
        (["--protocol", "0/test"], "protocol '0/test': it is not of that form"),
        (["--protocol", "70/test", "--count", "3"], "--count 3 --protocol 70/test: both say how many images"),
        (["--metrics", "speed"], "measure speed: there is no such metric; choose from fid, "),
        (["--metrics", "fd-classifer"], "no such metric; perhaps you meant fd_classifier"),
        (["--checkpoint", "best-fdi"], "no such metric; perhaps you meant fid"),
        (["--screen", "70"], "--screen 70: nothing says how many rows to confirm; add --confirm 3"),
        (
            ["--screen", "5", "--confirm", "1", "--metrics", "fd_classifier"],
            "--screen 5: rows are ranked by fd_classifier, and it takes at least 65",
        ),
        (["--confirm", "0"], "--confirm 0: less than 1"),
        (
            ["--metrics", "fid", "--count", "100"],
            "measure images with inception: they have 1 channel; it takes colour images",
        ),
        (["--metrics", "fd_classifier", "--count", "64"], "fd_classifier of 64 images: it takes at least 65"),
        (["--checkpoint", "best-fid"], "no evaluation has chosen one yet"),
    ],
)
def test_mistakes_are_one_line_before_anything_is_drawn(run, capsys, tokens, line, tmp_path):
    record = (run / "record.jsonl").read_bytes()
    assert line in the_line(capsys, "evaluate", run, "--sampler", "ddim:2", *tokens)
    assert (run / "record.jsonl").read_bytes() == record
    assert not (run / "evaluations").exists()


def test_no_run_is_a_mistake(capsys):
    assert "no run is named; name one" in the_line(capsys, "evaluate")


def test_the_best_of_a_cheap_round_are_confirmed_with_fresh_noise_and_all_images(run, capsys):
    swept = ("--checkpoint", "2", "4", "6", "--guidance", "1", "2", "--sampler", "ddim:2", "--count", "120")
    lines = told(capsys, "evaluate", run, *swept, "--screen", "70", "--confirm", "2")
    assert lines[0].startswith("6 rows of 70 images: about ")
    assert "confirming the best 2 by fd_classifier, with fresh noise:" in lines
    screened, confirmed = rows_of(run)[:6], rows_of(run)[6:]
    assert {(row.passport.count, row.passport.seed) for row in screened} == {(70, 0)}
    assert [(row.passport.count, row.passport.seed) for row in confirmed] == [(120, 1), (120, 1)]
    best = sorted(screened, key=lambda row: row.figures[0].estimate)[:2]
    assert [(row.passport.epoch, row.passport.guidance) for row in best] == [
        (row.passport.epoch, row.passport.guidance) for row in confirmed
    ]
    assert all(len(row.figures) == len(screened[0].figures) for row in confirmed)


def test_what_no_row_has_cannot_be_confirmed(run, capsys):
    ask = (*QUICK, "--guidance", "0", "--metrics", "classifier_accuracy", "fd_classifier", "--confirm", "1")
    assert "no row has classifier_accuracy; name a metric first" in last_line(capsys, "evaluate", run, *ask)


def test_a_setting_is_confirmed_once_however_many_seeds_it_had(run, capsys):
    swept = ("--guidance", "1", "2", "--seed", "0", "1", *QUICK, "--confirm", "2")
    told(capsys, "evaluate", run, *swept)
    *first, one, two = rows_of(run)
    assert len(first) == 4
    assert {one.passport.guidance, two.passport.guidance} == {1, 2}
    assert one.passport.seed == two.passport.seed == 2


def test_what_an_earlier_start_left_is_not_gone_on_with_again(run, capsys, monkeypatch):
    honest = Judge.row

    def dies(self, denoiser, request, passport, folder, watch):
        def stop(batch):
            if batch.index[0] > 0:
                raise KeyboardInterrupt

        return honest(self, denoiser, request, passport, folder, stop)

    ask = ("evaluate", run, *QUICK, "--batch-size", "20", "--guidance", "1")
    with monkeypatch.context() as patched:
        patched.setattr(Judge, "row", dies)
        assert say(*ask) == 130
    drawn = []
    watching = lambda self, *a: honest(self, *a[:-1], lambda batch: drawn.append(len(batch.index)))  # noqa: E731
    monkeypatch.setattr(Judge, "row", watching)
    assert say(*ask, "--again", "--quiet") == 0
    assert sum(drawn) == 80


def test_a_kill_right_after_a_row_was_recorded_leaves_nothing_for_good(run, capsys, monkeypatch):
    ask = ("evaluate", run, *QUICK, "--guidance", "1")

    def killed(store):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(FeatureStore, "remove", killed)
        assert say(*ask) == 130
    assert len(rows_of(run)) == 1
    assert list((run / "evaluations").glob("*/batches.jsonl"))
    assert told(capsys, *ask)[1].endswith("(from the record)")
    assert not list((run / "evaluations").glob("*/"))


def test_what_is_measured_of_a_known_row_meanwhile_is_left_alone(run, capsys, monkeypatch):
    """Further metrics of the same images have the same folder: cut off, they are gone on with."""
    honest = Judge.row

    def dies(self, denoiser, request, passport, folder, watch):
        def stop(batch):
            if batch.index[0] >= 40:
                raise KeyboardInterrupt

        return honest(self, denoiser, request, passport, folder, stop)

    ask = ("evaluate", run, *QUICK, "--batch-size", "20", "--guidance", "1")
    known, further = ("--metrics", "fd_classifier"), ("--metrics", "fd_classifier", "recall_classifier")
    assert say(*ask, *known, "--quiet") == 0
    with monkeypatch.context() as patched:
        patched.setattr(Judge, "row", dies)
        assert say(*ask, *further, "--quiet") == 130
    (journal,) = (run / "evaluations").glob("*/batches.jsonl")
    before = journal.read_bytes()
    assert told(capsys, *ask, *known)[1].endswith("(from the record)")
    assert journal.read_bytes() == before
    # Nor is a whole one that is newer than the row: its figures are still to be computed.
    with monkeypatch.context() as patched:
        patched.setattr(Record, "append", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
        assert say(*ask, *further, "--quiet") == 130
    assert told(capsys, *ask, *known)[1].endswith("(from the record)")
    assert journal.exists()
    assert say(*ask, *further, "--quiet") == 0
    assert not journal.exists()


def test_the_full_number_is_checked_before_the_screening(run, capsys):
    ask = ("--count", "60", "--sampler", "ddim:2", "--screen", "70", "--confirm", "1")
    assert "fd_classifier of 60 images: it takes at least 65" in the_line(capsys, "evaluate", run, *ask)
    ask = (*QUICK, "--seed", str(2**32 - 1), "--confirm", "1")
    assert "--seed 4294967296: out of range" in the_line(capsys, "evaluate", run, *ask)


def test_metrics_that_cannot_bear_so_few_are_left_to_the_confirmation(run, capsys):
    metrics = ("--metrics", "classifier_accuracy", "fd_classifier")
    told(
        capsys, "evaluate", run, *QUICK, "--guidance", "1", "2", "--screen", "20", "--confirm", "1", *metrics
    )
    *screened, confirmed = rows_of(run)
    assert [[figure.metric for figure in row.figures] for row in screened] == [["classifier_accuracy"]] * 2
    assert [figure.metric for figure in confirmed.figures] == ["classifier_accuracy", "fd_classifier"]


def test_the_best_by_a_metric_is_a_name_for_its_checkpoint(run, capsys):
    told(capsys, "evaluate", run, "--checkpoint", "2", "6", *QUICK, "--guidance", "1")
    rows = rows_of(run)
    for index, metric in enumerate(figure.metric for figure in rows[0].figures):
        model = Run(run).model(f"best-{metric.replace('_', '-')}")
        losses = [abs(r.figures[index].estimate - r.figures[index].real) for r in rows]
        if metric == "fd_classifier":
            losses = [r.figures[index].estimate for r in rows]
        if metric == "classifier_accuracy":
            losses = [-r.figures[index].estimate for r in rows]
        assert model.checkpoint == rows[losses.index(min(losses))].passport.checkpoint
    assert say("sample", run, "--checkpoint", "best-fd-classifier", "--sampler", "ddim:2", "--quiet") == 0
    assert "no evaluation has chosen one yet" in the_line(capsys, "sample", run, "--checkpoint", "best-kid")


def test_averages_of_training_seeds_are_told_apart(trained, tmp_path, capsys):
    runs = [
        Path(shutil.copytree(trained / f"{name}-{seed}", tmp_path / f"{name}-{seed}"))
        for name in ("fast", "slow")
        for seed in (0, 1)
    ]
    lines = told(capsys, "evaluate", *runs, *QUICK, "--guidance", "1")
    assert lines[0].startswith("4 rows of 80 images")
    assert [line.split("  ")[0] for line in lines[1:5]] == [run.name for run in runs]
    (verdict,) = [line for line in lines if "over training seeds" in line]
    pattern = (
        r"fd_classifier over training seeds \(epoch 6, ema, ddim:2, scale 1\): fast-0 and 1 more, against "
        r"slow-0 and 1 more: (better|worse|not distinguishable), by [\d.]+ ± [\d.]+"
    )
    assert re.fullmatch(pattern, verdict)
    assert all(len(rows_of(run)) == 1 for run in runs)


def test_rank_correlation_of_error_and_figure_is_told(run, capsys):
    lines = told(capsys, "evaluate", run, "--checkpoint", "2", "4", "6", *QUICK, "--guidance", "1")
    (line,) = [line for line in lines if "rank correlation" in line]
    assert re.fullmatch(
        r"run: rank correlation of held-out MSE and fd_classifier over 3 checkpoints: -?[\d.]+", line
    )


def test_nothing_is_quoted_for_what_is_there():
    assert quote([], 1) == "1 row, all in the record"


def test_an_unconditional_run_has_the_figures_that_need_no_class(tmp_path, capsys):
    assert train(tmp_path, "--conditional", "False") == 0
    told(capsys, "evaluate", tmp_path / "tiny", *QUICK, "--metrics", "classifier")
    (row,) = rows_of(tmp_path / "tiny")
    assert [figure.metric for figure in row.figures] == [
        "fd_classifier",
        "diversity_classifier_all",
        "precision_classifier",
        "recall_classifier",
        "nearest_classifier",
    ]
    assert main(["report", str(tmp_path / "tiny"), "--out", str(tmp_path / "report.md")]) == 0


def test_an_unconditional_run_is_led_by_another_checkpoint(tmp_path, capsys):
    """A scale of 1 is the model itself, which 0 is too; nothing that is told or drawn speaks of classes."""
    run = tmp_path / "tiny"
    assert train(tmp_path, "--conditional", "False") == 0
    led = ("--guidance", "1", "2", "--guide", "cfg,against=epoch-2")
    told(capsys, "evaluate", run, *QUICK, *led, "--metrics", "fd_classifier")
    plain, guided = (row.passport for row in rows_of(run))
    assert (plain.guidance, plain.guide, guided.guidance) == (0.0, "cfg", 2.0)
    assert not plain.told_class and not guided.told_class
    lines = told(capsys, "sample", run, "--sampler", "ddim:2", *led, "--count", "4", "--singles")
    assert lines[-1].startswith(
        "4 images, ddim:2, guidance 2 (cfg,against=epoch-00002), seed 0, 4 network calls"
    )
    assert {path.name for path in run.rglob("*.png") if path.parent.name == "images"} == {
        f"0000{j}.png" for j in range(4)
    }
    assert main(["report", str(run), "--out", str(tmp_path / "report.md")]) == 0
    assert "2 (cfg,against=epoch-00002)" in (tmp_path / "report.md").read_text()
