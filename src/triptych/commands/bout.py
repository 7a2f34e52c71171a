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
from triptych.record.alike import check_alike
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
            asked = f"sample {runs[0].folder} beside {run.folder}"
            check_alike(
                runs[0].record.history().origin, run.record.history().origin, asked, classless=classless
            )
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
