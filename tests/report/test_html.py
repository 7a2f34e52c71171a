"""The page: whole in one file, true to the document, and safe whatever a record says."""

import base64
import re
import time
from html.parser import HTMLParser

import pytest
from commands.command_line import say
from PIL import Image
from report.synthetic_run import RunWriter, fid
from report.test_report import tables

from triptych.errors import UserError
from triptych.report.document import (
    Command,
    Document,
    Heading,
    Items,
    Note,
    Paragraph,
    Picture,
    Pictures,
    Strong,
    Table,
)
from triptych.report.html import html
from triptych.report.language import Language
from triptych.report.report import report

VOID = {"meta", "img", "br"}
HOSTILE = '<script>alert("x")</script> & \' "'


class Page(HTMLParser):
    """The elements of a page; refuses tags that are not closed in order."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict]] = []
        self.rows: list[list[str]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data.replace("\u00a0", " ")
        if "style" not in self.open:
            self.texts.append(data)

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.elements if name == tag]


def page(*blocks, pixels=lambda path: None, language="en", title="A title", **options) -> tuple[str, Page]:
    document = Document("2026-01-02 03:04:05", ("digits",), title, blocks)
    text = html(document, Language(language), pixels, **options)
    return text, Page(text)


@pytest.fixture
def run(tmp_path) -> RunWriter:
    run = RunWriter(tmp_path / "runs" / "dim", epochs=100)
    run.train(range(50, 101, 50))
    run.sample(100, "ddim:50", 2.0)
    run.evaluate(100, (fid(9.0),))
    run.evaluate(50, (fid(9.5),), guidance=1.5)
    return run


def test_everything_is_inside_and_nothing_is_fetched(run, tmp_path, true_pictures):
    (run.folder / "samples").mkdir()
    Image.new("L", (4, 4)).save(run.folder / "samples" / "epoch-00100 ddim-50.png")
    markdown, file = report([run.folder], tmp_path / "out")
    found = Page(file.read_text(encoding="utf-8"))
    assert not [tag for tag, _ in found.elements if tag in ("script", "link", "iframe", "object", "base")]
    sources = [image["src"] for image in found.all("img")]
    assert len(sources) == 2 and all(source.startswith("data:image/png;base64,") for source in sources)
    curves = (tmp_path / "out" / "EXPERIMENTS-assets" / "dim-curves.png").read_bytes()
    assert base64.b64encode(curves).decode() in file.read_text().replace("data:image/png;base64,", "")
    assert not re.search(r"url\(|@import|https?:", file.read_text())
    assert not [key for _, attributes in found.elements for key in attributes if key.startswith("on")]
    assert markdown.suffix == ".md"


def test_the_page_holds_the_tables_of_the_markdown(run, tmp_path):
    for language in ("en", "zh"):
        markdown, file = report([run.folder], tmp_path, language)
        found = Page(file.read_text(encoding="utf-8"))
        assert found.all("html") == [{"lang": {"en": "en", "zh": "zh-CN"}[language]}]
        told = [
            line
            for table in tables(markdown.read_text(encoding="utf-8"))
            for line in [list(table[0]), *(list(row.values()) for row in table)]
        ]
        assert [[cell.replace("*", "") for cell in row] for row in found.rows] == told
        assert len(told) > 20


def test_contents_lead_to_every_chapter_and_model(run, tmp_path):
    found = Page(report([run.folder], tmp_path)[1].read_text())
    anchors = [attributes["id"] for _, attributes in found.elements if "id" in attributes]
    links = [link["href"] for link in found.all("a")]
    assert links == ["#section-1", "#section-1.1", "#section-1.2"]
    assert len(anchors) == len(set(anchors)) and {link[1:] for link in links} < set(anchors)


def test_a_page_alone_leaves_nothing_beside_it(run, tmp_path, true_pictures):
    whole = report([run.folder], tmp_path / "both")[1].read_bytes()
    assert report([run.folder], tmp_path / "alone" / "mail.html") == [tmp_path / "alone" / "mail.html"]
    assert [path.name for path in (tmp_path / "alone").iterdir()] == ["mail.html"]
    assert (tmp_path / "alone" / "mail.html").read_bytes() == whole
    assert report([run.folder], tmp_path / "text" / "log.md") == [tmp_path / "text" / "log.md"]
    assert sorted(path.name for path in (tmp_path / "text").iterdir()) == ["log-assets", "log.md"]


def test_nothing_that_a_record_says_becomes_markup():
    blocks = (
        Heading(1, f"1. {HOSTILE}"),
        Paragraph(HOSTILE),
        Note(HOSTILE),
        Items((HOSTILE,)),
        Table((HOSTILE,), ((Strong(HOSTILE),), (HOSTILE,))),
        Pictures((Picture(HOSTILE, HOSTILE),), 100),
        Command(HOSTILE),
    )
    text, found = page(*blocks, title=HOSTILE, pixels=lambda path: b"\x89PNG\r\n\x1a\n")
    assert "<script" not in text
    assert "".join(found.texts).count(HOSTILE) == 11  # the title twice, a heading in the contents too
    (image,) = found.all("img")
    assert image["alt"] == HOSTILE


@pytest.mark.parametrize(
    "data", [None, b"", b"root:x:0:0:root", b"<svg onload=alert(1)>", b"RIFF....WEBP", b"GIF9"]
)
def test_only_what_is_a_picture_is_shown_as_one(data):
    text, found = page(Pictures((Picture("../../etc/passwd", "a grid"),), 100), pixels=lambda path: data)
    assert found.all("img") == []
    assert "There is no picture in ../../etc/passwd" in "".join(found.texts)
    assert not data or base64.b64encode(data).decode() not in text


@pytest.mark.parametrize("form", ["PNG", "GIF", "JPEG"])
def test_every_kind_of_picture_is_shown_in_its_kind(form, tmp_path):
    Image.new("L", (2, 3)).save(tmp_path / "picture", form)
    data = (tmp_path / "picture").read_bytes()
    _, found = page(Pictures((Picture("picture", "it"),), 100), pixels=lambda path: data)
    kind, encoded = found.all("img")[0]["src"].split(";base64,")
    assert (kind, base64.b64decode(encoded)) == (f"data:image/{form.lower()}", data)


@pytest.mark.parametrize("name", ["EXPERIMENTS.html", "EXPERIMENTS.md"])
def test_files_of_another_kind_are_never_written_over(run, tmp_path, name):
    (tmp_path / name).write_text("<!doctype html>\n<p>mine")
    with pytest.raises(UserError, match="a file of another kind is there"):
        report([run.folder], tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.suffix] == [name]
    assert (tmp_path / name).read_text().endswith("mine")


@pytest.mark.parametrize("name", ["log.pdf", "log.txt", "log.HTM"])
def test_what_it_cannot_be_written_as_is_told(run, tmp_path, name):
    with pytest.raises(UserError, match=r"it cannot be written as \.\w+; end it in \.md or \.html"):
        report([run.folder], tmp_path / name)


def test_a_post_of_the_users_own_is_never_written_over_and_older_reports_are(run, tmp_path):
    post = tmp_path / "EXPERIMENTS.md"
    post.write_text("---\ndate: 2026-01-01 00:00:00\ntags:\n  - mine\n---\n\n# Mine\n")
    with pytest.raises(UserError, match="a file of another kind is there"):
        report([run.folder], tmp_path)
    tags = "  - digits\n  - diffusion\n  - experiments\n"
    post.write_text(f"---\ndate: 2026-01-01 00:00:00\ntags:\n{tags}---\n")
    assert report([run.folder], tmp_path)[0] == post


def test_a_picture_outside_of_the_folders_of_runs_is_not_taken_in(run, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    secret = tmp_path / "elsewhere" / "secret.png"
    Image.new("L", (3, 3)).save(secret)
    (run.folder / "samples").mkdir()
    (run.folder / "samples" / "epoch-00100 ddim-50.png").symlink_to(secret)
    text = report([run.folder], tmp_path / "out" / "mail.html")[0].read_text()
    assert base64.b64encode(secret.read_bytes()).decode() not in text
    assert "There is no picture in" in text


def test_watching_writes_again_when_a_record_has_grown_and_last_without_reloading(
    run, tmp_path, capsys, monkeypatch
):
    looks = []

    def look(seconds: float) -> None:
        page = (tmp_path / "EXPERIMENTS.html").read_text()
        assert '<meta http-equiv="refresh" content="15">' in page
        looks.append("9.250" in page)
        if len(looks) == 2:
            run.evaluate(100, (fid(9.25),), guidance=4.0)
        if len(looks) == 4:
            run.folder.rename(run.folder.with_name("moved"))
        if len(looks) == 5:
            run.folder.with_name("moved").rename(run.folder)
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", look)
    monkeypatch.chdir(tmp_path)
    assert say("report", run.folder, "--watch") == 0
    assert looks == [False, False, True, True, True]
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["EXPERIMENTS.md", "EXPERIMENTS.html", "kept fresh until Ctrl-C"]
    assert len(lines) == 5 and re.fullmatch(r"written again at \d\d:\d\d:\d\d", lines[3])
    assert re.match(r"not written at \d\d:\d\d:\d\d: the run .*: there is no such folder", lines[4])
    page = (tmp_path / "EXPERIMENTS.html").read_text()
    assert "9.250" in page and "http-equiv" not in page
