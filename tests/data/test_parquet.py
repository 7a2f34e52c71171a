"""Parquet files in the hub's columns: rows, splits, names of classes, and what is wrong with a file."""

import importlib
import json
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from triptych.cli import main
from triptych.data.formats import recognise
from triptych.data.parquet import ParquetSource, open_parquet

SIDE = 8
NAMES = ("cat", "dog")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path_factory.mktemp("cache")))


def pixels_of(number: int, side: int = SIDE) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (side, side, 3), np.uint8)


def png(number: int, side: int = SIDE) -> bytes:
    file = BytesIO()
    Image.fromarray(pixels_of(number, side)).save(file, "PNG")
    return file.getvalue()


def write(path: Path, numbers, labels=None, *, image="img", label="label", names=NAMES, kind=None, rows=None):
    """Write pictures to a parquet file; by default their classes are 0, 1, 0, 1, ..."""
    numbers = list(numbers)
    labels = [number % 2 for number in numbers] if labels is None else labels
    rows = [{"bytes": png(number), "path": None} for number in numbers] if rows is None else rows
    features = {image: {"_type": "Image"}, label: {"names": names, "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})} if names else None
    struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    columns = {image: pa.array(rows, struct), label: pa.array(labels, kind or pa.int64())}
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns, metadata=metadata), path, row_group_size=3)


def numbers_of(images) -> list[int]:
    known = {pixels_of(number).transpose(2, 0, 1).tobytes(): number for number in range(100)}
    return [known[image.numpy().tobytes()] for image in images]


@pytest.mark.parametrize("inside", [".", "data", "plain_text"])
@pytest.mark.parametrize("held_out", ["test", "validation", "held-out"])
def test_splits_are_read_in_the_order_of_their_parts(inside, held_out, tmp_path):
    folder = tmp_path / "pets" / inside
    write(folder / "train-00001-of-00002.parquet", range(7, 10))
    write(folder / "train-00000-of-00002.parquet", range(7))
    write(folder / f"{held_out}-00000-of-00001.parquet", range(20, 24))
    for path in {tmp_path / "pets", folder}:
        data = recognise(path, SIDE).decode()
        assert (data.name, data.class_names, data.preparation) == ("pets", NAMES, "")
        assert (data.train.name, data.held_out.name) == ("pets/train", "pets/held-out")
        assert numbers_of(data.train.images) == list(range(10))
        assert data.train.labels.tolist() == [0, 1] * 5
        assert numbers_of(data.held_out.images) == [20, 21, 22, 23]


@pytest.mark.parametrize(
    ("image", "label"), [("image", "fine_label"), ("img", "label"), ("photo", "species")]
)
def test_columns_go_by_several_names(image, label, tmp_path):
    write(tmp_path / "train-0.parquet", range(4), image=image, label=label)
    data = recognise(tmp_path, SIDE).decode()
    assert numbers_of(data.train.images) == [0, 1] and data.class_names == NAMES


def test_without_a_test_split_every_tenth_of_a_class_is_held_out(tmp_path):
    write(tmp_path / "mine.parquet", range(40))
    data = recognise(tmp_path / "mine.parquet", SIDE).decode()
    assert data.name == "mine"
    assert numbers_of(data.held_out.images) == [18, 19, 38, 39]
    assert numbers_of(data.train.images) == [n for n in range(40) if n not in (18, 19, 38, 39)]
    assert data.preparation == "no test split: every 10th image of each class held out"


def test_a_parquet_file_is_known_by_its_content(tmp_path):
    write(tmp_path / "mine.bin", range(4))
    assert len(recognise(tmp_path / "mine.bin", SIDE).decode().train) == 2


def test_without_names_the_classes_are_numbers(tmp_path):
    write(tmp_path / "train-0.parquet", range(4), [0, 2, 0, 2], names=None, kind=pa.int32())
    write(tmp_path / "test-0.parquet", [4], [1], names=None)
    assert recognise(tmp_path, SIDE).decode().class_names == ("0", "1", "2")


def test_a_split_that_is_not_read_is_said(tmp_path):
    for split, numbers in (("train", range(4)), ("test", range(10, 14)), ("validation", range(20, 24))):
        write(tmp_path / f"{split}-0.parquet", numbers)
    with_both = recognise(tmp_path, SIDE)
    data = with_both.decode()
    assert (numbers_of(data.train.images), numbers_of(data.held_out.images)) == (
        [0, 1, 2, 3],
        [10, 11, 12, 13],
    )
    assert data.preparation == "left aside: validation"
    (tmp_path / "validation-0.parquet").unlink()
    assert recognise(tmp_path, SIDE).key() != with_both.key()


def test_a_name_of_a_class_may_hold_a_slash(tmp_path):
    names = ("apartment_building/outdoor", "bazaar/indoor")
    write(tmp_path / "train-0.parquet", range(4), names=names)
    assert recognise(tmp_path, SIDE).decode().class_names == names


def test_pictures_of_free_size_are_brought_to_one(tmp_path):
    rows = [{"bytes": png(0, side), "path": None} for side in (SIDE, 20, 30, SIDE)]
    write(tmp_path / "train-0.parquet", range(4), rows=rows)
    seen = []
    data = recognise(tmp_path, SIDE).decode(seen.append)
    assert data.image_size == SIDE
    assert [(work.done, work.total) for work in seen] == [(0, 4), (4, 4)]
    assert recognise(tmp_path).decode().image_size == 32
    assert data.preparation.startswith("2 of 4 images brought to 8x8 RGB")


def test_the_name_of_a_checked_set_is_given_to_none(tmp_path):
    write(tmp_path / "cifar10" / "train-0.parquet", range(4))
    assert recognise(tmp_path / "cifar10", SIDE).name == "cifar10-unchecked"


def test_the_key_is_of_the_content_and_the_size(tmp_path):
    write(tmp_path / "a" / "train-0.parquet", range(4))
    write(tmp_path / "b" / "train-0.parquet", range(4))
    write(tmp_path / "c" / "train-0.parquet", [0, 1, 2, 5])
    a, b, c = (recognise(tmp_path / name, SIDE).key() for name in "abc")
    assert a == b != c
    assert recognise(tmp_path / "a", SIDE + 1).key() != a


def test_other_folders_are_not_parquet(tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")
    assert open_parquet(tmp_path, SIDE) is None
    assert open_parquet(tmp_path / "a.png", SIDE) is None


def truncated(folder: Path) -> None:
    write(folder / "train-0.parquet", range(4))
    whole = (folder / "train-0.parquet").read_bytes()
    (folder / "train-0.parquet").write_bytes(whole[: len(whole) // 2])


def flipped(folder: Path) -> None:
    write(folder / "train-0.parquet", range(4))
    damaged = bytearray((folder / "train-0.parquet").read_bytes())
    damaged[4:60] = bytes(56)
    (folder / "train-0.parquet").write_bytes(damaged)


def part_missing(folder: Path) -> None:
    write(folder / "train-00000-of-00002.parquet", range(4))


def part_twice(folder: Path) -> None:
    write(folder / "train-00000-of-00002-a1b2.parquet", range(4))
    write(folder / "train-00000-of-00002-c3d4.parquet", range(4))


def part_too_high(folder: Path) -> None:
    write(folder / "train-00001-of-00002.parquet", range(4))
    write(folder / "train-00002-of-00002.parquet", range(4))


def whole_and_parts(folder: Path) -> None:
    write(folder / "train.parquet", range(4))
    write(folder / "train-00000-of-00001.parquet", range(4))


def whole_and_more(folder: Path) -> None:
    write(folder / "train-0.parquet", range(4))
    write(folder / "test.parquet", range(4))
    write(folder / "test_1.parquet", range(4))


def of_two_counts(folder: Path) -> None:
    write(folder / "train-00000-of-00001.parquet", range(4))
    for part in range(2):
        write(folder / f"train-0000{part}-of-00002.parquet", range(4))


def no_train(folder: Path) -> None:
    write(folder / "test-0.parquet", range(4))


def several_sets(folder: Path) -> None:
    write(folder / "coarse" / "train-0.parquet", range(4))
    write(folder / "fine" / "train-0.parquet", range(4))


def other_names(folder: Path) -> None:
    write(folder / "train-0.parquet", range(4))
    write(folder / "test-0.parquet", range(4), names=("dog", "cat"))


def no_images(folder: Path) -> None:
    folder.mkdir()
    pq.write_table(pa.table({"label": [0, 1], "text": ["a", "b"]}), folder / "train-0.parquet")


def no_classes(folder: Path) -> None:
    write(folder / "train-0.parquet", range(4), list("abcd"), kind=pa.string())


def null_class(folder: Path) -> None:
    write(folder / "train-0.parquet", range(4), [0, 1, None, 1])


def label_outside(folder: Path) -> None:
    write(folder / "train-0.parquet", range(5), [0, 1, 0, 1, 2])


def label_below(folder: Path) -> None:
    write(folder / "train-0.parquet", range(4), [0, -1, 0, 1])


def label_of_no_class(folder: Path) -> None:
    write(folder / "train-0.parquet", range(4), [0, 1, 2, 10**9], names=None)


def null_image(folder: Path) -> None:
    write(
        folder / "train-0.parquet",
        range(4),
        rows=[{"bytes": png(0)}, {"bytes": png(0)}, None, {"bytes": b""}],
    )


def only_paths(folder: Path) -> None:
    write(folder / "train-0.parquet", [0, 0], rows=[{"bytes": png(0)}, {"path": "cat/0.png"}])


def no_picture(folder: Path) -> None:
    rows = [{"bytes": png(number)} for number in range(4)]
    write(folder / "train-0.parquet", range(5), [0, 1, 0, 1, 0], rows=[*rows, {"bytes": b"x"}])


def no_rows(folder: Path) -> None:
    write(folder / "train-0.parquet", [])


def names_no_list(folder: Path) -> None:
    write(folder / "train-0.parquet", range(4), names=5)


def names_by_number(folder: Path) -> None:
    write(folder / "train-0.parquet", range(4), names={"0": "cat", "1": "dog"})


def names_of_two_lines(folder: Path) -> None:
    write(folder / "train-0.parquet", range(4), names=("cat", "a\nb"))


def names_alike(folder: Path) -> None:
    write(folder / "train-0.parquet", range(4), names=("cat", "cat"))


@pytest.mark.parametrize(
    ("laid", "told"),
    [
        (names_no_list, "train-0.parquet: its names of classes are no list of texts"),
        (names_by_number, "train-0.parquet: its names of classes are no list of texts"),
        (names_of_two_lines, "class 1 is called 'a\\nb', which cannot be shown on one line; rename"),
        (names_alike, "class 1 is called 'cat', as another one is; rename"),
        (truncated, "train-0.parquet: cannot be read as parquet"),
        (flipped, "train-0.parquet"),
        (part_missing, "not all 2 parts of the train split"),
        (part_twice, "part 0 of the train split twice"),
        (part_too_high, "not all 2 parts of the train split"),
        (
            whole_and_parts,
            "same images (train-00000-of-00001.parquet, train.parquet); leave those of one kind",
        ),
        (
            whole_and_more,
            "files of the test split that may hold the same images (test.parquet, test_1.parquet)",
        ),
        (of_two_counts, "files of the train split that may hold the same images"),
        (no_train, "no train-*.parquet (there is test-0.parquet)"),
        (several_sets, "several folders with parquet files (coarse, fine)"),
        (other_names, "its classes are not those of train-0.parquet"),
        (no_images, "no image column (struct<bytes, path>)"),
        (no_classes, "no class column (integers)"),
        (null_class, "row 2 of"),
        (label_outside, "label is 2, and there are 2 classes"),
        (label_below, "label is -1, and there are 2 classes"),
        (label_of_no_class, "label is 1000000000, and there are 4 classes"),
        (null_image, "row 2 of"),
        (only_paths, "img holds no bytes"),
        (no_picture, "row 4 of"),
        (no_rows, "its training split has no images"),
    ],
)
def test_mistakes_are_told_in_one_line(laid, told, tmp_path, capsys):
    laid(tmp_path / "mine")
    assert told in the_line(tmp_path, capsys)


def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch, capsys):
    write(tmp_path / "mine" / "train-0.parquet", range(4))
    for name in [name for name in sys.modules if name.partition(".")[0] == "pyarrow"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError):
        importlib.import_module("pyarrow")
    assert the_line(tmp_path, capsys).endswith('in a clone: pip install -c constraints.txt -e ".[parquet]"')


def the_line(tmp_path: Path, capsys) -> str:
    tokens = ["train", "digits-unet", "--data.name", "mine", "--data.path", str(tmp_path / "mine")]
    assert main([*tokens, "--runs", str(tmp_path / "runs"), "--quiet"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert not (tmp_path / "runs").exists()
    return line


def test_the_real_one(real_data):
    folder = recognise(real_data / "cifar10-jpeg", 32)
    assert isinstance(folder, ParquetSource)
    assert (folder.name, len(folder.train), len(folder.held_out)) == ("cifar10-jpeg", 1, 1)
    (file,) = folder.held_out
    data = recognise(file, 32).decode()  # a split alone is parted: the smaller one is enough
    assert data.train.images.shape == (9_000, 3, 32, 32) and data.held_out.images.shape == (1_000, 3, 32, 32)
    assert data.held_out.labels.bincount().tolist() == [100] * 10
    assert data.class_names[0] == "airplane"
    table = pq.read_table(file)
    for row in range(8):  # no class has its tenth image among these
        with Image.open(BytesIO(table["img"][row]["bytes"].as_py())) as image:
            np.testing.assert_array_equal(data.train.images[row].permute(1, 2, 0).numpy(), np.asarray(image))
        assert int(data.train.labels[row]) == table["label"][row].as_py()
