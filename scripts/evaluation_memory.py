"""Evaluate more and more images of a network that costs nothing, and show that memory stays the same.

    python scripts/evaluation_memory.py 1000 10000 50000

Each number of images has a process of its own. Its model is a tiny transformer, its features, 2,048 numbers
and 1,008 log-probabilities an image as those of the FID's network, are fixed random projections of the
pixels; 10,000 random images are the reference. What is told is the peak of the memory that belongs to the
process alone (`RssAnon`, looked at every 5 ms), less what it had before the evaluation: features that lie on
the disk are mapped from there, and their pages are the system's to drop. Linux only.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from triptych.data.dataset import Dataset, ImageSet
from triptych.denoiser import Denoiser
from triptych.evaluation.judge import Judge
from triptych.experiment import load_experiment
from triptych.generation import Request
from triptych.metrics import named_metrics
from triptych.metrics.extractors import EXTRACTORS, Available
from triptych.sampling import named_sampler

METRICS = "fid", "fid_infinity", "inception_score", "precision", "coverage", "nearest"
"""Not KID, which takes minutes for subsets that are of one size however many images there are."""
WIDTHS = {"features": 2048, "log_probs": 1008}
REFERENCE = 10_000
LOOK = 0.005
MIB = 2**20


@dataclass
class Projection:
    """Stands in for the FID's network: features that are random projections of the pixels."""

    name: str = "inception"
    sha256: str = "0" * 64

    def __post_init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.weights = {
            name: torch.randn(3 * 8 * 8, width, generator=generator) / 14 for name, width in WIDTHS.items()
        }

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """Turn uint8 [B, 3, 32, 32] into named float32 [B, D]."""
        pixels = torch.nn.functional.avg_pool2d(images.float() / 128 - 1, 4).flatten(1)
        features = torch.cos(40 * pixels @ self.weights["features"])
        return {"features": features, "log_probs": (pixels @ self.weights["log_probs"]).log_softmax(1)}


class Peak:
    """Watches the memory that belongs to this process alone, while its context lasts."""

    def __enter__(self) -> Peak:
        self.before = self.highest = anonymous()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(LOOK):
            self.highest = max(self.highest, anonymous())

    @property
    def extra(self) -> int:
        """Bytes over what there was before."""
        return self.highest - self.before


def anonymous() -> int:
    """Return the bytes of memory that belong to this process alone."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise OSError("this system does not tell what belongs to a process alone")


def images(name: str, seed: int) -> ImageSet:
    """Return random images, in ten classes."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(256, (REFERENCE, 3, 32, 32), dtype=torch.uint8, generator=generator)
    return ImageSet(name, pixels, torch.arange(REFERENCE) % 10, tuple("0123456789"))


def tiny() -> Denoiser:
    """Return a network of a few thousand parameters."""
    sizes = [
        "--backbone.patch",
        "16",
        "--backbone.width",
        "8",
        "--backbone.depth",
        "1",
        "--backbone.heads",
        "1",
    ]
    return load_experiment("digits-dit", sizes).build(3, 32, 10)


def evaluate(count: int) -> tuple[float, float, float]:
    """Return MiB of features on the disk, MiB of extra memory, and seconds, of so many images."""
    EXTRACTORS["inception"] = Available(
        lambda train, device, *, watch=None: Projection(), lambda train: WIDTHS
    )
    dataset = Dataset("random", images("random/train", 1), images("random/held-out", 2))
    with TemporaryDirectory(prefix="triptych-memory-") as folder:
        os.environ["TRIPTYCH_CACHE"] = folder
        judge = Judge(dataset, torch.device("cpu"), named_metrics(METRICS), force=True)
        request = Request(count, 1.0, named_sampler("ddim:1"), batch_size=256)
        denoiser = tiny()
        passport = judge.passport(denoiser, request, "epoch-00001", 1.0, "ema")
        start = time.perf_counter()
        with Peak() as peak:
            judge.row(denoiser, request, passport, Path(folder) / "rows")
        store = judge.store(request, passport, Path(folder) / "rows")
        size = sum(path.stat().st_size for path in store.folder.iterdir())
        return size / MIB, peak.extra / MIB, time.perf_counter() - start


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "counts", type=int, nargs="*", default=[1000, 10_000, 50_000], help="numbers of images"
    )
    options = parser.parse_args(arguments)
    print("| images | features on disk, MiB | extra memory, MiB | seconds |\n|---|---|---|---|")
    for count in options.counts:
        with get_context("spawn").Pool(1) as pool:
            size, extra, took = pool.apply(evaluate, (count,))
        print(f"| {count:,} | {size:,.0f} | {extra:,.0f} | {took:.0f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
