"""The script that makes cifar10-jpeg: its pictures, its order and its files are those that are known."""

import hashlib
from io import BytesIO

import cifar10_jpeg
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from data.cifar10_files import archive, contents
from PIL import Image

from triptych.data.dataset import ImageSet
from triptych.data.formats import recognise


@pytest.fixture
def known(real_data):
    """Return the known test split: rows by path, and the paths in their order."""
    rows = pq.read_table(real_data / "cifar10-jpeg" / "test-00000-of-00001.parquet").to_pylist()
    return {row["img"]["path"]: row for row in rows}


def test_pictures_are_the_known_ones_to_the_byte(real_data, known):
    original = recognise(real_data / "cifar-10-python-head.tar.gz", 32).decode().held_out
    paths, files, labels = cifar10_jpeg.pictures(original)
    assert len(set(paths)) == len(original) == 1_017
    for path, file, label in zip(paths, files, labels, strict=True):
        assert (file, label) == (known[path]["img"]["bytes"], known[path]["label"])


def test_files_are_the_known_ones_to_the_byte(real_data, known, tmp_path):
    # The rows in the order of the archive within each class; then shuffled and written as the script does.
    rows = [known[path] for path in sorted(known)]
    labels = torch.tensor([row["label"] for row in rows])
    names = tuple(dict.fromkeys(path.partition("/")[0] for path in sorted(known)))
    blank = ImageSet("known", torch.zeros(len(rows), 3, 32, 32, dtype=torch.uint8), labels, names)
    paths, _, labels = cifar10_jpeg.pictures(blank)
    assert paths == list(known)
    written = tmp_path / "test-00000-of-00001.parquet"
    cifar10_jpeg.write(written, paths, [known[path]["img"]["bytes"] for path in paths], labels, names)
    real = real_data / "cifar10-jpeg" / written.name
    assert pq.read_table(written).equals(pq.read_table(real), check_metadata=True)
    sha256 = hashlib.sha256(real.read_bytes()).hexdigest()
    assert sha256 == cifar10_jpeg.KNOWN[written.name]
    # The bytes name the writer's version.
    if pq.ParquetFile(real).metadata.created_by == pq.ParquetFile(written).metadata.created_by:
        assert hashlib.sha256(written.read_bytes()).hexdigest() == sha256


def test_a_picture_is_near_its_original():
    smooth = np.indices((32, 32)).sum(0)[None, ..., None] * np.array([4, 2, 1]) % 256
    (file,) = cifar10_jpeg.encode(smooth.astype(np.uint8))
    with Image.open(BytesIO(file)) as image:
        assert image.size == (32, 32) and image.layer[0][1:3] == (2, 2)
        assert np.abs(np.asarray(image).astype(int) - smooth[0]).mean() < 4


def test_the_loss_is_that_of_the_files_that_are_made(tmp_path, capsys):
    made = archive(tmp_path / "mine.tar.gz", contents())
    assert cifar10_jpeg.main([str(made), str(tmp_path / "mine-jpeg")]) == 0
    original, jpeg = (recognise(path, 32).decode() for path in (made, tmp_path / "mine-jpeg"))
    off = 0.0
    for mine, theirs in ((jpeg.train, original.train), (jpeg.held_out, original.held_out)):
        paths, _, _ = cifar10_jpeg.pictures(theirs)  # the order in which they were written
        labels = [theirs.class_names[label] for label in theirs.labels]
        numbers = [labels[:i].count(name) for i, name in enumerate(labels)]
        named = zip(labels, numbers, strict=True)
        where = {f"{name}/{number:04d}.jpg": i for i, (name, number) in enumerate(named)}
        places = [where[path] for path in paths]
        off += (mine.images.int() - theirs.images[places].int()).abs().sum().item()
    count = len(original.train) + len(original.held_out)
    capsys.readouterr()
    assert cifar10_jpeg.main(["--loss", str(made)]) == 0
    assert f"{count} images, {off / (count * 3072):.2f} of 255 levels off" in capsys.readouterr().out


def test_an_archive_becomes_files_that_are_read_again(tmp_path, capsys):
    made = archive(tmp_path / "mine.tar.gz", contents())
    assert cifar10_jpeg.main([str(made), str(tmp_path / "mine-jpeg")]) == 0
    original, jpeg = (recognise(path, 32).decode() for path in (made, tmp_path / "mine-jpeg"))
    assert jpeg.class_names == original.class_names
    for mine, theirs in ((jpeg.train, original.train), (jpeg.held_out, original.held_out)):
        assert sorted(mine.labels.tolist()) == sorted(theirs.labels.tolist())
    assert "not the known bytes" in capsys.readouterr().out


def test_the_digest_does_not_depend_on_the_order():
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (20, 3, 4, 4), generator=generator, dtype=torch.uint8)
    images = ImageSet("mine", pixels, torch.arange(20) % 4, tuple("abcd"))
    shuffled = images.take(torch.randperm(20, generator=generator))
    assert cifar10_jpeg.digest(images) == cifar10_jpeg.digest(shuffled)
    relabelled = ImageSet("mine", pixels, (torch.arange(20) + 1) % 4, tuple("abcd"))
    assert cifar10_jpeg.digest(relabelled) != cifar10_jpeg.digest(images)


def test_what_is_not_there_is_told_in_one_line(tmp_path, capsys):
    assert cifar10_jpeg.main(["--digest", str(tmp_path / "absent")]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "there is nothing" in line
