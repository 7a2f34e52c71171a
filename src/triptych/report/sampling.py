"""The sampling side of a report: what was drawn from a run, how long it took, and the pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence

from triptych.record.events import Event, HeldOut, Previewed, Sampled
from triptych.record.figures import LOWEST, Passport
from triptych.report import names, numbers
from triptych.report.document import Block, Items, Paragraph, Picture, Pictures, Table
from triptych.report.language import Language
from triptych.report.run import Run, distinct
from triptych.report.training import device, sampler_name, weights_name

SIDE_BY_SIDE = {1: 480, 2: 380, 3: 260}
"""Width in pixels of pictures that stand alone, in pairs, and in threes."""
GIF_WIDTH = 640


def samples(run: Run) -> list[Event[Sampled]]:
    """Return the newest sampling of each kind, in the order of checkpoints; older ones were overwritten."""
    newest: dict[object, Event[Sampled]] = {}
    for event in run.history.of_kind(Sampled):
        place = event.data.grid or event  # of a written-down one there may be no picture
        newest.pop(place, None)
        newest[place] = event
    return sorted(newest.values(), key=lambda event: event.step)


def checkpoint_name(run: Run, step: int, drawn: Sampled | Passport, words: Language) -> str:
    """Return a checkpoint as readers know it, without its weights: `epoch 350, lowest MSE`."""
    if run.history.imported:
        return words("as_imported")
    if math.isnan(drawn.epoch):
        return words("lowest_mse_of", epochs=numbers.plain(run.planned_epochs))
    text = words("epoch_n", epoch=numbers.plain(drawn.epoch))
    measured = run.lowest(drawn.weights) == step and len(run.history.of_kind(HeldOut)) > 1
    return words("lowest_mse", checkpoint=text) if measured or drawn.checkpoint == LOWEST else text


def checkpoint_and_weights(run: Run, step: int, drawn: Sampled | Passport, words: Language) -> str:
    """Return a checkpoint as readers know it, with its weights: `epoch 350, lowest MSE (slower average)`."""
    text = checkpoint_name(run, step, drawn, words)
    return text if run.history.imported else of_weights(text, drawn.weights, words)


def of_weights(text: str, weights: str, words: Language) -> str:
    """Return a text about a checkpoint with the weights that are meant, where not the usual average."""
    if weights == "ema":
        return text
    return words("of_weights", text=text, weights=weights_name(weights, words))


def sampling_facts(run: Run, words: Language) -> list[Block]:
    """Return hardware and the table of what was drawn."""
    drawn = samples(run)
    if not drawn:
        return [Paragraph(words("no_samples"))]
    columns = ["checkpoint", "method", "sampling_cfg", "steps", "images", "time"]
    if not any(names.has_scale(run.origin.conditional, event.data.guidance) for event in drawn):
        columns.remove("sampling_cfg")
    precisions = distinct(event.data.precision for event in drawn)
    if len(precisions) > 1:
        columns.append("precision")
    rows = []
    for event in drawn:
        sampled = event.data
        method, steps = names.sampler_parts(sampled.sampler)
        row = {
            "checkpoint": checkpoint_and_weights(run, event.step, sampled, words),
            "method": method,
            "sampling_cfg": names.scale_name(sampled.guidance, sampled.guide),
            "steps": steps or "–",
            "images": _images(run, sampled, words),
            "time": "–" if math.isnan(sampled.took) else numbers.duration(sampled.took),
            "precision": sampled.precision,
        }
        rows.append(tuple(row[column] for column in columns))
    used = distinct(device(event.data.device, words) for event in drawn)
    facts = [words("sampling_hardware", device=words("comma").join(used))]
    if any(precisions):
        facts.append(words("sampling_precision", precision=words("comma").join(precisions)))
    return [
        Items(tuple(facts)),
        Table(tuple(words(column) for column in columns), tuple(rows)),
    ]


def sampling_pictures(run: Run, words: Language) -> list[Block]:
    """Return the grids, two by two."""
    drawn = [event for event in samples(run) if event.data.grid]
    pictures = [Picture(run.picture(event.data.grid), _caption(run, event, words)) for event in drawn]
    return [block for i in range(0, len(pictures), 2) for block in side_by_side(pictures[i : i + 2], words)]


def sampling_gifs(run: Run, words: Language) -> list[Block]:
    """Return the GIFs, one under the other."""
    blocks: list[Block] = []
    for event in samples(run):
        if event.data.gif:
            caption = words("gif_caption", caption=_caption(run, event, words))
            blocks.append(Paragraph(words("single_picture", caption=caption)))
            blocks.append(Pictures((Picture(run.picture(event.data.gif), caption),), GIF_WIDTH))
    return blocks


def previews(run: Run, words: Language) -> list[Block]:
    """Return the first, the middle and the last picture drawn during training."""
    drawn = [event for event in run.history.of_kind(Previewed) if event.data.picture]
    if not drawn:
        return []
    chosen = [drawn[i] for i in sorted({0, (len(drawn) - 1) // 2, len(drawn) - 1})]
    pictures = [
        Picture(
            run.picture(event.data.picture), words("epoch_caption", epoch=numbers.plain(event.data.epoch))
        )
        for event in chosen
    ]
    return [Paragraph(words("previews")), *side_by_side(pictures, words)]


def side_by_side(pictures: Sequence[Picture], words: Language) -> list[Block]:
    """Return pictures in one row under a line that says which is which."""
    captions = [picture.caption for picture in pictures]
    if len(captions) == 1:
        line = words("single_picture", caption=captions[0])
    elif len(captions) == 2:
        line = words("side_by_side", left=captions[0], right=captions[1])
    else:
        line = words("from_left", all=" | ".join(captions))
    return [Paragraph(line), Pictures(tuple(pictures), SIDE_BY_SIDE[min(3, len(pictures))])]


def _images(run: Run, sampled: Sampled, words: Language) -> str:
    if sampled.per_class:
        return words("images_per_class", classes=sampled.count // sampled.per_class, count=sampled.per_class)
    return numbers.count(sampled.count)


def settings_caption(run: Run, sampled: Sampled, words: Language) -> str:
    """Return how images were drawn: sampler, scale, and their number where no row shows one class."""
    caption = sampler_name(sampled.sampler, words)
    if names.has_scale(run.origin.conditional, sampled.guidance):
        scale = names.scale_name(sampled.guidance, sampled.guide)
        caption = words("sample_caption", method=caption, scale=scale)
    if not sampled.per_class:
        caption = words("count_caption", count=numbers.count(sampled.count), caption=caption)
    return caption


def _caption(run: Run, event: Event[Sampled], words: Language) -> str:
    """Return what tells a picture from others: how it was drawn, and of which checkpoint of several."""
    caption = settings_caption(run, event.data, words)
    if len({(other.step, other.data.weights) for other in samples(run)}) > 1:
        name = words("epoch_n", epoch=numbers.plain(event.data.epoch))
        name = of_weights(name, event.data.weights, words)
        caption = words("row_name", checkpoint=name, sampler=caption)
    return caption
