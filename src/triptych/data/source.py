"""Where the images of a data set lie, found but not yet decoded; and what such a data set may be called."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Protocol

from triptych.data.dataset import Dataset
from triptych.errors import UserError
from triptych.work import Watch, unwatched

WELL_KNOWN = {"cifar10": ("cifar10", "cifar10python", "cifar10batchespy"), "digits": ("digits",)}
"""Names that stand for known content in every record, and are given to no images that were not checked; with
how their published files and folders are called, of which a reader would think the same: small letters and
digits alone."""

ENDINGS = (".tar.gz", ".tgz", ".tar", ".gz", ".parquet")
"""What is left off a file's name to name the data set in it."""


class Source(Protocol):
    """Images of one format in one place: what each format's file makes of a path that is its own."""

    @property
    def name(self) -> str:
        """What the data set is called in the record; a well-known name is given to checked content alone."""
        ...

    def key(self) -> str:
        """Return a hex digest that changes whenever `decode` would return other images."""
        ...

    def decode(self, watch: Watch = unwatched) -> Dataset:
        """Return all images, decoded.

        Args:
            watch: sees how far the work has come, where it may be long.

        Raises:
            UserError: a file is missing, damaged, or holds what it should not.
        """
        ...


def check_image_size(image_size: int | None, own: int, asked: str) -> None:
    """Raise `UserError` where images of one size, `own` pixels a side, are asked for in another."""
    if image_size not in (None, own):
        found = f"its images have {own} pixels a side, and are used as they are"
        raise UserError(f"--data.image-size {image_size} for {asked}", found, "leave it out")


def is_well_known(name: str) -> bool:
    """Whether a reader would take `name` for a well-known data set, however it is spelt (`CIFAR-10`)."""
    spelling = re.sub(r"[\W_]", "", name.lower())
    return any(spelling in spellings for spellings in WELL_KNOWN.values())


def name_after(path: Path) -> str:
    """Return what unchecked images at `path` are called: after their file or folder, by no well-known name.

    Only letters, digits, dots, - and _ are kept, since the name goes into records, tables and file names.
    """
    name = path.resolve().name
    ending = next((e for e in ENDINGS if name.lower().endswith(e)), "")
    name = re.sub(r"[^\w.-]+", "-", name[: len(name) - len(ending)]).strip(".-")[:100] or "images"
    return f"{name}-unchecked" if is_well_known(name) else name
