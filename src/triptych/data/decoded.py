"""Decoded images in the cache folder, so that pictures are unpacked once and not at every start.

A file is one safetensors: both splits' pixels and labels, and in its metadata all else that a `Dataset`
holds, with the digests of both splits. What is read is verified in full, every time: the digests are computed
from the tensors as they came and compared with those written, which takes a quarter of a second for the whole
of CIFAR-10. That is also why the digest of a cached set is as good as that of a decoded one: it is one.

Tensors are maps of the file, not copies: processes that train side by side on a machine share one copy in
memory, and whatever moves its images to a GPU leaves none behind. Files are only ever renamed into place,
so that the map under a tensor never changes.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

from torch import Tensor

from triptych.cache import read_tensors, write_tensors
from triptych.cache_place import cache_folder
from triptych.data.dataset import Dataset, ImageSet
from triptych.data.source import Source
from triptych.work import Watch, unwatched

LAYOUT = 1
"""Of the file, and part of its name: to be raised with any change of what is written."""
LONGEST_NAME = 100
"""Bytes of a data set's name that a file's name holds."""
PARTS = ("train", "held-out")
"""What the splits are called in a file, in the order of a `Dataset`."""


def load_decoded(source: Source, watch: Watch = unwatched) -> Dataset:
    """Return the images of `source`: from the cache, or decoded now and cached for the next time.

    A cache that is damaged or cannot be written is told of and done without.

    Args:
        source: the images, found.
        watch: sees how far the decoding has come, where there is any.

    Raises:
        UserError: they have to be decoded, and cannot be.
    """
    key = source.key()
    path = place_of(source)
    dataset = _read(path, source.name, key)
    if dataset is None:
        dataset = source.decode(watch)
        _write(path, dataset, key)
    return dataset


def place_of(source: Source) -> Path:
    """Return where the images of `source` lie in the cache, if they were decoded before."""
    name = re.sub(r"[^\w.-]", "_", source.name).encode()[:LONGEST_NAME].decode(errors="ignore")
    return cache_folder() / "data" / f"{name}-{source.key()[:32]}-v{LAYOUT}.safetensors"


def _read(path: Path, name: str, key: str) -> Dataset | None:
    """Return the data set in `path`; None, with a warning, where it is damaged; None where there is none."""

    def checked(tensors: dict[str, Tensor], metadata: dict[str, str]) -> Dataset:
        if hashlib.sha256(metadata["about"].encode()).hexdigest() != metadata["sha256"]:
            raise ValueError("its description does not have the sha256 that it names")
        about = json.loads(metadata["about"])
        if (about["name"], about["key"]) != (name, key):
            raise ValueError("it is the cache of other images")
        class_names = tuple(about["class_names"])
        splits = [
            ImageSet(f"{name}/{part}", tensors[f"{part}.images"], tensors[f"{part}.labels"], class_names)
            for part in PARTS
        ]
        if [split.digest for split in splits] != about["digests"]:
            raise ValueError("its images do not have the digests that it names")
        return Dataset(name, *splits, about["preparation"])

    return read_tensors(path, "images", checked)


def _write(path: Path, dataset: Dataset, key: str) -> None:
    splits = (dataset.train, dataset.held_out)
    about = {
        "key": key,
        "name": dataset.name,
        "preparation": dataset.preparation,
        "class_names": dataset.class_names,
        "digests": [split.digest for split in splits],
    }
    text = json.dumps(about)
    tensors: dict[str, Tensor] = {}
    for part, split in zip(PARTS, splits, strict=True):
        tensors |= {f"{part}.images": split.images.contiguous(), f"{part}.labels": split.labels.contiguous()}
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    write_tensors(path, "images", tensors, {"about": text, "sha256": sha256})
