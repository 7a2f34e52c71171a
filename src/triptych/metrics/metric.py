"""What every metric is: a function of two feature sets, with the facts needed to read its value."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

from triptych.errors import UserError
from triptych.jackknife import jackknife_spread
from triptych.metrics.features import FeatureSet

Width = Callable[[str], int]
"""Number of features, D, by the name of the extractor's output."""


@dataclass(frozen=True)
class Value:
    """A metric's estimate, and how sure it is."""

    estimate: float
    spread: float | None
    """Standard error over generated images (group jackknife); the reference is taken as given."""
    split_std: float | None = None
    """Standard deviation over splits, for the metrics that are defined with one (Inception Score)."""
    n: int = 0
    """Number of generated images."""
    groups: tuple[float, ...] = ()
    """The estimate with each jackknife group left out in turn: what a paired verdict needs."""
    per_class: tuple[float, ...] | None = None
    """One estimate for each class, in label order; None where a class has too few images for one."""
    per_class_n: tuple[int, ...] | None = None
    """Images behind each of them. Few images bias a Fréchet distance upward: compare equal numbers only."""


@dataclass(frozen=True)
class Metric(ABC):
    """A figure of generated images, read from their features and those of reference images.

    Call it with the two feature sets; it refuses sets that it cannot measure, unless `force` is given,
    and then leaves the arithmetic to `value`.
    """

    name: str
    extractor: str
    """Name, in EXTRACTORS, of the extractor that gives the features."""
    feature: str = "features"
    """Name of the output of the extractor that it reads."""

    better: ClassVar[Literal["lower", "higher", "real"]]
    """Which of two values is the better: the lower, the higher, or the nearer to that of real images."""
    labelled: ClassVar[bool] = False
    """Whether it can only be computed for images that were asked for by class."""
    compares: ClassVar[bool] = True
    """Whether it reads features of the reference, and not only which classes are there."""
    version: ClassVar[int] = 1
    """Of its definition: to be raised when the same features come to give another value."""
    memorisation: ClassVar[bool] = False
    """Whether its reference has to be what the model was trained on, whatever others are compared with."""

    @abstractmethod
    def value(self, generated: FeatureSet, reference: FeatureSet) -> Value:
        """Compute the figure, without asking whether there are images enough."""

    def least(self, width: Width, classes: int = 0) -> int:
        """Return the fewest generated images of which the figure means something.

        Args:
            width: tells how many numbers each of the extractor's outputs has.
            classes: how many classes the images show in turn; 0: none, or it is not known.
        """
        return 2

    def check_count(
        self, count: int, width: Width, classes: int = 0, *, force: bool = False, asked: str = ""
    ) -> None:
        """Raise `UserError` where `count` images are too few; `force` allows any from 2 on.

        Args:
            count: of the generated images, or, where `asked` says so, of those that they are compared with.
            width: see `least`.
            classes: see `least`.
            force: allow any number from 2 on.
            asked: what is asked for, where it is not the figure of `count` generated images.
        """
        least = 2 if force else self.least(width, classes)
        if count < least:
            remedy = "compare with more" if asked else f"ask for more with --count {least}"
            remedy += "" if force else ", or for these with --force"
            raise UserError(asked or f"{self.name} of {count} images", f"it takes at least {least}", remedy)

    def __call__(self, generated: FeatureSet, reference: FeatureSet, *, force: bool = False) -> Value:
        """Return the figure of `generated` against `reference`.

        Args:
            generated: the images to be judged (generated, or held-out real ones for comparison).
            reference: the images that they are judged against.
            force: measure even fewer images than `least`; never fewer than 2.

        Raises:
            UserError: too few images, or images without labels where the figure needs them.
            ValueError: the two sets come from different extractors.
        """
        if generated.extractor != reference.extractor:
            raise ValueError(f"{self.name}: features of different extractors cannot be compared")
        self.check_count(len(generated), generated.dimensions, force=force)
        if self.labelled and not generated.labelled:
            raise UserError(
                f"{self.name} of images without labels",
                "it is of images that were each asked to show a class",
                "leave it out for unconditional models",
            )
        return self.value(generated, reference)


class ByClass(NamedTuple):
    """Estimates of each class, in label order, and the number of generated images behind each."""

    estimates: tuple[float, ...]
    counts: tuple[int, ...]


def by_class(
    generated: FeatureSet, reference: FeatureSet, least: int, estimate: Callable[[int], float]
) -> ByClass | None:
    """Return `estimate` of each class, or None unless both sets have the same, of `least` images each."""
    classes = generated.classes
    if not classes or classes != reference.classes:
        return None
    counts, beside = (
        tuple(images.labels.unique(return_counts=True)[1].tolist()) for images in (generated, reference)
    )
    return ByClass(tuple(map(estimate, classes)), counts) if min(*counts, *beside) >= least else None


def with_spread(estimate: float, left_out: list[float], n: int, classes: ByClass | None) -> Value:
    """Return a Value whose spread is the jackknife's, from the estimates with one group left out each."""
    return Value(
        estimate,
        jackknife_spread(left_out),
        n=n,
        groups=tuple(left_out),
        per_class=classes.estimates if classes else None,
        per_class_n=classes.counts if classes else None,
    )
