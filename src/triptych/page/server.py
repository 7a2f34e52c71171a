"""Serving the page: where it can be reached from, and by whom."""

from __future__ import annotations

import os
import tempfile
import time
from asyncio import Lock, sleep
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from ipaddress import ip_address
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from triptych.errors import UserError

if TYPE_CHECKING:
    from fastapi import FastAPI

USER = "triptych"
SHORTEST_PASSWORD = 8
REMEMBERED = 3600.0
"""Seconds after which what was shown is removed from the scratch folder."""
LOGIN = 1.0
"""Seconds that a login takes."""
MOST_LOGINS = 5
"""That wait for their turn; others are told to come again."""


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
        done = Event()

        @app.get("/")
        def home(accept_language: str = Header("")) -> RedirectResponse:
            return RedirectResponse("/zh/" if accept_language.lower().startswith("zh") else "/en/")

        # What draws takes seconds to load, which nobody need wait for.
        Thread(target=import_module, args=("triptych.runs",), daemon=True).start()
        Thread(target=sweep, args=(Path(scratch), done), daemon=True).start()
        for code in LANGUAGES:
            words = Language(code, PAGE)
            page = build(Place(shelf, studio, Path(scratch), runs, words))
            page.queue(default_concurrency_limit=8, max_size=64)
            gr.mount_gradio_app(
                app,
                page,
                path=f"/{code}",
                auth=(USER, password) if password else None,
                auth_message=words("login", user=USER),
                footer_links=[],
                show_error=True,
                ssr_mode=False,
                theme=theme(),
                css=style(),
            )
        app.add_middleware(Gate, open_to_others=bool(password))
        try:
            yield app
        finally:
            done.set()
            shelf.close()


class Gate:
    """What is let in: no uploads, which the page has no use for; and where there is no password, nobody else.

    A page of another site can make a browser ask this one, under its own name or a name of its own for
    this machine: without a password only those are answered that ask for this machine by its own names, and
    come from nowhere else. Logins take a second, one after another, so that passwords cannot be tried by the
    thousand, nor by many at once.
    """

    def __init__(self, app: Any, open_to_others: bool):
        self.app, self.open_to_others = app, open_to_others
        self._login, self._waiting = Lock(), 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http" or self._is_welcome(scope):
            if self._is_login(scope):
                if self._waiting >= MOST_LOGINS:
                    await refuse(send, 429)
                    return
                self._waiting += 1
                try:
                    async with self._login:
                        await sleep(LOGIN)
                finally:
                    self._waiting -= 1
            await self.app(scope, receive, send)
            return
        await refuse(send, 403)

    @staticmethod
    def _is_login(scope: Any) -> bool:
        path = scope["path"].rstrip("/") if scope["type"] == "http" else ""
        return path.endswith("/login") and scope["method"] == "POST"

    def _is_welcome(self, scope: Any) -> bool:
        if scope["path"].rstrip("/").endswith("/upload"):
            return False
        if self.open_to_others:
            return True
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
        }
        asked = [headers.get("host", "")]
        if "origin" in headers:
            asked.append(headers["origin"].partition("://")[2])
        return all(is_loopback(host_of(name)) for name in asked)


async def refuse(send: Any, status: int) -> None:
    """Answer a request with nothing but a status."""
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


def host_of(address: str) -> str:
    """Return the host of `127.0.0.1:7860`, `localhost` or `[::1]:7860`."""
    if address.startswith("["):
        return address[1:].partition("]")[0]
    return address.rpartition(":")[0] if address.count(":") == 1 else address


def sweep(scratch: Path, done: Event, age: float = REMEMBERED, pause: float = 60.0) -> None:
    """Remove what was shown long ago from the scratch folder, again and again, until it is done."""
    while not done.wait(pause):
        for path in scratch.rglob("*"):
            with suppress(OSError):
                if path.is_file() and time.time() - path.stat().st_mtime > age:
                    path.unlink()
