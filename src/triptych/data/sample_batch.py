"""Batches of samples as ADM's programs write them: an .npz with the images in `arr_0`, classes in `arr_1`.

Diffusion models beat GANs on image synthesis, P. Dhariwal and A. Nichol, 2021, whose evaluation reads such
files. Nothing is ever unpickled: an array is its header, a literal of numbers, and its bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple
from zipfile import ZipFile

import numpy as np
import torch
from torch import Tensor

from triptych.data.image_folder import shown
from triptych.data.parallel_decoding import room
from triptych.decoding import UndecodableError, refuse_giant
from triptych.errors import UserError
from triptych.work import Watch, Work, unwatched

IMAGES, LABELS = "arr_0", "arr_1"
"""What `numpy.savez` calls arrays that are given without a name."""
ZIP = b"PK\x03\x04"
"""What an .npz begins with."""
CHUNK_BYTES = 2**24
"""Of pixels that are read at a time."""
MOST_CLASSES = 1_000_000
"""A greater label is none."""


class SampleBatch(NamedTuple):
    """Images as the file has them."""

    images: Tensor
    """uint8 [N, C, H, W]."""
    labels: Tensor | None
    """int64 [N]; None where the file has none."""


class Header(NamedTuple):
    """What an array says of itself."""

    shape: tuple[int, ...]
    by_columns: bool
    dtype: np.dtype

    def __str__(self) -> str:
        return f"{str(self.dtype)[:40]} {list(self.shape)}"


def is_sample_batch(path: Path) -> bool:
    """Whether the file at `path` is an .npz, by its name or its first bytes."""
    with path.open("rb") as file:
        return file.read(len(ZIP)) == ZIP or path.suffix.lower() == ".npz"


def read_sample_batch(path: Path, count: int | None = None, watch: Watch = unwatched) -> SampleBatch:
    """Return the first images of an .npz, and their labels.

    Args:
        path: of the file.
        count: how many; None: all.
        watch: sees how many have been read.

    Raises:
        UserError: it is damaged, holds no such arrays, or fewer images.
    """
    with _opened(path) as archive:
        names = archive.namelist()
        if f"{IMAGES}.npy" not in names:
            there = ", ".join(map(ascii, names))[:80] or "nothing"
            remedy = "save images with numpy.savez(FILE, images)"
            raise UserError(shown(path), f"no {IMAGES} in it (there is {there})", remedy)
        info = archive.getinfo(f"{IMAGES}.npy")
        with archive.open(info) as member:
            sizes = _sizes(_header(member), path)
            if info.file_size - member.tell() != math.prod(sizes):
                raise ValueError(f"{IMAGES} has not as many bytes as it says")
            labels = _labels(archive, path, sizes[0]) if f"{LABELS}.npy" in names else None
            images = _images(member, sizes, path, count, watch)
        return SampleBatch(images, None if labels is None else labels[: len(images)])


@contextmanager
def _opened(path: Path) -> Iterator[ZipFile]:
    try:
        with ZipFile(path) as archive:
            yield archive
    except UserError:
        raise
    except Exception as error:  # zipfile and numpy raise nearly every kind there is for a stranger's bytes
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise UserError(
            shown(path), f"it cannot be read as .npz ({reason})", "write or fetch it anew"
        ) from error


def _header(member: IO[bytes]) -> Header:
    """Read the beginning of an array's file."""
    version = np.lib.format.read_magic(member)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise ValueError(f"an array of version {version}")
    return Header(*readers[version](member))


def _images(
    member: IO[bytes], sizes: tuple[int, int, int, int], path: Path, count: int | None, watch: Watch
) -> Tensor:
    """Read the first images, [N, C, H, W], of pixels that lie there as `sizes`, [N, H, W, C]."""
    total, *_, channels = sizes
    wanted = total if count is None else count
    if wanted > total:
        raise too_few(wanted, path, total)
    images = room(wanted, (channels, *sizes[1:3]), shown(path), "measure fewer with --count")
    size = max(1, CHUNK_BYTES // images[0].size)
    work = Work(f"reading {path.name}", 0, wanted)
    for start in range(0, wanted, size):
        watch(work._replace(done=start))
        part = images[start : start + size]
        data = member.read(part.size)
        if len(data) < part.size:
            raise ValueError(f"{IMAGES} ends early")
        part[:] = np.frombuffer(data, np.uint8).reshape(-1, *sizes[1:]).transpose(0, 3, 1, 2)
    if wanted == total:
        member.read(1)  # at the end the checksum of all is compared
    watch(work._replace(done=wanted))
    return torch.from_numpy(images)


def too_few(wanted: int, path: Path, there: int) -> UserError:
    """Return what is said where more images are asked for than there are."""
    found = f"there {'is' if there == 1 else 'are'} {there:,}"
    return UserError(
        f"the first {wanted:,} images of {shown(path)}", found, "ask for no more than that, or for all"
    )


def _sizes(header: Header, path: Path) -> tuple[int, int, int, int]:
    """Return N, H, W and C of images once it has been found that the array can be some."""
    if header.dtype != np.uint8 or len(header.shape) != 4 or header.shape[3] not in (1, 3):
        found = f"its {IMAGES} is {header}"
    elif header.by_columns:
        found = f"its {IMAGES} is stored column by column"
    elif min(header.shape) < 1:
        found = "there are no images in it"
    else:
        total, height, width, channels = header.shape
        try:
            refuse_giant(width, height)
        except UndecodableError as error:
            raise UserError(shown(path), f"of its images, {error}", "give smaller ones") from error
        return total, height, width, channels
    raise UserError(shown(path), found, f"save {IMAGES} as uint8 [N, H, W, 3], or [N, H, W, 1] of grey")


def _labels(archive: ZipFile, path: Path, total: int) -> Tensor:
    """Return the labels of all images."""
    info = archive.getinfo(f"{LABELS}.npy")
    with archive.open(info) as member:
        header = _header(member)
    if header.shape != (total,) or header.dtype.kind not in "iu":
        found = f"its {LABELS} is {header}, and there are {total:,} images"
        raise UserError(shown(path), found, f"save {LABELS} as whole numbers [N], or leave it out")
    with archive.open(info) as member:
        labels = np.lib.format.read_array(member, allow_pickle=False)
    if labels.min() < 0 or labels.max() > MOST_CLASSES:
        found = f"its {LABELS} has numbers from {labels.min()} to {labels.max()}"
        raise UserError(shown(path), found, "number the classes from 0")
    return torch.from_numpy(labels.astype(np.int64))
