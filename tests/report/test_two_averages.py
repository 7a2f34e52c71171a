"""What a report says of two averages of the weights, of several processes, and of a guard that stepped in."""

from pathlib import Path

import pytest
from report.synthetic_run import STEPS_PER_EPOCH, V100, VERSIONS, RunWriter, fid
from report.test_report import items, next_command, section, tables, write

from triptych.record.events import HeldOut, Progress, Resumed
from triptych.report.row_tables import NONE

TRAINING, EVALUATION, PROVENANCE = "1.2.1 Training", "1.2.3 Evaluation", "1.2.4 Provenance"


@pytest.fixture
def run(tmp_path) -> RunWriter:
    """A finished run whose usual average is best at epoch 50, and the slower one, better still, at 100."""
    run = RunWriter(tmp_path / "runs" / "tiny", epochs=150)
    for epoch, mse, long in ((50, 0.030, 0.040), (100, 0.031, 0.025), (150, 0.032, 0.026)):
        run.append(Progress(epoch, 0.03, 1.0, 1e-4, 1111.0), epoch)
        run.append(HeldOut(epoch, mse, epoch < 150, 2.0, long=long), epoch)
    run.finish(150, total=600.0)
    return run


def told(run: RunWriter, tmp_path: Path, title: str, language: str = "en") -> str:
    return section(write([run.folder], tmp_path, language), title)


def test_the_lowest_error_names_its_average(run, tmp_path):
    training = items(told(run, tmp_path, TRAINING))
    assert training["Lowest held-out error"] == "0.02500, epoch 100, slower average"
    assert "| 最低验证误差 | 0.02500，训练 100 轮，慢速平均权重 |" in write([run.folder], tmp_path, "zh")


def test_what_never_happened_is_not_spoken_of(mamba, tmp_path):
    training = items(told(mamba, tmp_path, TRAINING))
    assert not {"Lowest held-out error", "Processes", "Steps left out"} & training.keys()
    attempts = tables(told(mamba, tmp_path, PROVENANCE))[0]
    assert "Processes" not in attempts[0]


def test_weights_are_a_column_where_the_rows_of_a_table_differ_in_them(run, tmp_path):
    for weights, best in (("ema", 9.0), ("ema_long", 7.0), ("raw", 12.0)):
        for epoch in (50, 100):
            run.evaluate(epoch, (fid(best + (epoch == 50)),), weights=weights)
    run.evaluate(100, (fid(6.0),), weights="ema_long", count=50_000)
    evaluation = told(run, tmp_path, EVALUATION)
    mixed, against_best, other = tables(evaluation)
    assert [(row["Checkpoint"], row["Weights"], row["Held-out MSE (rank)"]) for row in mixed[:-1]] == [
        ("epoch 50, lowest MSE", "usual average", "0.03000 (1 of 3)"),
        ("epoch 50", "slower average", "0.04000 (3 of 3)"),
        ("epoch 50", "raw weights", NONE),
        ("epoch 100", "usual average", "0.03100 (2 of 3)"),
        ("epoch 100, lowest MSE", "slower average", "0.02500 (1 of 3)"),
        ("epoch 100", "raw weights", NONE),
    ]
    assert "Weights" in against_best[0]
    assert [row["Checkpoint"] for row in other[:-1]] == ["epoch 100, lowest MSE (slower average)"]
    assert evaluation.count("not comparable with the above.") == 1
    assert "Best by FID: epoch 100, lowest MSE (slower average), DDIM 50 steps, CFG 3" in evaluation
    assert "with DDIM 50 steps, CFG 3, epoch 100 reaches FID 9.000" in evaluation
    assert "slower average reaches" not in evaluation  # there the lowest error is the best


def test_models_are_compared_by_their_best_weights(run, tmp_path):
    other = RunWriter(tmp_path / "runs" / "unet", backbone="unet", epochs=150)
    for each, usual, slower in ((run, 9.0, 8.0), (other, 6.0, 7.0)):
        each.evaluate(100, (fid(usual),))
        each.evaluate(100, (fid(slower),), weights="ema_long")
    compared = tables(section(write([run.folder, other.folder], tmp_path), "1.1 Overview"))[1]
    assert [(row["FID ↓"], row["Weights"]) for row in compared[:2]] == [
        ("8.000 ± 0.050", "slower average"),
        ("6.000 ± 0.050", "usual average"),
    ]


def test_an_average_whose_error_was_never_measured_stands_beside_one_whose_was(mamba, tmp_path):
    mamba.evaluate(4000, (fid(9.0),), weights="ema_long")
    rows = tables(told(mamba, tmp_path, EVALUATION))[0]
    assert {row["Weights"]: row["Held-out MSE (rank)"] for row in rows}["slower average"] == "–"


@pytest.mark.parametrize(
    ("weights", "option"), [("ema", ""), ("ema_long", " --ema ema_long"), ("raw", " --ema none")]
)
def test_the_next_command_draws_from_the_weights_of_the_best_row(run, tmp_path, weights, option):
    run.sample(100, "ddim:50", 3.0)
    run.evaluate(50, (fid(9.0),))
    run.evaluate(100, (fid(8.0),), weights=weights)
    command = next_command(write([run.folder], tmp_path))
    assert command.endswith(f"--checkpoint epoch-00100 --sampler ddim:50 --guidance 3{option} --count 1024")


def test_pictures_of_unlike_weights_are_told_apart(run, tmp_path):
    run.sample(100, "ddim:50", 3.0)
    run.sample(100, "ddim:50", 3.0, weights="ema_long")
    sampling = told(run, tmp_path, "1.2.2 Sampling")
    assert [row["Checkpoint"] for row in tables(sampling)[0]] == [
        "epoch 100",
        "epoch 100, lowest MSE (slower average)",
    ]
    assert "(Left: epoch 100, DDIM 50 steps, CFG 3 | Right: epoch 100 (slower average), DDIM" in sampling


def test_a_shared_picture_says_which_weights_drew_it(run, tmp_path):
    other = RunWriter(tmp_path / "runs" / "unet", backbone="unet", epochs=100)
    for each in (run, other):
        for weights in ("ema", "ema_long"):
            each.sample(100, "ddim:50", 3.0, weights=weights, side_by_side=f"../bout/{weights}.png")
    overview = section(write([run.folder, other.folder], tmp_path), "1.1 Overview")
    assert "DDIM 50 steps, CFG 3, seed 0:" in overview
    assert "DDIM 50 steps, CFG 3, seed 0 (slower average):" in overview


def test_the_number_of_processes_is_told_where_there_were_several(tmp_path):
    run = RunWriter(tmp_path / "run", epochs=100, ranks=2)
    run.train(range(50, 51, 50))
    assert items(told(run, tmp_path, TRAINING))["Processes"] == "2"
    for ranks in (3, 1):
        run.attempt += 1
        run.append(Resumed("epoch-00050", (), {}, V100, VERSIONS, run.total_steps, ranks=ranks), 50)
    assert items(told(run, tmp_path, TRAINING))["Processes"] == "2, then 3, then 1"
    assert [row["Processes"] for row in tables(told(run, tmp_path, PROVENANCE))[0]] == ["2", "3", "1"]


FAULT = "8 steps in a row had a loss or gradient that was not finite"


@pytest.fixture
def strayed(tmp_path) -> RunWriter:
    """A run that left steps out, went astray at epoch 100, and went back to epoch 50 by itself."""
    run = RunWriter(tmp_path / "strayed", epochs=100)
    for epoch, not_finite, spikes in ((50, 2, 1_000), (100, 8, 0)):
        run.now += 60.0
        run.append(Progress(epoch, 0.1, 1.0, 1e-4, 10.0, not_finite=not_finite, spikes=spikes), epoch)
    run.stop(100, total=60.0, reason="diverged")
    run.attempt += 1
    step = round(100 * STEPS_PER_EPOCH)
    again = Resumed("epoch-00050", (), {}, V100, VERSIONS, run.total_steps, fault=FAULT, fault_step=step)
    run.append(again, 50)
    run.append(Progress(100, 0.1, 1.0, 1e-4, 10.0, not_finite=1), 100)
    run.finish(100, total=60.0)
    return run


def test_the_steps_that_were_left_out_of_what_holds_are_added_up(strayed, tmp_path):
    left_out = items(told(strayed, tmp_path, TRAINING))["Steps left out"]
    assert left_out == "3 not finite, 1,000 with a spike of the gradient"
    assert "| 略过的步数 | 数值非有限 3 步，梯度突增 1,000 步 |" in write([strayed.folder], tmp_path, "zh")


@pytest.mark.parametrize(
    ("language", "ended", "remark"),
    [
        (
            "en",
            "went astray, nothing saved; 50 epochs taken again",
            f"went back by itself at epoch 100: {FAULT}",
        ),
        ("zh", "训练发散，未保存；50 轮重新训练", f"第 100 轮自动回退：{FAULT}"),
    ],
)
def test_a_rollback_stands_among_the_attempts_with_its_reason(strayed, tmp_path, language, ended, remark):
    first, second = tables(write([strayed.folder], tmp_path, language))[-1]
    assert ended in first.values()
    assert remark in second.values()
    assert "epoch-00050" in second.values()


def test_an_average_without_a_figure_never_has_the_lowest_error(tmp_path):
    run = RunWriter(tmp_path / "run", epochs=100)
    run.append(HeldOut(50, 0.01, True, 1.0, long=float("nan")), 50)
    run.append(HeldOut(100, float("nan"), False, 1.0, long=0.02), 100)
    training = items(told(run, tmp_path, TRAINING))
    assert training["Lowest held-out error"] == "0.01000, epoch 50, usual average"
