"""Published files, fetched once into the cache folder: resumed where a download broke off, and checked.

A file is written under its own name plus `.part` and gets its name only once its checksum is right, so that
what has the name is whole. Nothing but http and https is spoken.
"""

from __future__ import annotations

import hashlib
import os
import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib import request
from urllib.error import HTTPError, URLError

from tqdm import tqdm

from triptych.cache_place import cache_folder
from triptych.errors import UserError

try:
    import fcntl
except ImportError:  # Windows, where two processes may fetch the same file twice, and the checksum tells
    fcntl = None

TIMEOUT = 30.0
"""Seconds without an answer after which a server is given up."""
ATTEMPTS = 5
"""How often a connection that broke off is taken up again."""
CHUNK = 2**20
"""Bytes read at a time."""

NETWORK = (HTTPException, URLError, TimeoutError, ConnectionError, ssl.SSLError)
"""Errors of the network; any other OSError here is the disk's."""


@dataclass(frozen=True)
class PublishedFile:
    """A file that never changes, and how to know it.

    Attributes:
        url: where it is published, by http or https; its last part is the file's name.
        size: bytes; 0: nobody wrote down how many, so that the server is asked, and the checksum tells.
        algorithm: of the checksum: md5, sha256.
        checksum: hexadecimal.
        folder: that it is kept in, for files whose names others have too.
    """

    url: str
    size: int
    algorithm: str
    checksum: str
    folder: str = ""

    @property
    def name(self) -> str:
        """The file's name."""
        return self.url.rpartition("/")[2]

    @property
    def path(self) -> Path:
        """Where it is kept; whoever has no network puts it there by hand."""
        return cache_folder() / "downloads" / self.folder / self.name


def file_digest(path: Path, algorithm: str) -> str:
    """Return the checksum, hexadecimal, of a file's content by `md5`, `sha256` or another of hashlib's."""
    with path.open("rb") as file:
        # Told of its purpose, md5 is available where policy forbids it for security.
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


def fetch(file: PublishedFile, otherwise: str) -> Path:
    """Return where `file` lies on this machine, after fetching it if it is not there yet.

    Args:
        file: what to fetch.
        otherwise: what else the user can do where there is no network, for messages.

    Raises:
        UserError: it cannot be fetched or kept, or is not what was published.
    """
    path, part = file.path, file.path.with_name(f"{file.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(path.with_name(f"{file.name}.lock"), file.name):
            if not path.exists():
                _download(file if file.size else replace(file, size=_announced(file)), part)
                _check(file, part, "what was fetched is")
                os.replace(part, path)
                return path
        _check(file, path, "it is")
    except NETWORK as error:
        reason = f"HTTP {error.code} {error.reason}" if isinstance(error, HTTPError) else _in_words(error)
        remedy = f"try again, put {file.name} at {path} by hand, or {otherwise}"
        raise UserError(f"download {file.url}", reason, remedy) from error
    except OSError as error:
        needed = f"{file.size / 1e6:,.0f} MB" if file.size else "it"
        remedy = (
            f"make room for {needed} and leave to write, set TRIPTYCH_CACHE to another folder, or {otherwise}"
        )
        raise UserError(f"download {file.url} to {path}", _in_words(error), remedy) from error
    return path


@contextmanager
def _alone(lock: Path, name: str) -> Iterator[None]:
    """Let one process at a time fetch a file; the others wait, and find it."""
    with lock.open("ab") as file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(f"triptych: waiting for another process to download {name}", file=sys.stderr)
                fcntl.flock(file, fcntl.LOCK_EX)
            except OSError:  # a file system without locks: as on Windows
                pass
        yield


def _download(file: PublishedFile, part: Path) -> None:
    """Bring `part` to the file's size, from where it stands, in a few attempts."""
    for _ in range(ATTEMPTS):
        before = _size(part)
        if before > file.size:
            part.unlink()
            before = 0
        if before < file.size:
            try:
                _receive(file, part, before)
            except NETWORK:
                if _size(part) <= before:
                    raise
        if _size(part) == file.size:
            return
        if _size(part) <= before:  # the next attempt would bring no more
            break
    raise ConnectionError(f"the connection broke off at {_size(part):,} of {file.size:,} bytes")


def _announced(file: PublishedFile) -> int:
    """Return how many bytes the server says that a file has."""
    asked = request.Request(file.url, headers={"User-Agent": "triptych"}, method="HEAD")
    try:
        with _opener().open(asked, timeout=TIMEOUT) as response:
            length = response.headers.get("Content-Length", "")
    except HTTPError as error:
        error.close()
        raise
    if not length.isdecimal():
        raise HTTPException("the server does not say how long the file is")
    return int(length)


def _receive(file: PublishedFile, part: Path, start: int) -> None:
    """Append what comes from byte `start` on, until all is there or the connection ends."""
    asked = request.Request(file.url, headers={"User-Agent": "triptych", "Range": f"bytes={start}-"})
    try:
        response = _opener().open(asked, timeout=TIMEOUT)
    except HTTPError as error:
        error.close()
        if error.code == 416 and start:  # so the part is not of the published file
            part.unlink()
            raise HTTPException("the server's file is shorter than the published one") from error
        raise
    with response:
        resumed = response.status == 206
        if resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            raise HTTPException("the server sent another range than was asked for")
        at = start if resumed else 0  # a server that knows no ranges begins anew
        with part.open("ab" if resumed else "wb") as out, _progress(file, at) as bar:
            while at < file.size and (chunk := _read(response, min(CHUNK, file.size - at))):
                out.write(chunk)
                at += len(chunk)
                bar.update(len(chunk))


def _read(response: HTTPResponse, size: int) -> bytes:
    """Return the next bytes of an answer; whatever fails here is the network's, a lost route among it."""
    try:
        return response.read(size)
    except NETWORK:
        raise
    except OSError as error:
        raise URLError(error) from error


def _progress(file: PublishedFile, start: int) -> tqdm:
    """Return a bar for whoever watches the terminal."""
    silent = not sys.stderr.isatty()
    return tqdm(total=file.size, initial=start, unit="B", unit_scale=True, desc=file.name, disable=silent)


def _opener() -> request.OpenerDirector:
    """Return what opens http and https addresses, through the environment's proxies, and no others.

    Redirections pass through it as well: none leads to a file of this machine.
    """
    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler(),
        request.HTTPHandler(),
        request.HTTPSHandler(),
        request.HTTPRedirectHandler(),
        request.HTTPErrorProcessor(),
        request.HTTPDefaultErrorHandler(),
        request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


def _check(file: PublishedFile, path: Path, subject: str) -> None:
    """Raise, and delete an unfinished download, where `path` is not the published file."""
    if file.size in (0, _size(path)) and file_digest(path, file.algorithm) == file.checksum:
        return
    known = f"{file.size:,} bytes, " * (file.size > 0) + f"{file.algorithm} {file.checksum}"
    found = f"{subject} not the published file ({known})"
    if path == file.path:  # put there by hand, or damaged since: not ours to delete
        raise UserError(str(path), found, "delete it, and it is fetched anew")
    path.unlink()
    remedy = f"try again later, or get it elsewhere and put it at {file.path}"
    raise UserError(f"download {file.url}", found, remedy)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _in_words(error: BaseException) -> str:
    reason = error.reason if isinstance(error, URLError) else error
    text = reason.strerror if isinstance(reason, OSError) and reason.strerror else str(reason)
    return " ".join(text.split())[:200] or type(reason).__name__
