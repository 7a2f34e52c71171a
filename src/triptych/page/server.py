"""Serving the page: where it can be reached from, and by whom."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from ipaddress import ip_address
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from triptych.errors import UserError

if TYPE_CHECKING:
    from fastapi import FastAPI

USER = "triptych"
SHORTEST_PASSWORD = 8


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine alone."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_access(host: str, password: str) -> None:
    """Raise `UserError` where others could reach the page without a password, or with a short one."""
    if not password and not is_loopback(host):
        found = "others can reach that address, and there is no password"
        raise UserError(f"serve --host {host}", found, "set TRIPTYCH_PASSWORD, or leave --host out")
    if password and len(password) < SHORTEST_PASSWORD:
        found = f"it has {len(password)} characters"
        raise UserError("TRIPTYCH_PASSWORD", found, f"choose one of at least {SHORTEST_PASSWORD}")


@contextmanager
def application(runs: Path, password: str = "", device: str | None = None) -> Iterator[FastAPI]:
    """Yield the page over a folder of runs, in every language, as an application that a server runs.

    What it shows is copied into a folder of its own, which is gone afterwards.
    """
    with tempfile.TemporaryDirectory(prefix="triptych-page-") as scratch:
        os.environ["GRADIO_TEMP_DIR"] = scratch  # read when it is loaded
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        import gradio as gr
        from fastapi import FastAPI, Header
        from fastapi.responses import RedirectResponse

        from triptych.page.app import build, style, theme
        from triptych.page.place import Place
        from triptych.page.shelf import Shelf
        from triptych.page.studio import Studio
        from triptych.page.texts import PAGE
        from triptych.report.language import LANGUAGES, Language

        app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
        shelf = Shelf(runs)
        studio = Studio(shelf, device)

        @app.get("/")
        def home(accept_language: str = Header("")) -> RedirectResponse:
            return RedirectResponse("/zh/" if accept_language.lower().startswith("zh") else "/en/")

        # What draws takes seconds to load, which nobody need wait for.
        Thread(target=import_module, args=("triptych.runs",), daemon=True).start()
        for code in LANGUAGES:
            page = build(Place(shelf, studio, Path(scratch), runs, Language(code, PAGE)))
            page.queue(default_concurrency_limit=8, max_size=64)
            gr.mount_gradio_app(
                app,
                page,
                path=f"/{code}",
                auth=(USER, password) if password else None,
                footer_links=[],
                show_error=True,
                ssr_mode=False,
                theme=theme(),
                css=style(),
            )
        yield app
