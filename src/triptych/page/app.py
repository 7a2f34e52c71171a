"""The page as a whole: its tabs, what leads from one to another, and its looks."""

from __future__ import annotations

import json
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
TABS = ("list", "run", "compare", "playground")
"""The names of the tabs, by which an address says which is open."""
ADDRESS = """(name) => {
    const address = new URL(window.location), open = TAB ?? address.searchParams.get("tab") ?? "list";
    const keep = (key, value) =>
        value ? address.searchParams.set(key, value) : address.searchParams.delete(key);
    if (window.triptychOpened && (TAB || open === OF)) {
        keep("tab", open !== "list" && open);
        keep("run", open === OF && name);
        history.replaceState(null, "", address);
    }
}"""
"""Makes the browser's address that of what is shown, to be sent to others; not before it was read itself."""
OPENED = "() => { window.triptychOpened = true; }"


def build(place: Place) -> gr.Blocks:
    """Return the page in one language."""
    words = place.words
    title = words("page_title", folder=place.shelf.root.name)
    with gr.Blocks(title=title, analytics_enabled=False, fill_width=True) as page:
        other = next(code for code in LANGUAGES if code != words.code)
        keep = f"this.href = '../{other}/' + location.search"
        link = f'<a id="language" href="../{other}/" onclick="{keep}">{words("other_language")}</a>'
        gr.HTML(f'<div class="triptych-head"><h1>{escape(title)}</h1>{link}</div>')
        # The same secret after a restart of the server, which could not read it otherwise.
        remembered = gr.BrowserState("", storage_key="triptych-run", secret="triptych")
        with gr.Tabs(selected="list") as tabs:
            with gr.Tab(words("runs"), id="list") as first:
                listed = list_tab(page, place)
            with gr.Tab(words("one_run"), id="run") as second:
                run = run_tab(place)
            with gr.Tab(words("compare"), id="compare") as third:
                compared = compare_tab(place)
            with gr.Tab(words("playground"), id="playground") as fourth:
                played = playground_tab(place)
        names, buttons = gr.State([]), (first, second, third, fourth)

        def opened(last: str | None, request: gr.Request) -> list[Any]:
            asked = request.query_params
            found, models = place.shelf.names(), place.shelf.drawable()
            glances = place.shelf.glances()
            readable = [one.name for one in glances if one.state not in ("broken", "reading")]
            wanted = (name for name in (asked.get("run"), last) if name in found)
            name = next(wanted, next(iter(readable), None))
            # Nobody who has clicked on a tab by now is thrown back to the first.
            shown = gr.update(selected=asked["tab"]) if asked.get("tab") in TABS else gr.skip()
            return [*chosen(name, found, models), [found, models], shown]

        def chosen(name: str | None, found: list[str], models: list[str]) -> list[Any]:
            model = name if name in models else next((one for one in found if one in models), None)
            several = gr.update(choices=models, value=[model] if model else [])
            return [gr.update(choices=found, value=name), several, gr.update(choices=models, value=model)]

        def renewed(name: str, several: list[str], model: str, before: list[list[str]]) -> list[Any]:
            found, models = place.shelf.names(), place.shelf.drawable()
            if [found, models] == before:
                return [gr.skip()] * 4
            kept = [one for one in several or () if one in models]
            return [
                gr.update(choices=found, value=name if name in found else None),
                gr.update(choices=models, value=kept),
                gr.update(choices=models, value=model if model in models else None),
                [found, models],
            ]

        def select(event: gr.SelectData) -> list[Any]:
            name = event.row_value[fields.NAME]
            return [*chosen(name, place.shelf.names(), place.shelf.drawable()), gr.update(selected="run")]

        fields_of_runs = [run, compared, played, names]
        page.load(opened, remembered, [*fields_of_runs, tabs], **QUIETLY).then(None, None, None, js=OPENED)
        for tab, button in zip(TABS, buttons, strict=True):
            field = played if tab == "playground" else run
            button.select(None, field, None, js=address(tab, "playground" if tab == "playground" else "run"))
        for tab, field in (("run", run), ("playground", played)):
            field.change(None, field, None, js=address(None, tab))
        gr.Timer(LIVE).tick(renewed, fields_of_runs, fields_of_runs, **QUIETLY)
        listed.select(select, None, [run, compared, played, tabs], **QUIETLY)
        run.change(lambda name: name, run, remembered, **QUIETLY)
    return page


def address(tab: str | None, of: str) -> str:
    """Return the script by which a tab, None: the open one, writes itself and its run into the address.

    Args:
        tab: that is shown now.
        of: the tab whose run it is.
    """
    return ADDRESS.replace("TAB", json.dumps(tab)).replace("OF", json.dumps(of))


def theme() -> gr.themes.Base:
    """Return colours and fonts, none of which is fetched."""
    return gr.themes.Default(primary_hue="blue", neutral_hue="slate", font=FONTS, font_mono=MONO)


def style() -> str:
    """Return what the page adds to the theme."""
    return files("triptych.page").joinpath("page.css").read_text(encoding="utf-8")
