"""The page as a whole: its tabs, what leads from one to another, and its looks."""

from __future__ import annotations

from html import escape
from importlib.resources import files
from typing import Any

import gradio as gr

from triptych.page import fields
from triptych.page.compare_tab import compare_tab
from triptych.page.list_tab import list_tab
from triptych.page.place import LIVE, QUIETLY, Place
from triptych.page.playground_tab import playground_tab
from triptych.page.run_tab import run_tab
from triptych.report.language import LANGUAGES

REMEMBERED = 3600
"""Seconds after which what was shown is removed from the scratch folder."""
FONTS = [
    "system-ui",
    "-apple-system",
    "Segoe UI",
    "Noto Sans",
    "PingFang SC",
    "Microsoft YaHei",
    "sans-serif",
]
"""Of the system: none is fetched."""
MONO = ["ui-monospace", "Consolas", "monospace"]


def build(place: Place) -> gr.Blocks:
    """Return the page in one language."""
    words = place.words
    title = words("page_title", folder=place.shelf.root.name)
    with gr.Blocks(title=title, analytics_enabled=False, delete_cache=(REMEMBERED, REMEMBERED)) as page:
        other = next(code for code in LANGUAGES if code != words.code)
        link = f'<a id="language" href="../{other}/">{words("other_language")}</a>'
        gr.HTML(f'<div class="triptych-head"><h1>{escape(title)}</h1>{link}</div>')
        remembered = gr.BrowserState("", storage_key="triptych-run", secret="triptych")
        with gr.Tabs(selected="list") as tabs:
            with gr.Tab(words("runs"), id="list"):
                listed = list_tab(page, place)
            with gr.Tab(words("one_run"), id="run"):
                run = run_tab(place)
            with gr.Tab(words("compare"), id="compare"):
                compared = compare_tab(place)
            with gr.Tab(words("playground"), id="playground"):
                played = playground_tab(place)
        names = gr.State([])

        def opened(last: str | None) -> list[Any]:
            found, models = place.shelf.names(), place.shelf.drawable()
            name = last if last in found else next(iter(found), None)
            model = last if last in models else next(iter(models), None)
            several = gr.update(choices=models, value=[model] if model else [])
            one = gr.update(choices=models, value=model)
            return [gr.update(choices=found, value=name), several, one, [found, models]]

        def renewed(before: list[list[str]]) -> list[Any]:
            found, models = place.shelf.names(), place.shelf.drawable()
            if [found, models] == before:
                return [gr.skip()] * 4
            return [gr.update(choices=found), *[gr.update(choices=models)] * 2, [found, models]]

        def select(event: gr.SelectData) -> tuple[Any, Any]:
            name = event.row_value[fields.NAME]
            return gr.update(value=name, choices=place.shelf.names()), gr.update(selected="run")

        fields_of_runs = [run, compared, played, names]
        page.load(opened, remembered, fields_of_runs, **QUIETLY)
        gr.Timer(LIVE).tick(renewed, names, fields_of_runs, **QUIETLY)
        listed.select(select, None, [run, tabs], **QUIETLY)
        run.change(lambda name: name, run, remembered, **QUIETLY)
    return page


def theme() -> gr.themes.Base:
    """Return colours and fonts, none of which is fetched."""
    return gr.themes.Default(primary_hue="blue", neutral_hue="slate", font=FONTS, font_mono=MONO)


def style() -> str:
    """Return what the page adds to the theme."""
    return files("triptych.page").joinpath("page.css").read_text(encoding="utf-8")
