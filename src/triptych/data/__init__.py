"""Where images come from: every data set is one file and one line in `DATASETS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from triptych.data import cifar10, digits
from triptych.data.dataset import Dataset, ImageSizes
from triptych.data.decoded import load_decoded, place_of
from triptych.data.formats import recognise
from triptych.data.from_pictures import USUAL_SIDE
from triptych.data.source import check_image_size, is_well_known
from triptych.errors import UserError
from triptych.recipe_files import NAME
from triptych.work import Watch, unwatched


class Listed(NamedTuple):
    """A data set that needs no path.

    Attributes:
        load: makes it, as the configuration says.
        sizes: what is known of its images without reading any.
        at_hand: tells whether it can be made without a download.
    """

    load: Callable[[DataConfig], Dataset]
    sizes: ImageSizes
    at_hand: Callable[[], bool] = lambda: True


DATASETS = {
    "digits": Listed(lambda config: digits.load(), digits.SIZES),
    "cifar10": Listed(
        lambda config: load_decoded(cifar10.Published()),
        cifar10.SIZES,
        lambda: cifar10.ARCHIVE.path.exists() or place_of(cifar10.Published()).exists(),
    ),
}
"""Every data set by the name that recipes use."""


@dataclass(frozen=True)
class DataConfig:
    """Which images."""

    name: str = "digits"
    """Name of the data set; for images in `path`, any name of your own."""
    path: str = ""
    """Archive, parquet file or folder of images, recognised by what is in it; empty: the set's own place."""
    image_size: int | None = None
    """Side in pixels that images of free size are brought to; by default 32. Others are used as they are."""
    flip: bool = False
    """Whether training images are mirrored left to right with probability one half."""

    def load(self, watch: Watch = unwatched) -> Dataset:
        """Return the data set, decoded.

        Images in `path` are called by `name` where that is the user's own, and after their file where it is
        that of a listed set: `--data.name cifar10 --data.path COPY` is `cifar10` only if COPY is the
        published one. The digits are embedded, so that a path beside them is a mistake.

        Args:
            watch: sees how far the decoding of pictures has come, where they are not in the cache.

        Raises:
            UserError: there is no data set of this name, its files cannot be read or have another size than
                is asked for, or the name is not one that images in `path` may have.
        """
        if not self.path:
            return self._listed().load(self)
        self._check_name()
        try:
            path = Path(self.path).expanduser()
        except RuntimeError as error:
            found = "nobody of that name has a home"
            raise UserError(f"--data.path {self.path}", found, "write the folder out") from error
        try:
            dataset = load_decoded(recognise(path, self.image_size), watch)
        except OSError as error:
            raise UserError(f"--data.path {path}", str(error), "give files that can be read") from error
        return dataset if self.name in DATASETS else dataset.renamed(self.name)

    def at_hand(self) -> bool:
        """Whether there is something to `load`, and nothing of it has to be downloaded first."""
        if not self.path:
            return self.name in DATASETS and DATASETS[self.name].at_hand()
        try:
            return Path(self.path).expanduser().exists()
        except RuntimeError:  # nobody of that name has a home
            return False

    def sizes(self) -> ImageSizes:
        """Return what is known of the images while none of them is read.

        Raises:
            UserError: see `load`, as far as the names go.
        """
        if not self.path:
            return self._listed().sizes
        self._check_name()
        return ImageSizes(3, USUAL_SIDE if self.image_size is None else self.image_size)

    def _listed(self) -> Listed:
        """Return the entry of a data set that needs no path; raise where there is none of its size."""
        if self.name not in DATASETS:
            known = f"choose from {', '.join(DATASETS)}, or say where it lies with --data.path"
            raise UserError(f"data.name {self.name}", "no such data set", known)
        if self.image_size != USUAL_SIDE:  # once the default, and so in the configurations of that time
            check_image_size(self.image_size, DATASETS[self.name].sizes.image_size, self.name)
        return DATASETS[self.name]

    def _check_name(self) -> None:
        """Raise where images in `path` cannot have the name."""
        if self.name == "digits":
            found = "the digits are embedded and lie in no file"
            raise UserError(f"--data.path {self.path}", found, "leave it out, or give another data.name")
        if self.name in DATASETS:
            return
        if not NAME.fullmatch(self.name):
            found = "no name for a data set"
            raise UserError(
                f"data.name {self.name[:40]!r}", found, "use up to 100 letters, digits, dots, - and _"
            )
        if is_well_known(self.name):
            found = "readers would take it for the published set"
            raise UserError(f"data.name {self.name}", found, "choose another, or cifar10, which is checked")
