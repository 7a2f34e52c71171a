"""Features of a set of images: the only thing that a metric ever sees of them.

Letters: B images of one batch, N of the whole set, D features.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from triptych.errors import UserError
from triptych.metrics.moments import Moments, Sums
from triptych.metrics.shuffles import Shuffle, shuffled

GROUPS = 10
UNLABELLED = -1


class FeatureSet:
    """Features of a set of images, by name, and what each image is and shows.

    The result depends neither on the batch size nor on the order in which images are added: everything is
    given back in the order of the index, and sums are taken in that order. An image is known by its index and
    cannot be counted twice. Rows may be maps of files: nothing copies the whole of them.

    Args:
        names: the extractor's outputs that are kept, those that metrics will read (`Metric.feature`).
        extractor: sha256 of the extractor; sets of different extractors are not compared.
    """

    def __init__(self, names: Iterable[str], extractor: str = "") -> None:
        self.extractor = extractor
        self._rows: dict[str, list[Tensor]] = {name: [] for name in sorted(set(names))}
        self._labels = torch.zeros(0, dtype=torch.int64)
        self._index = torch.zeros(0, dtype=torch.int64)
        self._sorted = True
        self._sums: dict[str, Sums] = {}
        self._group: Tensor | None = None

    @classmethod
    def of(
        cls,
        rows: Mapping[str, Tensor],
        labels: Tensor | None,
        extractor: str = "",
        index: Tensor | None = None,
    ) -> FeatureSet:
        """Return the set of images with these features, which are not copied.

        Args:
            rows: float32 [N, D] by name; none at all where labels are all that will be asked for.
            labels: int64 [N], or None.
            extractor: as above.
            index: number of each image, int64 [N], ascending; None: 0, 1, ...
        """
        made = cls((), extractor)
        made._rows = {name: [given] for name, given in rows.items()}
        count = len(next(iter([*rows.values(), *([] if labels is None else [labels])])))
        made._index = torch.arange(count) if index is None else index
        made._labels = torch.full((count,), UNLABELLED) if labels is None else labels.to("cpu", torch.int64)
        return made

    def __len__(self) -> int:
        return len(self._index)

    def add(self, features: Mapping[str, Tensor], labels: Tensor | None, index: Tensor) -> None:
        """Count one batch of images.

        Args:
            features: the extractor's output, each float [B, D]; names that are not kept are ignored.
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
        for name, rows in self._rows.items():
            rows.append(features[name].detach().to("cpu", torch.float32))
        self._sorted = self._sorted and bool((torch.cat([self._index[-1:], index]).diff() > 0).all())
        self._labels = torch.cat([self._labels, labels])
        self._index = torch.cat([self._index, index])
        self._sums, self._group = {}, None

    def unlabelled(self) -> FeatureSet:
        """Return the same images with their labels forgotten, to stand beside an unconditional model's."""
        bare = copy.copy(self)
        bare._labels = torch.full_like(self._labels, UNLABELLED)
        bare._group = None
        return bare

    @property
    def index(self) -> Tensor:
        """Image indices, int64 [N], ascending; the order of `labels` and `rows`."""
        self._sort()
        return self._index

    @property
    def labels(self) -> Tensor:
        """Class of each image, int64 [N], in the order of `index`; UNLABELLED where it has none."""
        self._sort()
        return self._labels

    @property
    def labelled(self) -> bool:
        """Whether every image has a label."""
        return bool((self._labels != UNLABELLED).all())

    @property
    def classes(self) -> list[int]:
        """Labels that occur, in ascending order; empty unless every image has one."""
        return self._labels.unique().tolist() if self.labelled else []

    @property
    def group(self) -> Tensor:
        """Jackknife group of each image, 0..GROUPS-1: int64 [N], in the order of `index`.

        Groups are of one size and, where images have classes, of equally many of each: to leave out a group
        that is one class, as index modulo ten would be where ten classes are generated in turn, would tell
        how classes differ and not how figures scatter. Without classes they are drawn, since images may
        come in turns that nobody knows of. Sets of equal labels have equal groups, and can be paired.
        """
        if self._group is None:
            labels = self.labels
            order = labels.argsort(stable=True) if self.labelled else shuffled(Shuffle.GROUPS, 0, len(self))
            self._group = torch.empty_like(labels)
            self._group[order] = torch.arange(len(self)) % GROUPS
        return self._group

    @property
    def groups(self) -> list[int]:
        """Jackknife groups that hold at least one image, in ascending order."""
        return self.group.unique().tolist()

    def dimensions(self, name: str) -> int:
        """Return D, the number of features under `name`; at least one image must have been added."""
        return self._rows[name][0].shape[1]

    def rows(self, name: str) -> Tensor:
        """Return the features `name` of every image, float32 [N, D], in the order of `index`."""
        self._sort()
        rows = self._rows[name]
        if len(rows) > 1:
            rows[:] = [torch.cat(rows)]
        return rows[0]

    def moments(self, name: str, without_group: int | None = None) -> Moments:
        """Return mean and covariance of the features `name`, of all images but those of one group."""
        if name not in self._sums:
            self._sums[name] = Sums.of(self.rows(name))
        total = self._sums[name]
        if without_group is None:
            return total.moments()
        return (total - self._sums_where(name, self.group == without_group)).moments()

    def class_moments(self, name: str, label: int) -> Moments:
        """Return mean and covariance of the features `name` of the images of one class."""
        return self._sums_where(name, self.labels == label).moments()

    def _sums_where(self, name: str, chosen: Tensor) -> Sums:
        """Return the sums over the images where bool [N] is true."""
        return Sums.of(self.rows(name), chosen.nonzero().squeeze(1))

    def _sort(self) -> None:
        """Put everything into the order of the index, once, where it did not come so."""
        if self._sorted:
            return
        order = self._index.argsort()
        self._rows = {name: [torch.cat(rows)[order]] for name, rows in self._rows.items()}
        self._index, self._labels, self._sorted = self._index[order], self._labels[order], True

    def _refuse_repeated(self, index: Tensor) -> None:
        new, times = index.unique(return_counts=True)
        again = torch.cat([new[torch.isin(new, self._index)], new[times > 1]]).unique().tolist()
        if again:
            shown = ", ".join(map(str, again[:3])) + ", ..." * (len(again) > 3)
            raise UserError(
                f"add {len(index)} images to a feature set",
                f"{len(again)} of them would be counted twice (index {shown})",
                "give every image its own index and add each one once",
            )
