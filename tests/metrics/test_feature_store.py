"""Features on disk: whatever cuts their writing off, what is there is what was measured."""

import errno
import json
import os

import pytest
import torch

from triptych.errors import UserError
from triptych.metrics.feature_store import JOURNAL, FeatureStore, Spent

WIDTHS = {"a.features": 3, "a.log_probs": 2}
COUNT, BATCH = 10, 4


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "evaluations" / "row"


def store(folder, **changed) -> FeatureStore:
    asked = {"widths": WIDTHS, "count": COUNT, "batch_size": BATCH, "identity": "of a test"} | changed
    return FeatureStore(folder, **asked)


def rows(place) -> dict:
    index = torch.tensor(list(place), dtype=torch.float32)[:, None]
    return {"a.features": index + torch.tensor([0.0, 0.1, 0.2]), "a.log_probs": -index * torch.ones(2)}


def written(folder, *batches) -> FeatureStore:
    kept = store(folder)
    for batch in batches:
        kept.write(batch, rows(kept.place(batch)), Spent(1.0, 0.5, 2))
    return kept


def assert_whole(kept):
    expected = rows(range(COUNT))
    assert kept.rows().keys() == expected.keys()
    for name, values in kept.rows().items():
        assert torch.equal(values, expected[name])


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_batches_in_any_order_give_all_rows(folder, order):
    kept = written(folder, *order)
    assert kept.missing == []
    assert_whole(kept)
    again = store(folder)
    assert again.read() == []
    assert_whole(again)
    assert again.spent == kept.spent == dict.fromkeys(range(3), Spent(1.0, 0.5, 2))


def test_what_is_missing_is_known_after_a_kill(folder):
    written(folder, 1)
    again = store(folder)
    assert again.missing == [0, 1, 2]  # nothing is known before it was read
    assert again.read() == [0, 2]
    for batch in (0, 2):
        again.write(batch, rows(again.place(batch)))
    assert_whole(again)


@pytest.mark.parametrize("kept", range(1, 60, 7))
def test_a_line_of_the_journal_that_was_cut_off_spoils_no_other(folder, kept):
    written(folder, 0, 1)
    journal = folder / JOURNAL
    whole = journal.read_bytes()
    journal.write_bytes(whole[: whole.rindex(b"\n") + kept])
    again = store(folder)
    assert again.read() == [1, 2]
    for batch in (1, 2):
        again.write(batch, rows(again.place(batch)))
    last = store(folder)
    assert last.read() == []
    assert_whole(last)


@pytest.mark.parametrize("name", WIDTHS)
def test_rows_that_were_tampered_with_are_measured_again(folder, name):
    written(folder, 0, 1, 2)
    file = folder / f"{name}.f32"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    again = store(folder)
    with pytest.warns(UserWarning, match="are not as they were written: measuring them anew"):
        assert again.read() == [2]
    again.write(2, rows(again.place(2)))
    assert_whole(again)


def test_a_journal_of_nonsense_is_no_obstacle(folder):
    written(folder, 0)
    with (folder / JOURNAL).open("ab") as journal:
        journal.write(b"\n[]\n{}\n" + json.dumps({"batch": 99, "sha256": "0"}).encode() + b"\n\xff")
    again = store(folder)
    with pytest.warns(UserWarning, match="1 of its batches"):
        assert again.read() == [1, 2]


@pytest.mark.parametrize(
    "changed", [{"identity": "of another"}, {"count": 11}, {"batch_size": 5}, {"widths": {"a.features": 3}}]
)
def test_what_another_row_left_is_removed(folder, changed):
    written(folder, 0, 1, 2)
    other = store(folder, **changed)
    assert 0 in other.read()
    assert not folder.exists()


def test_a_full_disk_is_told_and_what_is_there_stays(folder, monkeypatch):
    kept = written(folder, 0)

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(UserError, match=f"{os.strerror(errno.ENOSPC)}; mend that, and give the same"):
            kept.write(1, rows(kept.place(1)))
    assert kept.missing == [1, 2]
    assert store(folder).read() == [1, 2]
    for batch in (1, 2):
        kept.write(batch, rows(kept.place(batch)))
    assert_whole(kept)


def test_a_store_goes_without_a_trace(folder):
    other = written(folder.with_name("other"), 0)
    written(folder, 0).remove()
    assert other.folder.exists()
    other.remove()
    assert not folder.parent.exists()


def test_a_spoilt_plan_begins_the_store_anew(tmp_path):
    """As a power cut may leave it: the row must be able to end."""
    rows = {"features": torch.rand(4, 3)}
    first = FeatureStore(tmp_path / "s", {"features": 3}, 6, 4, "x")
    first.write(0, rows)
    (tmp_path / "s" / "plan.json").write_text("")
    again = FeatureStore(tmp_path / "s", {"features": 3}, 6, 4, "x")
    assert again.read() == [0, 1]
    again.write(0, rows)
    again.write(1, {"features": torch.rand(2, 3)})
    assert FeatureStore(tmp_path / "s", {"features": 3}, 6, 4, "x").read() == []


def test_a_store_that_is_removed_in_the_middle_is_not_taken_for_measured(tmp_path):
    store = FeatureStore(tmp_path / "s", {"features": 3}, 6, 4, "x")
    store.write(0, {"features": torch.rand(4, 3)})
    FeatureStore(tmp_path / "s", {"features": 3}, 6, 4, "x").remove()
    with pytest.raises(UserError, match="give the same command again"):
        store.write(1, {"features": torch.rand(2, 3)})
    assert FeatureStore(tmp_path / "s", {"features": 3}, 6, 4, "x").read() == [0, 1]
