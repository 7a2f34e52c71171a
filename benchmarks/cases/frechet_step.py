"""A Fréchet distance of 2,048 features: ours of many images and of few, and by the textbook's matrix root."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from types import ModuleType

import torch
from torch import Tensor

from benchmarks.comparison import Absent, Call, Case, Comparison, Variant
from triptych.commands.bench import BenchOptions
from triptych.metrics.frechet import FewRows, factor, frechet_distance
from triptych.metrics.moments import Moments, Sums

OURS, FEW = "triptych", "triptych, by images"
FEATURES, ROWS, FEW_ROWS = 2048, 5000, 1000
QUICK_FEATURES, QUICK_ROWS, QUICK_FEW_ROWS = 16, 40, 8


def comparisons(options: BenchOptions) -> list[Comparison]:
    """Return the two comparisons: from moments of many images, and from the features of few."""
    features, rows, few = (
        (QUICK_FEATURES, QUICK_ROWS, QUICK_FEW_ROWS) if options.quick else (FEATURES, ROWS, FEW_ROWS)
    )
    rows = options.batch or rows

    def many(distance: Callable[[Moments, Moments], Callable[[], float]]) -> Callable[[], Call]:
        return lambda: told(distance(moments(rows, features, 0), moments(rows, features, 1)))

    def fewer(distance: Callable[[Tensor, Moments], float]) -> Callable[[], Call]:
        def make() -> Call:
            mine, target = drawn(few, features, 0), moments(rows, features, 1)
            return told(lambda: distance(mine, target))

        return make

    scipy = scipy_linalg()
    root = scipy if isinstance(scipy, Absent) else many(by_root(scipy))
    return [
        Comparison(
            f"moments of {rows:,} images, {features:,} features",
            0,
            rows,
            OURS,
            {
                OURS: Variant(many(whole)),
                f"{OURS}, factor at hand": Variant(many(with_factor), like=OURS),
                "scipy, sqrtm": Variant(root, like=OURS),
            },
            dtype="float64",
        ),
        Comparison(
            f"{few:,} images, {features:,} features",
            0,
            few,
            FEW,
            {
                FEW: Variant(fewer(by_images)),
                "triptych, by covariance": Variant(fewer(by_covariance), like=FEW),
            },
            dtype="float64",
        ),
    ]


def drawn(count: int, features: int, seed: int) -> Tensor:
    """Return features [N, D] that hang together: variances by direction reach over nine powers of ten."""
    mix = torch.randn(features, features, generator=torch.Generator().manual_seed(100)) / features**0.5
    draw = torch.Generator().manual_seed(seed)
    independent = torch.randn(count, features, generator=draw)
    return (1 + seed / 10) * (independent @ mix + seed / 100)


def moments(count: int, features: int, seed: int) -> Moments:
    """Return the moments of so many."""
    return Sums.of(drawn(count, features, seed)).moments()


def told(distance: Callable[[], float]) -> Call:
    """Return a distance as the one result of a call."""

    def call() -> Sequence[Tensor]:
        return (torch.tensor([distance()], dtype=torch.float64),)

    return call


def whole(a: Moments, b: Moments) -> Callable[[], float]:
    """Return the distance as it is computed where two sets meet once."""
    return lambda: frechet_distance(a, b)


def with_factor(a: Moments, b: Moments) -> Callable[[], float]:
    """Return it as it is computed of each group that a jackknife leaves out, and of each row of a table."""
    at_hand = factor(b.covariance)
    return lambda: frechet_distance(a, b, at_hand)


def by_root(linalg: ModuleType) -> Callable[[Moments, Moments], Callable[[], float]]:
    """Return the distance by scipy's root of the unsymmetric product, whose imaginary part is dropped."""

    def distance(a: Moments, b: Moments) -> Callable[[], float]:
        def by_textbook() -> float:
            root = linalg.sqrtm(a.covariance.numpy() @ b.covariance.numpy()).real
            means = (a.mean - b.mean).square().sum()
            return float(means + a.covariance.trace() + b.covariance.trace() - 2 * root.trace())

        return by_textbook

    return distance


def by_images(rows: Tensor, target: Moments) -> float:
    """Return the distance of few images from products between images."""
    return FewRows(rows, target).distance(torch.ones(len(rows), dtype=torch.bool))


def by_covariance(rows: Tensor, target: Moments) -> float:
    """Return the same from their covariance, which is singular."""
    return frechet_distance(Sums.of(rows).moments(), target)


def scipy_linalg() -> ModuleType | Absent:
    """Return scipy's linear algebra, or why it cannot be had."""
    try:
        return importlib.import_module("scipy.linalg")
    except ImportError as error:
        return Absent(f"scipy cannot be imported ({error}): pip install scipy")


CASE = Case("a Fréchet distance of 2,048 features, against the textbook's matrix root", comparisons)
