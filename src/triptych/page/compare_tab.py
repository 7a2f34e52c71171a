"""Checkpoints side by side: what each of them draws of the same noise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from triptych.errors import UserError
from triptych.page.glance import ODD
from triptych.page.place import PICTURE, QUIETLY, Place, in_one_line, in_turn, told
from triptych.page.sampler_fields import order, sampler_fields
from triptych.page.studio import MOST_MODELS
from triptych.report import numbers


def compare_tab(place: Place) -> gr.Dropdown:
    """Add the tab's content; return the field that names the runs."""
    words, view = place.words, Comparison(place)
    with gr.Row():
        with gr.Column(scale=2, min_width=280):
            runs = gr.Dropdown([], multiselect=True, label=words("choose_runs"), elem_id="compare-runs")
            title = words("choose_checkpoints")
            checkpoints = gr.Dropdown([], multiselect=True, label=title, elem_id="compare-checkpoints")
            how = sampler_fields(words, "compare")
            with gr.Row():
                draw = gr.Button(words("draw"), variant="primary", elem_id="compare-draw")
                cancel = gr.Button(words("cancel"), elem_id="compare-cancel")
        with gr.Column(scale=3, min_width=300):
            status = gr.Textbox(label=words("state"), interactive=False, elem_id="compare-state")
            picture = gr.Image(elem_id="compared", **PICTURE)

    offered = gr.State([])
    runs.change(view.choices, [runs, offered], [checkpoints, offered], **QUIETLY)
    asked, shown = [runs, checkpoints, *how.all], [status, picture]
    in_turn(draw, cancel, view.draw, asked, shown, words)
    return runs


class Comparison:
    """What the fields of the tab offer, and what is drawn."""

    def __init__(self, place: Place):
        self.place, self.words = place, place.words

    @in_one_line
    def choices(self, names: list[str] | None, offered: list[str]) -> tuple[Any, Any]:
        """Return the checkpoints that any of some runs has, and these runs.

        Nothing where they are offered already: a field tells of more changes than there are, and what was
        chosen meanwhile would be undone.
        """
        if names == offered:
            return gr.skip(), gr.skip()
        known = [self.place.shelf.checkpoints(name) for name in dict.fromkeys(names or ())]
        found = list(dict.fromkeys(one for several in known for one in several))
        return gr.update(choices=found, value=found[:1]), names

    def draw(
        self, names: list[str] | None, checkpoints: list[str] | None, *how: Any
    ) -> Iterator[tuple[Any, Any]]:
        """Yield how far it is, and at the end the picture of all."""
        words = self.words
        try:
            orders = [order(name, at, *how) for name, at in self._pairs(names, checkpoints)]
            for done, moment in self.place.studio.side_by_side(orders):
                if moment.picture is None:
                    model = f"{orders[done].run}, {orders[done].checkpoint}"
                    yield (
                        words("side_by_side_of", model=model, done=moment.step, count=moment.steps),
                        gr.skip(),
                    )
                    continue
                seconds, count = numbers.duration(moment.seconds), sum(one.count for one in orders)
                calls = moment.calls // len(orders)
                yield words("drawn", count=count, seconds=seconds, calls=calls), moment.picture
        except (UserError, OSError, *ODD) as error:
            yield told(error), gr.skip()

    def _pairs(self, names: list[str] | None, checkpoints: list[str] | None) -> list[tuple[str, str]]:
        """Return runs with those of the checkpoints that they have, as far as that is worth counting."""
        chosen = list(dict.fromkeys(names or ()))[: MOST_MODELS + 1]
        wanted = list(dict.fromkeys(checkpoints or ()))[: MOST_MODELS + 1]
        known = {name: self.place.shelf.checkpoints(name) for name in chosen}
        return [(name, at) for name in chosen for at in wanted if at in known[name]]
