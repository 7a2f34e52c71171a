"""The record on disk: nothing acknowledged is lost, nothing torn is believed, nothing broken is hidden."""

import json
import multiprocessing
import subprocess
import sys

import pytest

from triptych.errors import UserError
from triptych.record.events import HeldOut, Progress, Saved
from triptych.record.record import Record


def progress(epoch: float = 1.0) -> Progress:
    return Progress(epoch=epoch, loss=0.1, gradient_norm=1.0, learning_rate=1e-4, images_per_second=100.0)


@pytest.fixture
def record(tmp_path):
    record = Record(tmp_path / "record.jsonl")
    for step in range(3):
        record.append(progress(step), step=step, attempt=0, seconds=100.0 + step)
    return record


def test_events_come_back_in_order_and_typed(record):
    assert [event.step for event in record.events()] == [0, 1, 2]
    assert [event.data for event in record.events()] == [progress(0), progress(1), progress(2)]
    assert {event.kind for event in record.events()} == {"progress"}


def test_append_returns_what_is_read_back(record):
    event = record.append(HeldOut(epoch=2.0, mse=0.5, best=True, took=1.0), step=3, attempt=0)
    assert record.events()[-1] == event


def test_one_line_of_json_per_event_whatever_the_text(record):
    record.append(Saved(1.0, "epoch\n-\u2028é中\ud800", 1, 1.0, ()), step=3, attempt=0)
    lines = record.path.read_bytes().splitlines()
    assert len(lines) == 4
    assert [json.loads(line)["step"] for line in lines] == [0, 1, 2, 3]
    assert record.events()[-1].data.checkpoint == "epoch\n-\u2028é中\ud800"


def test_no_file_is_no_events(tmp_path):
    assert Record(tmp_path / "record.jsonl").events() == ()
    assert list(tmp_path.iterdir()) == []


def test_a_crash_at_any_byte_of_the_last_line_loses_at_most_that_event(record):
    whole = record.path.read_bytes()
    start = whole[:-1].rfind(b"\n") + 1
    for length in range(start, len(whole) + 1):
        record.path.write_bytes(whole[:length])
        survivors = 3 if length >= len(whole) - 1 else 2  # without its newline the line is still complete
        assert [event.step for event in record.events()] == list(range(survivors))
        record.append(progress(9.0), step=9, attempt=1, seconds=200.0)
        assert [event.step for event in record.events()] == [*range(survivors), 9]
        assert record.path.read_bytes().startswith(whole[:start])


def test_a_torn_line_longer_than_one_block_is_cut_off(record):
    whole = record.path.read_bytes()
    record.path.write_bytes(whole + b'{"kind": "' + b"x" * 200_000)
    record.append(progress(), step=4, attempt=0)
    assert [event.step for event in record.events()] == [0, 1, 2, 4]


def test_zeros_that_a_file_system_left_after_a_power_cut_are_cut_off(record):
    record.path.write_bytes(record.path.read_bytes() + b"\0" * 4096)
    assert len(record.events()) == 3
    record.append(progress(), step=4, attempt=0)
    assert b"\0" not in record.path.read_bytes()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"kind": "progress", "st', "line 2: this is no JSON"),
        (b"", "line 2: this is no JSON"),
        (b"[1]", "line 2: this is no JSON object"),
        (b'{"kind": "progress"}', "line 2: the field 'step' is missing"),
        (
            b'{"kind": "danced", "step": 1, "attempt": 0, "seconds": 1, "data": {}}',
            "the kind 'danced' is unknown",
        ),
        (
            b'{"kind": "progress", "step": 1, "attempt": 0, "seconds": 1, "data": {"epoch": 1}}',
            "progress: the field 'loss' is missing",
        ),
        (b'{"kind": "progress", "step": 1, "attempt": 0, "seconds": NaN, "data": {}}', "NaN is not JSON"),
    ],
)
def test_a_broken_line_in_the_middle_is_an_error_that_names_file_and_line(record, line, message):
    lines = record.path.read_bytes().split(b"\n")
    record.path.write_bytes(b"\n".join([lines[0], line, *lines[2:]]))
    with pytest.raises(UserError) as caught:
        record.events()
    assert message in str(caught.value)
    assert str(record.path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_complete_last_line_of_unknown_kind_is_not_taken_for_torn(record):
    stranger = b'{"kind": "danced", "step": 1, "attempt": 0, "seconds": 1, "data": {}}'
    record.path.write_bytes(record.path.read_bytes() + stranger)
    with pytest.raises(UserError, match="line 4: the kind 'danced'"):
        record.events()


def test_what_cannot_be_encoded_leaves_the_file_as_it_was(record):
    before = record.path.read_bytes()
    with pytest.raises(TypeError, match=r"progress\.loss"):
        record.append(progress().__class__(1.0, "low", 1.0, 1.0, 1.0), step=4, attempt=0)
    assert record.path.read_bytes() == before


def _append_many(path, attempt):
    for step in range(40):
        Record(path).append(progress(), step=step, attempt=attempt)


def test_processes_may_append_at_the_same_time(tmp_path):
    path = tmp_path / "record.jsonl"
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_append_many, args=(path, number)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    events = Record(path).events()
    for number in range(4):
        assert [event.step for event in events if event.attempt == number] == list(range(40))


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no record\.jsonl in it"):
        Record.of_run(tmp_path)
    with pytest.raises(UserError, match="there is no such folder"):
        Record.of_run(tmp_path / "absent")


def test_reading_records_loads_neither_torch_nor_pictures():
    code = "import sys, triptych.record.record as r; print({'torch', 'PIL', 'numpy'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"
