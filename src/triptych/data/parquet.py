"""Images in parquet files, in the layout of the Hugging Face hub: `train-*.parquet` and `test-*.parquet`."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import torch

from triptych.data.dataset import Dataset
from triptych.data.from_pictures import HELD_OUT_NAMES, USUAL_SIDE, FoundPictures, dataset_from_pictures
from triptych.data.parquet_rows import Shard, open_shard
from triptych.data.source import name_after
from triptych.decoding import RULE
from triptych.errors import UserError
from triptych.work import Watch, unwatched

MAGIC = b"PAR1"
FILE_NAME = re.compile(
    rf"(?P<split>train|{'|'.join(HELD_OUT_NAMES)})(-(?P<number>\d+)-of-(?P<count>\d+).*|(?P<part>[-_.].*))?\.parquet"
)
"""A part of so many, a part among any number, or a whole split."""
SAYS_LITTLE = ("data", "plain_text", "default")
"""Names of folders that the hub gives to every data set alike."""


def open_parquet(path: Path, image_size: int | None = None) -> ParquetSource | None:
    """Return the source at `path`: a parquet file, or a folder of them, there or one level down.

    Raises:
        UserError: the files in the folder are no training split with all its parts.
    """
    side = USUAL_SIDE if image_size is None else image_size
    if path.is_file():
        return ParquetSource(path, (path,), (), side) if _is_parquet(path) else None
    folders = [path, *sorted(entry for entry in path.iterdir() if entry.is_dir())]
    found = {folder: files for folder in folders if (files := sorted(folder.glob("[!.]*.parquet")))}
    if not found:
        return None
    if path not in found and len(found) > 1:
        names = ", ".join(folder.name for folder in found)
        raise UserError(f"--data.path {path}", f"several folders with parquet files ({names})", "name one")
    splits = _splits(path, next(iter(found.values())))
    train = splits.pop("train")
    held_out = next((splits.pop(split) for split in HELD_OUT_NAMES if split in splits), ())
    return ParquetSource(path, train, held_out, side, tuple(splits))


@dataclass(frozen=True)
class ParquetSource:
    """Parquet files, found and sorted by split.

    Attributes:
        path: the file or folder that the user named.
        train: files of the training split, in order.
        held_out: files of the held-out split, in order; empty: part of the training split is held out.
        image_size: side in pixels that images are brought to.
        left_aside: names of other splits, which are not read.
    """

    path: Path
    train: tuple[Path, ...]
    held_out: tuple[Path, ...]
    image_size: int
    left_aside: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The folder's name, or the file's."""
        path = self.path.resolve()
        return name_after(path.parent if path.name in SAYS_LITTLE else path)

    def key(self) -> str:
        """Return the sha256 of all bytes of the files, the rule of decoding and the size of the images."""
        about = f"{RULE} {self.image_size} {len(self.train)} {self.left_aside}"
        h = hashlib.sha256(f"parquet {about}\n".encode())
        for path in self.train + self.held_out:
            with path.open("rb") as file:
                h.update(hashlib.file_digest(file, "sha256").digest())
        return h.hexdigest()

    def found(self) -> FoundPictures:
        """Return all pictures, those of the training split first.

        Raises:
            UserError: pyarrow is not installed, a file is damaged, or a row holds what it should not.
        """
        shards = [open_shard(path) for path in self.train + self.held_out]
        labels_of = [shard.labels() for shard in shards]
        labels = torch.from_numpy(np.concatenate(labels_of))
        trained_on = sum(map(len, labels_of[: len(self.train)]))
        return FoundPictures(
            chain.from_iterable(shard.pictures() for shard in shards),
            labels,
            _class_names(shards, labels_of),
            torch.arange(len(labels)) >= trained_on if self.held_out else None,
        )

    def decode(self, watch: Watch = unwatched) -> Dataset:
        """Return all images, decoded; where no split is held out, every tenth image of each class is.

        Raises:
            UserError: pyarrow is not installed, a file is damaged, or a row holds what it should not.
        """
        return dataset_from_pictures(
            self.name,
            self.found(),
            side=self.image_size,
            asked=f"--data.path {self.path}",
            remark=f"left aside: {', '.join(self.left_aside)}" if self.left_aside else "",
            watch=watch,
        )


def _is_parquet(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC or path.suffix == ".parquet"


def _splits(path: Path, files: Sequence[Path]) -> dict[str, tuple[Path, ...]]:
    """Sort files by the split that their names tell; others are none of ours."""
    splits: dict[str, list[re.Match[str]]] = {}
    for file in files:
        if (told := FILE_NAME.fullmatch(file.name)) is not None:
            splits.setdefault(told["split"], []).append(told)
    for split, parts in splits.items():
        _check_parts(path, split, parts)
    if "train" not in splits:
        names = ", ".join(file.name for file in files[:3])
        raise UserError(
            f"--data.path {path}", f"no train-*.parquet (there is {names})", "rename, or name a file"
        )
    folder = files[0].parent
    return {split: tuple(folder / told.string for told in parts) for split, parts in splits.items()}


def _check_parts(path: Path, split: str, parts: Sequence[re.Match[str]]) -> None:
    """Raise where the files of a split are not each of its parts once."""
    counts = {told["count"] for told in parts}
    whole = [told.string for told in parts if told["count"] is told["part"] is None]
    if len(counts) > 1 or (whole and len(parts) > 1):
        names = ", ".join(told.string for told in parts[:3])
        found = f"files of the {split} split that may hold the same images ({names})"
        raise UserError(f"--data.path {path}", found, "leave those of one kind, or name a file")
    (count,) = counts
    if count is None:
        return
    numbers = [int(told["number"]) for told in parts]
    if twice := [number for number, times in Counter(numbers).items() if times > 1]:
        found = f"part {twice[0]} of the {split} split twice"
        raise UserError(f"--data.path {path}", found, "leave each part once, or name a file")
    if sorted(numbers) != list(range(len(numbers))) or len(numbers) != int(count):
        found = f"not all {int(count)} parts of the {split} split"
        raise UserError(f"--data.path {path}", found, "fetch the others, or rename what is there")


def _class_names(shards: Sequence[Shard], labels_of: Sequence[np.ndarray]) -> tuple[str, ...]:
    """Return the names that all files agree on, every label being in their range.

    Raises:
        UserError: the files disagree, or a label is outside.
    """
    first = shards[0]
    for shard in shards:
        if shard.class_names != first.class_names:
            raise UserError(
                str(shard.path),
                f"its classes are not those of {first.path.name}",
                "name the same in all files",
            )
    total = sum(map(len, labels_of))
    # Without names the labels name themselves: fewer classes than images, or they are no classes.
    highest = max((int(labels.max()) for labels in labels_of if len(labels)), default=-1)
    count = len(first.class_names) or min(highest + 1, total)
    for shard, labels in zip(shards, labels_of, strict=True):
        outside = (labels < 0) | (labels >= count)
        if outside.any():
            row = int(outside.argmax())
            found = f"{shard.label} is {labels[row]}, and there are {count} classes"
            raise UserError(f"row {row} of {shard.path}", found, f"number the classes from 0 to {count - 1}")
    return first.class_names or tuple(str(label) for label in range(count))
