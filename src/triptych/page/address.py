"""The browser's address says which tab is open and which run is shown, so that it can be sent to others."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape

import gradio as gr

from triptych.report.language import LANGUAGES, Language

SCRIPT = """(tab, of, name) => {
    const address = new URL(window.location), open = tab ?? address.searchParams.get("tab") ?? "list";
    const keep = (key, value) =>
        value ? address.searchParams.set(key, value) : address.searchParams.delete(key);
    if (window.triptychOpened && (tab || open === of)) {
        keep("tab", open !== "list" && open);
        keep("run", open === of && name);
        history.replaceState(null, "", address);
    }
}"""
"""Given the tab that is shown (null: the open one), the tab whose run is told, if open, and that run."""
OPENED = "() => { window.triptychOpened = true; }"
"""The address is not written before it was read."""


def heading(title: str, words: Language) -> str:
    """Return the page's title with a link to the other language, which shows the same."""
    other = next(code for code in LANGUAGES if code != words.code)
    keep = f"this.href = '../{other}/' + location.search"
    link = f'<a id="language" href="../{other}/" onclick="{keep}">{words("other_language")}</a>'
    return f'<div class="triptych-head"><h1>{escape(title)}</h1>{link}</div>'


def keep_address(
    loaded: gr.events.Dependency, tabs: Mapping[str, gr.Tab], runs: Mapping[str, gr.Dropdown]
) -> None:
    """Have the address follow what is shown.

    Args:
        loaded: when the address was read.
        tabs: by name.
        runs: the field that names the run of a tab, by the tab's name; others are of none.
    """
    loaded.then(None, None, None, js=OPENED)
    usual = next(iter(runs))
    for name, tab in tabs.items():
        of = name if name in runs else usual
        tab.select(None, runs[of], None, js=_script(name, of))
    for name, run in runs.items():
        run.change(None, run, None, js=_script(None, name))


def _script(tab: str | None, of: str) -> str:
    """Return `SCRIPT` for a tab and the tab whose run it is."""
    return f"(name) => ({SCRIPT})({json.dumps(tab)}, {json.dumps(of)}, name)"
