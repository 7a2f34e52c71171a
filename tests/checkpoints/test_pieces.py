"""A part in several files, none larger than allowed: the same tensors, and every fault is seen."""

import json
from pathlib import Path

import pytest
import torch
from checkpoints.damage import broken, rewrite
from checkpoints.small import same
from hypothesis import given
from hypothesis import strategies as st

from triptych.checkpoints.contents import Contents
from triptych.checkpoints.manifest import Manifest
from triptych.checkpoints.prune import thin
from triptych.checkpoints.read import read
from triptych.checkpoints.tensor_file import TooLarge, encoded, split
from triptych.checkpoints.write import write

NAME = "epoch-00003"
LARGEST = 3000
CONTENTS = Contents(
    {
        "ema": {f"block.{i}.weight": torch.arange(300.0) + i for i in range(5)},
        "weights": {"bias": torch.ones(2)},
    },
    {"step": 7},
)


@pytest.fixture
def pieces(root: Path) -> Path:
    """A checkpoint whose average is in several files."""
    return write(root, NAME, CONTENTS, LARGEST)


def test_it_is_read_as_if_it_were_one_file(pieces: Path):
    names = [file.name for file in Manifest.load(pieces).parts["ema"]]
    assert names == [f"ema-{i:05d}-of-00003.safetensors" for i in (1, 2, 3)]
    assert all((pieces / name).stat().st_size <= LARGEST for name in names)
    assert [file.name for file in Manifest.load(pieces).parts["weights"]] == ["weights.safetensors"]
    assert same(read(pieces), CONTENTS)
    assert same(read(pieces, ["weights"]), Contents({"weights": CONTENTS.tensors["weights"]}, {"step": 7}))


def test_what_fits_into_one_file_is_one(root: Path, tmp_path: Path):
    limited, usual = write(root, NAME, CONTENTS, 10_000), write(tmp_path / "other", NAME, CONTENTS)
    for path in usual.iterdir():
        assert (limited / path.name).read_bytes() == path.read_bytes()


def test_it_is_known_by_all_of_its_files(pieces: Path, root: Path):
    found = Manifest.load(pieces)
    digests = {found.digest("ema"), *(file.sha256 for file in found.parts["ema"])}
    assert len(digests) == 4
    assert found.digest("weights") == found.parts["weights"][0].sha256
    other = {name: tensor + (name == "block.4.weight") for name, tensor in CONTENTS.tensors["ema"].items()}
    again = write(root, "epoch-00004", Contents({"ema": other}, {}), LARGEST)
    assert Manifest.load(again).parts["ema"][0] == found.parts["ema"][0]
    assert Manifest.load(again).digest("ema") != found.digest("ema")


def test_thinning_leaves_all_files_of_an_average(pieces: Path):
    assert thin(pieces)
    assert same(read(pieces), Contents({"ema": CONTENTS.tensors["ema"]}, {"step": 7}))
    assert not (pieces / "weights.safetensors").exists()


def test_a_save_over_it_leaves_none_of_its_files(pieces: Path, root: Path):
    fewer = Contents({"ema": {"w": torch.zeros(3)}}, {})
    assert same(read(write(root, NAME, fewer)), fewer)
    assert len(list(pieces.glob("*.safetensors"))) == 1


@pytest.mark.parametrize("number", [1, 2, 3])
def test_every_file_of_it_is_looked_at(number: int, pieces: Path):
    path = pieces / f"ema-{number:05d}-of-00003.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert "was altered" in broken(pieces)
    assert broken(pieces) == broken(pieces, read)
    path.unlink()
    assert "is missing" in broken(pieces)


def test_a_tensor_that_two_files_hold_is_refused(pieces: Path):
    first, copied = (pieces / f"ema-{name}.safetensors" for name in ("00001-of-00003", "copied"))
    copied.write_bytes(first.read_bytes())

    def add(fields: dict) -> None:
        entry = fields["parts"]["ema"][0]
        fields["parts"]["ema"].append({**entry, "file": copied.name})

    rewrite(pieces, add)
    assert "holds 'block.0.weight', as a file before it does" in broken(pieces)
    assert broken(pieces) == broken(pieces, read)


def test_parts_with_the_longest_of_names_are_written(root: Path):
    contents = Contents({"ema_" + "x" * 60: CONTENTS.tensors["ema"]}, {})
    assert same(read(write(root, NAME, contents, LARGEST)), contents)


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (lambda files: [], "a part without files"),
        (lambda files: files[:1], "altered after it was written"),  # one file has one spelling
        (lambda files: [files], "malformed entry"),
        (lambda files: [files[0], {**files[1], "file": "../x.safetensors"}], "no plain .safetensors file"),
        (lambda files: [*files, None], "malformed entry"),
        (lambda files: [*files, files[0]], "names a file twice"),
    ],
)
def test_a_manifest_lists_files_in_one_way(entry, reason: str, pieces: Path):
    rewrite(pieces, lambda fields: fields["parts"].update(ema=entry(fields["parts"]["ema"])))
    assert reason in broken(pieces)


SHAPES = st.lists(st.integers(0, 9), max_size=4).map(tuple)
NAMES = st.text(min_size=1, max_size=12)


@given(
    shapes=st.dictionaries(NAMES, SHAPES, min_size=1, max_size=12),
    largest=st.integers(300, 40_000),
)
def test_no_file_is_larger_and_no_tensor_is_lost(shapes: dict[str, tuple[int, ...]], largest: int):
    tensors = {name: torch.zeros(shape) for name, shape in shapes.items()}
    alone = max(sum(map(len, encoded({name: tensor}))) for name, tensor in tensors.items())
    if alone > largest:
        with pytest.raises(TooLarge, match="alone takes") as refused:
            split(tensors, largest)
        assert len(split(tensors, refused.value.least)) >= 1  # what is told suffices
        return
    if alone + 300 > largest:
        return  # what its header takes is not known to the byte
    groups = split(tensors, largest)
    assert [name for group in groups for name in group] == list(tensors)
    assert all(group for group in groups)
    for group in groups:
        assert sum(map(len, encoded(group))) <= largest
    assert len(split(tensors, None)) == 1


def test_no_limit_is_no_split_even_of_nothing():
    assert split({}, None) == split({}, 100) == [{}]


def test_the_manifest_of_one_file_is_spelled_as_ever(root: Path):
    folder = write(root, NAME, CONTENTS)
    fields = json.loads((folder / "manifest.json").read_text())
    assert fields["format"] == 1
    assert fields["parts"]["ema"].keys() == {"file", "size", "sha256"}


def test_an_older_program_is_told_that_it_is_another_format(pieces: Path):
    assert json.loads((pieces / "manifest.json").read_text())["format"] == 2
