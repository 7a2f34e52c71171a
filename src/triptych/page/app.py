"""The page as a whole: its tabs, what leads from one to another, and its looks."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import gradio as gr

from triptych.page import fields
from triptych.page.address import heading, keep_address
from triptych.page.compare_tab import compare_tab
from triptych.page.list_tab import list_tab
from triptych.page.place import LIVE, QUIETLY, Place
from triptych.page.playground_tab import playground_tab
from triptych.page.run_tab import run_tab

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
TABS = {"list": "runs", "run": "one_run", "compare": "compare", "playground": "playground"}
"""The key of each tab's title, by the name that an address has for it."""


def build(place: Place) -> gr.Blocks:
    """Return the page in one language."""
    words, choice = place.words, Choice(place)
    title = words("page_title", folder=place.shelf.root.name)
    with gr.Blocks(title=title, analytics_enabled=False, fill_width=True) as page:
        gr.HTML(heading(title, words))
        # The same secret after a restart of the server, which could not read it otherwise.
        remembered = gr.BrowserState("", storage_key="triptych-run", secret="triptych")
        with gr.Tabs(selected="list") as tabs:
            named = {name: gr.Tab(words(key), id=name) for name, key in TABS.items()}
        with named["list"]:
            listed = list_tab(page, place)
        with named["run"]:
            run = run_tab(place)
        with named["compare"]:
            compared = compare_tab(place)
        with named["playground"]:
            played = playground_tab(place)
        names = gr.State([])
        fields_of_runs = [run, compared, played, names]
        loaded = page.load(choice.opened, remembered, [*fields_of_runs, tabs], **QUIETLY)
        keep_address(loaded, named, {"run": run, "playground": played})
        gr.Timer(LIVE).tick(choice.renewed, fields_of_runs, fields_of_runs, **QUIETLY)
        listed.select(choice.selected, None, [run, compared, played, tabs], **QUIETLY)
        run.change(lambda name: name, run, remembered, **QUIETLY)
    return page


class Choice:
    """Which run the tabs show, and which they offer: the values of their fields."""

    def __init__(self, place: Place):
        self.shelf = place.shelf

    def opened(self, last: str | None, request: gr.Request) -> list[Any]:
        """Return the run and the tab that the address names; else the run last shown, or the newest."""
        asked = request.query_params
        found, models = self.shelf.names(), self.shelf.drawable()
        glances = self.shelf.glances()
        readable = [one.name for one in glances if one.state not in ("broken", "reading")]
        wanted = (name for name in (asked.get("run"), last) if name in found)
        name = next(wanted, next(iter(readable), None))
        # Where the address names no tab, nobody who has clicked on one by now is thrown back to the first.
        shown = gr.update(selected=asked["tab"]) if asked.get("tab") in TABS else gr.skip()
        return [*self._chosen(name, found, models), [found, models], shown]

    def renewed(self, name: str, several: list[str], model: str, before: list[list[str]]) -> list[Any]:
        """Return the runs that there are now, with what was chosen before as far as it is still there."""
        found, models = self.shelf.names(), self.shelf.drawable()
        if not before or [found, models] == before:  # nothing was chosen while the page is not opened
            return [gr.skip()] * 4
        kept = [one for one in several or () if one in models]
        return [
            gr.update(choices=found, value=name if name in found else None),
            gr.update(choices=models, value=kept),
            gr.update(choices=models, value=model if model in models else None),
            [found, models],
        ]

    def selected(self, event: gr.SelectData) -> list[Any]:
        """Return the run of a row of the list, and the tab that shows it."""
        name = event.row_value[fields.NAME]
        return [*self._chosen(name, self.shelf.names(), self.shelf.drawable()), gr.update(selected="run")]

    @staticmethod
    def _chosen(name: str | None, found: list[str], models: list[str]) -> list[Any]:
        model = name if name in models else next((one for one in found if one in models), None)
        several = gr.update(choices=models, value=[model] if model else [])
        return [gr.update(choices=found, value=name), several, gr.update(choices=models, value=model)]


def theme() -> gr.themes.Base:
    """Return colours and fonts, none of which is fetched."""
    return gr.themes.Default(primary_hue="blue", neutral_hue="slate", font=FONTS, font_mono=MONO)


def style() -> str:
    """Return what the page adds to the theme."""
    return files("triptych.page").joinpath("page.css").read_text(encoding="utf-8")
