"""The report says what the records say, in the layout of the log, and nothing that does not hold."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import pytest
from report.synthetic_run import DIFFUSION, V100, RunWriter, fid, inception_score

from triptych.errors import UserError
from triptych.record.events import Device, Figure, Finished, Resumed, Stopped, Times
from triptych.report.report import report


def write(folders: list[Path], out: Path, language: str = "en") -> str:
    return report(folders, out, language)[0].read_text(encoding="utf-8")


def section(text: str, title: str) -> str:
    """Return what stands under the heading that ends in `title`, deeper headings included."""
    match = re.search(rf"^(#+) [^\n]*{re.escape(title)}[^\n]*\n(.*?)(?=^#{{1,6}} |\Z)", text, re.M | re.S)
    assert match, f"no heading {title}"
    level = len(match[1])
    body = text[match.start(2) :]
    end = re.search(rf"^#{{1,{level}}} ", body, re.M)
    return body[: end.start()] if end else body


def tables(text: str) -> list[list[dict[str, str]]]:
    """Return every table as rows of {column: cell}, bold taken off."""
    found = []
    for block in re.findall(r"(?:^\|.*\|\n?)+", text, re.M):
        lines = [[cell.strip().strip("*") for cell in line[1:-1].split(" | ")] for line in block.splitlines()]
        found.append([dict(zip(lines[0], row, strict=True)) for row in lines[2:]])
    return found


def items(text: str) -> dict[str, str]:
    """Return a table of two columns as {item: value}."""
    return {row["Item"]: row["Value"] for row in tables(text)[0]}


def test_overview_has_the_columns_and_figures_of_the_log(mamba, tmp_path):
    (row,) = tables(section(write([mamba.folder], tmp_path), "Overview"))[0]
    assert row == {
        "No.": "1",
        "Model": "Diffusion Mamba",
        "Parameters": "35.7M",
        "GFLOP per image": "12.4",
        "Training CFG": "1.3",
        "Epochs": "4000",
        "Hardware": "V100 32G × 8 (5 used)",
        "Batch / LR": "128 / 1e-4",
        "Schedule": "20-epoch linear warm-up → cosine",
        "Checkpoints and previews": "checkpoint every 50 epochs; from epoch 500 on, "
        "16 images every 50 epochs",
        "Total time (training + previews)": "36h 49m 25.9s (first 2500 epochs) "
        "+ 22h 16m 42.7s (last 1500, resumed) = 59h 6m 8.7s",
    }


def test_what_older_records_do_not_say_is_left_out(mamba, tmp_path):
    older = RunWriter(tmp_path / "runs" / "older", backbone="unet", flops=0.0)
    text = write([older.folder], tmp_path)
    assert "GFLOP" not in text
    assert tables(section(text, "Overview"))[0][0]["Parameters"] == "35.7M"
    rows = tables(section(write([mamba.folder, older.folder], tmp_path), "Overview"))[0]
    assert [row["GFLOP per image"] for row in rows] == ["12.4", "–"]


def test_training_table(mamba, tmp_path):
    training = items(section(write([mamba.folder], tmp_path), "1.2.1 Training"))
    assert training["Parameters"] == "35.7M"
    assert training["GFLOP per image"] == "12.4 (one forward pass; a multiply-add counts two)"
    assert training["Training set"] == f"CIFAR-10, 32×32, 50,000 images (sha256 {'c' * 12})"
    assert training["Batch / workers"] == "128 / 0"
    assert training["Precision"] == "float32"
    assert "Preparation of the images" not in training
    assert training["Learning rate"] == "1e-4"
    assert training["Checkpoints"] == "every 50 epochs"
    assert training["Time per preview (16 images, DDIM 50 steps)"] == "51.0s"
    whole = 36 * 3600 + 49 * 60 + 25.928 + 22 * 3600 + 16 * 60 + 42.744
    assert training["Time per epoch"] == f"{whole * 0.9 / 4000:.1f}s"


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({}, "linear / eps"),
        ({"objective": "mse", "times": "uniform"}, "linear / eps"),
        ({"times": "logit-normal"}, "linear / eps, times logit-normal"),
        ({"objective": "edm", "times": "log-normal"}, "linear / eps, objective edm, times log-normal"),
    ],
)
def test_what_is_trained_unlike_ddpm_is_told(more, told, tmp_path, monkeypatch):
    for name, value in more.items():
        monkeypatch.setitem(DIFFUSION, name, value)
    run = RunWriter(tmp_path / "runs" / "dim", epochs=100)
    training = items(section(write([run.folder], tmp_path), "1.2.1 Training"))
    assert training["Noise schedule / prediction"] == told


@pytest.mark.parametrize(
    ("joules", "told"), [((7.2e6, 10.8e6), "5.00 kWh, as the devices count it"), ((7.2e6, None), None)]
)
def test_device_hours_and_energy_add_up_over_attempts(joules, told, tmp_path):
    run = RunWriter(tmp_path / "runs" / "dim", epochs=100)
    run.train(range(50, 51))
    run.append(Stopped(50, "SIGTERM", Times(3600, 0, 0, 0, 3600, energy=joules[0])), 50)
    run.resume(50)
    run.append(Finished(100, Times(5400, 0, 0, 0, 5400, energy=joules[1])), 100)
    training = items(section(write([run.folder], tmp_path), "1.2.1 Training"))
    assert training["Device-hours"] == "12.5"  # five devices each
    assert training.get("Energy") == told


@pytest.mark.parametrize(
    ("warmup", "decay", "told"),
    [
        (20, 0.25, "20-epoch linear warm-up → constant → linear decay (last 25 %)"),
        (20, 0.9, "20-epoch linear warm-up → linear decay (last 90 %)"),
        (0, 0.5, "constant → linear decay (last 50 %)"),
    ],
)
def test_a_learning_rate_is_constant_only_where_decay_leaves_room_for_it(warmup, decay, told, tmp_path):
    course = {"learning_rate_schedule": "wsd", "warmup_epochs": warmup, "decay": decay}
    run = RunWriter(tmp_path / "runs" / "dim", epochs=100, **course)
    assert items(section(write([run.folder], tmp_path), "1.2.1 Training"))["Schedule"] == told


@pytest.mark.parametrize(("language", "named"), [("en", "DDIM 1 step, CFG 3"), ("zh", "DDIM 1 步，CFG 3")])
def test_one_step_is_one(language, named, mamba, tmp_path):
    mamba.sample(4000, "ddim:1", 1.0)
    assert named in write([mamba.folder], tmp_path, language)


def test_sampling_table_and_pictures(mamba, tmp_path):
    sampling = section(write([mamba.folder], tmp_path), "1.2.2 Sampling")
    ddim, ddpm = tables(sampling)[0]
    assert (ddim["Method"], ddim["Steps"], ddim["Sampling CFG"], ddim["Time"]) == ("DDIM", "50", "3", "26.0s")
    assert (ddpm["Method"], ddpm["Steps"], ddpm["Images"]) == ("DDPM", "1000", "10 classes × 8")
    assert ddpm["Time"] == "6m 46.3s"
    assert "V100 32G × 8 (1 used)" in sampling
    assert "(Left: DDIM 50 steps, CFG 3 | Right: DDPM 1000 steps, CFG 3)" in sampling
    sources = [unquote(source) for source in re.findall(r'src="(.*?)"', sampling)]
    folder = "runs/cifar10-dim-cfg/samples/"
    names = ["epoch-04000 ddim-50.png", "epoch-04000 ddpm-1000.png", "epoch-04000 ddim-50.gif"]
    assert sources == [folder + name for name in names]


def test_pictures_are_linked_from_wherever_the_report_stands(mamba, tmp_path):
    text = write([mamba.folder], tmp_path / "docs" / "log.md")
    assert 'src="../runs/cifar10-dim-cfg/samples/' in text
    assert 'src="log-assets/cifar10-dim-cfg-curves.png"' in text
    assert (tmp_path / "docs" / "log.md").exists()


def test_evaluated_figures_read_back_as_recorded(mamba, tmp_path):
    rows = tables(section(write([mamba.folder], tmp_path), "1.2.3 Evaluation"))[0]
    read = [(row["Checkpoint"], row["Sampling CFG"], row["FID ↓"], row["IS ↑"]) for row in rows]
    assert read == [
        ("epoch 3350, lowest MSE", "1.8", "12.090 ± 0.050", "7.810 (±0.190)"),
        ("epoch 3350, lowest MSE", "3", "15.999 ± 0.050", "8.745 (±0.192)"),
        ("epoch 4000", "3", "13.131 ± 0.050", "9.038 (±0.338)"),
        ("Real held-out images", "–", "3.105", "11.237"),
    ]
    assert rows[0]["Held-out MSE (rank)"] == "0.03000 (1 of 80)"
    assert rows[1]["Time (generation + measuring)"] == "7h 53m 43.8s (7h 45m 57.8s + 7m 46.0s)"


def test_the_best_of_each_metric_is_bold_and_named(mamba, tmp_path):
    evaluation = section(write([mamba.folder], tmp_path), "1.2.3 Evaluation")
    assert re.findall(r"\*\*(.*?)\*\*", evaluation) == ["12.090 ± 0.050"]  # IS has no error here
    assert "Best by FID: epoch 3350, lowest MSE, DDIM 50 steps, CFG 1.8, 12.090 ± 0.050." in evaluation


def test_the_note_on_mse_names_the_figures_that_bear_it_out(mamba, tmp_path):
    text = write([mamba.folder], tmp_path)
    assert (
        "> The lowest MSE is not the best: with DDIM 50 steps, CFG 3, epoch 4000 reaches FID 13.131" in text
    )


@pytest.mark.parametrize(
    ("figure_at_3350", "figure_at_4000", "guidance"),
    [
        (fid(10.0), fid(12.0), 3.0),  # the lowest error is the best
        (fid(12.0), fid(10.0), 1.8),  # another scale: not a like case
        (fid(10.1, 0.5), fid(10.0, 0.5), 3.0),  # not told apart
        (fid(10.0, None), fid(10.0, None), 3.0),  # equal
    ],
)
def test_the_note_on_mse_is_absent_where_it_does_not_hold(tmp_path, figure_at_3350, figure_at_4000, guidance):
    run = RunWriter(tmp_path / "run")
    run.train(range(50, 4001, 50))
    run.evaluate(3350, (figure_at_3350,))
    run.evaluate(4000, (figure_at_4000,), guidance=guidance)
    assert "lowest MSE is not the best" not in write([run.folder], tmp_path)


def test_rows_that_were_measured_otherwise_go_into_another_table(mamba, tmp_path):
    mamba.evaluate(4000, (fid(9.0),), count=50_000)
    mamba.evaluate(4000, (fid(8.0),), reference_digest="f" * 64, reference="cifar10/train")
    mamba.evaluate(4000, (fid(7.0),), extractors={"inception-2015-12-05": "e" * 64})
    mamba.evaluate(4000, (fid(6.0),), held_out_digest="d" * 64)
    evaluation = section(write([mamba.folder], tmp_path), "1.2.3 Evaluation")
    found = [rows for rows in tables(evaluation) if "FID ↓" in rows[0]]
    assert [len(rows) for rows in found] == [4, 2, 2, 2, 2]
    assert [rows[0]["FID ↓"][:4] for rows in found] == ["12.0", "9.00", "8.00", "7.00", "6.00"]
    assert evaluation.count(f"Real held-out images: sha256 {'d' * 12}") == 1  # older records do not say


@pytest.mark.parametrize("beside", ["cifar10/train", "cifar10/held-out"])
def test_real_images_are_called_by_the_side_that_they_are_from(tmp_path, beside):
    run = RunWriter(tmp_path / "run", epochs=100)
    nearest = Figure("nearest", 0.5, 0.1, 0.4)
    run.evaluate(100, (fid(9.0), nearest), held_out_digest="d" * 64, beside=beside)
    evaluation = section(write([run.folder], tmp_path), "1.2.3 Evaluation")
    assert f"Real images beside: {beside} (sha256 {'d' * 12})" in evaluation
    assert tables(evaluation)[0][-1]["Checkpoint"] == f"Real images ({beside})"
    assert "held-out images" not in evaluation
    # Even where training images stand beside, what was memorised is measured with held-out ones.
    assert ("is that of held-out ones" in evaluation) is (beside == "cifar10/train")
    assert f"真实图片（{beside}）" in write([run.folder], tmp_path, "zh")


@pytest.mark.parametrize(
    ("n", "real_n", "shown", "told"),
    [
        (50_000, 10_000, "3.105 (of 10,000)", True),
        (10_000, 10_000, "3.105", False),
        (0, None, "3.105", False),
    ],
)
def test_real_images_that_are_fewer_than_generated_ones_are_counted(tmp_path, n, real_n, shown, told):
    run = RunWriter(tmp_path / "run", epochs=100)
    run.evaluate(100, (replace(fid(9.0), n=n, real_n=real_n),), count=n or 10_000)
    evaluation = section(write([run.folder], tmp_path), "1.2.3 Evaluation")
    assert tables(evaluation)[0][-1]["FID ↓"] == shown
    assert ("few images bias a Fréchet distance upward" in evaluation) is told
    assert ("3.105（10,000 张）" in write([run.folder], tmp_path, "zh")) is told


@pytest.mark.parametrize(("metric", "flagged"), [("fd_classifier", True), ("classifier_accuracy", False)])
def test_distances_of_single_classes_are_flagged_for_their_few_images(mamba, tmp_path, metric, flagged):
    classes = {"per_class": (1.0,) * 10, "per_class_n": (34,) * 9 + (31,)}
    mamba.evaluate(4000, (fid(1.0), Figure(metric, 0.5, 0.1, 0.4, **classes)))
    evaluation = section(write([mamba.folder], tmp_path), "1.2.3 Evaluation")
    assert ("rests on as few as 31 images" in evaluation) is flagged


def test_rows_that_were_measured_otherwise_are_set_side_by_side_by_force_alone(mamba, tmp_path):
    mamba.evaluate(4000, (fid(9.0),), count=50_000)
    mamba.evaluate(4000, (fid(7.0),), extractors={"inception-2015-12-05": "e" * 64})
    folder = tmp_path / "forced"
    forced = section(report([mamba.folder], folder, unlike=True)[0].read_text(), "1.1 Overview")
    assert "Forced: these rows were not measured alike" in forced
    rows = tables(forced)[-1]
    assert len(rows) == 5  # those of three tables, and none of real images
    assert {(row["Images"], row["Networks"].split()[-1]) for row in rows} >= {
        ("50,000", rows[0]["Networks"].split()[-1]),
        ("10,000", "e" * 8),
    }
    assert not [row for row in rows if "**" in row["FID ↓"] or "≈" in row["FID ↓"]]
    assert "Forced" not in write([mamba.folder], tmp_path)


def test_what_differs_between_rows_becomes_a_column(mamba, tmp_path):
    evaluation = "1.2.3 Evaluation"
    assert "Seed" not in tables(section(write([mamba.folder], tmp_path), evaluation))[0][0]
    mamba.evaluate(4000, (fid(13.3),), seed=1, versions={"torch": "2.11.0"}, device=Device("H200", 1, 1))
    row = next(
        row for row in tables(section(write([mamba.folder], tmp_path), evaluation))[0] if "13.3" in str(row)
    )
    assert (row["Seed"], row["torch"], row["Hardware"]) == ("1", "2.11.0", "H200")


def test_rows_of_another_precision_stand_beside_one_another(mamba, tmp_path):
    evaluation = section(write([mamba.folder], tmp_path), "1.2.3 Evaluation")
    assert "Precision of the network: float32\n" in evaluation
    assert "Precision" not in tables(evaluation)[0][0]
    mamba.evaluate(4000, (fid(13.2),), precision="bf16")
    mamba.evaluate(3350, (fid(10.0),), precision="bf16", guidance=9.0)
    evaluation = section(write([mamba.folder], tmp_path), "1.2.3 Evaluation")
    read = {
        (row["Precision"], row["FID ↓"][:5]) for row in tables(evaluation)[0] if row["Sampling CFG"] == "3"
    }
    assert read >= {("float32", "13.13"), ("bf16", "13.20")}
    assert "Precision of the network: float32, bf16\n" in evaluation


def test_checkpoints_are_not_set_against_one_another_across_precisions(tmp_path):
    run = RunWriter(tmp_path / "run")
    run.train(range(50, 4001, 50))
    run.evaluate(3350, (fid(12.0),))
    run.evaluate(4000, (fid(10.0),), precision="bf16")
    assert "lowest MSE is not the best" not in write([run.folder], tmp_path)


def test_pictures_of_another_precision_are_told_apart(mamba, tmp_path):
    sampling = section(write([mamba.folder], tmp_path), "1.2.2 Sampling")
    assert "Precision of the network: float32\n" in sampling
    assert "Precision" not in tables(sampling)[0][0]
    mamba.sample(4000, "ddim:100", 50.0, precision="bf16")
    rows = tables(section(write([mamba.folder], tmp_path), "1.2.2 Sampling"))[0]
    assert {(row["Steps"], row["Precision"]) for row in rows} >= {("50", "float32"), ("100", "bf16")}


def test_an_evaluation_made_again_replaces_the_first(mamba, tmp_path):
    mamba.evaluate(4000, (fid(13.0),))
    text = write([mamba.folder], tmp_path)
    assert "13.000 ± 0.050" in text
    assert "13.131" not in text


def test_figures_by_class(tmp_path):
    run = RunWriter(tmp_path / "run")
    run.train(range(50, 101, 50))
    accuracy = Figure(
        "classifier_accuracy", 0.5, 0.01, 0.9, tuple(c / 10 for c in range(10)), tuple([0.9] * 10)
    )
    run.evaluate(100, (accuracy, Figure("novelty", 1.25, None, None)))
    first, by_class = tables(section(write([run.folder], tmp_path), "Evaluation"))
    assert first[0]["Accuracy (classifier) ↑"] == "0.5000 ± 0.0100"
    assert first[0]["novelty"] == "1.2500"
    assert [row["Class"] for row in by_class][:3] == ["airplane", "automobile", "bird"]
    assert [float(row["Accuracy (classifier) ↑"]) for row in by_class] == [c / 10 for c in range(10)]
    assert {row["Accuracy (classifier), real"] for row in by_class} == {"0.9000"}


def test_a_killed_attempt_counts_with_about_its_time(tmp_path):
    run = RunWriter(tmp_path / "run", conditional=False, epochs=200)
    run.train(range(10, 121, 10))
    run.resume(100)
    run.train(range(110, 201, 10))
    run.finish(200, total=4500.0)
    text = write([run.folder], tmp_path)
    total = tables(section(text, "Overview"))[0][0]["Total time (training + previews)"]
    assert total == "about 1h 30m (first 100 epochs) + 1h 15m 0.0s (last 100, resumed) = about 2h 45m"
    first, second = tables(section(text, "Provenance"))[0]
    assert first["Ended"] == "broken off without saving; 20 epochs taken again"
    assert first["Epochs"] == "0 to 100"
    assert (second["Went on from"], second["Ended"]) == ("epoch-00100", "finished")


def test_many_parts_are_only_added_up(tmp_path):
    run = RunWriter(tmp_path / "run", epochs=600)
    for start in range(0, 600, 100):
        if start:
            run.resume(start)
        run.train(range(start + 50, start + 101, 50))
        (run.stop if start < 500 else run.finish)(start + 100, total=60.5)
    text = write([run.folder], tmp_path)
    assert "6m 3.0s (in 6 parts)" in text
    assert len(tables(section(text, "Provenance"))[0]) == 6


def test_skipped_checkpoints_changes_and_reasons_are_told(tmp_path):
    run = RunWriter(tmp_path / "run", epochs=100)
    run.train(range(50, 101, 50))
    run.stop(100, total=60.0, reason="max-minutes")
    run.attempt += 1
    skipped = ("epoch-00100: manifest missing",)
    run.append(
        Resumed("epoch-00050", skipped, {"device": ("cuda", "cpu")}, replace(V100, name="H200"), {}, 39062),
        50,
    )
    stopped, open_ended = tables(section(write([run.folder], tmp_path), "Provenance"))[0]
    assert stopped["Ended"] == "stopped after saving (max-minutes); 50 epochs taken again"
    assert open_ended["Remarks"] == "device: cuda → cpu; passed over epoch-00100: manifest missing"
    assert open_ended["Hardware"] == "H200 × 8 (5 used)"


def test_unconditional_models_come_first_without_guidance(mamba, tmp_path):
    plain = RunWriter(tmp_path / "runs" / "cifar10-dim", conditional=False, epochs=100)
    plain.train(range(50, 101, 50))
    plain.finish(100, total=4500.0)
    plain.sample(100, "ddpm:1000", 900.0)
    text = write([mamba.folder, plain.folder], tmp_path)
    first, second = section(text, "1. Unconditional models"), section(text, "2. Conditional models")
    assert "CFG" not in first
    assert "1,024 images, DDPM 1000 steps:" in first
    assert "Training CFG" in second


def test_models_are_compared_where_they_were_measured_alike(mamba, tmp_path):
    other = RunWriter(tmp_path / "runs" / "unet", backbone="unet", epochs=100)
    other.train(range(50, 101, 50))
    other.evaluate(50, (fid(9.0),))
    other.evaluate(100, (fid(8.157), inception_score(8.219, 0.207)))
    other.evaluate(100, (fid(2.0),), count=50_000)
    compared = tables(section(write([mamba.folder, other.folder], tmp_path), "1.1 Overview"))[1]
    read = [(row["Model"], row["FID ↓"]) for row in compared]
    assert read[:2] == [("Diffusion Mamba", "12.090 ± 0.050"), ("UNet", "8.157 ± 0.050")]
    assert len(read) == 3


@pytest.mark.parametrize(
    ("distance", "error", "told"),
    [
        (8.0, 0.05, ["12.090 ± 0.050", "**8.000 ± 0.050**"]),
        (12.0, 0.05, ["12.090 ± 0.050 ≈", "12.000 ± 0.050 ≈"]),
        (8.0, None, ["12.090 ± 0.050", "8.000"]),
    ],
)
def test_of_several_models_the_best_is_set_off_only_where_it_is_told_from_the_others(
    mamba, tmp_path, distance, error, told
):
    other = RunWriter(tmp_path / "runs" / "unet", backbone="unet", epochs=100)
    other.evaluate(100, (fid(distance, error),))
    text = section(write([mamba.folder, other.folder], tmp_path), "1.1 Overview")
    lines = [line for line in text.splitlines() if line.startswith(("| Diffusion Mamba |", "| UNet |"))]
    assert [cell for cell in told if not any(f"| {cell} |" in line for line in lines)] == []
    assert ("≈ marks the best of a column and those" in text) == ("≈" in told[0])


def test_what_each_model_costs_stands_beside_its_figures(mamba, tmp_path):
    other = RunWriter(tmp_path / "runs" / "unet", backbone="unet", epochs=100, flops=5.58e9)
    other.train(range(50, 101, 50))
    other.evaluate(100, (fid(8.157),), took=12.5)
    overview = section(write([mamba.folder, other.folder], tmp_path), "1.1 Overview")
    titles = ["Parameters", "GFLOP per image", "Training time", "Sampling time per image"]
    assert [[row[title] for title in titles] for row in tables(overview)[1]] == [
        ["35.7M", "12.4", "59h 6m 8.7s", "0.360s"],
        ["35.7M", "5.58", "about 1h 15m", "0.0013s"],
        ["–", "–", "–", "–"],
    ]
    older = RunWriter(tmp_path / "runs" / "older", backbone="dit", flops=0.0)
    older.evaluate(50, (fid(9.0),))
    rows = tables(section(write([mamba.folder, older.folder], tmp_path), "1.1 Overview"))[1]
    assert [row["GFLOP per image"] for row in rows[:2]] == ["12.4", "–"]


SHARED = "../bout-cifar10-dim-cfg-unet/last-ddim-50/side-by-side.png"


@pytest.mark.parametrize(
    ("language", "caption"),
    [
        ("en", "The same noise, drawn by each model: DDIM 50 steps, CFG 1.4, seed 0:"),
        ("zh", "各模型对同一噪声的采样结果：DDIM 50 步，CFG 1.4，种子 0："),
    ],
)
def test_a_picture_that_models_share_stands_once_near_the_overview(mamba, tmp_path, language, caption):
    other = RunWriter(tmp_path / "runs" / "unet", backbone="unet", epochs=100)
    for run, epoch in ((mamba, 4000), (other, 100)):
        run.sample(epoch, "ddim:50", 3.0, guidance=1.4, side_by_side=SHARED)
    text = write([mamba.folder, other.folder], tmp_path / "docs", language)
    overview = text[: re.search(r"^## 1\.2", text, re.M).start()]
    assert overview.count(f"\n{caption}\n") == text.count("/side-by-side.png") == 1
    assert f'src="../runs/{SHARED.removeprefix("../")}"' in overview
    assert "side-by-side" not in write([mamba.folder], tmp_path, language)


def test_a_picture_that_unlike_models_share_stands_where_the_first_of_them_does(mamba, tmp_path):
    free = RunWriter(tmp_path / "runs" / "free", conditional=False, backbone="unet", epochs=100)
    mamba.sample(4000, "ddim:50", 3.0, guidance=0.0, side_by_side=SHARED)
    free.sample(100, "ddim:50", 3.0, side_by_side=SHARED)
    for order, heading in (([mamba, free], "2.1 Overview"), ([free, mamba], "1.1 Overview")):
        text = write([run.folder for run in order], tmp_path)
        assert text.count("/side-by-side.png") == section(text, heading).count("/side-by-side.png") == 1


def test_records_of_an_older_version_with_fewer_fields_are_read(mamba, tmp_path):
    lines = [json.loads(line) for line in mamba.record.path.read_text().splitlines()]
    dropped = [line["data"].pop(name, None) for line in lines for name in ("flops", "side_by_side")]
    assert any(dropped)
    mamba.record.path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert "GFLOP" not in write([mamba.folder], tmp_path)


def test_models_of_one_kind_are_told_apart_by_name(mamba, tmp_path):
    other = RunWriter(tmp_path / "runs" / "wider", epochs=100)
    text = write([mamba.folder, other.folder], tmp_path)
    assert "## 1.2 Diffusion Mamba, cifar10-dim-cfg (V100" in text
    assert "## 1.3 Diffusion Mamba, wider (V100" in text


def next_command(text: str) -> str:
    return re.findall(r"```sh\n(.*)\n```", text)[-1]


def test_the_next_command_follows_what_was_done(tmp_path):
    run = RunWriter(tmp_path / "runs" / "my run", epochs=100)
    assert next_command(write([run.folder], tmp_path)) == "triptych train 'runs/my run/config.yaml'"
    run.train(range(50, 101, 50))
    run.finish(100, total=60.0)
    assert next_command(write([run.folder], tmp_path)).startswith(
        "triptych sample 'runs/my run' --guidance 3"
    )
    run.sample(100, "ddim:50", 3.0)
    assert next_command(write([run.folder], tmp_path)).startswith(
        "triptych evaluate 'runs/my run' --checkpoint last"
    )
    run.evaluate(50, (fid(9.0),))
    run.evaluate(100, (fid(8.0),), guidance=1.4)
    best = (
        "triptych sample 'runs/my run' --checkpoint epoch-00100 --sampler ddim:50 --guidance 1.4 --count 1024"
    )
    assert next_command(write([run.folder], tmp_path)) == best


def test_a_run_that_has_only_begun_is_reported_too(tmp_path):
    run = RunWriter(tmp_path / "run")
    text = write([run.folder], tmp_path)
    assert tables(text)[0][0]["Epochs"] == "0 of 4000"
    assert "Nothing has been sampled" in text
    assert "has not been evaluated" in text


def test_the_same_records_give_the_same_bytes(mamba, tmp_path, true_pictures):
    report([mamba.folder], tmp_path / "a", "en")
    report([mamba.folder], tmp_path / "a", "zh")
    code = "import sys; from pathlib import Path; from triptych.report.report import report\n"
    code += "for language in ('en', 'zh'): report([Path(sys.argv[1])], Path(sys.argv[2]), language)"
    subprocess.run([sys.executable, "-c", code, mamba.folder, tmp_path / "b"], check=True)
    written = ["EXPERIMENTS.md", "EXPERIMENTS.zh.md", "EXPERIMENTS-assets/cifar10-dim-cfg-curves.png"]
    for name in written:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_both_languages_hold_the_same_figures(mamba, tmp_path):
    english, chinese = write([mamba.folder], tmp_path), write([mamba.folder], tmp_path, "zh")
    figures = [r"\d+\.\d{3} ", r'src="[^"]*"', r"\d+h \d+m \d+\.\d+s", r"\(±[\d.]+\)"]
    for pattern in figures:
        assert re.findall(pattern, english) == re.findall(pattern, chinese)
    assert [len(rows) for rows in tables(english)] == [len(rows) for rows in tables(chinese)]
    assert "36h 49m 25.9s（前 2500 轮） + 22h 16m 42.7s（后 1500 轮，断点续训）" in chinese
    assert "说明：训练时 MSE 最低不一定评估最佳" in chinese
    assert (tmp_path / "EXPERIMENTS.zh.md").exists()


def test_the_date_is_that_of_the_last_event(tmp_path):
    run = RunWriter(tmp_path / "run")
    assert write([run.folder], tmp_path).startswith(
        "---\n# triptych report\ndate: 2025-12-22 10:35:00\ntags:\n  - cifar10\n"
    )


def test_without_matplotlib_the_report_says_how_to_get_curves(mamba, tmp_path, true_pictures, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    text = write([mamba.folder], tmp_path)
    assert 'in a clone, pip install -c constraints.txt -e ".\\[plots\\]" and write' in text
    assert "curves.png" not in text


def test_reporting_loads_no_torch(mamba, tmp_path):
    code = "import sys; from pathlib import Path; from triptych.report.report import report\n"
    code += "report([Path(sys.argv[1])], Path(sys.argv[2])); print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, mamba.folder, tmp_path], check=True, capture_output=True
    )
    assert done.stdout.split() == [b"False"]


def test_what_is_no_run_is_refused_in_one_line(mamba, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UserError, match=r"no record\.jsonl in it"):
        report([empty], tmp_path)
    (empty / "record.jsonl").touch()
    with pytest.raises(UserError, match="its record is empty"):
        report([mamba.folder, empty], tmp_path)
    with pytest.raises(UserError, match="no run was named"):
        report([], tmp_path)
    line = mamba.record.path.read_bytes().split(b"\n")[1] + b"\n"
    (empty / "record.jsonl").write_bytes(line)
    with pytest.raises(UserError, match="no start of a run"):
        report([empty], tmp_path)
    assert not (tmp_path / "EXPERIMENTS.md").exists()


def test_a_run_can_be_copied_and_reported_on_elsewhere(mamba, tmp_path):
    there = tmp_path / "elsewhere"
    shutil.copytree(mamba.folder.parent, there / "runs")
    assert write([mamba.folder], tmp_path) == write([there / "runs" / mamba.folder.name], there)


def test_records_of_a_newer_version_with_more_fields_are_read(mamba, tmp_path):
    before = write([mamba.folder], tmp_path)
    lines = [json.loads(line) for line in mamba.record.path.read_text().splitlines()]
    for line in lines:
        line["data"]["from_the_future"] = 1
    mamba.record.path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert write([mamba.folder], tmp_path) == before
