"""`triptych serve`: the page of a folder of runs."""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from triptych.errors import UserError
from triptych.parsing import parse
from triptych.record.record import FILE_NAME

PASSWORD = "TRIPTYCH_PASSWORD"


@dataclass(frozen=True)
class ServeOptions:
    """Show a folder of runs as a web page: what they are and how they come along, and images drawn from them.

    It can be reached from this machine alone, unless --host says otherwise; then TRIPTYCH_PASSWORD has to
    hold a password, which the user `triptych` types. Nothing is written into the folder.
    """

    runs: Annotated[Positional[Path], arg(metavar="RUNS")] = Path("runs")
    """Folder that runs lie in."""
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 is all of this machine's."""
    port: int = 7860
    """Port to listen on; 0 takes any that is free."""
    device: str | None = None
    """Where images are drawn; by default where the recipes say."""
    quiet: bool = False
    """Print nothing but errors."""


def run(tokens: Sequence[str]) -> int:
    """Serve what the tokens name until Ctrl-C; return the exit code."""
    options = parse(ServeOptions, tokens, "triptych serve")
    check_folder(options.runs)
    if not 0 <= options.port <= 65535:
        raise UserError(f"--port {options.port}", "there is no such port", "choose 1 to 65535, or 0 for any")

    from triptych.page.server import application, check_access

    password = os.environ.get(PASSWORD, "")
    check_access(options.host, password)
    if not (find_spec("gradio") and find_spec("uvicorn")):
        remedy = 'in a clone: pip install -c constraints.txt -e ".[page]"'
        raise UserError("triptych serve", "gradio is not installed (extra `page`)", remedy)
    import uvicorn

    with (
        listening(options.host, options.port) as bound,
        application(options.runs, password, options.device) as app,
        suppress(KeyboardInterrupt),  # which the server passes on when it has ended
    ):
        if not options.quiet:
            host, port = bound.getsockname()[:2]
            shown = "127.0.0.1" if host == "0.0.0.0" else f"[{host}]" if ":" in host else host
            print(f"http://{shown}:{port}/  (Ctrl-C ends it)", flush=True)
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends it as Ctrl-C does
        config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        # Faults are told, but not that whoever still looks is cut off at the end.
        logging.getLogger("uvicorn.error").addFilter(lambda told: not server.should_exit)
        server.run(sockets=[bound])
    return 0


def check_folder(runs: Path) -> None:
    """Raise `UserError` where it is no folder that runs lie in."""
    if not runs.is_dir():
        raise UserError(f"serve {runs}", "there is no such folder", "give the folder that runs lie in")
    if (runs / FILE_NAME).exists():
        raise UserError(
            f"serve {runs}", "it is a run", f"give the folder that it lies in: {runs.resolve().parent}"
        )


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens there; `UserError` where the system does not allow it."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, reuse_port=False)
    except (OSError, UnicodeError) as error:
        known = isinstance(error, OSError) and not isinstance(error, socket.gaierror) and error.errno
        found = os.strerror(known).lower() if known else "there is no such address"
        raise UserError(f"serve on {host}:{port}", found, "choose another --port, 0 for any") from error
