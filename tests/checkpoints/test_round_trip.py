"""What is written is what is read: every type, every shape, every bit."""

import json
import math
import struct
from pathlib import Path

import pytest
import torch
from checkpoints.small import make, same
from hypothesis import given, settings
from hypothesis import strategies as st

from triptych.checkpoints.contents import Contents
from triptych.checkpoints.manifest import BrokenCheckpoint, Manifest
from triptych.checkpoints.read import read
from triptych.checkpoints.verify import read_state, verify
from triptych.checkpoints.write import NonFiniteWeights, write
from triptych.errors import UserError

NAME = "epoch-00001"
DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2,
    torch.complex64, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool,
    torch.uint16, torch.uint32, torch.uint64,
]  # fmt: skip


@pytest.mark.parametrize("shape", [(), (0,), (5,), (2, 0, 3), (3, 4, 2)], ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_and_shape(root: Path, dtype: torch.dtype, shape: tuple[int, ...]):
    values = (torch.arange(math.prod(shape)).reshape(shape) % 2 + 1).to(dtype)
    contents = Contents({"ema": {"x": values}}, {})
    assert same(read(write(root, NAME, contents)), contents)


def test_bits_that_equality_hides(root: Path):
    """The optimiser may hold anything: NaN with its payload, -0, infinities, denormals."""
    patterns = [0x7FC00001, 0xFFC12345 - (1 << 32), -(1 << 31), 0x7F800000, 1]
    odd = torch.tensor(patterns, dtype=torch.int32).view(torch.float32)
    contents = Contents({"optimizer": {"odd": odd}}, {})
    assert same(read(write(root, NAME, contents)), contents)


def test_shared_strided_and_learned_tensors(root: Path):
    base = torch.arange(24.0)
    tensors = {
        "whole": base,
        "again": base,
        "slice": base[3:9],
        "transposed": base.reshape(4, 6).T,
        "expanded": base[:1].expand(7),
        "channels_last": torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last),
        "parameter": torch.nn.Parameter(torch.ones(3)),
        "empty": torch.empty(0),
        "empty too": torch.empty(0),
    }
    contents = Contents({"weights": tensors, "none": {}}, {})
    back = read(write(root, NAME, contents))
    assert same(back, contents)
    back.tensors["weights"]["whole"].zero_()
    assert back.tensors["weights"]["again"].sum() == base.sum()  # memory is shared no more


def test_no_parts_at_all(root: Path):
    contents = Contents({}, {"step": 0})
    assert same(read(write(root, NAME, contents)), contents)


def test_parts_are_read_alone(folder: Path):
    manifest = Manifest.load(folder)
    (folder / manifest.parts["optimizer"][0].name).write_bytes(b"rubbish")
    assert same(read(folder, ["ema"]), Contents({"ema": make(7).tensors["ema"]}, make(7).state))
    assert read(folder, []).tensors == {}
    with pytest.raises(BrokenCheckpoint, match=r"optimizer\.safetensors has 7 bytes"):
        read(folder)


def test_part_that_is_not_there(root: Path):
    folder = write(root, NAME, make(1, parts="ema"))
    with pytest.raises(BrokenCheckpoint, match=r"holds no optimizer \(only ema\)"):
        read(folder, ["ema", "optimizer"])


def test_device_is_honoured(folder: Path):
    assert read(folder, ["ema"], device="meta").tensors["ema"]["w"].device.type == "meta"


def test_size_is_that_on_disk(folder: Path):
    files = [path for path in folder.iterdir() if path.name != "manifest.json"]
    assert verify(folder).size == sum(path.stat().st_size for path in files)


@settings(max_examples=20, deadline=None)  # each is flushed to the disk
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=30))
def test_floats_of_the_state_round_trip(tmp_path_factory: pytest.TempPathFactory, values: list[float]):
    folder = write(tmp_path_factory.mktemp("run"), NAME, Contents({}, {"values": values}))
    back = read_state(folder)["values"]
    assert struct.pack(f"{len(values)}d", *back) == struct.pack(f"{len(values)}d", *values)


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, (1, 2), {1: "key"}, {"a": [math.nan]}, torch.ones(1), b"x"], ids=repr
)
def test_state_that_would_not_come_back_is_refused(root: Path, value: object):
    with pytest.raises((ValueError, TypeError)):
        write(root, NAME, Contents({}, {"value": value}))
    assert not root.exists()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64, torch.float8_e5m2], ids=str)
@pytest.mark.parametrize("part", ["ema", "ema_long", "weights"])
def test_non_finite_weights_are_never_published(root: Path, part: str, dtype: torch.dtype, bad: float):
    good = write(root, NAME, make(1))
    values = torch.ones(4, dtype=torch.float64)
    values[2] = bad
    tensors = make(1).tensors | {part: {"fine": torch.ones(2), "bias": values.to(dtype)}}
    for name in (NAME, "epoch-00002"):
        with pytest.raises(NonFiniteWeights) as caught:
            write(root, name, Contents(tensors, {}))
        assert (caught.value.part, caught.value.name) == (part, "bias")
    assert [path.name for path in root.iterdir()] == [NAME]
    assert same(read(good), make(1))


@pytest.mark.parametrize("name", ["last", "../epoch-1", ".writing", "epoch-1/x"])
def test_only_checkpoint_names_are_written(root: Path, name: str):
    with pytest.raises(ValueError, match="no checkpoint name"):
        write(root, name, make(1))


@pytest.mark.parametrize("part", ["../ema", "a/b", "", ".hidden", "ema.2", "é"])
def test_only_plain_parts_are_written(root: Path, part: str):
    with pytest.raises(ValueError, match="parts of a checkpoint"):
        write(root, NAME, Contents({part: {}}, {}))


def test_replacing_keeps_the_folder_and_what_readers_put_there(root: Path):
    write(root, NAME, make(1))
    (root / NAME / "pinned").touch()
    for epoch in (2, 3):
        assert same(read(write(root, NAME, make(epoch))), make(epoch))
        assert len(list((root / NAME).glob("*.safetensors"))) == 3
        assert len(list((root / NAME).glob("*.json"))) == 2
    assert (root / NAME / "pinned").exists()
    assert [path.name for path in root.iterdir()] == [NAME]


@pytest.mark.parametrize("damage", ["manifest.json", "ema.safetensors", "state.json", "everything"])
def test_a_broken_one_is_replaced(root: Path, damage: str):
    folder = write(root, NAME, make(1))
    for path in folder.iterdir():
        if damage in (path.name, "everything"):
            path.unlink()
    assert same(read(write(root, NAME, make(2))), make(2))
    assert len(list(folder.iterdir())) == 5


def test_files_can_be_read_without_the_program(folder: Path):
    """A reader needs a safetensors library and JSON, nothing else."""
    from safetensors.torch import load_file

    assert torch.equal(load_file(folder / "ema.safetensors")["w"], make(7).tensors["ema"]["w"])
    assert json.loads((folder / "state.json").read_text())["epoch"] == 7
    assert json.loads((folder / "manifest.json").read_text())["parts"]["ema"]["file"] == "ema.safetensors"


def test_space_is_asked_for_before_anything_is_written(root: Path, monkeypatch: pytest.MonkeyPatch):
    import shutil

    write(root, NAME, make(1))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    with pytest.raises(UserError, match="0 MB are free") as caught:
        write(root, "epoch-00002", make(2))
    assert "\n" not in str(caught.value)
    assert [path.name for path in root.iterdir()] == [NAME]
