"""The server: from where, by whom and for what it can be asked."""

import asyncio
import json
import os
import shutil
import signal
import threading
import time
import urllib.error
import urllib.request

import pytest
from commands.command_line import the_line
from page.serving import served

from triptych.commands.serve import listening
from triptych.errors import UserError
from triptych.page import server
from triptych.page.server import check_access, is_loopback, sweep


@pytest.fixture(scope="module")
def site(tmp_path_factory, trained):
    """A folder of runs, and where it is served."""
    place = tmp_path_factory.mktemp("site")
    runs = place / "runs"
    shutil.copytree(trained, runs / "tiny")
    (place / "outside.txt").write_text("secret")
    with served(runs, place / "scratch", TRIPTYCH_CACHE=str(place / "cache")) as address:
        yield runs, address


def ask(address, **headers):
    """Return status, text and final address of a page."""
    request = urllib.request.Request(address, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode("utf-8", "replace"), answer.url
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode("utf-8", "replace"), address


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.5", False),
        ("example.org", False),
    ],
)
def test_only_loopback_needs_no_password(host, loopback):
    assert is_loopback(host) == loopback
    if loopback:
        check_access(host, "")
    else:
        with pytest.raises(UserError, match="set TRIPTYCH_PASSWORD, or leave --host out"):
            check_access(host, "")
        check_access(host, "long enough")
        with pytest.raises(UserError, match="it has 5 characters; choose one of at least 8"):
            check_access(host, "short")


def test_home_leads_to_the_language_of_the_browser(site):
    _, address = site
    for language, code in (("zh-CN,zh;q=0.9", "zh"), ("de,en;q=0.5", "en"), ("", "en")):
        status, _, url = ask(f"{address}/", **{"Accept-Language": language})
        assert (status, url) == (200, f"{address}/{code}/")
    assert json.loads(ask(f"{address}/zh/config")[1])["title"] == "Triptych：runs"
    assert json.loads(ask(f"{address}/en/config")[1])["title"] == "Triptych: runs"


FILES = [
    "{runs}/tiny/config.yaml",
    "{runs}/tiny/checkpoints/epoch-00006/ema.safetensors",
    "{runs}/tiny/record.jsonl",
    "/etc/passwd",
    "{runs}/tiny/../../outside.txt",
]


@pytest.mark.parametrize(
    "route", ["/{code}/gradio_api/file={path}", "/{code}/file={path}", "/{code}/static/{path}"]
)
def test_no_file_is_served_but_what_is_shown(site, route):
    runs, address = site
    for file in FILES:
        path = file.format(runs=runs)
        status, text, _ = ask(address + route.format(code="en", path=path))
        assert status in (403, 404), path
        assert "secret" not in text and "root:" not in text and "backbone" not in text


def test_others_names_and_sites_are_not_answered(site):
    _, address = site
    port = address.rpartition(":")[2]
    for headers in (
        {"Host": "evil.example"},
        {"Host": f"evil.example:{port}"},
        {"Origin": "http://evil.example"},
    ):
        assert ask(f"{address}/en/config", **headers)[0] == 403
    for headers in ({"Host": f"localhost:{port}"}, {"Host": "[::1]:7860"}, {"Origin": address}):
        assert ask(f"{address}/en/config", **headers)[0] == 200


def test_nothing_is_taken_in(site):
    _, address = site
    for path in ("gradio_api/upload", "upload", "gradio_api/upload/"):
        request = urllib.request.Request(f"{address}/en/{path}", data=b"x", method="POST")
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(request, timeout=20)
        assert error.value.code == 403
        error.value.close()


def test_it_ends_at_once_while_somebody_looks_and_leaves_nothing(runs, tmp_path):
    before, scratch = sorted(runs.rglob("*")), tmp_path / "scratch"
    with served(runs, scratch, signal.SIGINT) as address:
        assert ask(f"{address}/en/config")[0] == 200
        beat = urllib.request.urlopen(f"{address}/en/gradio_api/heartbeat/abc", timeout=20)
        assert beat.read(1)
        assert list(scratch.iterdir())
    beat.close()
    assert sorted(runs.rglob("*")) == before
    assert list(scratch.iterdir()) == []


def test_what_was_shown_long_ago_is_removed(tmp_path):
    (tmp_path / "deep").mkdir()
    for name, age in (("old.png", 100.0), ("deep/old.gif", 100.0), ("new.png", 1.0)):
        (tmp_path / name).write_bytes(b"")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    done = threading.Event()
    sweeper = threading.Thread(target=sweep, args=(tmp_path, done, 50.0, 0.01))
    sweeper.start()
    while (tmp_path / "old.png").exists() or (tmp_path / "deep" / "old.gif").exists():
        time.sleep(0.01)
    done.set()
    sweeper.join()
    assert (tmp_path / "new.png").exists()


def test_logins_are_tried_one_after_another_and_few_wait(monkeypatch):
    asleep, most, answers = 0, 0, []

    async def slept(seconds):
        nonlocal asleep, most
        assert seconds == server.LOGIN
        asleep += 1
        most = max(most, asleep)
        await asyncio.sleep(0.01)
        asleep -= 1

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})

    async def send(message):
        if "status" in message:
            answers.append(message["status"])

    async def ask(method):
        await gate({"type": "http", "path": "/en/login", "method": method, "headers": []}, None, send)

    async def all_at_once():
        await asyncio.gather(*(ask("POST") for _ in range(8)), ask("GET"))

    monkeypatch.setattr(server, "sleep", slept)
    gate = server.Gate(app, open_to_others=True)
    asyncio.run(all_at_once())
    assert most == 1
    assert answers == [429, 429, 429, 200, 200, 200, 200, 200, 200]  # the page itself waits for nobody


def test_with_a_password_nothing_is_told_without_it_nor_left_by_who_was_let_in(runs, tmp_path):
    scratch = tmp_path / "scratch"
    with served(runs, scratch, signal.SIGTERM, TRIPTYCH_PASSWORD="long enough") as address:
        for page in ("config", "gradio_api/info", "gradio_api/queue/data?session_hash=a"):
            status, text, _ = ask(f"{address}/en/{page}")
            assert status == 401 and "tiny" not in text
        login = urllib.request.Request(f"{address}/en/login", data=b"username=triptych&password=wrong+enough")
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(login)
        assert error.value.code == 400
        error.value.close()
        login = urllib.request.Request(f"{address}/en/login", data=b"username=triptych&password=long+enough")
        with urllib.request.urlopen(login) as answer:
            cookie = answer.headers["set-cookie"].split(";")[0]
        assert ask(f"{address}/en/config", Cookie=cookie)[0] == 200
        looking = urllib.request.Request(f"{address}/en/gradio_api/heartbeat/abc", headers={"Cookie": cookie})
        beat = urllib.request.urlopen(looking, timeout=20)
        assert beat.read(1)
    beat.close()
    assert list(scratch.iterdir()) == []


def test_mistakes_are_one_line(runs, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("TRIPTYCH_PASSWORD", raising=False)
    assert "there is no such folder; give the folder that runs lie in" in the_line(
        capsys, "serve", tmp_path / "x"
    )
    assert f"it is a run; give the folder that it lies in: {runs}" in the_line(capsys, "serve", runs / "tiny")
    assert "there is no such port" in the_line(capsys, "serve", runs, "--port", "70000")
    assert "there is no password" in the_line(capsys, "serve", runs, "--host", "0.0.0.0")
    with listening("127.0.0.1", 0) as bound:
        port = bound.getsockname()[1]
        assert "address already in use; choose another --port" in the_line(
            capsys, "serve", runs, "--port", port
        )
    monkeypatch.setattr("triptych.commands.serve.find_spec", lambda name: None)
    assert "gradio is not installed (extra `page`)" in the_line(capsys, "serve", runs, "--port", "0")
