"""A log that was kept by hand, entered figure by figure and reported again, says what it said.

`experiment_log.zh.md` holds the tables of the log, `experiment_log.yaml` its figures. One parser reads the
tables of the log and those of the report; all that is put in one form are durations (to a tenth of a
second), `±`, and blanks.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from report.test_report import write

from triptych.commands.import_transcripts import enter

LOG = Path(__file__).with_name("experiment_log.zh.md")
FIGURES = LOG.with_name("experiment_log.yaml")
NAMES = ("cifar10-dim", "cifar10-unet-cfg", "cifar10-dim-cfg", "cifar10-dit-cfg")
SECTION = re.compile(r"#+ ([\d.]+) (.*)")
DURATION = re.compile(r"(?:([\d.]+) ?h)? ?(?:([\d.]+) ?m)? ?(?:([\d.]+) ?s)?")
PART = re.compile(r"(大概)? ?([\d.hms ]+)（(前|后|最后训练到) ?(\d+) ?轮(，断点续训)?）")
CALLED = {
    "GPU": "硬件",
    "采样 CFG": "采样 CFG",
    "FID $\\downarrow$": "FID ↓",
    "IS $\\uparrow$": "IS ↑",
    "LPIPS_diversity $\\uparrow$": "LPIPS 多样性 → 真实",
}
"""Columns of the log that the report calls otherwise."""


@dataclass
class Section:
    """What stands under one heading."""

    title: str
    table: list[dict[str, str]] = field(default_factory=list)
    items: list[str] = field(default_factory=list)
    text: list[str] = field(default_factory=list)


def sections(text: str) -> dict[str, Section]:
    """Return the sections of a report or a log, by number; of several tables the first."""
    found: dict[str, Section] = {}
    section, rows = Section(""), []
    for line in [*text.splitlines(), "# end"]:
        if not line.startswith("|") and rows:
            if not section.table:
                columns, _, *cells = [
                    [cell.strip(" *") for cell in row.strip("|").split("|")] for row in rows
                ]
                section.table = [dict(zip(columns, row, strict=True)) for row in cells]
            rows = []
        if match := SECTION.match(line):
            section = found[match[1].rstrip(".")] = Section(match[2].replace(" ", ""))
        elif line.startswith("|"):
            rows.append(line)
        elif line.startswith("- "):
            section.items.append(line[2:].replace(" ", ""))
        elif line and not line.startswith(("#", "<", " ")):
            section.text.append(line.replace("\\", ""))
    return found


def seconds(text: str) -> float:
    match = DURATION.fullmatch(text.strip())
    assert match and any(match.groups()), text
    hours, minutes, rest = (float(part or 0) for part in match.groups())
    return round(3600 * hours + 60 * minutes + rest, 1)


def total(text: str) -> list[tuple[bool, float, int | None]]:
    """Return the parts of a total time: whether about, seconds, epochs added (None: all)."""
    parts, done = [], 0
    for about, took, kind, number, _ in PART.findall(text):
        epochs = int(number) - done if kind == "最后训练到" else int(number)
        done += epochs
        parts.append((bool(about), seconds(took), epochs))
    return parts or [(False, seconds(text), None)]


def plain(text: str) -> str:
    """Return a cell with one form of blanks and of `±`: `7.810 (± 0.190)` is `7.81(±0.19)`."""
    joined = text.replace(" ", "")
    return re.sub(r"\d+\.\d+", lambda number: f"{float(number[0]):g}", joined)


def value(column: str, text: str) -> object:
    if column == "总耗时（训+采）":
        return total(text)
    return seconds(text) if "耗时" in column else plain(text)


def checkpoint(text: str) -> tuple[str | None, bool, float | None]:
    """Return the epoch of a row's name, whether it has the lowest MSE, and its guidance scale."""
    text = text.replace(" ", "")
    epoch, scale = re.search(r"训练(\d+)轮(?!中)", text), re.search(r"CFG=([\d.]+)", text)
    return epoch and epoch[1], "MSE最低" in text, float(scale[1]) if scale else None


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> dict[str, Section]:
    folder = tmp_path_factory.mktemp("log")
    enter(FIGURES, folder / "runs")
    return sections(write([folder / "runs" / name for name in NAMES], folder, "zh"))


@pytest.fixture(scope="module")
def log() -> dict[str, Section]:
    return sections(LOG.read_text(encoding="utf-8"))


def test_the_report_has_every_section_of_the_log_at_its_place(log, report):
    assert len(log) == 27
    for number, section in log.items():
        assert report[number].title.startswith(section.title)


def test_every_row_and_column_of_the_overviews_is_there(log, report):
    for number in ("1.1", "2.1"):
        assert len(report[number].table) == len(log[number].table)
        for logged, told in zip(log[number].table, report[number].table, strict=True):
            for column, cell in logged.items():
                assert value(column, told[CALLED.get(column, column)]) == value(column, cell)


@pytest.mark.parametrize("number", ["1.2.1", "2.2.1", "2.3.1", "2.4.1"])
def test_every_line_on_training_is_there(number, log, report):
    told = {row["项目"]: row["数值"] for row in report[number].table}
    assert len(log[number].table) >= 11
    for row in log[number].table:
        item = CALLED.get(row["项目"], row["项目"])
        cell = told[item].removesuffix("（训练中采样所用）")
        assert value(item, cell) == value(item, row["数值"])


@pytest.mark.parametrize("number", ["2.2.2.1", "2.3.2.1", "2.4.2.1"])
def test_every_line_on_sampling_is_there(number, log, report):
    assert len(log[number].table) == 2
    for logged, told in zip(log[number].table, report[number].table, strict=True):
        for column, cell in logged.items():
            assert value(column, told[column]) == value(column, cell)


def test_the_pictures_of_unconditional_samples_and_their_number_are_there(log, report):
    assert log["1.2.2"].text == ["1024张图片："]
    text = report["1.2.2.2"].text
    assert text == ["1,024 张图片，DDPM："]


@pytest.mark.parametrize("number", ["2.2.2.2", "2.3.2.2", "2.4.2.2"])
def test_captions_say_which_picture_is_which(number, log, report):
    (logged,), (told,) = log[number].text, report[number].text
    assert told.replace("，CFG 3", "") == logged


def test_the_gif_is_there(log, report):
    assert log["2.2.2.3"].text and "DDIM 50 步" in report["2.2.2.3"].text[0]
    assert {number for number, section in report.items() if section.title.endswith("动画")} == {"2.2.2.3"}


@pytest.mark.parametrize("number", ["1.2.3", "2.2.3", "2.3.3", "2.4.3"])
def test_every_evaluated_figure_is_there(number, log, report):
    logged, told = log[number].table, report[number].table
    assert len(told) == len(logged)
    rows = {}
    for row in told:
        scale = float(row["采样 CFG"]) if "采样 CFG" in row else None
        epoch, lowest, _ = checkpoint(row["存档"])
        rows[epoch, lowest, scale] = row
    for row in logged:
        name, *figures = row.values()
        found = rows.pop(checkpoint(name))
        for column, cell in zip(list(row)[1:], figures, strict=True):
            column = CALLED.get(column, column)
            assert value(column, found[column]) == value(column, cell)
    assert rows == {}


@pytest.mark.parametrize("number", ["1.2.3", "2.2.3", "2.3.3", "2.4.3"])
def test_hardware_test_set_and_batch_size_of_evaluations_are_there(number, log, report):
    hardware, images, batch = log[number].items
    name, present = re.fullmatch(r"硬件：单卡(.*)（(\d)卡机其中1卡）", hardware).groups()
    told = report[number].items
    assert f"硬件：{name}×{present}（用1）" in told
    assert images == "测试集：CIFAR-10，32×32，10,000张" and "参考集：cifar10/test，32×32，10,000张" in told
    assert batch == "Batchsize：512" and batch in told


def test_the_parser_tells_apart_what_differs():
    assert total("大概36h（前4169轮） + 1h 2.0m 3.04s（最后训练到20000轮，断点续训）") == [
        (True, 129600.0, 4169),
        (False, 3723.0, 15831),
    ]
    assert value("单轮耗时", "1m 17 s") == value("单轮耗时", "1m 17.0s") != value("单轮耗时", "1m 17.2s")
    assert plain("7.810 (± 0.190)") == plain("7.810 (±0.190)") != plain("7.811 (±0.190)")
