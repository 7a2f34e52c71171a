"""The tab of one run: its curves as they grow, previews through time, evaluations, samples, record."""

from __future__ import annotations

from typing import Any

import gradio as gr

from triptych.page import fields
from triptych.page.place import LIVE, PICTURE, QUIETLY, Place, in_one_line

SHOWN = 10
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
            label = gr.Markdown(elem_id="preview-label")
            title = words("preview_slider")
            slider = gr.Slider(1, 2, 1, step=1, interactive=False, label=title, elem_id="preview-number")
    evaluations = gr.Dataframe(
        label=words("evaluations"), interactive=False, elem_id="evaluations", max_height=420
    )
    pictures = gr.HTML()
    samples = gr.HTML(elem_id="samples")
    with gr.Accordion(words("training_title"), open=False):
        facts = gr.HTML(elem_id="facts")
    with gr.Accordion(words("record_title"), open=False):
        record = gr.HTML(elem_id="record")
    stamp = gr.State(None)
    shown = [state, curves, slider, preview, label, evaluations, pictures, samples, facts, record]

    run.change(view.show, run, [*shown, stamp], show_progress="minimal", api_visibility="private")
    slider.change(view.slide, [run, slider], [preview, label], **QUIETLY, trigger_mode="always_last")
    gr.Timer(LIVE).tick(view.poll, [run, stamp], [*shown, stamp], **QUIETLY)
    return run


class RunView:
    """What the fields of the tab show of a run."""

    def __init__(self, place: Place):
        self.shelf, self.words = place.shelf, place.words

    @in_one_line
    def show(self, name: str | None) -> list[Any]:
        """Return the values of all fields, and the state of the record that they are of."""
        if not name:
            return self._nothing()
        words, shelf = self.words, self.shelf
        run, rows, stamp = shelf.run(name), shelf.rows(name), shelf.stamp(name)
        last = len(fields.previews(run, shelf))
        table = {
            "headers": fields.evaluation_titles(rows, words),
            "data": fields.evaluation_rows(rows, words),
        }
        return [
            words(f"state_{shelf.state(name)}", fault=""),
            fields.curves(run),
            gr.update(maximum=max(2, last), value=max(1, last), interactive=last > 1),
            *fields.preview(run, shelf, last, words),
            gr.update(value=table, datatype=fields.evaluation_kinds(rows), visible=bool(rows)),
            fields.evaluation_pictures(rows, words),
            fields.sample_pictures(run, shelf, words),
            fields.facts(run, words),
            fields.record(run, words),
            stamp,
        ]

    @in_one_line
    def poll(self, name: str | None, before: object) -> list[Any]:
        """Return what `show` does where the record has changed since."""
        return self._nothing() if not name or self.shelf.stamp(name) == before else self.show(name)

    @in_one_line
    def slide(self, name: str | None, number: float) -> tuple[Any, Any]:
        """Return the picture of a preview, and what stands below it."""
        if not name:
            return gr.skip(), gr.skip()
        return fields.preview(self.shelf.run(name), self.shelf, int(number), self.words)

    def _nothing(self) -> list[Any]:
        return [gr.skip()] * (SHOWN + 1)
