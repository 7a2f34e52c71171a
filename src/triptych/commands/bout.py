"""Several runs that draw the same images: whether they can, and the one picture that shows them together."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from triptych.commands.run_folders import BOUT
from triptych.commands.sample_pictures import Drawn, folder_name, in_file_name
from triptych.commands.writing import writing_to
from triptych.errors import UserError
from triptych.evaluation.weights import BEST
from triptych.generation import Request
from triptych.models import Model
from triptych.record.events import DataSummary, Imported, Started
from triptych.record.pictures import rows_by_class, save_png
from triptych.record.side_by_side import Block, side_by_side
from triptych.report.names import BACKBONES
from triptych.runs import Run

PICTURE = "side-by-side.png"
LONGEST_NAME = 120
"""Bytes of the joined names of runs in a folder's name; longer ones are abridged."""


@dataclass(frozen=True)
class Bout:
    """Runs that draw the same images.

    Attributes:
        runs: two or more, in the order of the picture.
        checkpoint: the word by which the checkpoint of each was chosen, such as `last`.
        parent: the folder that all of them lie in.
        out: where the user wants everything written; None: beside the runs, and within them.
    """

    runs: tuple[Run, ...]
    checkpoint: str
    parent: Path
    out: Path | None

    @classmethod
    def of(cls, runs: Sequence[Run], checkpoint: str, out: Path | None, *, classless: bool) -> Bout:
        """Return the bout of some runs; `classless` where no image is to have a class.

        Raises:
            UserError: they cannot draw the same images, or one is given twice.
        """
        for i, run in enumerate(runs):
            if run.folder.resolve() in [other.folder.resolve() for other in runs[:i]]:
                raise UserError(f"sample {run.folder}", "the run is given twice", "give every run once")
            check_alike(runs[0], run, classless=classless)
        bout = cls(tuple(runs), checkpoint, common_parent([run.folder for run in runs]), out)
        if len(set(bout.names)) < len(runs):
            found = f"two of them would be called alike ({', '.join(bout.names)})"
            raise UserError("sample several runs", found, "rename a folder, or copy it beside the others")
        return bout

    @property
    def names(self) -> list[str]:
        """What each run's folder is called, with the folders that lead to it where their parents differ."""
        paths = [os.path.relpath(run.folder, self.parent) for run in self.runs]
        return [in_file_name(path) for path in paths]

    def own_out(self, run: Run) -> Path | None:
        """Return where a run's own pictures go; None: to their usual place."""
        return None if self.out is None else self.out / self.names[self.runs.index(run)]

    def folder(self, models: Sequence[Model], request: Request, per_class: int | None, several: bool) -> Path:
        """Return the folder of the shared picture of a request; `several`: it is one of more requests."""
        chosen = {model.checkpoint for model in models}
        checkpoint = chosen.pop() if len(chosen) == 1 else self.checkpoint
        kinds = {model.weights for model in models}
        weights = kinds.pop() if len(kinds) == 1 else BEST  # no other word means unlike ones
        what = folder_name(checkpoint, weights, request, per_class)
        if self.out is not None:
            return self.out / what if several else self.out
        return self.parent / f"{BOUT}{joined(self.names)}" / what

    def write(
        self, folder: Path, models: Sequence[Model], request: Request, drawn: Sequence[Drawn], by_class: bool
    ) -> Path:
        """Write the picture of what each model drew of `request` into `folder`; return its path."""
        images, columns, row_labels = [images.pixels for images in drawn], None, []
        if by_class:
            names = self.runs[0].class_names
            rows = [rows_by_class(each.pixels, each.labels, names) for each in drawn]
            images, (_, columns, row_labels) = [filled for filled, _, _ in rows], rows[0]
        blocks = [
            Block(pixels, name, f"{kind(run)}, {model.title}")
            for pixels, name, run, model in zip(images, self._titles(), self.runs, models, strict=True)
        ]
        what = "noise and class" if request.shows_classes(models[0].denoiser.backbone.classes) else "noise"
        caption = f"{request.caption}; the same {what} in the same place of every block"
        data = [run.record.history().origin.data for run in self.runs]
        if (versions := len({each.digest for each in data if each.digest})) > 1:
            caption += f"; trained on {versions} versions of {data[0].name}"
        picture = side_by_side(blocks, columns, row_labels=row_labels, caption=caption)
        with writing_to(folder):
            save_png(picture, folder / PICTURE)
        return folder / PICTURE

    def _titles(self) -> list[str]:
        """Return what each run calls itself, or its folder where two call themselves alike."""
        titles = [run.experiment.name for run in self.runs]
        return titles if len(set(titles)) == len(titles) else self.names


def check_alike(first: Run, other: Run, *, classless: bool) -> None:
    """Raise `UserError` where two runs draw other images: of another size, or learnt from other ones.

    Unless `classless`, both have to be told a class, of the same ones.
    """
    a, b = (run.record.history().origin for run in (first, other))
    asked = f"sample {first.folder} beside {other.folder}"
    sizes = [f"{data.channels} x {data.image_size} x {data.image_size}" for data in (a.data, b.data)]
    if sizes[0] != sizes[1]:
        found = f"the one draws images of {sizes[0]}, the other of {sizes[1]}"
        raise UserError(asked, found, "draw from them one by one")
    if not same_images(a.data, b.data):
        found = f"the one was trained on {images_of(a)}, the other on {images_of(b)}"
        raise UserError(asked, found, remedy_for(a, b))
    if classless:
        return
    if a.conditional != b.conditional:
        found = "one of them is told a class, the other is not"
        raise UserError(asked, found, "add --guidance 0, at which neither is")
    if a.conditional and a.data.class_names != b.data.class_names:
        found = f"the classes of {a.data.name} are not those of {b.data.name}"
        raise UserError(asked, found, "draw from them one by one, or add --guidance 0")


def same_images(a: DataSummary, b: DataSummary) -> bool:
    """Whether two runs learnt to draw the same kind of image.

    Versions of one data set, of which the one may have grown out of the other, are of one kind: they share a
    name and classes. Of a model that was trained elsewhere the name is all that is known.
    """
    if not (a.digest and b.digest):
        return a.name == b.name
    return a.digest == b.digest or (a.name, a.class_names) == (b.name, b.class_names)


def images_of(origin: Started | Imported) -> str:
    """Return which images a run was trained on, as far as its record tells."""
    data = origin.data
    if isinstance(origin, Imported):
        return f"{data.name} (as it was {'guessed' if origin.data_guessed else 'said'} at its import)"
    return f"{data.name} ({data.train_images:,} images, sha256 {data.digest[:12]})"


def remedy_for(a: Started | Imported, b: Started | Imported) -> str:
    """Return what to do about two runs of unlike images."""
    for imported, other in ((a, b), (b, a)):
        if isinstance(imported, Imported):
            again = f"import {imported.source} again with --data.name {other.data.name} and another --name"
            return f"draw from them one by one, or, if it draws such images, {again}"
    return "draw from them one by one"


def common_parent(folders: Sequence[Path]) -> Path:
    """Return the folder that all of these lie in, from the working folder on where it lies in that."""
    parents = [os.path.dirname(os.path.abspath(folder)) for folder in folders]
    try:
        parent = os.path.commonpath(parents)
        shown = os.path.relpath(parent)
    except ValueError:  # on Windows there may be no way from one to the other
        return Path(parents[0])
    return Path(parent if shown.startswith("..") else shown)


def joined(names: Sequence[str]) -> str:
    """Return names joined into one, and where that is long the first, their number and a digest instead."""
    whole = "-".join(names)
    if len(whole.encode()) <= LONGEST_NAME:
        return whole
    digest = hashlib.sha256(whole.encode()).hexdigest()[:8]
    first = names[0].encode()[: LONGEST_NAME // 2].decode(errors="ignore")
    return f"{first}-and-{len(names) - 1}-more-{digest}"


def kind(run: Run) -> str:
    """Return what the backbone of a run is called."""
    name = run.experiment.backbone.kind
    return BACKBONES.get(name, name)
