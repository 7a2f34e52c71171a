"""The formats in which images may be handed over, recognised by what is in a path and not by its name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from triptych.data import cifar10
from triptych.data.cifar10 import open_archive, open_unpacked
from triptych.data.image_folder import open_image_folder
from triptych.data.parquet import open_parquet
from triptych.data.source import Source
from triptych.decoding import EXTENSIONS
from triptych.errors import UserError

SOURCES: dict[str, Callable[[Path, int | None], Source | None]] = {
    "cifar-10-python.tar.gz": open_archive,
    "its unpacked folder": open_unpacked,
    "parquet files": open_parquet,
    "a folder of images": open_image_folder,
}
"""What opens each format, in the order in which they are tried: (path, side of the images in pixels or None
for their usual one) -> a source, or None where the path holds nothing of the kind. A new format is one file
and one line."""


def recognise(path: Path, image_size: int | None = None) -> Source:
    """Return the source at `path`.

    Args:
        path: an archive, a parquet file or a folder, as the user named it.
        image_size: side in pixels that formats of freely sized images bring theirs to; None: `USUAL_SIDE`.

    Raises:
        UserError: there is nothing at `path`, or nothing that any format knows, or images of another size.
    """
    if not path.exists():
        raise UserError(
            f"--data.path {path}", "there is nothing", "name an archive, a parquet file or a folder"
        )
    for open_format in SOURCES.values():
        if (source := open_format(path, image_size)) is not None:
            return source
    raise UserError(f"--data.path {path}", *_why_unknown(path))


def _why_unknown(path: Path) -> tuple[str, str]:
    """Return what there is at a path that no format knows, and what to do about it."""
    known = f"give one of: {', '.join(SOURCES)}"
    if path.is_dir():
        return ("no images in a format that is known" if any(path.iterdir()) else "an empty folder", known)
    if path.is_file() and path.stat().st_size == 0:
        return "an empty file", known
    if path.suffix.lower() in EXTENSIONS:
        return "a single picture", "give the folder in which it lies"
    if path.name in cifar10.MD5:
        return "one of the files that an archive of CIFAR-10 unpacks to", "give the folder in which it lies"
    return "no images in a format that is known", known
