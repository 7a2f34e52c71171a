"""Pictures that several runs share: the same images by each of them, side by side."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence

from triptych.record.events import Sampled
from triptych.report.document import Block, Paragraph, Picture, Pictures
from triptych.report.language import Language
from triptych.report.run import Run, distinct
from triptych.report.sampling import samples, settings_caption
from triptych.report.training import weights_name

WIDTH = 960
LEAST_RUNS = 2
"""Of a picture in the report: that of one run beside others says nothing that its own grid does not."""


def shared_pictures(chosen: Sequence[Run], runs: Sequence[Run], words: Language) -> list[Block]:
    """Return the pictures that several of `runs` share, each where its first run is among those `chosen`."""
    blocks: list[Block] = []
    for path, shown in _by_picture(runs).items():
        if len(shown) < LEAST_RUNS or not any(shown[0][0] is run for run in chosen):
            continue
        run, sampled = shown[0]
        caption = words("bout_caption", caption=settings_caption(run, sampled, words), seed=sampled.seed)
        kinds = distinct(event.weights for _, event in shown)
        if kinds != ["ema"]:
            weights = words("comma").join(weights_name(kind, words) for kind in kinds)
            caption = words("of_weights", text=caption, weights=weights)
        blocks.append(Paragraph(words("single_picture", caption=caption)))
        blocks.append(Pictures((Picture(path, caption),), WIDTH))
    return blocks


def _by_picture(runs: Sequence[Run]) -> dict[str, list[tuple[Run, Sampled]]]:
    """Return who shares each picture, by its path from the report's folder on, with what each last drew."""
    found: dict[str, dict[int, tuple[Run, Sampled]]] = {}
    for i, run in enumerate(runs):
        for event in samples(run):
            if event.data.side_by_side is not None:
                path = posixpath.normpath(run.picture(event.data.side_by_side))
                found.setdefault(path, {})[i] = (run, event.data)
    return {path: list(shown.values()) for path, shown in found.items()}
