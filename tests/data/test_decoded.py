"""The cache of decoded images: the same data set again, or none."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from triptych.data.dataset import Dataset, ImageSet
from triptych.data.decoded import load_decoded
from triptych.work import Watch, unwatched


def make(name: str = "set", seed: int = 0) -> Dataset:
    def split(part: str, count: int) -> ImageSet:
        generator = torch.Generator().manual_seed(seed + count)
        images = torch.randint(0, 256, (count, 3, 4, 4), generator=generator, dtype=torch.uint8)
        return ImageSet(f"{name}/{part}", images, torch.arange(count) % 2, ("left", "rechts, 右"))

    return Dataset(name, split("train", 5), split("held-out", 2), "scaled to 4x4")


@dataclass
class Counted:
    """A source that knows how often it was decoded."""

    name: str = "set"
    content: str = "ab"
    decoded: list[int] = field(default_factory=list)

    def key(self) -> str:
        return self.content * 32

    def decode(self, watch: Watch = unwatched) -> Dataset:
        self.decoded.append(1)
        return make(self.name)


def same(one: Dataset, other: Dataset) -> bool:
    """Whether two data sets are equal in everything."""
    pairs = ((one.train, other.train), (one.held_out, other.held_out))
    return (one.name, one.preparation) == (other.name, other.preparation) and all(
        torch.equal(a.images, b.images)
        and torch.equal(a.labels, b.labels)
        and (a.name, a.class_names, a.digest) == (b.name, b.class_names, b.digest)
        and (a.images.dtype, a.labels.dtype) == (b.images.dtype, b.labels.dtype)
        for a, b in pairs
    )


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "data"


def only(cache: Path) -> Path:
    (path,) = cache.iterdir()
    return path


def test_images_are_decoded_once(cache: Path):
    source = Counted()
    first, second = load_decoded(source), load_decoded(source)
    assert source.decoded == [1]
    assert same(first, make()) and same(second, make())
    assert only(cache).name.startswith("set-abab")


def test_other_content_or_another_name_is_decoded_by_itself(cache: Path):
    for source in (Counted(), Counted(content="cd"), Counted(name="other/set")):
        assert same(load_decoded(source), make(source.name))
        assert source.decoded == [1]
    assert len(list(cache.iterdir())) == 3


def test_a_long_name_in_any_script_is_cached(cache: Path):
    for name in ("图" * 100, "é" * 100, "x" * 200):
        source = Counted(name=name)
        load_decoded(source)
        assert same(load_decoded(source), make(name)) and source.decoded == [1]


def test_the_digest_is_known_and_is_that_of_the_tensors(cache: Path):
    load_decoded(Counted())
    cached = load_decoded(Counted())
    for split in (cached.train, cached.train.to("cpu"), cached.renamed("other").train):
        assert "digest" in vars(split)
        assert split.digest == ImageSet("any", split.images.clone(), split.labels, ()).digest


def test_part_of_a_set_has_a_digest_of_its_own():
    split = make().train
    assert split.digest != split.take(torch.arange(4)).digest
    assert split.take(torch.arange(5)).digest == split.digest


def test_what_is_done_to_a_cached_set_stays_out_of_the_file(cache: Path):
    load_decoded(Counted())
    load_decoded(Counted()).train.images.zero_()
    assert same(load_decoded(Counted()), make())


def rewritten(path: Path, **changes: object) -> None:
    """Write the file anew with other tensors or another description, as a fault in the program might."""
    with safe_open(path, framework="pt") as file:
        about = json.loads((file.metadata() or {})["about"])
    tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
    for name, value in changes.items():
        if isinstance(value, torch.Tensor):
            tensors[name.replace("_", ".")] = value
        else:
            about[name] = value
    text = json.dumps(about)
    save_file(tensors, path, {"about": text, "sha256": hashlib.sha256(text.encode()).hexdigest()})


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "last byte": lambda path: flip(path, -1),
    "first pixels": lambda path: flip(path, -8 * 7 - 1),
    "class name": lambda path: flip(path, path.read_bytes().index(b"left")),
    "preparation": lambda path: flip(path, path.read_bytes().index(b"scaled")),
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-9]),
    "empty": lambda path: path.write_bytes(b""),
    "pickle": lambda path: path.write_bytes(b"\x80\x04."),
    "no description": lambda path: save_file({"a": torch.zeros(1)}, path),
    "of another key": lambda path: rewritten(path, key="00"),
    "of another name": lambda path: rewritten(path, name="other"),
    "wrong digest": lambda path: rewritten(path, digests=["0", "1"]),
    "other labels": lambda path: rewritten(path, train_labels=torch.ones(5, dtype=torch.int64)),
    "no such list": lambda path: rewritten(path, class_names=None),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_told_and_mended(damage, cache: Path):
    load_decoded(Counted())
    DAMAGES[damage](only(cache))
    source = Counted()
    with pytest.warns(UserWarning, match=r"cached images .*set-abab.* are damaged .* making them anew"):
        assert same(load_decoded(source), make())
    assert source.decoded == [1]
    assert same(load_decoded(source), make()) and source.decoded == [1]


def test_a_folder_that_cannot_be_written_is_told_and_survived(cache: Path):
    cache.parent.mkdir()
    cache.write_text("in the way")
    with pytest.warns(UserWarning, match="cannot cache images"):
        assert same(load_decoded(Counted()), make())


def test_a_failed_writing_leaves_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("triptych.cache.save_file", full)
    with pytest.warns(UserWarning, match=r"cannot cache images .*\(No space left"):
        assert same(load_decoded(Counted()), make())
    assert list(cache.iterdir()) == []
