"""No damage goes unseen, and no manifest, however made, leads the reader astray."""

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from checkpoints.damage import broken, listed, rewrite
from checkpoints.small import make, same

from triptych.checkpoints.manifest import LARGEST, Manifest
from triptych.checkpoints.read import read
from triptych.checkpoints.verify import read_state, verify
from triptych.errors import UserError

FILES = ["ema.safetensors", "weights.safetensors", "optimizer.safetensors", "state.json", "manifest.json"]


def plant(folder: Path, part: str, data: bytes) -> None:
    """Put other bytes behind a part, with a manifest that vouches for them."""
    manifest = Manifest.load(folder)
    file = listed(manifest.parts[part][0].name, data)
    (folder / file.name).write_bytes(data)
    (folder / "manifest.json").write_bytes(
        Manifest({**manifest.parts, part: (file,)}, manifest.state).encode()
    )


@pytest.mark.parametrize("name", FILES)
def test_every_flipped_bit_is_seen(folder: Path, name: str):
    whole = (folder / name).read_bytes()
    for index in range(len(whole)):
        damaged = bytearray(whole)
        damaged[index] ^= 1 << index % 8
        (folder / name).write_bytes(damaged)
        assert broken(folder)
        if index % 16 == 0:
            assert broken(folder, read)
    (folder / name).write_bytes(whole)
    assert same(read(folder), make(7))


@pytest.mark.parametrize("name", FILES)
def test_every_truncation_and_extension_is_seen(folder: Path, name: str):
    whole = (folder / name).read_bytes()
    for length in range(len(whole)):
        (folder / name).write_bytes(whole[:length])
        assert broken(folder)
    for tail in (b"\0", b"\n", b" ", whole):
        (folder / name).write_bytes(whole + tail)
        assert broken(folder)


@pytest.mark.parametrize("name", FILES)
def test_missing_files_are_seen(folder: Path, name: str):
    (folder / name).unlink()
    assert "missing" in broken(folder) or "no manifest" in broken(folder)
    assert broken(folder, read) == broken(folder)


def test_a_folder_that_is_not_there(tmp_path: Path):
    assert "no manifest" in broken(tmp_path / "nothing")


def test_a_broken_checkpoint_is_the_users_to_mend(folder: Path):
    (folder / "ema.safetensors").unlink()
    with pytest.raises(UserError, match=r"ema\.safetensors is missing; name another one"):
        verify(folder)


@pytest.mark.parametrize(
    "name",
    ["../x.safetensors", "/etc/x.safetensors", "a/b.safetensors", "a\\b.safetensors", "..", "", "x.pt",
     "x.pkl", ".safetensors", "x.safetensors\n", "C:x.safetensors", "ema.safetensors/", "\0.safetensors", 7,
     None],
)  # fmt: skip
def test_only_plain_file_names_are_followed(folder: Path, name: object):
    (folder.parent / "x.safetensors").write_bytes((folder / "ema.safetensors").read_bytes())
    rewrite(folder, lambda fields: fields["parts"]["ema"].update(file=name))
    assert "no plain .safetensors file name" in broken(folder)
    assert broken(folder, read) == broken(folder)
    rewrite(folder, lambda fields: fields["parts"]["ema"].update(file="ema.safetensors"))
    rewrite(folder, lambda fields: fields["state"].update(file=name))
    assert "no plain .json file name" in broken(folder, read_state)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda fields: fields.update(format=3), "format is '3'; this program reads 1 and 2"),
        (lambda fields: fields.update(format=2), "altered after it was written"),  # which it is not
        (lambda fields: fields.pop("format"), "format"),
        (lambda fields: fields.update(parts=[]), "lists no parts"),
        (lambda fields: fields.pop("state"), "malformed entry"),
        (lambda fields: fields.update(extra=1), "altered"),
        (lambda fields: fields["parts"].update({"../x": fields["parts"]["ema"]}), "a part called '../x'"),
        (lambda fields: fields["parts"]["ema"].update(size=-1), "malformed size"),
        (lambda fields: fields["parts"]["ema"].update(size=True), "malformed size"),
        (lambda fields: fields["parts"]["ema"].update(size=10**30), "bytes, not"),
        (lambda fields: fields["parts"]["ema"].update(sha256="0" * 63), "malformed size or sha256"),
        (lambda fields: fields["parts"]["ema"].update(sha256="0" * 64), "sha256 is not the manifest's"),
        (lambda fields: fields["parts"]["ema"].update(import_="os"), "malformed entry"),
    ],
)
def test_forged_manifests_are_refused(folder: Path, change: Callable[[dict], None], reason: str):
    rewrite(folder, change)
    assert reason in broken(folder)
    assert reason in broken(folder, read)


@pytest.mark.parametrize(
    "data", [b"", b"null", b"[]", b"{", b"\xff\xfe", b"[" * 100_000, b"1" * 10_000, b"{}" + b" " * LARGEST]
)
def test_manifests_that_are_none(folder: Path, data: bytes):
    (folder / "manifest.json").write_bytes(data)
    assert "its manifest" in broken(folder)


def header(entries: object, tail: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file with any header, and any length claimed for it."""
    text = json.dumps(entries).encode() if not isinstance(entries, bytes) else entries
    return struct.pack("<Q", len(text) if length is None else length) + text + tail


def entry(dtype: str = "F32", shape: object = (2,), offsets: object = (0, 8)) -> dict:
    return {"w": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 7,
        header({}, length=2**63),
        header({}, length=1000),
        header(b"not json"),
        header(b"[" * 50_000),
        header(entry(), b"\0" * 4),
        header(entry(), b"\0" * 12),
        header(entry(shape=(3,)), b"\0" * 8),
        header(entry(shape=(-2,)), b"\0" * 8),
        header(entry(shape=(2**62, 2**62)), b"\0" * 8),
        header(entry(offsets=(0, 2**62)), b"\0" * 8),
        header(entry(offsets=(8, 0)), b"\0" * 8),
        header(entry(offsets=(4, 12)), b"\0" * 12),
        header(entry(dtype="PICKLE"), b"\0" * 8),
        b"\x80\x04cos\nsystem\n(S'true'\ntR.",
    ],
)
def test_safetensors_that_lie_are_refused(folder: Path, data: bytes):
    """Even where the manifest vouches for their every byte."""
    plant(folder, "ema", data)
    assert "ema.safetensors is no safetensors file" in broken(folder)
    assert "ema.safetensors is no safetensors file" in broken(folder, read)
    assert read(folder, ["weights"]).tensors["weights"]["w"].shape == (2, 3)


def test_types_that_torch_does_not_know_are_refused(folder: Path):
    plant(folder, "ema", header(entry("F8_E8M0", (8,)), b"\0" * 8))
    assert "ema.safetensors" in broken(folder, read)


@pytest.mark.parametrize("text", ["[1]", "NaN", '{"loss": NaN}', '{"loss": -Infinity}', "{", "[" * 100_000])
def test_states_that_are_none(folder: Path, text: str):
    manifest = Manifest.load(folder)
    state = listed("state.json", text.encode())
    (folder / "state.json").write_text(text)
    (folder / "manifest.json").write_bytes(Manifest(manifest.parts, state).encode())
    assert "state.json is no JSON" in broken(folder)
    assert "state.json is no JSON" in broken(folder, read)


def test_links_pipes_and_folders_are_not_followed(folder: Path, tmp_path: Path):
    path = folder / "ema.safetensors"
    elsewhere = tmp_path / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    assert "not a plain file" in broken(folder)
    path.unlink()
    os.mkfifo(path)
    assert "not a plain file" in broken(folder)
    path.unlink()
    path.mkdir()
    assert "not a plain file" in broken(folder, read)


def test_a_manifest_that_is_a_pipe_does_not_hang(folder: Path):
    """Opened for reading, a pipe without a writer waits for ever."""
    (folder / "manifest.json").unlink()
    os.mkfifo(folder / "manifest.json")
    assert "not a plain file" in broken(folder)
