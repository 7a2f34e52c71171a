"""One's own pictures: a folder for each class, with or without a test split, or all in one folder.

    my-images/cat/*.jpg                                    every tenth image of each class is held out
    my-images/train/cat/*.jpg, my-images/test/cat/*.jpg    (or validation, val, ...)
    my-images/*.jpg                                        one class, called `images`

Hidden files, other files, and folders inside a class's folder are left aside and counted. A class's folder
whose pictures all lie deeper is refused: left aside, it would be a whole class. Links are followed, wherever
they lead: whoever laid them there wanted it. One that leads nowhere is refused.
"""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from triptych.data.dataset import Dataset, check_class_names
from triptych.data.from_pictures import HELD_OUT_NAMES, USUAL_SIDE, FoundPictures, dataset_from_pictures
from triptych.data.parallel_decoding import Picture
from triptych.data.source import name_after
from triptych.decoding import EXTENSIONS, RULE
from triptych.errors import UserError
from triptych.work import Watch, unwatched

ONLY_CLASS = "images"
"""What the class of pictures is called that lie in no class's folder."""


@dataclass(frozen=True)
class Split:
    """The picture files of one split.

    Attributes:
        classes: for each class, in the order of the names, its files in the order of theirs.
        sorted_by_class: whether each class has a folder.
        ignored: how many other files and folders lie there.
        loose: how many of these are pictures beside the classes' folders.
    """

    classes: dict[str, list[Path]]
    sorted_by_class: bool
    ignored: int
    loose: int = 0

    def files(self) -> list[Path]:
        """Return all files, class by class."""
        return [file for files in self.classes.values() for file in files]

    def labels(self) -> list[int]:
        """Return the class of each file, as its place among the classes."""
        return [label for label, files in enumerate(self.classes.values()) for _ in files]


def open_image_folder(path: Path, image_size: int | None = None) -> ImageFolder | None:
    """Return the source at `path`: a folder with pictures, sorted by class or not.

    Raises:
        UserError: a name is no text or none for a class, a link leads nowhere, the pictures of a class lie
            too deep, or the splits have different classes.
    """
    if not path.is_dir():
        return None
    train, held_out = _find_splits(path)
    if not train.classes:
        return None
    if held_out is not None and held_out.classes.keys() != train.classes.keys():
        apart = sorted(held_out.classes.keys() ^ train.classes.keys())
        found = f"classes that only one of its two splits has ({', '.join(apart[:5])})"
        raise UserError(f"--data.path {shown(path)}", found, "give both splits the same classes")
    check_class_names(tuple(train.classes), f"--data.path {shown(path)}")
    return ImageFolder(path, train, held_out, USUAL_SIDE if image_size is None else image_size)


@dataclass(frozen=True)
class ImageFolder:
    """Pictures in a folder, found and sorted by split and class.

    Attributes:
        path: the folder that the user named.
        train: pictures to train on.
        held_out: pictures of the same classes; None: part of the training split is held out.
        image_size: side in pixels that images are brought to.
    """

    path: Path
    train: Split
    held_out: Split | None
    image_size: int

    @property
    def name(self) -> str:
        """The folder's name."""
        return name_after(self.path)

    @property
    def ignored(self) -> int:
        """How many files and folders in it are not read."""
        return self.train.ignored + (self.held_out.ignored if self.held_out else 0)

    def files(self) -> list[Path]:
        """Return all picture files, those of the training split first."""
        return self.train.files() + (self.held_out.files() if self.held_out else [])

    def key(self) -> str:
        """Return a digest of where all files lie, of what tells that one was changed, the rule and the size.

        To read all files would take as long as to decode some. Name, size and time of change may be those of
        other pictures: a folder from an archive that sets the time, a file that was replaced and given the
        old one. The file's number and the time of its last change of status are the system's own.
        """
        h = hashlib.sha256(f"folder {RULE} {self.image_size} {self.ignored}\n".encode())
        h.update(os.fsencode(self.path.resolve()) + b"\n")
        for file in self.files():
            status = file.stat()
            marks = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
            h.update(f"{file.relative_to(self.path).as_posix()}\0{marks}\n".encode())
        return h.hexdigest()

    def found(self) -> FoundPictures:
        """Return all pictures, those of the training split first."""
        labels = torch.tensor(self.train.labels() + (self.held_out.labels() if self.held_out else []))
        return FoundPictures(
            [Picture(shown(file), file) for file in self.files()],
            labels,
            tuple(self.train.classes),
            torch.arange(len(labels)) >= len(self.train.files()) if self.held_out else None,
        )

    def decode(self, watch: Watch = unwatched) -> Dataset:
        """Return all images, decoded; where there is no test split, every tenth of each class is held out.

        Raises:
            UserError: a picture is damaged, too large or unreadable, or a class has too few.
        """
        return dataset_from_pictures(
            self.name,
            self.found(),
            side=self.image_size,
            asked=f"--data.path {shown(self.path)}",
            remark=f"{self.ignored:,} other files or folders ignored" if self.ignored else "",
            watch=watch,
        )


def shown(path: Path) -> str:
    """Return how a path is written in a message of one line."""
    text = str(path)
    return text if _is_text(text) else ascii(text)


def _find_splits(path: Path) -> tuple[Split, Split | None]:
    train, beside = path / "train", [path / name for name in HELD_OUT_NAMES if (path / name).is_dir()]
    if not train.is_dir():
        return _find(path), None
    split, held_out = _find(train), _find(beside[0]) if beside else None
    if held_out is None and not split.sorted_by_class:
        return _find(path), None  # `train` is a class like others: pictures of trains
    pictures, folders, others = _list(path)
    left_aside = len(pictures) + len(folders) + others - (2 if held_out else 1)
    ignored, loose = split.ignored + left_aside, split.loose + len(pictures)
    return replace(split, ignored=ignored, loose=loose), held_out


def _find(folder: Path) -> Split:
    """Return the pictures in the folders in `folder`; where there are none, those in `folder` itself."""
    pictures, folders, ignored = _list(folder)
    classes, barren = {}, []
    for entry in folders:
        files, deeper, others = _list(entry)
        if files:
            classes[entry.name] = files
            ignored += len(deeper) + others
        else:
            barren.append((entry, deeper))
            ignored += 1
    if classes or not pictures:
        for entry, deeper in barren:
            _refuse_deeper_pictures(entry, deeper)
    if classes:
        return Split(classes, True, ignored + len(pictures), len(pictures))
    return Split({ONLY_CLASS: pictures} if pictures else {}, False, ignored)


def _refuse_deeper_pictures(folder: Path, deeper: list[Path]) -> None:
    """Raise where a class's folder without pictures of its own has some in the folders `deeper` in it."""
    for top in deeper:
        for place, folders, files in os.walk(top):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            if any(_names_picture(name) for name in files):
                found = f"a class's folder without pictures of its own, but with some in {shown(Path(place))}"
                remedy = "move them up into it, or name it if the classes are the folders in it"
                raise UserError(f"--data.path {shown(folder)}", found, remedy)


def _list(folder: Path) -> tuple[list[Path], list[Path], int]:
    """Return the pictures in a folder and the folders in it, by name, and the number of all else."""
    pictures, folders, others = [], [], 0
    for entry in _by_name(folder):
        is_picture = _names_picture(entry.name)
        if entry.name.startswith("."):
            others += 1
        elif is_picture and entry.is_file():
            pictures.append(_named_in_text(entry))
        elif entry.is_dir():
            folders.append(_named_in_text(entry))
        elif is_picture and entry.is_symlink():
            raise UserError(shown(Path(entry.path)), "a link that leads nowhere", "mend or remove it")
        else:
            others += 1
    return pictures, folders, others


def _names_picture(name: str) -> bool:
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in EXTENSIONS


def _by_name(folder: Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        yield from sorted(entries, key=lambda entry: entry.name)


def _named_in_text(entry: os.DirEntry[str]) -> Path:
    if not _is_text(entry.name):
        raise UserError(shown(Path(entry.path)), "a name that is no UTF-8 text of one line", "rename it")
    return Path(entry.path)


def _is_text(name: str) -> bool:
    """Whether a name can be written to a record and shown on one line."""
    # Bytes that are no UTF-8 reach Python as lone surrogates, which are of category Cs.
    return not any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in name)
