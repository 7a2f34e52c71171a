"""CIFAR-10's own files: every pixel where it belongs, and nothing else let in."""

import gzip
import hashlib
import os
import pickle
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from data.cifar10_files import CLASSES, FOLDER, archive, batch, contents, plain, special, unpacked

from triptych.cli import main
from triptych.data import cifar10, tar_members
from triptych.data.dataset import Dataset
from triptych.data.formats import recognise
from triptych.downloads import PublishedFile

HEAD = "cifar-10-python-head"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path / "cache"))


def independently(files: dict[str, bytes]) -> dict[str, tuple[np.ndarray, list[int]]]:
    """Read a set's pixels [N, 3, 32, 32] and labels by the ordinary means."""
    batches = [f"data_batch_{i}" for i in range(1, 6)]
    read = {name: pickle.loads(files[name], encoding="bytes") for name in [*batches, "test_batch"]}

    def joined(names: list[str]) -> tuple[np.ndarray, list[int]]:
        pixels = np.concatenate([read[name][b"data"] for name in names])
        return pixels.reshape(-1, 3, 32, 32), [label for name in names for label in read[name][b"labels"]]

    return {"train": joined(batches), "held-out": joined(["test_batch"])}


def is_what(files: dict[str, bytes], dataset: Dataset) -> None:
    for split in (dataset.train, dataset.held_out):
        pixels, labels = independently(files)[split.name.rpartition("/")[2]]
        assert split.images.dtype == torch.uint8 and split.labels.dtype == torch.int64
        np.testing.assert_array_equal(split.images.numpy(), pixels)
        assert split.labels.tolist() == labels
        assert split.class_names == tuple(CLASSES)
        assert split.name.startswith(f"{dataset.name}/")
    assert dataset.preparation == ""


@pytest.mark.parametrize("ending", ["tar.gz", "tgz", "tar", "jpg"])
def test_an_archive_is_known_by_its_content(ending, tmp_path: Path):
    files = contents()
    made = archive(tmp_path / ("mine.tar.gz" if ending == "jpg" else f"mine.{ending}"), files)
    source = recognise(made.rename(tmp_path / f"mine.{ending}"))
    assert source.name == ("mine.jpg" if ending == "jpg" else "mine")
    is_what(files, source.decode())


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_the_unpacked_folder_and_the_folder_around_it(protocol, tmp_path: Path):
    files = contents(protocol)
    folder = unpacked(tmp_path / "around" / FOLDER, files)
    inside, around = recognise(folder, 32), recognise(tmp_path / "around", 32)
    is_what(files, inside.decode())
    is_what(files, around.decode())
    assert (inside.name, around.name) == (f"{FOLDER}-unchecked", "around")
    assert inside.key() == around.key()
    (folder / "test_batch").write_bytes(pickle.dumps(batch(3, 7), protocol))
    assert recognise(folder, 32).key() != inside.key()


def test_real_images_pixel_for_pixel(real_data: Path, tmp_path: Path):
    real = real_data / f"{HEAD}.tar.gz"
    with tarfile.open(real) as tar:
        files = {Path(member.name).name: tar.extractfile(member).read() for member in tar if member.isfile()}
    unpacked(tmp_path / "real" / FOLDER, files)
    assert hashlib.md5(files["batches.meta"]).hexdigest() == cifar10.MD5["batches.meta"]
    for path, name in ((real, HEAD), (tmp_path / "real" / FOLDER, f"{FOLDER}-unchecked")):
        source = recognise(path, 32)
        assert source.name == name
        dataset = source.decode()
        assert (len(dataset.train), len(dataset.held_out)) == (5 * 1017, 1017)
        is_what(files, dataset)


def publish(monkeypatch: pytest.MonkeyPatch, made: Path, url: str = "http://127.0.0.1:9/") -> PublishedFile:
    """Let the archive at `made` be the published one."""
    content = made.read_bytes()
    file = PublishedFile(
        f"{url}cifar-10-python.tar.gz", len(content), "md5", hashlib.md5(content).hexdigest()
    )
    monkeypatch.setattr(cifar10, "ARCHIVE", file)
    return file


def test_the_name_is_given_to_the_published_bytes_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    files = contents()
    published = archive(tmp_path / "cifar-10-python.tar.gz", files)
    publish(monkeypatch, published)
    monkeypatch.setattr(cifar10, "MD5", {name: hashlib.md5(files[name]).hexdigest() for name in cifar10.MD5})
    folder = unpacked(tmp_path / "other", files)
    copy = Path(shutil.copy(published, tmp_path / "renamed.bin"))
    for path in (published, copy, folder):
        assert recognise(path, 32).name == "cifar10"
    assert recognise(folder, 32).key() == recognise(copy, 32).key()
    assert cifar10.Published().key() == recognise(folder, 32).key()
    for name in ("cifar10", "CIFAR-10", "cifar_10"):
        changed = archive(tmp_path / f"{name}.tar.gz", contents(protocol=3))
        assert recognise(changed, 32).name == f"{name}-unchecked"


def test_published_numbers():
    assert (cifar10.ARCHIVE.size, cifar10.ARCHIVE.checksum[:6]) == (170_498_071, "c58f30")
    assert list(cifar10.MD5) == [*cifar10.TRAIN, cifar10.HELD_OUT, cifar10.CLASSES]


def refuse(capsys, tmp_path: Path, path: Path | str, told: str, *more: str) -> None:
    """Train on `path`: told in one line, and no run is left."""
    runs = tmp_path / "runs"
    tokens = ["--data.name", "cifar10", *more, *(["--data.path", str(path)] if path else [])]
    capsys.readouterr()
    assert main(["train", "digits-unet", *tokens, "--runs", str(runs)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert told in line
    assert not runs.exists()


def test_a_path_that_is_not_there(tmp_path: Path, capsys):
    refuse(capsys, tmp_path, tmp_path / "none.tar.gz", "there is nothing")


def test_damaged_archives(tmp_path: Path, capsys):
    whole = archive(tmp_path / "whole.tar.gz", contents()).read_bytes()
    damages = {
        "truncated": whole[: len(whole) // 2],
        "checksum-cut": whole[:-4],
        "tampered": whole[: len(whole) // 2]
        + bytes([whole[len(whole) // 2] ^ 16])
        + whole[len(whole) // 2 + 1 :],
        "other-checksum": whole[:-8] + bytes([whole[-8] ^ 1]) + whole[-7:],
        "head-alone": whole[:12],
        "no-gzip": b"\x1f\x8b" + bytes(100),
    }
    for name, damaged in damages.items():
        path = tmp_path / f"{name}.tar.gz"
        path.write_bytes(damaged)
        refuse(capsys, tmp_path, path, "the archive is truncated or damaged")
    cut = tmp_path / "cut.tar"
    cut.write_bytes(gzip.decompress(whole)[:20_000])
    refuse(capsys, tmp_path, cut, "the archive is truncated or damaged")


def test_a_changed_file_under_the_published_name(tmp_path: Path, capsys):
    path = archive(tmp_path / "cifar-10-python.tar.gz", contents())
    refuse(capsys, tmp_path, path, "truncated or changed; delete it, or rename it")


MEMBERS = {
    "up": (plain("../data_batch_1"), "'../data_batch_1' lies outside"),
    "up and down": (plain("a/../../b"), "'a/../../b' lies outside"),
    "absolute": (plain("/etc/passwd"), "'/etc/passwd' lies outside"),
    "drive": (plain("c:/windows"), "lies outside"),
    "backslash": (plain("..\\up"), "lies outside"),
    "symlink": (special(f"{FOLDER}/data_batch_1", tarfile.SYMTYPE, "/etc/passwd"), "neither a plain file"),
    "hardlink": (special(f"{FOLDER}/data_batch_1", tarfile.LNKTYPE, "test_batch"), "neither a plain file"),
    "device": (special("null", tarfile.CHRTYPE), "neither a plain file"),
    "pipe": (special("pipe", tarfile.FIFOTYPE), "neither a plain file"),
    "twice": (plain("elsewhere/data_batch_1", contents()["data_batch_1"]), "data_batch_1 is in it twice"),
}


@pytest.mark.parametrize("kind", MEMBERS)
@pytest.mark.parametrize("ending", ["tar", "tar.gz"])
def test_an_archive_that_is_not_innocent(kind, ending, tmp_path: Path, capsys):
    member, told = MEMBERS[kind]
    refuse(capsys, tmp_path, archive(tmp_path / f"x.{ending}", contents(), member), told)


def test_what_unpacks_to_enormous_size_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setattr(tar_members, "LARGEST_MEMBER", 40_000)
    monkeypatch.setattr(tar_members, "LARGEST_ARCHIVE", 320_000)
    zeros = plain("zeros", bytes(40_001))
    refuse(capsys, tmp_path, archive(tmp_path / "a.tar.gz", contents(), zeros), "'zeros' is larger than")
    many = [plain(f"zeros{i}", bytes(40_000)) for i in range(8)]
    refuse(capsys, tmp_path, archive(tmp_path / "b.tar.gz", {}, *many), "it unpacks to more than")
    tail = tmp_path / "c.tar.gz"
    unzipped = gzip.decompress(archive(tmp_path / "d.tar.gz", contents()).read_bytes())
    tail.write_bytes(gzip.compress(unzipped + bytes(320_000)))
    refuse(capsys, tmp_path, tail, "it unpacks to more than")


@pytest.mark.parametrize("missing", ["data_batch_3", "test_batch", "batches.meta"])
def test_a_file_that_is_missing_is_named(missing, tmp_path: Path, capsys):
    files = contents()
    del files[missing]
    told = f"there is no {missing} in it"
    refuse(capsys, tmp_path, archive(tmp_path / "x.tar.gz", files), told)
    refuse(capsys, tmp_path, unpacked(tmp_path / "x", files), told)


def test_a_batch_that_would_run_a_program(tmp_path: Path, capsys):
    class Harm:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'marker'}",)

    files = contents() | {"data_batch_2": pickle.dumps(Harm())}
    for path in (archive(tmp_path / "x.tar.gz", files), unpacked(tmp_path / "x", files)):
        refuse(capsys, tmp_path, path, f"data_batch_2 in {path}: it asks for 'posix.system'")
    assert not (tmp_path / "marker").exists()


GOOD = batch(2, 0)
BATCHES = {
    "no dictionary": ([1], "there is no 'data' in it"),
    "no labels": ({b"data": GOOD[b"data"]}, "there is no 'labels' in it"),
    "list of pixels": (GOOD | {b"data": GOOD[b"data"].tolist()}, "its data are not uint8 [N, 3072]"),
    "wider numbers": (GOOD | {b"data": GOOD[b"data"].astype(int)}, "its data are not uint8 [N, 3072]"),
    "one axis": (GOOD | {b"data": GOOD[b"data"].reshape(-1)}, "its data are not uint8 [N, 3072]"),
    "other size": (GOOD | {b"data": GOOD[b"data"].reshape(1, -1)}, "its data are not uint8 [N, 3072]"),
    "eleventh class": (GOOD | {b"labels": [0, 10]}, "numbers from 0 to 9"),
    "negative": (GOOD | {b"labels": [-1, 0]}, "numbers from 0 to 9"),
    "truth": (GOOD | {b"labels": [True, 0]}, "numbers from 0 to 9"),
    "text": (GOOD | {b"labels": "01"}, "numbers from 0 to 9"),
    "too few": (GOOD | {b"labels": [1]}, "2 images and 1 labels"),
}


@pytest.mark.parametrize("kind", BATCHES)
def test_a_batch_of_something_else(kind, tmp_path: Path, capsys):
    value, told = BATCHES[kind]
    files = contents() | {"data_batch_1": pickle.dumps(value, 2)}
    refuse(capsys, tmp_path, unpacked(tmp_path / "x", files), told)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (CLASSES[:9], "its label_names are not ten names"),
        (3, "its label_names are not ten names"),
        ([*CLASSES[:9], 7], "its names of classes are no list of texts"),
        ([*CLASSES[:9], "a\nb"], "class 9 is called 'a\\nb', which cannot be shown"),
        ([*CLASSES[:9], "cat"], "class 9 is called 'cat', as another one is"),
    ],
)
def test_class_names_of_something_else(names, told, tmp_path: Path, capsys):
    files = contents() | {"batches.meta": pickle.dumps({"label_names": names}, 2)}
    refuse(capsys, tmp_path, unpacked(tmp_path / "x", files), f"batches.meta in {tmp_path / 'x'}: {told}")


def test_labels_may_be_an_array_and_class_names_text(tmp_path: Path):
    value = GOOD | {b"labels": np.array([3, 4])}
    files = contents() | {"test_batch": pickle.dumps(value, 2)}
    files["batches.meta"] = pickle.dumps({"label_names": CLASSES}, 2)
    dataset = recognise(unpacked(tmp_path / "x", files), 32).decode()
    assert dataset.held_out.labels.tolist() == [3, 4]
    assert dataset.class_names == tuple(CLASSES)


def test_without_network_the_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    made = archive(tmp_path / "made.tar.gz", contents())
    monkeypatch.setenv("no_proxy", "*")
    file = publish(monkeypatch, made)  # at a port where nobody listens
    remedy = (
        f"try again, put cifar-10-python.tar.gz at {file.path} by hand, or name a copy of it with --data.path"
    )
    refuse(capsys, tmp_path, "", f"download {file.url}: Connection refused; {remedy}")
    made.rename(file.path)
    assert cifar10.Published().decode().name == "cifar10"
