"""Images to be measured, pixel for pixel as they are stored: of a folder of pictures, an .npz, parquet files.

Whatever is done to pixels, resizing above all, changes figures by more than models differ. So all have to be
of one size, grey or RGB of 8 bits, and the first that is not like those before it is refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from triptych.data.dataset import ImageSet
from triptych.data.decoded import load_decoded
from triptych.data.formats import recognise
from triptych.data.from_pictures import FoundPictures
from triptych.data.image_folder import ONLY_CLASS, ImageFolder, open_image_folder, shown
from triptych.data.parallel_decoding import Picture, in_batches, room
from triptych.data.parquet import ParquetSource
from triptych.data.sample_batch import is_sample_batch, read_sample_batch, too_few
from triptych.data.source import name_after
from triptych.decoding import EXTENSIONS, UndecodableError, read_batch, read_image
from triptych.errors import UserError
from triptych.work import Watch, Work, unwatched

TRAINING_OPTION = "--data.path"
"""What the readers that training shares call a path in their messages."""


@dataclass(frozen=True)
class StoredImages:
    """Images that somebody has drawn.

    Attributes:
        name: after their folder or file.
        images: uint8 [N, C, H, W].
        labels: int64 [N]; None: they are of no class.
        class_names: in label order; None: labels are numbers of classes that others name.
        left_aside: how many other files and folders lie there.
    """

    name: str
    images: Tensor
    labels: Tensor | None = None
    class_names: tuple[str, ...] | None = None
    left_aside: int = 0

    def labels_among(self, class_names: Sequence[str]) -> Tensor | None:
        """Return the labels, int64 [N], as places among the classes of other images.

        None where the images have no labels, or not of those classes alone; or where there is but one class,
        which tells nothing.
        """
        if self.labels is None or len(class_names) < 2:
            return None
        if self.class_names is None:
            return self.labels if int(self.labels.max()) < len(class_names) else None
        if not set(self.class_names) <= set(class_names):
            return None
        return torch.tensor([list(class_names).index(name) for name in self.class_names])[self.labels]


class Splits(NamedTuple):
    """Real images.

    Attributes:
        train: all of them, or the training split.
        held_out: the other split; None: there is none.
    """

    train: ImageSet
    held_out: ImageSet | None = None


@contextmanager
def told_as(option: str) -> Iterator[None]:
    """Let what is wrong with files be told in one line, of the option that named them."""
    try:
        yield
    except UserError as error:
        asked, remedy = (text.replace(TRAINING_OPTION, option) for text in (error.asked, error.remedy))
        raise UserError(asked, error.found, remedy) from error
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        asked = f"{option} {shown(Path(str(error.filename)))}" if error.filename else option
        raise UserError(asked, reason, "give files that can be read") from error


@told_as("--images")
def read_images(path: Path, count: int | None = None, watch: Watch = unwatched) -> StoredImages:
    """Return the images of a folder of pictures, or of an .npz.

    Args:
        path: of the folder, whose pictures lie in it or in a folder for each class; or of the file.
        count: how many: the first of an .npz, or by name; of each class in turn where classes have folders.
            None: all.
        watch: sees how many have been read.

    Raises:
        UserError: there are no such images, fewer, or unlike ones; one is damaged or not stored as it is
            measured.
    """
    if path.is_file() and is_sample_batch(path):
        batch = read_sample_batch(path, count, watch)
        return StoredImages(_name_of_batch(path), batch.images, batch.labels)
    folder = _folder_of_images(path)
    pictures, labels, class_names, _ = folder.found()
    pictures = list(pictures)
    if count is not None and count > len(pictures):
        raise too_few(count, path, len(pictures))
    chosen = _in_turn(labels, len(labels) if count is None else count)
    images = _read([pictures[at] for at in chosen.tolist()], range(len(chosen)), path, watch)
    if not folder.train.sorted_by_class:
        return StoredImages(folder.name, images, left_aside=folder.ignored)
    return StoredImages(folder.name, images, labels[chosen], class_names, folder.ignored)


@told_as("--reference")
def read_reference(path: Path, watch: Watch = unwatched) -> Splits:
    """Return the real images at a path.

    A set that is not divided into splits is not divided here.

    Args:
        path: of a folder of pictures, by class and split or not; an .npz; parquet files; CIFAR-10's archive.
        watch: sees how many have been read.

    Raises:
        UserError: there are none, or unlike ones; one is damaged or not stored as it is measured.
    """
    if path.is_file() and is_sample_batch(path):
        batch = read_sample_batch(path, watch=watch)
        labels = torch.zeros(len(batch.images), dtype=torch.int64) if batch.labels is None else batch.labels
        numbers = tuple(map(str, range(int(labels.max()) + 1)))
        class_names = (ONLY_CLASS,) if batch.labels is None else numbers
        return Splits(ImageSet(_name_of_batch(path), batch.images, labels, class_names))
    source = recognise(path)
    if isinstance(source, ImageFolder):
        _refuse_loose(source)
    if isinstance(source, ImageFolder | ParquetSource):
        return _read_splits(source.name, source.found(), path, watch)
    dataset = load_decoded(source, watch)
    return Splits(dataset.train, dataset.held_out)


def _name_of_batch(path: Path) -> str:
    return name_after(path.with_suffix("") if path.suffix.lower() == ".npz" else path)


def _folder_of_images(path: Path) -> ImageFolder:
    """Return the pictures in a folder, found; raise where it is none, or not clear which are meant."""
    asked, remedy = f"--images {shown(path)}", "name a folder of pictures, or an .npz"
    if not path.exists():
        raise UserError(asked, "there is nothing", remedy)
    if not path.is_dir():
        if path.suffix.lower() in EXTENSIONS:
            raise UserError(asked, "a single picture", "give the folder in which it lies")
        raise UserError(asked, "neither a folder nor an .npz", remedy)
    folder = open_image_folder(path)
    if folder is None:
        raise UserError(asked, "no pictures in it" if any(path.iterdir()) else "an empty folder", remedy)
    if folder.held_out is not None:
        raise UserError(asked, "two splits of a data set", "name the folder of one of them")
    _refuse_loose(folder)
    return folder


def _refuse_loose(folder: ImageFolder) -> None:
    """Raise where pictures beside the classes' folders would be passed over."""
    loose = sum(split.loose for split in (folder.train, folder.held_out) if split is not None)
    if loose:
        classes = ", ".join(list(folder.train.classes)[:3])
        found = f"{loose:,} pictures beside folders with pictures ({classes})"
        raise UserError(shown(folder.path), found, "put all of them into folders, or none")


def _in_turn(labels: Tensor, count: int) -> Tensor:
    """Return which images are the first, of each class in turn: int64 [count], ascending."""
    place = torch.empty_like(labels)  # of each image among those of its class
    for label in labels.unique():
        members = labels == label
        place[members] = torch.arange(int(members.sum()))
    order = (place * (labels.max() + 1) + labels).argsort()
    return order[:count].sort().values


def _read_splits(name: str, found: FoundPictures, path: Path, watch: Watch) -> Splits:
    pictures, labels, class_names, held_out = found
    if held_out is None:
        images = _read(pictures, range(len(labels)), path, watch)
        return Splits(ImageSet(name, images, labels, class_names))
    count = int((~held_out).sum())
    if count in (0, len(labels)):
        missing = "held-out" if count else "training"
        raise UserError(shown(path), f"its {missing} split has no images", "give it some")
    order = held_out.int().argsort(stable=True)
    images, labels = _read(pictures, order.argsort().tolist(), path, watch), labels[order]
    return Splits(
        ImageSet(f"{name}/train", images[:count], labels[:count], class_names),
        ImageSet(f"{name}/held-out", images[count:], labels[count:], class_names),
    )


def _read(pictures: Iterable[Picture], places: Sequence[int], path: Path, watch: Watch) -> Tensor:
    """Return pictures as they are stored, uint8 [N, C, H, W], the one that comes as number i at places[i]."""
    stream = iter(pictures)
    first = next(stream, None)
    if first is None:
        raise UserError(shown(path), "no images in it", "give some")
    try:
        shape = read_image(first.data).shape
    except UndecodableError as error:
        raise _refused(first, str(error)) from error
    images = room(len(places), shape, shown(path), "give fewer or smaller ones")
    work, done = Work("reading pictures", 0, len(places)), 0
    watch(work)
    batches = in_batches(
        chain([first], stream), len(places), math.prod(shape), partial(read_batch, shape=shape)
    )
    with closing(batches):
        for batch, read in batches:
            if read.fault:
                raise _refused(batch[len(read.pixels)], read.fault)
            images[list(places[done : done + len(batch)])] = read.pixels
            done += len(batch)
            watch(work._replace(done=done))
    return torch.from_numpy(images)


def _refused(picture: Picture, fault: str) -> UserError:
    return UserError(picture.name, fault, "mend, convert or remove it")
