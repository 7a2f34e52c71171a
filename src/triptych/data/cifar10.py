"""CIFAR-10 in its official files: the archive as it is published, or the folder that it unpacks to.

Learning Multiple Layers of Features from Tiny Images, A. Krizhevsky, 2009. 50,000 + 10,000 photographs of
32x32 pixels in ten classes, in six batches that are Python 2 pickles; they go through the restricted reader.

Sets in the same layout are read too, of any length, and are called after their own file: `cifar10` is the
name of the published bytes alone.
"""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from triptych.data.dataset import Dataset, ImageSet, ImageSizes, check_class_names
from triptych.data.restricted_pickle import load_restricted
from triptych.data.source import check_image_size, name_after
from triptych.data.tar_members import LARGEST_MEMBER, is_archive, read_members
from triptych.downloads import PublishedFile, fetch, file_digest
from triptych.errors import UserError
from triptych.work import Watch, unwatched

NAME = "cifar10"
FOLDER = "cifar-10-batches-py"
ARCHIVE = PublishedFile(
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    size=170_498_071,
    algorithm="md5",
    checksum="c58f30108f718f92721af3b95e74349a",
)
TRAIN = tuple(f"data_batch_{i}" for i in range(1, 6))
HELD_OUT = "test_batch"
CLASSES = "batches.meta"

MD5 = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
    "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
}
"""The published files, in the order in which they are read here."""

RULE = 1
"""Part of every key: to be raised with any change of what is made of the same files."""

CHANNELS, SIDE = 3, 32
SIZES = ImageSizes(CHANNELS, SIDE, train=50_000, held_out=10_000, classes=10)
"""Of the published set."""


@dataclass(frozen=True)
class _Files:
    """Files whose content is known by a digest.

    Attributes:
        name: of the data set.
        content: a digest of the files.
    """

    name: str
    content: str

    def key(self) -> str:
        """Return a hex digest that changes whenever `decode` would return other images."""
        return hashlib.sha256(f"cifar10 {RULE} {self.content}".encode()).hexdigest()


@dataclass(frozen=True)
class Archive(_Files):
    """The archive, read as it is.

    Attributes:
        path: a tar file, gzipped or not.
    """

    path: Path

    def decode(self, watch: Watch = unwatched) -> Dataset:
        """Return all images; see `Source.decode`."""
        members = read_members(self.path, MD5)
        try:
            return _dataset(self.name, self.path, members)
        except UserError:
            for _ in members:  # to the archive's checksum: if that is wrong, it is the better explanation
                pass
            raise


@dataclass(frozen=True)
class Unpacked(_Files):
    """The folder that the archive unpacks to.

    Attributes:
        path: the folder with the seven files.
    """

    path: Path

    def decode(self, watch: Watch = unwatched) -> Dataset:
        """Return all images; see `Source.decode`."""
        return _dataset(self.name, self.path, ((name, (self.path / name).read_bytes()) for name in MD5))


@dataclass(frozen=True)
class Published(_Files):
    """The published archive, fetched when it has to be decoded and is not there yet."""

    name: str = NAME
    content: str = field(default_factory=lambda: ARCHIVE.checksum)

    def decode(self, watch: Watch = unwatched) -> Dataset:
        """Return all images; see `Source.decode`. The download has a bar of its own."""
        path = fetch(ARCHIVE, "name a copy of it with --data.path")
        return Archive(self.name, self.content, path).decode()


def open_archive(path: Path, image_size: int | None = None) -> Archive | None:
    """Return the source in `path` where that is a gzip or tar file, whatever it is called.

    Raises:
        UserError: it has the name of the published archive, and is another one; or another size is asked for.
    """
    if not is_archive(path):
        return None
    check_image_size(image_size, SIDE, str(path))
    if _is_published(path):
        return Archive(NAME, ARCHIVE.checksum, path)
    if path.name == ARCHIVE.name:
        found = f"not the {ARCHIVE.size:,} bytes that are published under this name: truncated or changed"
        raise UserError(
            f"--data.path {path}", found, "delete it, or rename it if it is meant to be another set"
        )
    return Archive(name_after(path), file_digest(path, "sha256"), path)


def open_unpacked(path: Path, image_size: int | None = None) -> Unpacked | None:
    """Return the source in `path` where that is the unpacked folder, or a folder that it lies in.

    Raises:
        UserError: some of its files are missing, or no files of images; or another size is asked for.
    """
    folders = (folder for folder in (path, path / FOLDER) if any((folder / name).is_file() for name in MD5))
    if (folder := next(folders, None)) is None:
        return None
    check_image_size(image_size, SIDE, str(path))
    for name in MD5:
        file = folder / name
        if not file.is_file():
            raise _incomplete(folder, name)
        if file.stat().st_size > LARGEST_MEMBER:
            found = f"{name} is larger than {LARGEST_MEMBER // 2**20} MiB"
            raise UserError(str(folder), found, "unpack the archive anew")
    if all(file_digest(folder / name, "md5") == md5 for name, md5 in MD5.items()):
        return Unpacked(NAME, ARCHIVE.checksum, folder)
    contents = hashlib.sha256("".join(file_digest(folder / name, "sha256") for name in MD5).encode())
    return Unpacked(name_after(path), contents.hexdigest(), folder)


def _is_published(path: Path) -> bool:
    return path.stat().st_size == ARCHIVE.size and file_digest(path, ARCHIVE.algorithm) == ARCHIVE.checksum


def _incomplete(place: Path, name: str) -> UserError:
    return UserError(
        f"--data.path {place}", f"there is no {name} in it", f"give {ARCHIVE.name}, or unpack it anew"
    )


@dataclass(frozen=True)
class _Batch:
    pixels: np.ndarray  # uint8 [N, 3072]
    labels: list[int]


def _dataset(name: str, place: Path, members: Iterable[tuple[str, bytes]]) -> Dataset:
    """Return the data set whose files are `members`, each of which is let go once it is read."""
    batches: dict[str, _Batch] = {}
    class_names = None
    for member, content in members:
        where = f"{member} in {place}"
        if member == CLASSES:
            class_names = _class_names(load_restricted(content, where), where)
        else:
            batches[member] = _batch(load_restricted(content, where), where)
    if missing := [member for member in MD5 if member not in batches and member != CLASSES]:
        raise _incomplete(place, missing[0])
    if class_names is None:
        raise _incomplete(place, CLASSES)

    def split(part: str, chosen: tuple[str, ...]) -> ImageSet:
        return _image_set(f"{name}/{part}", [batches.pop(member) for member in chosen], class_names)

    return Dataset(name, split("train", TRAIN), split("held-out", (HELD_OUT,)))


def _image_set(name: str, parts: list[_Batch], class_names: tuple[str, ...]) -> ImageSet:
    """Return the batches in their order; the list is emptied on the way, so that no image is held twice."""
    labels = torch.tensor([label for part in parts for label in part.labels])
    images = torch.empty(len(labels), CHANNELS, SIDE, SIDE, dtype=torch.uint8)
    rows = images.numpy().reshape(len(labels), -1)
    start = 0
    while parts:
        pixels = parts.pop(0).pixels
        rows[start : start + len(pixels)] = pixels
        start += len(pixels)
    return ImageSet(name, images, labels, class_names)


def _field(value: object, name: str, where: str) -> object:
    """Return a field of a file's dictionary, whose keys are bytes where Python 2 has written it."""
    if isinstance(value, dict):
        for key in (name.encode(), name):
            if key in value:
                return value[key]
    raise UserError(where, f"there is no {name!r} in it", "give files in the layout of CIFAR-10's own")


def _batch(value: object, where: str) -> _Batch:
    pixels, labels = _field(value, "data", where), _field(value, "labels", where)
    if isinstance(labels, np.ndarray):
        labels = labels.tolist()
    of_pixels = isinstance(pixels, np.ndarray) and pixels.dtype == np.uint8 and pixels.ndim == 2
    if not (of_pixels and len(pixels) and pixels.shape[1] == CHANNELS * SIDE * SIDE):
        found = f"its data are not uint8 [N, {CHANNELS * SIDE * SIDE}]"
    elif not (isinstance(labels, list) and all(type(label) is int and 0 <= label < 10 for label in labels)):
        found = "its labels are not a list of numbers from 0 to 9"
    elif len(labels) != len(pixels):
        found = f"it has {len(pixels)} images and {len(labels)} labels"
    else:
        # A map of memory goes back to the system with its batch; Python's own would be kept for later use.
        apart = np.frombuffer(mmap.mmap(-1, pixels.nbytes), np.uint8).reshape(pixels.shape)
        apart[:] = pixels
        return _Batch(apart, labels)
    raise UserError(where, found, "give files in the layout of CIFAR-10's own")


def _class_names(value: object, where: str) -> tuple[str, ...]:
    names = _field(value, "label_names", where)
    if isinstance(names, list) and len(names) == 10:
        texts = [n.decode("utf-8", "replace") if isinstance(n, bytes) else n for n in names]
        return check_class_names(texts, where)
    raise UserError(where, "its label_names are not ten names", "give files in the layout of CIFAR-10's own")
