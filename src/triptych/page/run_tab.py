"""The tab of one run: its curves as they grow, previews through time, evaluations, samples, record."""

from __future__ import annotations

from typing import Any

import gradio as gr

from triptych.errors import UserError
from triptych.page import fields
from triptych.page.glance import ODD, reason
from triptych.page.place import LIVE, PICTURE, QUIETLY, Place, in_one_line
from triptych.record.events import Evaluated, Sampled

SHOWN = 11
"""Fields that show a run."""


def run_tab(place: Place) -> gr.Dropdown:
    """Add the tab's content; return the field that names the run."""
    words, view = place.words, RunView(place)
    with gr.Row():
        run = gr.Dropdown([], label=words("run"), elem_id="run", scale=3)
        state = gr.Textbox(label=words("state"), interactive=False, elem_id="state", scale=1)
    with gr.Row():
        with gr.Column(scale=3, min_width=300):
            curves = gr.Image(elem_id="curves", **PICTURE)
        with gr.Column(scale=2, min_width=300):
            preview = gr.Image(elem_id="preview", **PICTURE)
            label = gr.HTML(elem_id="preview-label")
            title = words("preview_slider")
            slider = gr.Slider(1, 2, 1, step=1, interactive=False, label=title, elem_id="preview-number")
    evaluations = gr.Dataframe(
        label=words("evaluations"), interactive=False, elem_id="evaluations", max_height=420
    )
    pictures = gr.HTML(elem_id="charts")
    with gr.Accordion(words("details"), open=False):
        details = gr.HTML(elem_id="details")
    samples = gr.HTML(elem_id="samples")
    with gr.Accordion(words("training_title"), open=False):
        facts = gr.HTML(elem_id="facts")
    with gr.Accordion(words("record_title"), open=False):
        record = gr.HTML(elem_id="record")
    stamp = gr.State(None)
    shown = [state, curves, slider, preview, label, evaluations, pictures, details, samples, facts, record]

    run.change(view.show, run, [*shown, stamp], show_progress="minimal", api_visibility="private")
    slider.change(view.slide, [run, slider], [preview, label], **QUIETLY, trigger_mode="always_last")
    gr.Timer(LIVE).tick(view.poll, [run, slider, stamp], [*shown, stamp], **QUIETLY)
    return run


class RunView:
    """What the fields of the tab show of a run."""

    def __init__(self, place: Place):
        self.shelf, self.words, self.runs = place.shelf, place.words, place.runs

    def show(self, name: str | None) -> list[Any]:
        """Return the values of all fields, and the state of the run that they are of."""
        return self._shown(name, None)

    def poll(self, name: str | None, number: float, before: list[Any] | None) -> list[Any]:
        """Return what `show` does where the run has changed since; the slider moves on only from its end."""
        state, there = before or [None, None]
        if not name or self._state(name) == state:
            return [gr.skip()] * (SHOWN + 1)
        try:
            last = len(fields.previews(self.shelf.run(name), self.shelf))
        except (UserError, OSError, *ODD):
            last = 0
        same = state is not None and state[0] == name
        return self._shown(name, None if number >= max(1, last - 1) else int(number), there if same else None)

    @in_one_line
    def slide(self, name: str | None, number: float) -> tuple[Any, Any]:
        """Return the picture of a preview, and what stands below it."""
        if not name:
            return gr.skip(), gr.skip()
        return fields.preview(self.shelf.run(name), self.shelf, int(number), self.words)

    def _state(self, name: str | None) -> list[Any]:
        """Return what changes whenever anything that is shown does."""
        try:
            return [name, *self.shelf.stamp(name or ""), self.shelf.state(name or "")]
        except (UserError, OSError):
            return [name, "gone"]

    def _shown(self, name: str | None, number: int | None, there: list[int] | None = None) -> list[Any]:
        """Return the values of all fields, and what they are of.

        Args:
            name: of the run.
            number: of the preview; None: the last.
            there: numbers of evaluations and of samples that are shown already, and not sent again: they
                may be megabytes, and a run in training changes every few seconds.
        """
        if not name:
            return [gr.skip()] * (SHOWN + 1)
        words, shelf, state = self.words, self.shelf, self._state(name)
        try:
            run, rows = shelf.run(name), shelf.rows(name)
            count = [len(run.history.of_kind(kind)) for kind in (Evaluated, Sampled)]
            evaluated, sampled = [a == b for a, b in zip(count, there or [None, None], strict=True)]
            last = len(fields.previews(run, shelf))
            at = last if number is None else min(number, last)
            titles = fields.evaluation_titles(rows, words)
            table = {"headers": titles, "data": fields.evaluation_rows(rows, words)}
            return [
                words(f"state_{state[-1]}", fault=""),
                fields.curves(run),
                gr.update(maximum=max(2, last), value=max(1, at), interactive=last > 1, visible=last > 0),
                *fields.preview(run, shelf, at, words),
                gr.update(value=table, datatype=fields.evaluation_kinds(rows), visible=bool(rows)),
                gr.skip() if evaluated else fields.evaluation_pictures(rows, words),
                gr.skip() if evaluated else fields.evaluation_details(rows, words),
                gr.skip() if sampled else fields.sample_pictures(run, shelf, words),
                fields.facts(run, words),
                fields.record(run, words, self.runs / name, live=state[-1] == "training"),
                [state, count],
            ]
        except (UserError, OSError, *ODD) as error:
            empty = [None, gr.update(visible=False), None, "", gr.update(visible=False), "", "", "", "", ""]
            return [words("state_broken", fault=reason(error)), *empty, [state, None]]
