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
import os
import re
import tempfile
import warnings
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from triptych.cache import cache_folder
from triptych.data.dataset import Dataset, ImageSet
from triptych.data.source import Source
from triptych.work import Watch, unwatched

LAYOUT = 1
"""Of the file, and part of its name: to be raised with any change of what is written."""


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
    name = re.sub(r"[^\w.-]", "_", source.name)[:100]
    path = cache_folder() / "data" / f"{name}-{key[:32]}-v{LAYOUT}.safetensors"
    dataset = _read(path, source.name, key)
    if dataset is None:
        dataset = source.decode(watch)
        _write(path, dataset, key)
    return dataset


def _read(path: Path, name: str, key: str) -> Dataset | None:
    """Return the data set in `path`; None, with a warning, where it is damaged; None where there is none."""
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if hashlib.sha256(metadata["about"].encode()).hexdigest() != metadata["sha256"]:
                raise ValueError("its description does not have the sha256 that it names")
            about = json.loads(metadata["about"])
            if (about["name"], about["key"]) != (name, key):
                raise ValueError("it is the cache of other images")
            splits = [
                ImageSet(
                    f"{name}/{split}",
                    file.get_tensor(f"{split}.images"),
                    file.get_tensor(f"{split}.labels"),
                    tuple(about["class_names"]),
                )
                for split in ("train", "held-out")
            ]
        if [split.digest for split in splits] != about["digests"]:
            raise ValueError("its images do not have the digests that it names")
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())
        warnings.warn(f"cached images {path} are damaged ({reason}): decoding anew", stacklevel=3)
        return None
    return Dataset(name, *splits, about["preparation"])


def _write(path: Path, dataset: Dataset, key: str) -> None:
    """Write the data set aside and rename it once whole, so that no reader meets a part."""
    splits = (dataset.train, dataset.held_out)
    about = {
        "key": key,
        "name": dataset.name,
        "preparation": dataset.preparation,
        "class_names": dataset.class_names,
        "digests": [split.digest for split in splits],
    }
    text = json.dumps(about)
    tensors: dict[str, torch.Tensor] = {}
    for part, split in zip(("train", "held-out"), splits, strict=True):
        tensors |= {f"{part}.images": split.images.contiguous(), f"{part}.labels": split.labels.contiguous()}
    aside = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, aside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
        save_file(tensors, aside, {"about": text, "sha256": hashlib.sha256(text.encode()).hexdigest()})
        os.replace(aside, path)
    except (SafetensorError, OSError) as error:
        warnings.warn(f"cannot cache images in {path} ({error}): going on without", stacklevel=3)
    finally:
        if aside is not None:
            Path(aside).unlink(missing_ok=True)
