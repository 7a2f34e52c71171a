"""Features of a set of images, streamed: the only thing that a metric ever sees of them.

Letters: B images of one batch, N of the whole set, D features.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from triptych.errors import UserError
from triptych.metrics.moments import Moments, PartialSums

GROUPS = 10
UNLABELLED = -1


class Need(NamedTuple):
    """What a metric needs to be kept of an extractor's output `name`.

    `moments` keeps float64 sums only, whatever the number of images; `rows` keeps every image's
    features in float32.
    """

    name: str
    form: Literal["moments", "rows"]


def jackknife_group(index: Tensor) -> Tensor:
    """Return the group, 0..GROUPS-1, of every image index: int64, the shape of `index`.

    The sum of the index's decimal digits, modulo ten. The last digit alone would be the class itself
    wherever ten classes are generated in turn, and to leave out a group would leave out a class. With
    the digit sum every ten consecutive indices still fall into ten groups, and every hundred spread
    each last digit over all of them.
    """
    group, rest = torch.zeros_like(index), index
    while bool((rest > 0).any()):
        group, rest = group + rest % GROUPS, rest // GROUPS
    return group % GROUPS


class FeatureSet:
    """Features of a set of images: float64 sums by group and by class, and rows where they are needed.

    The result depends neither on the batch size nor on the order or sharding in which images are added:
    rows, labels and indices are given back in the order of the index, exactly; sums agree to about 1e-12
    relative. An image is known by its index and cannot be counted twice.

    Args:
        needs: what the metrics that will read this set need (`Metric.needs`).
        extractor: sha256 of the extractor; sets of different extractors are neither merged nor compared.
    """

    def __init__(self, needs: Iterable[Need], extractor: str = "") -> None:
        needs = sorted(set(needs))
        self.extractor = extractor
        self._by_group = {need.name: PartialSums() for need in needs if need.form == "moments"}
        self._by_class = {need.name: PartialSums() for need in needs if need.form == "moments"}
        # Metrics read rows through `rows` alone, so these lists may become shards on disk.
        self._rows: dict[str, list[Tensor]] = {need.name: [] for need in needs if need.form == "rows"}
        self._labels: list[Tensor] = []
        self._index: list[Tensor] = []
        self._seen: set[int] = set()

    def __len__(self) -> int:
        return len(self._seen)

    def add(self, features: dict[str, Tensor], labels: Tensor | None, index: Tensor) -> None:
        """Count one batch of images.

        Args:
            features: the extractor's output, each float [B, D]; names that no metric needs are ignored.
            labels: int64 [B], the class of each image, the one asked for where it was generated; or None.
            index: int64 [B], each image's own number in the whole set.

        Raises:
            UserError: an index is repeated, so that an image would be counted twice.
        """
        index = index.to("cpu", torch.int64)
        labels = torch.full_like(index, UNLABELLED) if labels is None else labels.to("cpu", torch.int64)
        self._refuse_repeated(index)
        if not len(index):
            return
        group = jackknife_group(index)
        for name, sums in self._by_group.items():
            sums.add(group, features[name])
            self._by_class[name].add(labels, features[name])
        for name, rows in self._rows.items():
            rows.append(features[name].detach().to("cpu", torch.float32))
        self._labels.append(labels)
        self._index.append(index)
        self._seen.update(index.tolist())

    def merge(self, other: FeatureSet) -> FeatureSet:
        """Return the set of all images of both, such as two ranks' shards; neither is changed.

        Raises:
            UserError: both hold an image of the same index.
            ValueError: the two sets come from different extractors or were made for different needs.
        """
        if self.extractor != other.extractor:
            raise ValueError(f"cannot merge features of extractors {self.extractor} and {other.extractor}")
        if self._rows.keys() != other._rows.keys() or self._by_group.keys() != other._by_group.keys():
            raise ValueError("cannot merge feature sets that were made for different needs")
        self._refuse_repeated(other.index)
        merged = copy.copy(self)
        merged._by_group = {n: _sum(s, other._by_group[n]) for n, s in self._by_group.items()}
        merged._by_class = {n: _sum(s, other._by_class[n]) for n, s in self._by_class.items()}
        merged._rows = {name: rows + other._rows[name] for name, rows in self._rows.items()}
        merged._labels = self._labels + other._labels
        merged._index = self._index + other._index
        merged._seen = self._seen | other._seen
        return merged

    def unlabelled(self) -> FeatureSet:
        """Return the same images with their labels forgotten, to stand beside an unconditional model's."""
        bare = copy.copy(self)
        bare._labels = [torch.full_like(labels, UNLABELLED) for labels in self._labels]
        bare._by_class = {name: PartialSums() for name in self._by_class}
        return bare

    @property
    def index(self) -> Tensor:
        """Image indices, int64 [N], ascending; the order of `labels` and `rows`."""
        return torch.cat([*self._index, torch.zeros(0, dtype=torch.int64)]).sort().values

    @property
    def labels(self) -> Tensor:
        """Class of each image, int64 [N], in the order of `index`; UNLABELLED where it has none."""
        return torch.cat([*self._labels, torch.zeros(0, dtype=torch.int64)])[self._order()]

    @property
    def labelled(self) -> bool:
        """Whether every image has a label."""
        return all(bool((labels != UNLABELLED).all()) for labels in self._labels)

    @property
    def classes(self) -> list[int]:
        """Labels that occur, in ascending order; empty unless every image has one."""
        return self.labels.unique().tolist() if self.labelled else []

    @property
    def groups(self) -> list[int]:
        """Jackknife groups that hold at least one image, in ascending order."""
        return jackknife_group(self.index).unique().tolist()

    def dimensions(self, name: str) -> int:
        """Return D, the number of features under `name`; at least one image must have been added."""
        if name in self._by_group:
            return len(self._by_group[name].total().mean)
        return self._rows[name][0].shape[1]

    def moments(self, name: str, without_group: int | None = None) -> Moments:
        """Return mean and covariance of the features `name`, of all images but those of one group."""
        return self._by_group[name].total(without_group)

    def class_moments(self, name: str, label: int) -> Moments:
        """Return mean and covariance of the features `name` of the images of one class."""
        return self._by_class[name].of(label)

    def rows(self, name: str) -> Tensor:
        """Return the features `name` of every image, float32 [N, D], in the order of `index`."""
        return torch.cat(self._rows[name])[self._order()]

    def _order(self) -> Tensor:
        return torch.cat([*self._index, torch.zeros(0, dtype=torch.int64)]).argsort()

    def _refuse_repeated(self, index: Tensor) -> None:
        new, times = index.unique(return_counts=True)
        repeated = self._seen.intersection(new.tolist()).union(new[times > 1].tolist())
        if repeated:
            shown = ", ".join(str(i) for i in sorted(repeated)[:3]) + ", ..." * (len(repeated) > 3)
            raise UserError(
                f"add {len(index)} images to a feature set",
                f"{len(repeated)} of them would be counted twice (index {shown})",
                "give every image its own index and add each one once",
            )


def _sum(a: PartialSums, b: PartialSums) -> PartialSums:
    total = PartialSums()
    total.merge(a)
    total.merge(b)
    return total
