"""Make `cifar10-jpeg` from the official archive of CIFAR-10, or print the digest of any images.

    python scripts/cifar10_jpeg.py cifar-10-python.tar.gz cifar10-jpeg
    python scripts/cifar10_jpeg.py --digest cifar10-jpeg

Every image becomes a JPEG of quality 75 with halved chroma, `CLASS/NNNN.jpg` after its number in its class,
and each split is shuffled; docs/data.md says what the result is for.

The copy that is known was written by an encoder that differs from Pillow's in one thing. Where libjpeg-turbo
averages four pixels to halve the chroma, the library of the Independent JPEG Group, since its version 7,
takes the cosine transform of 16x16 pixels and keeps the 8x8 low frequencies. What that library stores is
computed here; Pillow is then given chroma in which its own halving and transform find these coefficients.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import sys
from collections import Counter
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from triptych.data.dataset import Dataset, ImageSet
from triptych.data.formats import recognise
from triptych.errors import UserError

QUALITY = 75
SIDE = 32
ROW_GROUP = 5_000
SHUFFLED_WITH = 0
"""Seed of Python's own generator, anew for each split, over the pictures sorted by path."""

KNOWN = {
    "train-00000-of-00001.parquet": "a56ff7bef1264720ac618d4483db87cf91100ede9d6f0005e7ce28ddb63c78a0",
    "test-00000-of-00001.parquet": "3a91804488e6152b5a2f3c8921a81c5df2397fa278cfc7ccb281da6767d43602",
}
"""sha256 of the files that the results in `results/` were made with, as pyarrow 26.0.1 writes them."""

FRACTION_BITS, KEPT_BITS = 13, 2
"""Of the constants in the fixed-point transform, and of what its first pass keeps below the point."""
SUMMED_CONSTANTS = {
    **{(1, 7): -1, (1, 8): 1, (5, 2): 1, (5, 13): -1, (6, 3): -1, (6, 4): 1, (6, 11): 1, (6, 12): -1},
    **{(7, 3): 1, (7, 4): 1, (7, 11): -1, (7, 12): -1},
}
"""Where the library's factors are sums of rounded constants, and so one off the rounded factor."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line asks; return the exit code, 2 where there is something to mend."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument(
        "archive", nargs="?", type=Path, help="cifar-10-python.tar.gz, or its unpacked folder"
    )
    parser.add_argument("out", nargs="?", type=Path, help="folder to make")
    parser.add_argument("--digest", metavar="PATH", type=Path, help="print the digest of the images in PATH")
    parser.add_argument(
        "--loss", metavar="ARCHIVE", type=Path, help="print how far JPEG is from the originals"
    )
    options = parser.parse_args(arguments)
    try:
        if options.digest is not None:
            print_digests(recognise(options.digest, SIDE).decode())
        elif options.loss is not None:
            print_loss(recognise(options.loss, SIDE).decode())
        elif options.archive is None or options.out is None:
            parser.error("give ARCHIVE and OUT, or --digest PATH, or --loss ARCHIVE")
        else:
            make(recognise(options.archive, SIDE).decode(), options.out)
    except (UserError, OSError) as error:
        print(f"cifar10_jpeg: {error}", file=sys.stderr)
        return 2
    return 0


def make(dataset: Dataset, out: Path) -> None:
    """Write the images of CIFAR-10 as JPEG into parquet files in the folder `out`."""
    if dataset.train.images.shape[1:] != (3, SIDE, SIDE):
        raise UserError(
            str(out), f"the images have shape {list(dataset.train.images.shape[1:])}", "give CIFAR-10"
        )
    out.mkdir(parents=True, exist_ok=True)
    for name, split in (("train", dataset.train), ("test", dataset.held_out)):
        path = out / f"{name}-00000-of-00001.parquet"
        write(path, *pictures(split), split.class_names)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        known = "the known bytes" if KNOWN[path.name] == sha256 else "not the known bytes"
        print(f"{path}: {len(split):,} images, sha256 {sha256}, {known}")


def print_digests(dataset: Dataset) -> None:
    """Print the digest of each split, in whatever order its images stand."""
    for split in (dataset.train, dataset.held_out):
        print(f"{split.name}: {len(split):,} images, digest {digest(split)}")


def print_loss(dataset: Dataset) -> None:
    """Print how far the images of both splits are off once they are JPEG."""
    splits = [split.images.numpy().transpose(0, 2, 3, 1) for split in (dataset.train, dataset.held_out)]
    originals = np.concatenate(splits)
    stored = np.stack([np.asarray(Image.open(BytesIO(file))) for file in encode(originals)])
    off = originals.astype(np.int16) - stored
    decibels = 10 * np.log10(255**2 / np.square(off, dtype=np.float64).mean())
    print(f"{len(originals):,} images, {np.abs(off).mean():.2f} of 255 levels off, {decibels:.1f} dB")


def digest(images: ImageSet) -> str:
    """Return a hash of a set of images that does not depend on their order.

    sha256 of the concatenated and sorted sha256 of each image: of its pixels, channel by channel, then its
    label as eight bytes, the lowest first.
    """
    labels = images.labels.numpy().astype("<i8")
    each = (
        hashlib.sha256(image.tobytes() + label.tobytes()).digest()
        for image, label in zip(images.images.numpy(), labels, strict=True)
    )
    return hashlib.sha256(b"".join(sorted(each))).hexdigest()


def pictures(images: ImageSet) -> tuple[list[str], list[bytes], list[int]]:
    """Return paths, JPEG files and labels of all images, shuffled."""
    labels = images.labels.tolist()
    seen: Counter[int] = Counter()
    paths = []
    for label in labels:
        paths.append(f"{images.class_names[label]}/{seen[label]:04d}.jpg")
        seen[label] += 1
    files = encode(images.images.numpy().transpose(0, 2, 3, 1))
    order = sorted(range(len(paths)), key=paths.__getitem__)
    random.Random(SHUFFLED_WITH).shuffle(order)
    return [paths[i] for i in order], [files[i] for i in order], [labels[i] for i in order]


def write(
    path: Path,
    paths: Sequence[str],
    files: Sequence[bytes],
    labels: Sequence[int],
    class_names: Sequence[str],
) -> None:
    """Write one split in the columns of the Hugging Face hub."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise UserError(
            str(path),
            "writing parquet needs pyarrow",
            'in a clone: pip install -c constraints.txt -e ".[parquet]"',
        ) from error
    rows = pa.array([{"bytes": data, "path": name} for data, name in zip(files, paths, strict=True)])
    names = {"names": list(class_names), "_type": "ClassLabel"}
    about = {"info": {"features": {"img": {"_type": "Image"}, "label": names}}}
    metadata = {"huggingface": json.dumps(about, separators=(",", ":"))}
    table = pa.table({"img": rows, "label": pa.array(labels, pa.int64())}, metadata=metadata)
    pq.write_table(table, path, row_group_size=ROW_GROUP, compression="zstd", compression_level=19)


def encode(images: np.ndarray) -> list[bytes]:
    """Return each image, uint8 [N, 32, 32, 3] RGB, as a JPEG file with the chroma of the other encoder."""
    files = []
    for start in range(0, len(images), 1_000):  # a thousand at a time: the blocks are float64
        planes = to_ycc(images[start : start + 1_000])
        planes[..., 1:] = rehalved(planes[..., 1:])
        for image in planes.astype(np.uint8):
            file = BytesIO()
            Image.frombytes("YCbCr", (SIDE, SIDE), image.tobytes()).save(file, "JPEG", quality=QUALITY)
            files.append(file.getvalue())
    return files


def to_ycc(images: np.ndarray) -> np.ndarray:
    """Return Y, Cb, Cr as both libraries compute them, in 16 bits below the point: int64 [N, 32, 32, 3]."""
    factors = [[0.299, 0.587, 0.114], [-0.168735892, -0.331264108, 0.5], [0.5, -0.418687589, -0.081312411]]
    fixed = np.trunc(np.array(factors) * 2**16 + np.copysign(0.5, factors)).astype(np.int64)
    rounding = np.array([2**15, (128 << 16) + 2**15 - 1, (128 << 16) + 2**15 - 1])
    return (images.astype(np.int64) @ fixed.T + rounding) >> 16


def rehalved(chroma: np.ndarray) -> np.ndarray:
    """Return chroma [N, 32, 32, 2] from which libjpeg-turbo makes the coefficients that the other one makes.

    Each 16x16 pixels become 8x8 squares of four equal pixels, which averaging gives back unchanged. Their
    values are rounded to whole numbers: so each coefficient aims well inside the interval that is quantised
    to the same number, and stays where it was if it lies there, so that no pixel has to leave 0 to 255.
    """
    count = len(chroma)
    blocks = chroma.reshape(count, 2, 16, 2, 16, 2).transpose(0, 1, 3, 5, 2, 4)  # N, place, channel, 16, 16
    coefficients = transformed(blocks - 128.0)  # scaled by 8
    steps = chroma_steps()
    quantised = np.sign(coefficients) * ((np.abs(coefficients) + 4 * steps) // (8 * steps))
    aims = np.clip(coefficients / 8, (quantised - 0.3) * steps, (quantised + 0.3) * steps)
    small = cosines(8).T @ aims @ cosines(8) + 128
    squares = np.clip(np.rint(small), 0, 255).repeat(2, -1).repeat(2, -2)
    return squares.transpose(0, 1, 4, 2, 5, 3).reshape(chroma.shape)


def transformed(blocks: np.ndarray) -> np.ndarray:
    """Return the low 8x8 of the cosine transform of 16x16 blocks, in fixed point, scaled by 8.

    Rows first, then columns, each rounded half up. Float64 holds all these whole numbers exactly.
    """
    matrix = np.rint(cosines(16)[:8] * 4 * 2**FRACTION_BITS)
    for place, difference in SUMMED_CONSTANTS.items():
        matrix[place] += difference
    rows = rounded(blocks @ matrix.T, FRACTION_BITS - KEPT_BITS)
    return rounded(matrix @ rows, FRACTION_BITS + KEPT_BITS + 2)


def rounded(whole: np.ndarray, bits: int) -> np.ndarray:
    """Return whole numbers without their lowest bits, rounded half up."""
    return np.floor(whole / 2**bits + 0.5)


def cosines(size: int) -> np.ndarray:
    """Return the orthonormal cosine transform, [frequency, place]."""
    frequency, place = np.arange(size)[:, None], np.arange(size)
    matrix = np.sqrt(2 / size) * np.cos((2 * place + 1) * frequency * np.pi / (2 * size))
    matrix[0] /= np.sqrt(2)
    return matrix


def chroma_steps() -> np.ndarray:
    """Return by how much each coefficient of chroma is divided: ITU-T T.81, table K.2, halved; [8, 8]."""
    table = np.full((8, 8), 99)
    table[:4, :4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]
    return (table * (200 - 2 * QUALITY) + 50) // 100


if __name__ == "__main__":
    sys.exit(main())
