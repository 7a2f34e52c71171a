"""Downloads: whole or not at all, resumed where they broke off, and one line where they cannot be had."""

import errno
import hashlib
import os
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.client import HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from triptych import downloads
from triptych.downloads import PublishedFile, fetch
from triptych.errors import UserError

CONTENT = os.urandom(300_000)


class Server(ThreadingHTTPServer):
    """A server of one file, with the faults that a test gives it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.knows_ranges = True
        self.tells_length = True
        self.cuts: list[int] = []  # after how many bytes each of the next connections ends
        self.status = 0  # of every answer; 0: what fits
        self.location = ""
        self.shift = 0  # how far from the range that was asked for the answer begins
        self.asked: list[str | None] = []  # the ranges

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/some/file.bin"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server = self.server
        wanted = self.headers["Range"]
        server.asked.append(wanted)
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) + server.shift if server.knows_ranges else 0
        if server.status or start >= len(server.content):
            self.send_response(server.status or 416)
            if server.location:
                self.send_header("Location", server.location)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if server.knows_ranges else 200)
        if server.knows_ranges:
            end = len(server.content)
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{end}")
        self.send_header("Content-Length", str(len(server.content) - start))
        self.end_headers()
        end = start + server.cuts.pop(0) if server.cuts else None
        self.wfile.write(server.content[start:end])

    def do_HEAD(self) -> None:
        self.send_response(self.server.status or 200)
        if self.server.tells_length:
            self.send_header("Content-Length", str(len(self.server.content)))
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    with Server() as served:
        thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield served
        served.shutdown()
        thread.join()


def published(server: Server, content: bytes = CONTENT, algorithm: str = "md5") -> PublishedFile:
    return PublishedFile(server.url, len(content), algorithm, hashlib.new(algorithm, content).hexdigest())


def part_of(file: PublishedFile) -> Path:
    return file.path.with_name(file.path.name + ".part")


def whole(file: PublishedFile) -> bool:
    return file.path.read_bytes() == CONTENT and not part_of(file).exists()


def begun(file: PublishedFile, content: bytes) -> None:
    part_of(file).parent.mkdir(parents=True)
    part_of(file).write_bytes(content)


@pytest.mark.parametrize("algorithm", ["md5", "sha256"])
def test_a_file_is_fetched_once(algorithm, server, tmp_path: Path):
    file = published(server, algorithm=algorithm)
    assert fetch(file, "") == file.path == tmp_path / "cache" / "downloads" / "file.bin"
    assert whole(file)
    fetch(file, "")
    assert server.asked == ["bytes=0-"]


def test_nothing_is_printed_where_nobody_watches(server, capsys):
    fetch(published(server), "")
    assert capsys.readouterr() == ("", "")


def test_files_of_one_name_lie_in_folders_of_their_own(server, tmp_path: Path):
    file = replace(published(server), folder="some-model")
    assert fetch(file, "") == tmp_path / "cache" / "downloads" / "some-model" / "file.bin"
    assert whole(file) and not published(server).path.exists()


def test_a_length_that_nobody_wrote_down_is_asked_for(server):
    server.cuts = [100_000]
    file = replace(published(server, algorithm="sha256"), size=0)
    fetch(file, "")
    assert whole(file) and server.asked == ["bytes=0-", "bytes=100000-"]
    file.path.write_bytes(CONTENT[:-1])
    with pytest.raises(UserError, match=r"it is not the published file \(sha256 [0-9a-f]{64}\); delete it"):
        fetch(file, "")


def test_another_content_of_a_length_that_nobody_wrote_down_is_refused(server):
    file = replace(published(server), size=0)
    server.content = bytes(1000)
    refused(file, "what was fetched is not the published file (md5")
    server.tells_length = False
    refused(file, "the server does not say how long the file is; try again, put file.bin at")
    server.status = 404
    refused(file, "HTTP 404")


def test_a_part_is_resumed(server):
    file = published(server)
    begun(file, CONTENT[:1000])
    fetch(file, "")
    assert whole(file) and server.asked == ["bytes=1000-"]


def test_a_whole_part_needs_no_network(server):
    file = published(server)
    begun(file, CONTENT)
    fetch(file, "")
    assert whole(file) and server.asked == []


def test_a_part_that_is_too_long_is_begun_anew(server):
    file = published(server)
    begun(file, CONTENT + b"x")
    fetch(file, "")
    assert whole(file) and server.asked == ["bytes=0-"]


def test_a_server_without_ranges_begins_anew(server):
    server.knows_ranges = False
    file = published(server)
    begun(file, b"y" * 1000)
    fetch(file, "")
    assert whole(file)


def test_a_connection_that_breaks_off_is_taken_up_again(server):
    server.cuts = [100_000, 0, 150_000][::2]
    file = published(server)
    fetch(file, "")
    assert whole(file) and server.asked == ["bytes=0-", "bytes=100000-", "bytes=250000-"]


def test_a_connection_that_is_reset_is_taken_up_again(server, monkeypatch: pytest.MonkeyPatch):
    receive = downloads._receive

    def reset(file: PublishedFile, part: Path, start: int) -> None:
        monkeypatch.setattr(downloads, "_receive", receive)
        part.write_bytes(CONTENT[:1000])
        raise ConnectionResetError

    monkeypatch.setattr(downloads, "_receive", reset)
    file = published(server)
    fetch(file, "")
    assert whole(file) and server.asked == ["bytes=1000-"]


def refused(file: PublishedFile, told: str) -> None:
    with pytest.raises(UserError) as caught:
        fetch(file, "do without")
    assert told in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert not file.path.exists()


def test_what_arrived_is_kept_for_the_next_time(server):
    server.cuts = [100_000, 0]
    file = published(server)
    refused(file, "the connection broke off at 100,000 of 300,000 bytes; try again, put file.bin at")
    fetch(file, "")
    assert whole(file) and server.asked[-1] == "bytes=100000-"


def test_another_content_is_refused_and_not_resumed(server):
    server.content = bytes(len(CONTENT))
    file = published(server)
    refused(file, "what was fetched is not the published file (300,000 bytes, md5")
    server.content = CONTENT
    fetch(file, "")
    assert whole(file)


@pytest.mark.parametrize("length", [1000, 400_000])
def test_a_content_of_another_length_is_refused(length, server):
    server.content = bytes(length)
    refused(published(server), "what was fetched is not" if length > 300_000 else "file is shorter")
    assert not part_of(published(server)).exists()


def test_another_range_than_was_asked_for_is_refused(server):
    file = published(server)
    begun(file, CONTENT[:1000])
    server.shift = 5
    refused(file, "the server sent another range")
    assert part_of(file).read_bytes() == CONTENT[:1000]


def test_a_part_beyond_the_servers_file_is_dropped(server):
    file = published(server)
    begun(file, CONTENT[:1000])
    server.content = CONTENT[:500]
    refused(file, "the server's file is shorter than the published one")
    server.content = CONTENT
    fetch(file, "")
    assert whole(file)


@pytest.mark.parametrize("status", [403, 404, 500, 503])
def test_an_answer_that_is_no_file(status, server):
    server.status = status
    file = published(server)
    refused(file, f"download {file.url}: HTTP {status}")
    refused(file, f"put file.bin at {file.path} by hand, or do without")


@pytest.mark.parametrize("location", ["file:///etc/hostname", "ftp://127.0.0.1/file.bin"])
def test_only_http_is_spoken(location, server):
    server.status, server.location = 302, location
    refused(published(server), "download http://127.0.0.1")
    with_url = PublishedFile(location, 1, "md5", "")
    refused(with_url, "unknown url type")


def test_a_refused_connection(server):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    refused(
        PublishedFile(f"http://127.0.0.1:{port}/file.bin", 1, "md5", ""),
        "Connection refused; try again, put file.bin at",
    )


def test_a_server_that_never_answers(server, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(downloads, "TIMEOUT", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        refused(PublishedFile(f"http://127.0.0.1:{port}/file.bin", 1, "md5", ""), "timed out")


def test_a_full_disk(server, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(downloads, "_receive", full)
    refused(published(server), "No space left on device; make room for")


@pytest.mark.parametrize("number", [errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN])
def test_a_route_that_is_lost_is_no_fault_of_the_disk(number, server, monkeypatch: pytest.MonkeyPatch):
    read, calls = HTTPResponse.read, []

    def lost(response: HTTPResponse, size: int) -> bytes:
        calls.append(size)
        if len(calls) == 2:
            raise OSError(number, os.strerror(number))
        return read(response, size)

    monkeypatch.setattr(downloads, "CHUNK", 100_000)
    monkeypatch.setattr(HTTPResponse, "read", lost)
    file = published(server)
    fetch(file, "")  # taken up again, as after any other fault of the network
    assert whole(file) and server.asked == ["bytes=0-", "bytes=100000-"]


def test_a_route_that_stays_lost_is_told(server, monkeypatch: pytest.MonkeyPatch):
    def lost(response: HTTPResponse, size: int) -> bytes:
        raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))

    monkeypatch.setattr(HTTPResponse, "read", lost)
    refused(published(server), "Network is unreachable; try again, put file.bin at")


def test_a_folder_that_cannot_be_made(server, tmp_path: Path):
    (tmp_path / "cache").write_text("in the way")
    refused(published(server), "set TRIPTYCH_CACHE to another folder")


def test_a_file_put_there_by_hand_is_checked_and_left(server):
    file = published(server)
    file.path.parent.mkdir(parents=True)
    file.path.write_bytes(CONTENT[:-1])
    with pytest.raises(UserError, match=r"it is not the published file .* delete it"):
        fetch(file, "")
    assert file.path.read_bytes() == CONTENT[:-1]
    file.path.write_bytes(CONTENT)
    fetch(file, "")
    assert server.asked == []


def test_two_at_once_fetch_once(server, capsys):
    file = published(server)
    threads = [threading.Thread(target=fetch, args=(file, "")) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert whole(file) and server.asked == ["bytes=0-"]
