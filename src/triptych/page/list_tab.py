"""The tab of all runs: one row each, kept fresh."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from triptych.page import fields
from triptych.page.glance import Glance
from triptych.page.place import LIVE, QUIETLY, Place


def list_tab(page: gr.Blocks, place: Place) -> gr.Dataframe:
    """Add the tab's content; return the table, a click on whose rows chooses a run."""
    words = place.words
    hint = gr.Markdown()
    table = gr.Dataframe(
        headers=list(fields.list_columns([], words)),
        interactive=False,
        show_label=False,
        max_height=640,
        elem_id="runs",
        show_search="search",
    )
    seen = gr.State([])

    def show(glances: Sequence[Glance]) -> tuple[Any, Any, Any]:
        columns, rows = fields.list_columns(glances, words), fields.list_rows(glances, words)
        table = gr.update(value={"headers": list(columns), "data": rows}, datatype=list(columns.values()))
        return table, words("runs_hint" if rows else "no_runs"), glances

    def poll(before: Sequence[Glance]) -> tuple[Any, Any, Any]:
        glances = place.shelf.glances()
        return (gr.skip(), gr.skip(), gr.skip()) if glances == before else show(glances)

    page.load(lambda: show(place.shelf.glances()), None, [table, hint, seen], **QUIETLY)
    gr.Timer(LIVE).tick(poll, seen, [table, hint, seen], **QUIETLY)
    return table
