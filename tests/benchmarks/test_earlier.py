"""Two sessions held against each other."""

import copy
import json

import pytest

from benchmarks.earlier import check, compared, read
from triptych.commands.bench import BenchOptions
from triptych.errors import UserError

MACHINE = {"hardware": "a processor", "threads": "2", "torch": "2.13", "kernels": "AVX2", "dtype": "float32"}
MACHINE |= {"allocator": "as it is", "quick": "no"}


def session(low, high, **machine):
    ratio = {"median": (low + high) / 2, "interval": {"low": low, "high": high, "confidence": 0.96}}
    variants = [{"name": "ours"}, {"name": "theirs", "ratio": ratio}]
    comparison = {"title": "a step", "batch": 16, "variants": variants}
    return {"machine": MACHINE | machine, "cases": {"a-case": {"comparisons": [comparison]}}}


@pytest.mark.parametrize(
    ("now", "verdict"),
    [((1.3, 1.4), "higher"), ((0.7, 0.9), "lower"), ((1.1, 1.4), "not told apart")],
)
def test_intervals_decide(now, verdict):
    _, line, *_ = compared(session(1.0, 1.2), session(*now)).splitlines()
    assert "a-case, a step, batch 16: theirs" in line
    assert "1.100 (1.000 to 1.200)" in line
    assert line.endswith(verdict)


def test_too_few_rounds_decide_nothing():
    old = session(1.0, 1.2)
    new = copy.deepcopy(old)
    new["cases"]["a-case"]["comparisons"][0]["variants"][1]["ratio"]["interval"] = None
    assert "too few rounds" in compared(old, new)


def test_another_machine_is_said():
    told = compared(session(1.0, 1.2), session(1.0, 1.2, hardware="another"))
    assert "measured with another hardware: a processor, now another" in told
    assert "measured with another" not in compared(session(1.0, 1.2), session(1.0, 1.2))


def test_another_release_of_a_peer_is_said():
    old, new = session(1.0, 1.2), session(1.0, 1.2)
    for one, release in ((old, "release 1"), (new, "release 2")):
        one["cases"]["a-case"]["comparisons"][0]["variants"][1]["note"] = release
    assert "measured against another theirs: release 1, now release 2" in compared(old, new)
    assert "measured against another" not in compared(old, old)


def test_nothing_in_common_is_said():
    new = session(1.0, 1.2)
    new["cases"]["another-case"] = new["cases"].pop("a-case")
    assert compared(session(1.0, 1.2), new) == "no figure of this session is in the earlier one"


def test_a_file_is_read_as_it_was_written(tmp_path):
    file = tmp_path / "told.json"
    file.write_text(json.dumps(session(1.0, 1.2)))
    assert read(file) == session(1.0, 1.2)


BAD_FIGURE = json.dumps(session(1.0, 1.2)).replace("1.1", '"x"')


@pytest.mark.parametrize(
    "text", [BAD_FIGURE, "", "[]", "3", "{}", '{"cases": {"one": {}}}', '{"cases": {}, "machine": 3}']
)
def test_another_file_is_refused(text, tmp_path):
    file = tmp_path / "told.json"
    file.write_text(text)
    with pytest.raises(UserError, match="no file of measurements"):
        read(file)


def test_what_cannot_be_held_against_it_is_told_before_anything_is_measured():
    held = {**session(1.0, 1.2), "machine": MACHINE}
    check(held, {"a-case": [], "another": []}, BenchOptions())
    with pytest.raises(UserError, match="it was measured in full size, and this session in tiny sizes"):
        check(held, {"a-case": []}, BenchOptions(quick=True))
    with pytest.raises(UserError, match="it has other cases: a-case"):
        check(held, {"another": []}, BenchOptions())
