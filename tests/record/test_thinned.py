"""Thinned records: what they average is true, what they keep is whole, and no copy is believed blindly."""

import math
import random
from dataclasses import replace

import pytest
from report.synthetic_run import RunWriter

from triptych.errors import UserError
from triptych.record import thinned as module
from triptych.record.events import Device, Event, HeldOut, Progress, Resumed
from triptych.record.record import Record
from triptych.record.thinned import copy_of, thin, thinned


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("triptych.record.record.os.fsync", lambda descriptor: None)


def progress(step: int, loss: float, attempt: int = 0, **more) -> Event:
    figures = Progress(step / 10, loss, 2 * loss, 1e-4, 100.0)
    return Event("progress", step, attempt, float(step), replace(figures, **more))


def figures(events) -> list[Progress]:
    return [event.data for event in events if isinstance(event.data, Progress)]


def test_few_figures_stay_as_they_are():
    events = [progress(step, 1.0) for step in range(1, 21)]
    assert thin(events, 10) == events


def started(step: int, attempt: int) -> Event:
    resumed = Resumed("", (), {}, Device("V100", 1, 1), {}, 5000)
    return Event("resumed", step, attempt, 0.0, resumed)


def mean(events) -> float:
    """Return the mean loss over the steps of one attempt that begins at step 1000."""
    at = [event.step for event in events if isinstance(event.data, Progress)]
    widths = [b - a for a, b in zip([1000, *at], at, strict=False)]
    return sum(x.loss * n for x, n in zip(figures(events), widths, strict=True)) / sum(widths)


@pytest.mark.parametrize("pieces", [1, 7, 400])
def test_the_mean_over_steps_is_kept_and_counts_are_added_up_however_often_it_is_read(pieces):
    draws = random.Random(0)
    steps = sorted(draws.sample(range(1001, 5000), 400))
    raw = [progress(s, draws.random() + 9 * (s < 1500), spikes=1, not_finite=2) for s in steps]
    found = [started(1000, 0)]
    for i in range(pieces):
        found = thin(found + raw[i * 400 // pieces : (i + 1) * 400 // pieces], 20)
    kept = figures(found)
    assert 20 <= len(kept) <= 45
    assert mean(found) == pytest.approx(mean(raw))
    assert kept[0].loss > 8, "the start of the curve stands"
    assert [data.gradient_norm for data in kept] == pytest.approx([2 * data.loss for data in kept])
    assert (sum(d.spikes for d in kept), sum(d.not_finite for d in kept)) == (400, 800)
    assert found[-1].step == steps[-1]


def test_what_is_no_number_spoils_no_mean():
    events = [progress(step, math.nan if step % 2 else 3.0) for step in range(1, 101)]
    assert [data.loss for data in figures(thin(events, 10))] == [3.0] * len(thin(events, 10))
    nothing = thin([progress(step, math.nan) for step in range(1, 101)], 10)
    assert all(math.isnan(data.loss) for data in figures(nothing))


def test_attempts_are_never_mixed_and_all_else_is_whole():
    first = [progress(step, 1.0) for step in range(1, 101)]
    second = [progress(step, 9.0, attempt=1) for step in range(51, 151)]
    marks = [Event("held-out", step, 0, 0.0, HeldOut(step / 10, 1.0, True, 0.1)) for step in (25, 75)]
    events = [*first[:25], marks[0], *first[25:75], marks[1], *first[75:], *second]
    found = thin(events, 10)
    assert [event for event in found if event.kind == "held-out"] == marks
    assert {data.loss for data in figures(found)} == {1.0, 9.0}
    assert [event.step for event in found if event.attempt == 0][-1] == 100


def test_a_record_that_grows_is_read_from_where_the_copy_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST", 10)
    run = RunWriter(tmp_path / "run", epochs=2000)
    run.train(range(1, 301))
    whole = thinned(run.record.path)
    decoded = []
    monkeypatch.setattr(
        module, "decode_line", lambda line, true=module.decode_line: decoded.append(line) or true(line)
    )
    assert thinned(run.record.path).events == whole.events
    again = len(decoded)
    run.train(range(301, 304))
    grown = thinned(run.record.path)
    assert len(decoded) == 2 * again  # of the copy alone: the three new ones go by the short way
    assert grown.events[-1].step == Record(run.record.path).events()[-1].step
    run.resume(150)
    history = thinned(run.record.path)
    assert isinstance(history.events[-1].data, Resumed)
    assert history.attempts[-1].first_step == Record(run.record.path).history().attempts[-1].first_step
    truth = Record(run.record.path).history()
    assert history.of_kind(HeldOut) == truth.of_kind(HeldOut) and history.origin == truth.origin


def test_the_short_way_reads_what_the_long_one_does(tmp_path):
    run = RunWriter(tmp_path / "run", epochs=100)
    run.train(range(1, 51))
    run.append(Progress(51.0, math.nan, math.inf, 1e-4, 100.0, 1, 2, 3), 51)
    told, truth = thinned(run.record.path).events, Record(run.record.path).events()
    assert [str(event) for event in told] == [str(event) for event in truth]


@pytest.mark.parametrize("harm", ["other record", "middle", "cut", "flipped", "emptied", "layout", "text"])
def test_a_copy_of_something_else_is_made_anew(tmp_path, harm, monkeypatch):
    run = RunWriter(tmp_path / "run", epochs=100)
    run.train(range(1, 51))
    thinned(run.record.path)
    copy = copy_of(run.record.path)
    data = copy.read_bytes()
    if harm == "other record":
        run.record.path.unlink()
        other = RunWriter(tmp_path / "other", epochs=100, backbone="unet")
        other.train(range(1, 71))
        other.record.path.rename(run.record.path)
    elif harm == "middle":
        run.record.path.write_bytes(run.record.path.read_bytes().replace(b'"epoch": 25.0', b'"epoch": 26.0'))
    elif harm == "cut":
        copy.write_bytes(data[: len(data) // 2])
    elif harm == "flipped":
        copy.write_bytes(data.replace(b"0.03", b"0.04"))
    elif harm == "emptied":
        copy.write_bytes(b"")
    elif harm == "layout":
        monkeypatch.setattr(module, "LAYOUT", 99)
    else:
        copy.write_bytes(b'{"read": "all"}\nnonsense')
    assert thinned(run.record.path).events == Record(run.record.path).events()
    assert copy.read_bytes() == data or harm in ("other record", "middle", "layout")


def test_a_line_that_is_being_written_is_left_for_the_next_time(tmp_path):
    run = RunWriter(tmp_path / "run", epochs=100)
    run.train(range(1, 11))
    whole = run.record.path.read_bytes()
    run.record.path.write_bytes(whole[:-20])
    assert len(thinned(run.record.path).events) == len(whole.splitlines()) - 1
    run.record.path.write_bytes(whole)
    assert thinned(run.record.path).events == Record(run.record.path).events()
    run.record.path.write_bytes(whole[:-1])  # only its end is missing
    assert thinned(run.record.path).events == Record(run.record.path).events()


@pytest.mark.parametrize(
    "line",
    ["nonsense", '{"kind": "progress"}', '{"kind": "progress", "data": 5}', '{"kind": "progress", "da'],
)
def test_a_broken_line_is_told_and_nothing_is_kept(tmp_path, line):
    run = RunWriter(tmp_path / "run", epochs=100)
    with run.record.path.open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(UserError, match=r"reading .*record\.jsonl"):
        thinned(run.record.path)
    assert not copy_of(run.record.path).exists()


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path / "file"))
    run = RunWriter(tmp_path / "run", epochs=100)
    run.train(range(1, 11))
    assert thinned(run.record.path).events == Record(run.record.path).events()
