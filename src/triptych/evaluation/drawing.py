"""From a model to the features of its images: batch by batch, shared out between processes, kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from triptych.denoiser import Denoiser
from triptych.devices import synchronize
from triptych.distributed import Ranks
from triptych.generation import Generated, Request, generate
from triptych.metrics.extractors.extractor import Extractor
from triptych.metrics.feature_store import FeatureStore, Spent

SEPARATOR = "."
"""Between the name of an extractor and that of its output, in the names of a store."""


def draw_features(
    denoiser: Denoiser,
    request: Request,
    extractors: Mapping[str, Extractor],
    store: FeatureStore,
    ranks: Ranks,
    watch: Callable[[Generated], None] = lambda batch: None,
) -> None:
    """Draw and measure what is missing in `store`, on every rank, and have the first one keep it.

    Batches have fixed places whatever the number of ranks and however often this is cut off, so that the
    figures are the same to the last bit.

    Args:
        denoiser: the model.
        request: its images, drawn in the batches of the store.
        extractors: what measures them, by name, on each rank's device.
        store: of the first rank, which alone reads and writes it.
        ranks: all of which call this.
        watch: sees each batch that this rank draws.

    Raises:
        UserError: the model cannot answer the request, or the disk is full.
    """
    missing = ranks.lead(store.read)
    for start in range(0, len(missing), ranks.size):
        dealt = missing[start : start + ranks.size]
        mine = None
        begun = time.perf_counter()
        if ranks.rank < len(dealt):
            place = store.place(dealt[ranks.rank])
            mine = _measured(denoiser, request, place, extractors, store.widths, watch)
        found = ranks.gather(mine)
        ranks.lead(lambda dealt=dealt, found=found, begun=begun: _keep(store, dealt, found, begun))


def _measured(
    denoiser: Denoiser,
    request: Request,
    place: range,
    extractors: Mapping[str, Extractor],
    wanted: Mapping[str, int],
    watch: Callable[[Generated], None],
) -> tuple[dict[str, Tensor], Spent]:
    """Return the features of the images at `place`, on the host, and what they took."""
    start = time.perf_counter()
    (batch,) = generate(denoiser, request, share=place)
    synchronize(batch.pixels.device)
    drawn = time.perf_counter()
    rows = features_of(batch.pixels, extractors, wanted)
    spent = Spent(drawn - start, time.perf_counter() - drawn, batch.calls)
    watch(batch)
    return rows, spent


def features_of(
    pixels: Tensor, extractors: Mapping[str, Extractor], wanted: Mapping[str, int]
) -> dict[str, Tensor]:
    """Return the wanted outputs, float32 [B, D] on the host, of images, uint8 [B, C, H, W]."""
    rows = {
        f"{name}{SEPARATOR}{output}": values
        for name, extractor in extractors.items()
        for output, values in extractor(pixels).items()
    }
    return {name: rows[name].to("cpu", torch.float32) for name in wanted}


def _keep(
    store: FeatureStore,
    batches: Sequence[int],
    found: Sequence[tuple[dict[str, Tensor], Spent] | None],
    begun: float,
) -> None:
    """Write the batches of a round; what ranks did at once took as long as the round."""
    rounds = [entry for entry in found if entry is not None]
    each = sum(spent.drawing + spent.measuring for _, spent in rounds)
    share = (time.perf_counter() - begun) / each if each else 1.0
    for batch, (rows, spent) in zip(batches, rounds, strict=True):
        store.write(batch, rows, Spent(spent.drawing * share, spent.measuring * share, spent.calls))
