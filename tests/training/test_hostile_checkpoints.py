"""A checkpoint made to harm is refused in one line by whatever reads it, and nothing of it is executed."""

import json
import pickle
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from checkpoints.damage import listed
from checkpoints.faults import snapshot
from checkpoints.test_manifest import entry, header, plant, rewrite
from safetensors.torch import load_file, save
from training.tiny import train

from triptych.checkpoints.find import FOLDER
from triptych.checkpoints.manifest import Manifest
from triptych.cli import main

NAME = "epoch-00006"


@pytest.fixture
def marker(tmp_path, monkeypatch) -> Path:
    """A file that is there once something was executed; a module `evil` that would make it, too."""
    place = tmp_path / "executed"
    (tmp_path / "evil.py").write_text(f"open({str(place)!r}, 'w').close()\ndef run(*a, **k): pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("triptych.commands.training_session.tensorboard_installed", lambda: False)
    return place


@pytest.fixture
def runs(whole, tmp_path) -> Path:
    """A copy of a run with one checkpoint."""
    runs = tmp_path / "runs"
    shutil.copytree(whole / "tiny", runs / "tiny")
    for name in ("epoch-00002", "epoch-00004"):
        shutil.rmtree(runs / "tiny" / FOLDER / name)
    return runs


class Payload:
    """What executes when it is unpickled."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self) -> tuple:
        return open, (str(self.marker), "w")


def plant_state(folder: Path, change: Callable[[dict], object] | bytes) -> None:
    """Put another state into a checkpoint, with a manifest that vouches for it."""
    manifest = Manifest.load(folder)
    data = change
    if not isinstance(change, bytes):
        state = json.loads((folder / manifest.state.name).read_bytes())
        change(state)
        data = json.dumps(state).encode()
    assert isinstance(data, bytes)
    (folder / manifest.state.name).write_bytes(data)
    vouching = Manifest(manifest.parts, listed(manifest.state.name, data))
    (folder / "manifest.json").write_bytes(vouching.encode())


def plant_tensor(
    folder: Path, part: str, value: Callable[[torch.Tensor], torch.Tensor], name: str = ""
) -> None:
    """Change a tensor of a part: the first large one, or that of a name."""
    tensors = load_file(folder / Manifest.load(folder).parts[part][0].name)
    name = name or next(name for name, tensor in tensors.items() if tensor.ndim == 4)
    plant(folder, part, save(tensors | {name: value(tensors[name]).contiguous()}))


def refused(capsys, folder: Path, marker: Path, *command: str) -> str:
    """The one line that a command says; nothing may have been executed or changed."""
    before = snapshot(folder)
    capsys.readouterr()
    assert main([*command, "--quiet"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    after = snapshot(folder)
    assert {name: data for name, data in after.items() if name != ".lock"} == {
        name: data for name, data in before.items() if name != ".lock"
    }
    assert not marker.exists()
    assert "evil" not in sys.modules
    return line


UNREADABLE: dict[str, tuple[Callable[[Path, Path], object], str]] = {
    "pickle": (
        lambda folder, marker: plant(folder, "ema", pickle.dumps(Payload(marker))),
        "ema.safetensors is no safetensors file",
    ),
    "torch.save": (
        lambda folder, marker: plant(folder, "ema", torch_saved(marker)),
        "ema.safetensors is no safetensors file",
    ),
    "pickled state": (
        lambda folder, marker: plant_state(folder, pickle.dumps(Payload(marker))),
        "state.json is no JSON",
    ),
    "header longer than the file": (
        lambda folder, marker: plant(folder, "ema", header({}, length=2**40)),
        "ema.safetensors is no safetensors file",
    ),
    "tensor beyond the file": (
        lambda folder, marker: plant(folder, "ema", header(entry(offsets=(0, 2**40)), b"\0" * 8)),
        "ema.safetensors is no safetensors file",
    ),
    "path upwards": (
        lambda folder, marker: point_to(folder, "../../../outside.safetensors"),
        "which is no plain .safetensors file name",
    ),
    "absolute path": (
        lambda folder, marker: point_to(folder, str(folder.parents[3] / "outside.safetensors")),
        "which is no plain .safetensors file name",
    ),
    "link": (lambda folder, marker: link_to(folder), "ema.safetensors is not a plain file"),
}


def torch_saved(marker: Path) -> bytes:
    """What `torch.save` writes of a payload: an archive with a pickle in it."""
    path = marker.with_suffix(".pt")
    torch.save(Payload(marker), path)
    return path.read_bytes()


def outside(folder: Path) -> Path:
    """A file beside the runs, with the very bytes of the part that will be asked for."""
    place = folder.parents[3] / "outside.safetensors"
    place.write_bytes((folder / "ema.safetensors").read_bytes())
    return place


def point_to(folder: Path, name: str) -> None:
    outside(folder)
    rewrite(folder, lambda fields: fields["parts"]["ema"].update(file=name))


def link_to(folder: Path) -> None:
    place = outside(folder)
    (folder / "ema.safetensors").unlink()
    (folder / "ema.safetensors").symlink_to(place)


@pytest.mark.parametrize("harm", UNREADABLE)
def test_what_is_no_checkpoint_is_refused(runs, marker, capsys, harm):
    plan, reason = UNREADABLE[harm]
    folder = runs / "tiny"
    plan(folder / FOLDER / NAME, marker)
    capsys.readouterr()
    before = snapshot(folder)
    assert train(runs) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"resume {folder}: no checkpoint can be resumed from" in line and reason in line
    assert snapshot(folder) | {".lock": b""} == before | {".lock": b""}
    for command in (["verify"], ["sample", "--count", "2"], ["sample", "--checkpoint", "6", "--count", "2"]):
        assert reason in refused(capsys, folder, marker, command[0], str(folder), *command[1:])


@pytest.mark.parametrize("harm", UNREADABLE)
def test_where_an_older_one_is_whole_that_is_taken(whole, tmp_path, marker, harm):
    runs = tmp_path / "runs"
    shutil.copytree(whole / "tiny", runs / "tiny")
    plan, reason = UNREADABLE[harm]
    plan(runs / "tiny" / FOLDER / NAME, marker)
    assert train(runs) == 0
    assert not marker.exists()
    (skipped,) = [
        line
        for line in (runs / "tiny" / "record.jsonl").read_text().splitlines()
        if '"kind": "resumed"' in line
    ]
    assert reason in skipped
    verify = main(["verify", str(runs / "tiny"), "--quiet"])
    assert verify == 0  # what was refused was made again


MISFITS: dict[str, tuple[Callable[[Path], object], str]] = {
    "import string for a counter": (
        lambda folder: plant_state(folder, lambda state: state.update(step="evil:run")),
        "state.step is no counter",
    ),
    "call for a number": (
        lambda folder: plant_state(folder, lambda state: state.update(epoch="__import__('evil')")),
        "state.epoch is no number",
    ),
    "import string deep inside": (
        lambda folder: plant_state(folder, lambda state: state["running"].update(steps="evil.run")),
        "state.running.steps is no counter",
    ),
    "objects in place of errors": (
        lambda folder: plant_state(folder, lambda state: state["best"].append({"_target_": "evil.run"})),
        "is no measured checkpoint",
    ),
    "another shape": (
        lambda folder: plant_tensor(folder, "weights", lambda tensor: tensor.flatten()),
        "weights: ",
    ),
    "another shape in the optimiser": (
        lambda folder: plant_tensor(
            folder, "optimizer", lambda tensor: tensor[:1].expand(7, *tensor.shape[1:])
        ),
        "optimizer: ",
    ),
    "another type": (
        lambda folder: plant_tensor(folder, "ema", lambda tensor: tensor.double()),
        "is float64",
    ),
}


@pytest.mark.parametrize("harm", MISFITS)
def test_what_does_not_fit_is_refused(runs, marker, capsys, harm):
    plan, reason = MISFITS[harm]
    folder = runs / "tiny"
    plan(folder / FOLDER / NAME)
    before = snapshot(folder)
    capsys.readouterr()
    assert train(runs, "--training.epochs", "7") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"resume {folder / FOLDER / NAME}: " in line and reason in line
    assert snapshot(folder) | {".lock": b""} == before | {".lock": b""}
    assert reason in refused(capsys, folder, marker, "verify", str(folder), "--resume")


@pytest.mark.parametrize("field", ["step", "epoch", "attempt"])
def test_sampling_refuses_a_state_that_says_nothing(runs, marker, capsys, field):
    folder = runs / "tiny"
    plant_state(folder / FOLDER / NAME, lambda state: state.update({field: "__import__('evil')"}))
    line = refused(capsys, folder, marker, "sample", str(folder), "--count", "2")
    assert f"its state does not say its {field}" in line


def test_what_nobody_asks_for_is_not_looked_at(runs, marker):
    """Fields that no version of the program knows are left alone, whatever they say."""
    extra = {"_target_": "evil.run", "__reduce__": ["evil", "run"], "module": "evil"}
    plant_state(runs / "tiny" / FOLDER / NAME, lambda state: state.update(extra))
    assert train(runs, "--training.epochs", "7") == 0
    assert not marker.exists()
    assert "evil" not in sys.modules
