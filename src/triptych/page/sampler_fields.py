"""The fields that say how images are drawn, which two tabs share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from triptych.page.studio import HIGHEST_SCALE, MOST_IMAGES, MOST_STEPS, Order
from triptych.report.language import Language
from triptych.report.names import SAMPLERS


@dataclass(frozen=True)
class SamplerFields:
    """Sampler, steps, scale, seed and number of images."""

    sampler: gr.Dropdown
    steps: gr.Slider
    scale: gr.Slider
    seed: gr.Number
    count: gr.Slider

    @property
    def all(self) -> list[Any]:
        """All of them, in the order of `order`."""
        return [self.sampler, self.steps, self.scale, self.seed, self.count]


def sampler_fields(words: Language, tab: str) -> SamplerFields:
    """Add the fields, which the page knows by the tab that they are in."""
    with gr.Row():
        sampler = gr.Dropdown(
            [(label, key) for key, label in SAMPLERS.items()],
            value="ddim",
            label=words("sampler_title"),
            min_width=120,
        )
        seed = gr.Number(0, label=words("seed"), precision=0, min_width=100, elem_id=f"{tab}-seed")
    steps = gr.Slider(1, MOST_STEPS, 50, step=1, label=words("steps_title"), elem_id=f"{tab}-steps")
    scale = gr.Slider(0, HIGHEST_SCALE, 1, step=0.05, label=words("scale_title"), elem_id=f"{tab}-scale")
    count = gr.Slider(1, MOST_IMAGES, 16, step=1, label=words("count_title"), elem_id=f"{tab}-count")
    return SamplerFields(sampler, steps, scale, seed, count)


def order(
    run: str | None,
    checkpoint: str | None,
    sampler: str,
    steps: float,
    scale: float,
    seed: float | None,
    count: float,
    **more: Any,
) -> Order:
    """Return what the fields say; `UserError` or `ValueError` where a number is none, or out of range."""
    return Order(
        run=run or "",
        checkpoint=checkpoint or "",
        sampler=sampler,
        steps=int(steps),
        scale=float(scale),
        seed=-1 if seed is None else int(seed),
        count=int(count),
        **more,
    )
