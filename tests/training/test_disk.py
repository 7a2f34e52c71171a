"""The disk that checkpoints will take is what they take, and is asked for beforehand."""

import shutil
import signal
from collections import namedtuple
from pathlib import Path

import pytest
import torch
from training.test_resume import stop_at
from training.tiny import TINY, train

from triptych.checkpoints.find import FOLDER, all_checkpoints
from triptych.cli import main
from triptych.experiment import load_experiment
from triptych.record.record import Record
from triptych.runs import Run
from triptych.training import saving
from triptych.training.clock import Clock
from triptych.training.disk import DiskNeed, check_disk, disk_need, size


@pytest.mark.parametrize(
    ("extra", "kept"),
    [
        (("--training.keep-full", "1"), 3),
        (("--training.keep-full", "2"), 3),
        (("--training.keep-full", "9"), 3),
        (("--training.checkpoint-every", "4", "--training.keep-full", "1"), 2),
    ],
)
def test_checkpoints_take_what_was_said(tmp_path, extra, kept):
    assert train(tmp_path, *extra) == 0
    run = Run(tmp_path / "tiny")
    experiment, dataset = run.experiment, run.dataset
    network = experiment.build_for(dataset).backbone
    need = disk_need(Clock(experiment.training, len(dataset.train)), network)
    checkpoints = list((tmp_path / "tiny" / FOLDER).glob("epoch-*"))
    assert len(checkpoints) == need.full_count + need.averaged_count == kept
    tensors = [path for folder in checkpoints for path in folder.glob("*.safetensors")]
    # Each file has a header of names and shapes before its tensors.
    assert need.total <= sum(path.stat().st_size for path in tensors) <= need.total + 20_000 * len(tensors)


def tensor_bytes(folder):
    """Return the bytes of all tensors in the checkpoints of a folder, without the headers of their files."""
    files = [path.read_bytes() for path in folder.glob("epoch-*/*.safetensors")]
    return sum(len(content) - 8 - int.from_bytes(content[:8], "little") for content in files)


@pytest.mark.parametrize(("keep_full", "kept"), [("1", 4), ("2", 4), ("9", 4)])
@pytest.mark.parametrize("step", [7, 15])
def test_what_a_stop_inside_an_epoch_saved_comes_on_top(tmp_path, monkeypatch, step, keep_full, kept):
    """Until enough newer ones are safe: the disk is never fuller than was said when the run went on."""
    options = ("--training.keep-full", keep_full)
    with monkeypatch.context() as patched:
        stop_at(patched, step, lambda training: signal.raise_signal(signal.SIGTERM))
        assert train(tmp_path, *options) == 75
    folder = tmp_path / "tiny" / FOLDER
    experiment, dataset = Run(tmp_path / "tiny").experiment, Run(tmp_path / "tiny").dataset
    network, clock = experiment.build_for(dataset).backbone, Clock(experiment.training, len(dataset.train))
    need = disk_need(clock, network, [path.name for path in all_checkpoints(folder)])
    assert need.full_count + need.averaged_count == kept
    honest, taken = saving.prune, []

    def prune(*args):
        before, pruned, after = tensor_bytes(folder), honest(*args), tensor_bytes(folder)
        taken.append((before, after))
        return pruned

    with monkeypatch.context() as patched:
        patched.setattr(saving, "prune", prune)
        assert train(tmp_path, *options) == 0
    steps = 4 * len(list(network.parameters())) * kept  # AdamW counts those of each parameter
    assert max(before for before, _ in taken) <= need.peak + steps
    assert max(after for _, after in taken) <= need.total + steps
    if keep_full == "9":  # all are there at the end, and take what was said
        assert need.total <= taken[-1][1]
        assert disk_need(clock, network).total == need.total - need.full


def test_a_checkpoint_that_was_due_is_counted_once():
    config = load_experiment("digits-unet", [*TINY, "--training.max-steps", "17"])
    clock, network = Clock(config.training, 1442), config.build(1, 8, 10).backbone
    due = ["epoch-00002", "epoch-00004", "epoch-00005-step-00000017"]
    assert disk_need(clock, network, due) == disk_need(clock, network)
    assert disk_need(clock, network, [*due, "epoch-00003"]).full_count == 4


def test_the_full_size_recipe_says_the_disk_of_its_sixty_checkpoints():
    experiment = load_experiment("cifar10-unet-cfg")
    with torch.device("meta"):
        network = experiment.backbone.build(3, 32, 10)
    need = disk_need(Clock(experiment.training, 50_000), network)
    parameters = 35_746_307 + 11 * 512
    assert (need.full, need.full_count) == (20 * parameters, 2)
    assert (need.averaged, need.averaged_count) == (8 * parameters, 58)
    assert str(need) == "checkpoints will take up to 18.0 GB of disk: 2 of 715 MB and 58 of 286 MB"


def free(monkeypatch, count: int) -> None:
    """Let the disk have `count` bytes left."""
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9 - count, count))


def test_a_disk_that_cannot_hold_what_a_resume_needs_is_refused_before_any_folder(
    tmp_path, monkeypatch, capsys
):
    free(monkeypatch, 1000)
    assert train(tmp_path) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "checkpoints will take" in told
    assert not list(tmp_path.iterdir())


def test_a_disk_that_will_run_full_is_told_of_and_trained_on(monkeypatch):
    need = DiskNeed(full=400, full_count=2, averaged=100, averaged_count=50)
    free(monkeypatch, need.full * 3)
    assert "only 0.1 MB are free" in check_disk(need, Path("absent"))
    free(monkeypatch, need.peak)
    assert check_disk(need, Path("absent")) == str(need)


def test_a_run_without_end_is_counted_without_going_through_its_epochs():
    endless = ("--training.epochs", "1000000000", "--training.checkpoint-every", "1")
    config = load_experiment("digits-unet", [*TINY, *endless, "--training.keep-full", "3"])
    need = disk_need(Clock(config.training, 1442), config.build(1, 8, 10).backbone)
    assert (need.full_count, need.averaged_count) == (3, 10**9 - 3)


def test_the_disk_is_told_at_the_start(tmp_path, capsys):
    arguments = ["train", "digits-unet", "--runs", str(tmp_path), "--training.max-steps", "1"]
    assert main([*arguments, "--training.preview-every", "0", "--training.held-out-count", "8"]) == 0
    assert "checkpoints will take" in capsys.readouterr().err
    assert Record.of_run(tmp_path / "digits-unet").history().finished


def test_room_is_kept_for_the_best_checkpoint_which_may_be_one_that_is_kept_anyway(tmp_path):
    every_third = (
        "--training.checkpoint-every",
        "1",
        "--training.keep-full",
        "1",
        "--training.keep-every",
        "3",
    )
    config = load_experiment("digits-unet", [*TINY, *every_third])
    need = disk_need(Clock(config.training, 1442), config.build(1, 8, 10).backbone)
    assert (need.full_count, need.averaged_count) == (1, 2)  # epoch 6; epoch 3 and perhaps another


@pytest.mark.parametrize(
    ("count", "text"), [(10, "0.1 MB"), (1_234_567, "1.2 MB"), (572e6, "572 MB"), (9.41e9, "9.4 GB")]
)
def test_sizes_read_well(count, text):
    assert size(int(count)) == text
