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
    words, titles = place.words, fields.list_titles(place.words)
    hint = gr.Markdown()
    table = gr.Dataframe(
        headers=titles,
        datatype=fields.LIST_KINDS,
        interactive=False,
        show_label=False,
        max_height=640,
        elem_id="runs",
        show_search="search",
    )
    seen = gr.State([])

    def show(glances: Sequence[Glance]) -> tuple[Any, Any, Any]:
        rows = fields.list_rows(glances, words)
        return {"headers": titles, "data": rows}, words("runs_hint" if rows else "no_runs"), glances

    def poll(before: Sequence[Glance]) -> tuple[Any, Any, Any]:
        glances = place.shelf.glances()
        return (gr.skip(), gr.skip(), gr.skip()) if glances == before else show(glances)

    page.load(lambda: show(place.shelf.glances()), None, [table, hint, seen], **QUIETLY)
    gr.Timer(LIVE).tick(poll, seen, [table, hint, seen], **QUIETLY)
    return table
