"""From a model to the features of its images: batch by batch, shared out between processes, kept."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

from triptych.denoiser import Denoiser
from triptych.distributed import Ranks
from triptych.generation import Generated, Request, generate
from triptych.lanes import Lane, Moment
from triptych.metrics.extractors.extractor import Extractor
from triptych.metrics.feature_store import FeatureStore, Spent

SEPARATOR = "."
"""Between the name of an extractor and that of its output, in the names of a store."""


class Begun(NamedTuple):
    """A batch that a device was asked to draw and to measure.

    Attributes:
        batch: the images.
        rows: their features, on the host once `measured` has come.
        started: when its drawing began.
        drawn: when it was drawn.
        measured: when its features were there.
    """

    batch: Generated
    rows: dict[str, Tensor]
    started: Moment
    drawn: Moment
    measured: Moment

    def finish(self) -> tuple[dict[str, Tensor], Spent]:
        """Wait for it; return its features, and what it took."""
        self.measured.wait()
        drawing, measuring = self.drawn.since(self.started), self.measured.since(self.drawn)
        return self.rows, Spent(drawing, measuring, self.batch.calls)


def draw_features(
    denoiser: Denoiser,
    request: Request,
    extractors: Mapping[str, Extractor],
    store: FeatureStore,
    ranks: Ranks,
    watch: Callable[[Generated], None] = lambda batch: None,
    ahead: int | None = None,
) -> None:
    """Draw and measure what is missing in `store`, on every rank, and have the first one keep it.

    Batches have fixed places whatever the number of ranks and however often this is cut off, so that the
    figures are the same to the last bit. A GPU draws the next batch while the features of one are computed,
    fetched and kept.

    Args:
        denoiser: the model.
        request: its images, drawn in the batches of the store.
        extractors: what measures them, by name, on each rank's device.
        store: of the first rank, which alone reads and writes it.
        ranks: all of which call this.
        watch: sees each batch that this rank draws.
        ahead: batches that are begun before one is kept, and lost with it by a kill; None: 1 on a GPU, and 0
            where everything is done in turn.

    Raises:
        UserError: the model cannot answer the request, or the disk is full.
    """
    missing = ranks.lead(store.read)
    lane = Lane(next(denoiser.parameters()).device)
    ahead = int(lane.beside) if ahead is None else ahead
    under_way: deque[tuple[list[int], Begun | None]] = deque()
    kept = time.perf_counter()

    def keep_first() -> None:
        nonlocal kept
        dealt, begun = under_way.popleft()
        found = ranks.gather(None if begun is None else begun.finish())
        ranks.lead(lambda: _keep(store, dealt, found, time.perf_counter() - kept))
        kept = time.perf_counter()
        if begun is not None:
            watch(begun.batch)

    for start in range(0, len(missing), ranks.size):
        dealt = missing[start : start + ranks.size]
        mine = None
        if ranks.rank < len(dealt):
            place = store.place(dealt[ranks.rank])
            mine = _begun(denoiser, request, place, extractors, store.widths, lane)
        under_way.append((dealt, mine))
        if len(under_way) > ahead:
            keep_first()
    while under_way:
        keep_first()


def _begun(
    denoiser: Denoiser,
    request: Request,
    place: range,
    extractors: Mapping[str, Extractor],
    wanted: Mapping[str, int],
    lane: Lane,
) -> Begun:
    """Have the images at `place` drawn, and measured in `lane`."""
    device = next(denoiser.parameters()).device
    started = Moment(device)
    (batch,) = generate(denoiser, request, share=place)
    drawn = Moment(device)
    with lane.after(batch.pixels):
        rows = features_of(batch.pixels, extractors, wanted)
        measured = Moment(device)
    return Begun(batch, rows, started, drawn, measured)


def features_of(
    pixels: Tensor, extractors: Mapping[str, Extractor], wanted: Mapping[str, int]
) -> dict[str, Tensor]:
    """Return the wanted outputs, float32 [B, D] on the host, of images, uint8 [B, C, H, W].

    Those of a GPU are there when it has done all that was asked of it.
    """
    rows = {
        f"{name}{SEPARATOR}{output}": values
        for name, extractor in extractors.items()
        for output, values in extractor(pixels).items()
    }
    found = {name: rows[name].float() for name in wanted}
    return {name: values.to("cpu", non_blocking=values.is_cuda) for name, values in found.items()}


def _keep(
    store: FeatureStore,
    batches: Sequence[int],
    found: Sequence[tuple[dict[str, Tensor], Spent] | None],
    took: float,
) -> None:
    """Write the batches of a round that took so many seconds; what went on at once shares them."""
    rounds = [entry for entry in found if entry is not None]
    each = sum(spent.drawing + spent.measuring for _, spent in rounds)
    share = took / each if each else 1.0
    for batch, (rows, spent) in zip(batches, rounds, strict=True):
        store.write(batch, rows, Spent(spent.drawing * share, spent.measuring * share, spent.calls))
