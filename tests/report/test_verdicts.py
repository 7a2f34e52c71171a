"""Which figures a report marks as good as the best, and what it says of those behind."""

import pytest
from report.synthetic_run import RunWriter, fid, jackknifed
from report.test_report import section, tables, write

from triptych.record.events import Device
from triptych.record.figures import Figure
from triptych.report.verdicts import LISTED

EVALUATION, OVERVIEW = "1.2.3 Evaluation", "1.1 Overview"


@pytest.fixture
def run(tmp_path) -> RunWriter:
    return RunWriter(tmp_path / "runs" / "dim", epochs=200)


def noisy(estimate: float, seed: int) -> Figure:
    """Return a figure whose spread is nearly all of the noise that rows share."""
    return jackknifed("fid", estimate, 3.0, noise=3.0, own=0.03, seed=seed)


def told(run: RunWriter, tmp_path, language: str = "en") -> str:
    return section(write([run.folder], tmp_path, language), EVALUATION if language == "en" else "1.2.3 评估")


def test_rows_of_the_same_noise_are_told_apart_below_their_spread_and_others_are_not(run, tmp_path):
    run.evaluate(200, (noisy(9.0, 0),), guidance=1.0)
    run.evaluate(200, (noisy(9.3, 1),), guidance=1.5)
    run.evaluate(200, (noisy(9.3, 2),), guidance=1.5, seed=1)
    text = told(run, tmp_path)
    rows, behind = tables(text)
    assert [row["FID ↓"].endswith(" ≈") for row in rows] == [True, False, True, False]
    assert [(row["Seed"], row["Verdict"], row["Same noise"]) for row in behind] == [
        ("0", "worse", "yes"),
        ("1", "not distinguishable", "no"),
    ]
    assert [row["FID: behind by"].split(" ± ")[0] for row in behind] == ["0.300", "0.300"]
    assert "≈ marks the best of a column and those that are not distinguishable from it" in text
    assert "not distinguishable from it: 1 more." in text


def test_what_was_drawn_without_classes_is_not_paired_with_what_was_drawn_with_them(run, tmp_path):
    run.evaluate(200, (noisy(9.0, 0),), guidance=1.0)
    run.evaluate(200, (noisy(9.3, 1),), guidance=0.0)
    assert tables(told(run, tmp_path))[1][0]["Same noise"] == "no"


def test_a_difference_whose_error_nobody_knows_is_neither_marked_nor_judged(run, tmp_path):
    run.evaluate(200, (fid(9.0, None),), guidance=1.0)
    run.evaluate(200, (fid(9.001, None),), guidance=1.5)
    text = told(run, tmp_path)
    assert len(tables(text)) == 1
    assert "≈" not in text
    assert "Best by FID: epoch 200, DDIM 50 steps, CFG 1, 9.000." in text


def test_the_verdict_is_not_known_where_one_error_is(run, tmp_path):
    run.evaluate(200, (fid(9.0, 0.1),), guidance=1.0)
    run.evaluate(200, (fid(9.1, 0.1),), guidance=1.5)
    run.evaluate(200, (fid(19.0, None),), guidance=2.0)
    behind = tables(told(run, tmp_path))[1]
    assert [(row["FID: behind by"], row["Verdict"]) for row in behind] == [
        ("0.100 ± 0.141", "not distinguishable"),
        ("10.000", "not known"),
    ]


def test_rows_far_behind_are_only_counted(run, tmp_path):
    for i in range(LISTED + 4):
        run.evaluate(200, (noisy(9.0 + i, i),), guidance=1.0 + i / 10)
    text = told(run, tmp_path)
    assert len(tables(text)[1]) == LISTED
    assert "3 more are further behind, 0 of them not distinguishable." in text
    assert "另有 3 行差距更大，其中 0 行无法区分。" in told(run, tmp_path, "zh")


def test_many_metrics_are_put_into_tables_by_what_they_tell(run, tmp_path):
    quality = ("fid", "fid_infinity", "inception_score", "kid")
    overlap = ("precision", "recall", "density", "coverage")
    for scale, names in ((1.0, quality + overlap + ("nearest",)), (1.5, quality)):
        figures = tuple(Figure(name, 1.5, 0.1, 2.0) for name in names)
        run.evaluate(200, figures, guidance=scale)
    text = told(run, tmp_path)
    found = tables(text)
    assert [len(rows) for rows in found] == [3, 2, 2, 1]
    assert {"FID ↓", "FID∞ ↓", "KID ↓", "IS ↑", "Time (generation + measuring)"} < found[0][0].keys()
    assert {"Precision ↑", "Recall ↑", "Density → real", "Coverage ↑"} < found[1][0].keys()
    assert list(found[2][0])[-1] == "Nearest training image → real"
    assert found[2][1]["Nearest training image → real"] == "2.000"
    assert "最近训练图片的距离 → 真实" in told(run, tmp_path, "zh")


def test_evaluations_of_one_row_on_unlike_devices_tell_both(run, tmp_path):
    other = Device("H200", 1, 1)
    run.evaluate(200, (fid(9.0),), took=10)
    run.evaluate(200, (Figure("kid", 0.1, 0.01, 0.2),), device=other, extractors={"other": "o"}, took=30)
    run.evaluate(100, (fid(9.5),), device=other)
    rows = tables(told(run, tmp_path))[0]
    assert [row["Hardware"] for row in rows[:2]] == ["H200", "H200 / V100 32G × 8 (1 used)"]
    assert (rows[0]["KID ↓"], rows[1]["KID ↓"]) == ("–", "0.10000 ± 0.01000")
    assert rows[1]["Time (generation + measuring)"].endswith("(40.0s + 0.667s)")


def test_the_picture_of_nearest_images_is_shown_of_the_best_row_that_has_one(run, tmp_path):
    run.evaluate(200, (fid(8.0),), guidance=1.0)
    run.evaluate(200, (fid(9.0),), guidance=1.5, nearest="evaluations/near one.png")
    run.evaluate(200, (fid(10.0),), guidance=2.0, nearest="evaluations/two.png")
    text = told(run, tmp_path)
    caption = "The generated images that are nearest to a training image, with their nearest ones"
    source = "runs/dim/evaluations/near%20one.png"
    assert f'<img src="{source}" alt="{caption}: epoch 200, DDIM 50 steps, CFG 1.5"' in text
    assert "two.png" not in text


def seeds(tmp_path, backbone: str, *estimates: float, **training: object) -> list[RunWriter]:
    """Return runs of one recipe and unlike training seeds, each with one row."""
    made = []
    for seed, estimate in enumerate(estimates):
        name = f"{backbone}-{len(training)}-{seed}"
        made.append(RunWriter(tmp_path / "runs" / name, backbone=backbone, epochs=200, seed=seed, **training))
        made[-1].evaluate(200, (noisy(estimate, seed),))
        made[-1].evaluate(100, (noisy(estimate + 1, seed),))
    return made


def overview(runs: list[RunWriter], tmp_path, language: str = "en") -> str:
    return write([run.folder for run in runs], tmp_path, language)


def test_rows_of_equal_settings_are_pooled_over_training_seeds(tmp_path):
    runs = [*seeds(tmp_path, "unet", 8.0, 8.2, 8.1), *seeds(tmp_path, "dim", 9.0, 9.4)]
    found = tables(section(overview(runs, tmp_path), OVERVIEW))
    assert [
        [row[title] for title in ("Model", "Checkpoint", "Training seeds", "FID ↓")] for row in found[-2]
    ] == [
        ["UNet", "epoch 100", "3", "9.100 ± 0.058"],
        ["UNet", "epoch 200", "3", "8.100 ± 0.058"],
        ["Diffusion Mamba", "epoch 100", "2", "10.200 ± 0.200"],
        ["Diffusion Mamba", "epoch 200", "2", "9.200 ± 0.200"],
    ]
    (behind,) = found[-1]
    assert (behind["Model"], behind["Checkpoint"], behind["FID: behind by"]) == (
        "Diffusion Mamba",
        "epoch 200",
        "1.100 ± 0.208",
    )
    # 5.3 standard errors, and still not enough with 1.2 degrees of freedom.
    assert behind["Verdict"] == "not distinguishable"
    assert "不同训练种子" in overview(runs, tmp_path, "zh")


def test_three_seeds_each_tell_such_models_apart(tmp_path):
    runs = [*seeds(tmp_path, "unet", 8.0, 8.2, 8.1), *seeds(tmp_path, "dim", 9.0, 9.2, 9.4)]
    assert tables(section(overview(runs, tmp_path), OVERVIEW))[-1][0]["Verdict"] == "worse"


def test_runs_that_differ_in_more_than_their_seed_are_not_pooled(tmp_path):
    runs = [*seeds(tmp_path, "unet", 8.0), *seeds(tmp_path, "unet", 8.2, learning_rate=1.0)]
    text = overview(runs, tmp_path)
    assert "The best of each model by FID" in text
    assert "Over training seeds" not in text


def test_a_run_of_the_same_seed_is_no_other_seed(tmp_path):
    runs = seeds(tmp_path, "unet", 8.0)
    again = RunWriter(tmp_path / "runs" / "again", backbone="unet", epochs=200)
    again.evaluate(200, (noisy(8.0, 0),))
    assert "Over training seeds" not in overview([*runs, again], tmp_path)


def test_pools_of_one_backbone_are_called_after_their_runs(tmp_path):
    runs = [*seeds(tmp_path, "unet", 8.0, 8.2), *seeds(tmp_path, "unet", 9.0, 9.2, learning_rate=1.0)]
    found = tables(section(overview(runs, tmp_path), OVERVIEW))
    models = {row["Model"] for row in found[-2]}
    assert models == {"UNet, unet-0-0, unet-0-1", "UNet, unet-1-0, unet-1-1"}


def test_the_comparison_of_models_says_that_it_reckons_with_images_alone(tmp_path):
    runs = [*seeds(tmp_path, "unet", 8.0), *seeds(tmp_path, "dim", 9.0)]
    text = overview(runs, tmp_path)
    assert "These verdicts reckon with the noise of the images alone" in text
    behind = tables(section(text, OVERVIEW))[2]
    assert [(row["Model"], row["Verdict"], row["Same noise"]) for row in behind] == [
        ("Diffusion Mamba", "worse", "yes")
    ]


def test_models_are_compared_by_the_metric_that_they_share(tmp_path):
    """As where one of them alone has an FID."""
    runs = [*seeds(tmp_path, "unet", 8.0, 8.2), *seeds(tmp_path, "dim", 9.0, 9.2)]
    assert "By FID over training seeds" in overview(runs, tmp_path)
    for i, (backbone, seed) in enumerate([("unet", 0), ("unet", 1), ("dim", 0), ("dim", 1)]):
        run = RunWriter(tmp_path / "shared" / f"{backbone}-{seed}", backbone=backbone, epochs=200, seed=seed)
        shared = jackknifed("fd_classifier", 5.0 + i, 1.0, noise=1.0, own=0.03, seed=i)
        run.evaluate(200, (noisy(9.0 - i, i), shared) if backbone == "unet" else (shared,))
        runs[i] = run
    text = section(overview([runs[0], runs[2]], tmp_path), OVERVIEW)
    assert "The best of each model by FD (classifier)" in text
    assert [(row["Model"], row["Verdict"]) for row in tables(text)[2]] == [("Diffusion Mamba", "worse")]
    assert "By FD (classifier) over training seeds" in overview(runs, tmp_path)


def test_a_metric_of_a_single_row_keeps_no_others_from_their_verdicts(run, tmp_path):
    for i, scale in enumerate((1.0, 1.5, 2.0)):
        shared = jackknifed("fd_classifier", 5.0 + i, 1.0, noise=1.0, own=0.03, seed=i)
        run.evaluate(200, (shared, noisy(9.0, i)) if scale == 2.0 else (shared,), guidance=scale)
    text = told(run, tmp_path)
    assert "Best by FD (classifier): epoch 200, DDIM 50 steps, CFG 1, 5.000" in text
    assert [row["Verdict"] for row in tables(text)[1]] == ["worse", "worse"]
