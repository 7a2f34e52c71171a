"""A small copy of a run: what it says and shows, and one of its models; commands take it for a run.

It holds what is worth handing on: recipe, record, the pictures that the record names, and a checkpoint with
nothing but the weights that images are drawn from, in half precision and in files of limited size.
"""

from __future__ import annotations

import math
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from triptych.checkpoints.contents import Contents
from triptych.checkpoints.durable import write_file
from triptych.checkpoints.find import FOLDER, all_checkpoints
from triptych.checkpoints.fit import HISTORIES
from triptych.checkpoints.manifest import BrokenCheckpoint, Manifest
from triptych.checkpoints.read import read
from triptych.checkpoints.tensor_file import TooLarge
from triptych.checkpoints.verify import read_state
from triptych.checkpoints.write import NonFiniteWeights, write
from triptych.errors import UserError
from triptych.evaluation.weights import part_of
from triptych.exchange.publish import published, refuse_taken
from triptych.guidance import named_guide
from triptych.models import Model
from triptych.precision import DTYPES
from triptych.record.events import Evaluated, Exported, Previewed, Sampled
from triptych.record.history import History
from triptych.record.picture_files import find_picture
from triptych.record.record import FILE_NAME, Record
from triptych.runs import CONFIG, Run

UNROUNDED = "float32"
PICTURES = ("previews", "samples", "evaluations")
"""Folders of a run that its record names pictures in."""


def write_copy(run: Run, model: Model, out: Path, *, dtype: str, largest: int) -> int:
    """Write a copy of `run` with `model` alone into the new folder `out`; return how many bytes it takes.

    Args:
        run: of the model, which training may be going on in.
        model: with the weights that are wanted.
        out: folder that is not there yet, or empty.
        dtype: of the numbers in matrices and kernels, one of `DTYPES`; vectors stay as they are, and with
            float32 so does everything.
        largest: bytes of a file of weights, at most.

    Raises:
        UserError: something is at `out` already, or it lies in the run; a number is too large for `dtype`, or
            a tensor for a file.
        OSError: the disk refuses; nothing is left behind.
    """
    if out.resolve().is_relative_to(run.folder.resolve()):
        raise UserError(f"export to {out}", "it lies in the run itself", "choose another place with --out")
    refuse_taken(out, "export to", "choose another place with --out")
    asked = f"export {run.folder} --format run"
    part, contents = _contents(run, model, dtype)
    with published(out) as staged:
        write_file(staged / CONFIG, [(run.folder / CONFIG).read_bytes()])
        write_file(staged / FILE_NAME, [(run.folder / FILE_NAME).read_bytes()])
        record = Record(staged / FILE_NAME)  # as of this moment: the run's own may grow
        history = record.history()
        for name in pictures(history):
            if (picture := find_picture(run.folder / name, run.folder)) is not None:
                (staged / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(picture, staged / name)
        try:
            folder = write(staged / FOLDER, model.checkpoint, contents, largest)
        except TooLarge as error:
            limit = f"{asked} with files of up to {largest / 1e6:g} MB"
            enough = math.ceil(error.least / 1e3) / 1e3
            raise UserError(limit, str(error), f"say --max-file-mb {enough:g} or more") from error
        except NonFiniteWeights as error:
            found = f"{error.name} has numbers that are too large for it"
            raise UserError(f"{asked} --dtype {dtype}", found, "choose bf16 or float32") from error
        except UserError as error:  # of the checkpoint, which speaks of a run in training
            raise UserError(f"export to {out}", error.found, "choose another place with --out") from error
        digest = Manifest.load(folder).digest(part)
        rounded = roundings(history, dtype)
        told = Exported(run.experiment.name, model.checkpoint, model.weights, rounded, digest)
        record.append(told, model.step, model.attempt)
        size = sum(path.stat().st_size for path in staged.rglob("*") if path.is_file())
    _warn_of_guides(run, model)
    return size


def roundings(history: History, dtype: str) -> str:
    """Return what weights were rounded to, with what a copy that is copied was rounded to before."""
    before = history.exported.dtype.split(", ") if history.exported else []
    found = [name for name in (*before, dtype) if name != UNROUNDED]
    return ", ".join(dict.fromkeys(found)) or UNROUNDED


def pictures(history: History) -> Iterator[str]:
    """Yield the pictures inside a run's folder that its record names, by their paths from there on.

    A record may be somebody else's: only what lies in a run's folders of pictures is meant.
    """
    named: list[str | None] = []
    for event in history.valid:
        if isinstance(event.data, Previewed):
            named.append(event.data.picture)
        elif isinstance(event.data, Sampled):
            named += [event.data.grid, event.data.gif]
        elif isinstance(event.data, Evaluated):
            named += [event.data.grid, event.data.nearest]
    for name in dict.fromkeys(filter(None, named)):
        first, *inner = name.split("/")
        plain = all(part not in ("", ".", "..") and not {*part} & {*"\\:\0"} for part in inner)
        if first in PICTURES and inner and plain:
            yield name


def _contents(run: Run, model: Model, dtype: str) -> tuple[str, Contents]:
    """Return the part of the model's checkpoint that is wanted, and of its state what commands ask for."""
    root = run.folder / FOLDER
    folder = root / model.checkpoint
    try:
        part = part_of(folder, model.weights)
        tensors, state = read(folder, [part]).tensors[part], read_state(folder)
        if Manifest.load(folder).digest(part) != model.digest:
            raise BrokenCheckpoint(folder, "it was saved anew since it was opened")
    except BrokenCheckpoint as error:
        raise UserError(f"checkpoint {folder}", error.reason, "choose another one") from error
    kept = {name: state[name] for name in ("step", "epoch", "attempt") if name in state}
    # Which checkpoint is the best of all, the newest one knows.
    for newest in reversed(all_checkpoints(root)):
        try:
            known = read_state(newest)
        except BrokenCheckpoint:
            continue
        kept |= {name: known[name] for name in HISTORIES if name in known}
        break
    if dtype != UNROUNDED:
        tensors = {name: _rounded(tensor, DTYPES[dtype]) for name, tensor in tensors.items()}
    return part, Contents({part: tensors}, kept)


def _rounded(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.to(dtype) if tensor.is_floating_point() and tensor.ndim > 1 else tensor


def _warn_of_guides(run: Run, model: Model) -> None:
    """Say where the recipe leads images away from another checkpoint, which the copy does not hold."""
    experiment = run.experiment
    for spec in dict.fromkeys((experiment.sampling.guide, *experiment.evaluation.guide)):
        against = named_guide(spec).against
        if against and against != model.checkpoint:
            told = f"its recipe guides against {against}, which the copy does not hold: name another --guide"
            warnings.warn(told, stacklevel=3)
