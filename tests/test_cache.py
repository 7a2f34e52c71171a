"""The cache folder: what is read is what was written, or nothing; and nothing unfinished stays."""

import errno
import os
import sys
import time
from pathlib import Path
from typing import NoReturn

import pytest
import torch
from safetensors.torch import save_file

from triptych.cache import (
    read_weights,
    weights_digest,
    write_weights,
)
from triptych.cache_place import cache_folder
from triptych.errors import UserError

WEIGHTS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1, 2])}


def test_what_is_written_is_read(tmp_path: Path):
    path = tmp_path / "deep" / "w.safetensors"
    write_weights(path, WEIGHTS)
    read = read_weights(path)
    assert read.keys() == WEIGHTS.keys()
    assert all(torch.equal(read[name], WEIGHTS[name]) for name in WEIGHTS)
    assert [p.name for p in path.parent.iterdir()] == ["w.safetensors"]


def test_an_absent_file_is_no_fault(tmp_path: Path):
    assert read_weights(tmp_path / "none.safetensors") is None


def flipped(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


DAMAGES = {
    "flipped-bit": flipped,
    "cut-short": lambda c: c[:-5],
    "empty": lambda c: b"",
    "pickle": lambda c: b"\x80\x04.",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_told_and_refused(tmp_path: Path, damage: str):
    path = tmp_path / "w.safetensors"
    write_weights(path, WEIGHTS)
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    with pytest.warns(UserWarning, match=r"w\.safetensors are damaged .* making them anew"):
        assert read_weights(path) is None


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_a_file_may_be_read_by_whoever_may_read_others(tmp_path: Path, umask: int):
    usual = os.umask(umask)
    try:
        write_weights(tmp_path / "w.safetensors", WEIGHTS)
        (tmp_path / "other").write_bytes(b"")
    finally:
        os.umask(usual)
    assert (tmp_path / "w.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_a_file_that_may_not_be_read_is_not_called_damaged(tmp_path: Path, monkeypatch):
    path = tmp_path / "w.safetensors"
    write_weights(path, WEIGHTS)

    def refuse(*args: object, **options: object) -> NoReturn:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "open", refuse)  # root may read whatever the mode says
    with pytest.warns(
        UserWarning, match=r"w\.safetensors cannot be read: permission denied: making them anew"
    ):
        assert read_weights(path) is None


def test_a_file_that_vouches_for_nothing_is_refused(tmp_path: Path):
    save_file(WEIGHTS, tmp_path / "w.safetensors")
    with pytest.warns(UserWarning, match="do not have the sha256"):
        assert read_weights(tmp_path / "w.safetensors") is None


def test_a_folder_that_cannot_be_written_is_told_and_survived(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.warns(UserWarning, match="cannot cache weights"):
        write_weights(tmp_path / "file" / "w.safetensors", WEIGHTS)


def test_what_a_killed_writer_left_is_removed_after_a_day(tmp_path: Path):
    path = tmp_path / "w.safetensors"
    old, new = tmp_path / ".other.safetensors.abcd1234", tmp_path / ".w.safetensors.efgh5678"
    for unfinished in (old, new):
        unfinished.write_bytes(b"part")
    yesterday = time.time() - 25 * 3600
    for stale in (old, tmp_path / "kept.safetensors", tmp_path / ".hidden"):
        stale.touch()
        os.utime(stale, (yesterday, yesterday))
    write_weights(path, WEIGHTS)
    assert {p.name for p in tmp_path.iterdir()} == {path.name, new.name, "kept.safetensors", ".hidden"}


def test_the_digest_sees_values_names_types_and_shapes():
    changed = [
        {**WEIGHTS, "b": torch.tensor([1, 3])},
        {"c": WEIGHTS["a"], "b": WEIGHTS["b"]},
        {**WEIGHTS, "b": torch.tensor([1, 2], dtype=torch.int32)},
        {**WEIGHTS, "a": WEIGHTS["a"].reshape(3, 2)},
    ]
    digests = {weights_digest(w) for w in [WEIGHTS, *changed]}
    assert len(digests) == 5
    assert weights_digest(dict(reversed(WEIGHTS.items()))) == weights_digest(WEIGHTS)


def test_the_folder_can_be_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.setenv("TRIPTYCH_CACHE", "~nobody-of-this-name/x")
    with pytest.raises(UserError, match="nobody of that name has a home"):
        cache_folder()
    monkeypatch.delenv("TRIPTYCH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setattr(sys, "platform", "linux")
    assert cache_folder() == tmp_path / "xdg" / "triptych"
