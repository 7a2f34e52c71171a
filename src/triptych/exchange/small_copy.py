"""A small copy of a run: what it says and shows, and one of its models; commands take it for a run.

It holds what is worth handing on: recipe, record, the pictures that the record names, and a checkpoint with
nothing but the weights that images are drawn from, in half precision and in files of limited size.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import torch
from torch import Tensor

from triptych.checkpoints.contents import Contents
from triptych.checkpoints.durable import write_file
from triptych.checkpoints.find import FOLDER
from triptych.checkpoints.fit import HISTORIES
from triptych.checkpoints.manifest import BrokenCheckpoint, Manifest
from triptych.checkpoints.read import read
from triptych.checkpoints.verify import read_state
from triptych.checkpoints.write import NonFiniteWeights, write
from triptych.errors import UserError
from triptych.evaluation.weights import part_of
from triptych.exchange.publish import published, refuse_taken
from triptych.models import Model
from triptych.precision import DTYPES
from triptych.record.events import Evaluated, Exported, Previewed, Sampled
from triptych.record.history import History
from triptych.record.picture_files import find_picture
from triptych.record.record import FILE_NAME, Record
from triptych.runs import CONFIG, Run

MEGABYTE = 1_000_000


def write_copy(run: Run, model: Model, out: Path, *, dtype: str, largest: int) -> int:
    """Write a copy of `run` with `model` alone into the new folder `out`; return how many bytes it takes.

    Args:
        run: of the model, which training may be going on in.
        model: with the weights that are wanted.
        out: folder that is not there yet, or empty.
        dtype: of the numbers in matrices and kernels, one of `DTYPES`; vectors stay as they are.
        largest: bytes of a file of weights, at most.

    Raises:
        UserError: something is at `out` already, a number is too large for `dtype`, or a tensor for a file.
        OSError: the disk refuses; nothing is left behind.
    """
    refuse_taken(out, "export to", "choose another place with --out")
    asked = f"export {run.folder} --format run"
    contents = _contents(run, model, DTYPES[dtype])
    history = run.record.history()
    with published(out) as staged:
        try:
            write(staged / FOLDER, model.checkpoint, contents, largest)
        except ValueError as error:  # a tensor that fits into no file
            limit = f"{asked} --max-file-mb {largest / MEGABYTE:g}"
            raise UserError(limit, str(error), "allow larger files") from error
        except NonFiniteWeights as error:
            found = f"{error.name} has numbers that are too large for it"
            raise UserError(f"{asked} --dtype {dtype}", found, "choose bf16 or float32") from error
        except UserError as error:  # of the checkpoint, which speaks of a run in training
            raise UserError(f"export to {out}", error.found, "choose another place with --out") from error
        write_file(staged / CONFIG, [(run.folder / CONFIG).read_bytes()])
        _copy_record(run.folder / FILE_NAME, staged / FILE_NAME)
        told = Exported(run.experiment.name, model.checkpoint, model.weights, dtype)
        Record(staged / FILE_NAME).append(told, model.step, model.attempt)
        for name in pictures(history):
            if (picture := find_picture(run.folder / name, run.folder)) is not None:
                (staged / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(picture, staged / name)
        return sum(path.stat().st_size for path in staged.rglob("*") if path.is_file())


def pictures(history: History) -> Iterator[str]:
    """Yield the pictures inside a run's folder that its record names, by their paths from there on."""
    named: list[str | None] = []
    for event in history.valid:
        if isinstance(event.data, Previewed):
            named.append(event.data.picture)
        elif isinstance(event.data, Sampled):
            named += [event.data.grid, event.data.gif]
        elif isinstance(event.data, Evaluated):
            named += [event.data.grid, event.data.nearest]
    for name in dict.fromkeys(filter(None, named)):
        path = PurePosixPath(name)
        if not path.is_absolute() and ".." not in path.parts:  # a record may be somebody else's
            yield name


def _contents(run: Run, model: Model, dtype: torch.dtype) -> Contents:
    """Return the model's weights, read from its checkpoint, and of its state what commands ask for."""
    folder = run.folder / FOLDER / model.checkpoint
    try:
        part = part_of(folder, model.weights)
        tensors, state = read(folder, [part]).tensors[part], read_state(folder)
        if Manifest.load(folder).digest(part) != model.digest:
            raise BrokenCheckpoint(folder, "it was saved anew since it was opened")
    except BrokenCheckpoint as error:
        raise UserError(f"checkpoint {folder}", error.reason, "choose another one") from error
    kept = {"step", "epoch", "attempt", *HISTORIES}
    lighter = {name: _lighter(tensor, dtype) for name, tensor in tensors.items()}
    return Contents({part: lighter}, {name: value for name, value in state.items() if name in kept})


def _lighter(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.to(dtype) if tensor.is_floating_point() and tensor.ndim > 1 else tensor


def _copy_record(source: Path, target: Path) -> None:
    """Copy a record that may be written to meanwhile: whole lines of it."""
    data = source.read_bytes()
    write_file(target, [data[: data.rfind(b"\n") + 1]])
