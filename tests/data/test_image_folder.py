"""One's own pictures: found, named, split, decoded by one process or several, and mistakes told in a line."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from PIL import Image

from triptych.cli import main
from triptych.data import DataConfig, parallel_decoding
from triptych.data.formats import recognise
from triptych.data.image_folder import open_image_folder
from triptych.data.parallel_decoding import Picture
from triptych.errors import UserError

SIDE = 8


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path_factory.mktemp("cache")))


def pixels_of(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (SIDE, SIDE, 3), np.uint8)


def lay(folder: Path, count: int, first: int = 0) -> None:
    """Write pictures `first`, `first + 1`, ... into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        Image.fromarray(pixels_of(number)).save(folder / f"{number:04d}.png")


def numbers(images) -> list[int]:
    """Return which pictures of `lay` these are."""
    known = {pixels_of(number).transpose(2, 0, 1).tobytes(): number for number in range(200)}
    return [known[image.numpy().tobytes()] for image in images]


def test_class_folders_become_classes_and_every_tenth_is_held_out(tmp_path):
    lay(tmp_path / "pets" / "dog", 3, first=100)
    lay(tmp_path / "pets" / "cat", 25)
    data = recognise(tmp_path / "pets", SIDE).decode()
    assert (data.name, data.class_names) == ("pets", ("cat", "dog"))
    assert numbers(data.held_out.images) == [9, 19, 102]
    assert data.held_out.labels.tolist() == [0, 0, 1]
    assert numbers(data.train.images) == [n for n in range(25) if n not in (9, 19)] + [100, 101]
    assert data.train.labels.tolist() == [0] * 23 + [1] * 2
    assert data.preparation == "no test split: every 10th image of each class held out"


@pytest.mark.parametrize("held_out", ["test", "val", "validation", "held-out"])
def test_a_folder_of_its_own_is_held_out(held_out, tmp_path):
    lay(tmp_path / "train" / "a", 12)
    lay(tmp_path / "train" / "b", 12, first=20)
    lay(tmp_path / held_out / "b", 1, first=40)
    lay(tmp_path / held_out / "a", 2, first=50)
    data = recognise(tmp_path, SIDE).decode()
    assert numbers(data.train.images) == [*range(12), *range(20, 32)]
    assert numbers(data.held_out.images) == [50, 51, 40]
    assert data.held_out.labels.tolist() == [0, 0, 1]
    assert data.preparation == ""


def test_pictures_in_no_class_folder_are_one_class(tmp_path):
    lay(tmp_path, 4)
    data = recognise(tmp_path, SIDE).decode()
    assert data.class_names == ("images",)
    assert (numbers(data.train.images), numbers(data.held_out.images)) == ([0, 1, 2], [3])


def test_pictures_of_trains_are_a_class(tmp_path):
    lay(tmp_path / "car", 2)
    lay(tmp_path / "train", 2, first=10)
    assert recognise(tmp_path, SIDE).decode().class_names == ("car", "train")


def test_a_train_folder_alone_is_split(tmp_path):
    lay(tmp_path / "train" / "a", 2)
    assert recognise(tmp_path, SIDE).decode().class_names == ("a",)


def test_other_files_are_ignored_and_counted(tmp_path):
    lay(tmp_path / "a", 2)
    (tmp_path / "a" / ".hidden.png").write_bytes(b"x")
    (tmp_path / "a" / "notes.txt").write_text("x")
    (tmp_path / "a" / "deeper").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "README").write_text("x")
    data = recognise(tmp_path, SIDE).decode()
    assert data.class_names == ("a",) and len(data.train) == len(data.held_out) == 1
    assert data.preparation.endswith("; 5 other files or folders ignored")


def test_folders_deeper_than_pictures_of_the_class_are_left_aside(tmp_path):
    lay(tmp_path / "sorted" / "a", 2)
    lay(tmp_path / "sorted" / "a" / "raw", 2)
    lay(tmp_path / "sorted" / "b" / ".thumbnails", 2)
    lay(tmp_path / "sorted" / "b" / "notes" / ".thumbnails", 2)
    lay(tmp_path / "unsorted", 2)
    lay(tmp_path / "unsorted" / "raw" / "2019", 2)
    for folder, ignored in (("sorted", 2), ("unsorted", 1)):
        data = recognise(tmp_path / folder, SIDE).decode()
        assert numbers(data.train.images) + numbers(data.held_out.images) == [0, 1]
        assert f"; {ignored} other files or folders ignored" in data.preparation


def test_what_was_done_to_the_pictures_is_said(tmp_path):
    lay(tmp_path / "a", 2)
    Image.fromarray(pixels_of(0)).resize((30, 20)).save(tmp_path / "a" / "9.jpg")
    preparation = recognise(tmp_path, SIDE).decode().preparation
    assert preparation.startswith(
        "1 of 3 images brought to 8x8 RGB: EXIF orientation, transparency over white"
    )


def test_whoever_waits_sees_how_many_are_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(parallel_decoding, "LARGEST_BATCH", 8)
    lay(tmp_path / "mine" / "a", 20)
    config, seen = DataConfig("mine", str(tmp_path / "mine"), SIDE), []
    config.load(seen.append)
    assert [(work.done, work.total) for work in seen] == [(0, 20), (8, 20), (16, 20), (20, 20)]
    assert "decoding" in seen[0].what
    config.load(seen.append)  # from the cache
    assert len(seen) == 4


def test_pictures_are_brought_to_32_pixels_unless_another_size_is_asked_for(tmp_path):
    lay(tmp_path / "a", 2)
    assert recognise(tmp_path).decode().image_size == 32
    assert recognise(tmp_path, 5).decode().image_size == 5


def test_links_are_followed_out_of_the_folder(tmp_path):
    lay(tmp_path / "elsewhere", 3)
    lay(tmp_path / "mine" / "a", 2, first=10)
    (tmp_path / "mine" / "b").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "mine" / "a" / "0012.png").symlink_to(tmp_path / "elsewhere" / "0000.png")
    data = recognise(tmp_path / "mine", SIDE).decode()
    assert data.class_names == ("a", "b")
    assert numbers(data.train.images) + numbers(data.held_out.images) == [10, 11, 0, 1, 0, 2]


def test_the_key_changes_with_the_files_and_the_size(tmp_path):
    lay(tmp_path / "a", 3)
    keys = [recognise(tmp_path, SIDE).key(), recognise(tmp_path, SIDE + 1).key()]
    os.utime(tmp_path / "a" / "0000.png", ns=(0, 1))
    keys.append(recognise(tmp_path, SIDE).key())
    (tmp_path / "a" / "0001.png").rename(tmp_path / "a" / "0009.png")
    keys.append(recognise(tmp_path, SIDE).key())
    assert len(set(keys)) == 4
    assert recognise(tmp_path, SIDE).key() == keys[-1]


def test_other_pictures_of_the_same_names_sizes_and_times_have_another_key(tmp_path):
    for folder, content in (("one", b"left"), ("other", b"post")):
        (tmp_path / folder / "a").mkdir(parents=True)
        (tmp_path / folder / "a" / "0.png").write_bytes(content)
        os.utime(tmp_path / folder / "a" / "0.png", ns=(0, 0))
    key = recognise(tmp_path / "one", SIDE).key()
    assert key != recognise(tmp_path / "other", SIDE).key()
    for replace in (lambda old, new: old.write_bytes(new.read_bytes()), lambda old, new: new.replace(old)):
        replace(tmp_path / "one" / "a" / "0.png", tmp_path / "other" / "a" / "0.png")
        os.utime(tmp_path / "one" / "a" / "0.png", ns=(0, 0))
        assert key != (key := recognise(tmp_path / "one", SIDE).key())


def test_a_folder_has_one_key_however_it_is_named(tmp_path, monkeypatch):
    lay(tmp_path / "mine" / "a", 2)
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    keys = {recognise(path, SIDE).key() for path in (tmp_path / "mine", Path("mine"), Path("link"))}
    assert len(keys) == 1
    (tmp_path / "mine").rename(tmp_path / "moved")
    assert recognise(tmp_path / "moved", SIDE).key() not in keys


def test_several_processes_decode_the_same(tmp_path, monkeypatch):
    lay(tmp_path / "a", 70)
    lay(tmp_path / "b", 70, first=70)
    alone = recognise(tmp_path, 5).decode()
    monkeypatch.setattr(parallel_decoding, "LARGEST_BATCH", 8)
    monkeypatch.setattr(parallel_decoding, "_processes", lambda count: 2)
    together = recognise(tmp_path, 5).decode()
    assert (together.train.digest, together.held_out.digest) == (alone.train.digest, alone.held_out.digest)
    assert together.preparation == alone.preparation


class BrokenPool:
    """A pool whose processes are killed at once, as the one with too little memory or no main module is."""

    def __init__(self, *args, **options):
        self.submitted = 0

    def submit(self, *call):
        self.submitted += 1
        if self.submitted > 2:
            raise BrokenProcessPool("killed")
        future = Future()
        future.set_exception(BrokenProcessPool("killed"))
        return future

    def shutdown(self, **options):
        pass


def unmade(error: Exception) -> Callable[..., NoReturn]:
    """Return a pool that cannot be made."""

    def pool(*args: object, **options: object) -> NoReturn:
        raise error

    return pool


class BarrenPool(BrokenPool):
    """A pool that can be made, and start no process."""

    def submit(self, *call):
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))


@pytest.mark.parametrize(
    "pool",
    [
        BrokenPool,
        BarrenPool,
        unmade(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))),
        unmade(NotImplementedError("the platform lacks a functioning sem_open")),
    ],
)
def test_where_there_are_no_processes_it_is_decoded_here(pool, tmp_path, monkeypatch):
    lay(tmp_path / "a", 30)
    monkeypatch.setattr(parallel_decoding, "LARGEST_BATCH", 4)
    monkeypatch.setattr(parallel_decoding, "_processes", lambda count: 2)
    monkeypatch.setattr(parallel_decoding, "ProcessPoolExecutor", pool)
    data = recognise(tmp_path, SIDE).decode()
    assert numbers(data.train.images) == [n for n in range(30) if n not in (9, 19, 29)]


def test_a_batch_holds_no_more_than_its_share_of_files(monkeypatch):
    monkeypatch.setattr(parallel_decoding, "BATCH_BYTES", 100)
    pictures = [Picture(str(size), bytes(size)) for size in (40, 60, 1, 99, 300, 50, 60, 1)]
    batches = list(parallel_decoding._batches(iter(pictures), 3))
    assert [[len(p.data) for p in batch] for batch in batches] == [[40, 60], [1, 99], [300], [50], [60, 1]]
    of_files = [Picture(str(n), Path(str(n))) for n in range(70)]
    assert [len(batch) for batch in parallel_decoding._batches(of_files, 3)] == [33, 33, 4]


KILLED = """
if __name__ == "__main__":
    import os, signal, sys
    from triptych.data.parallel_decoding import _pool

    pool = _pool(1)
    worker = pool.submit(os.getpid).result()
    with open(sys.argv[1], "w") as file:
        file.write(str(worker))
    os.kill(os.getpid(), signal.SIGTERM)
"""


def test_processes_end_with_the_one_that_they_decode_for(tmp_path):
    (tmp_path / "killed.py").write_text(KILLED)
    command = [sys.executable, str(tmp_path / "killed.py"), str(tmp_path / "worker")]
    assert subprocess.run(command, timeout=60).returncode == -signal.SIGTERM
    worker = int((tmp_path / "worker").read_text())
    deadline = time.monotonic() + 10
    while is_alive(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    if survived := is_alive(worker):
        os.kill(worker, signal.SIGKILL)
    assert not survived


def is_alive(process: int) -> bool:
    """Whether a process runs; one that has ended does not, even where nobody has asked for it."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{process}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"


def broken(folder: Path) -> None:
    lay(folder / "a", 3)
    whole = (folder / "a" / "0001.png").read_bytes()
    (folder / "a" / "0001.png").write_bytes(whole[: len(whole) // 2])


def other_classes(folder: Path) -> None:
    lay(folder / "train" / "a", 2)
    lay(folder / "train" / "b", 2)
    lay(folder / "test" / "a", 2)
    lay(folder / "test" / "c", 2)


def lonely(folder: Path) -> None:
    lay(folder / "a", 2)
    lay(folder / "b", 1)


def dangling(folder: Path) -> None:
    lay(folder / "a", 2)
    (folder / "a" / "gone.png").symlink_to(folder / "nowhere")


def no_text(folder: Path) -> None:
    lay(folder / "a", 2)
    os.mkdir(os.fsencode(folder) + b"/caf\xe9")


def two_lines(folder: Path) -> None:
    lay(folder / "a", 2)
    (folder / "a" / "0000.png").rename(folder / "a" / "0\n0.png")


def backwards(folder: Path) -> None:
    lay(folder / "\u202ea", 2)


def two_lines_of_unicode(folder: Path) -> None:
    lay(folder / "a\u2028b", 2)


def empty(folder: Path) -> None:
    (folder / "a").mkdir(parents=True)


def one_level_lower(folder: Path) -> None:
    lay(folder / "ant", 2)
    lay(folder / "bee", 2)
    lay(folder / "dog" / "2019", 2)


def all_lower(folder: Path) -> None:
    lay(folder / "pets" / "more" / "cat", 2)


def lower_in_a_split(folder: Path) -> None:
    for split in ("train", "test"):
        lay(folder / split / "ant", 2)
    lay(folder / "test" / "dog" / "2019" / "05", 2)


@pytest.mark.parametrize(
    ("laid", "told"),
    [
        (empty, "no images in a format that is known"),
        (one_level_lower, "mine/dog: a class's folder without pictures of its own, but with some in "),
        (all_lower, "mine/pets: a class's folder without pictures of its own, but with some in "),
        (lower_in_a_split, "mine/test/dog: a class's folder without pictures of its own, but with some in "),
        (broken, "0001.png: it is damaged"),
        (other_classes, "classes that only one of its two splits has (b, c)"),
        (lonely, "class 'b' has one image"),
        (dangling, "gone.png: a link that leads nowhere"),
        (no_text, "caf\\udce9': a name that is no UTF-8 text"),
        (backwards, "class 0 is called '\\u202ea', which cannot be shown on one line; rename the class"),
        (two_lines_of_unicode, "a\\u2028b': a name that is no UTF-8 text of one line"),
        (two_lines, "0\\n0.png': a name that is no UTF-8 text"),
    ],
)
def test_mistakes_are_told_in_one_line(laid, told, tmp_path, capsys):
    laid(tmp_path / "mine")
    tokens = ["train", "digits-unet", "--data.name", "mine", "--data.path", str(tmp_path / "mine")]
    assert main([*tokens, "--runs", str(tmp_path / "runs"), "--quiet"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert told in line
    assert not (tmp_path / "runs").exists()


def test_an_unreadable_picture_is_named(tmp_path, monkeypatch, capsys):
    lay(tmp_path / "mine" / "a", 2)

    def refuse(*args, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Image, "open", refuse)
    tokens = ["train", "digits-unet", "--data.name", "mine", "--data.path", str(tmp_path / "mine")]
    assert main([*tokens, "--runs", str(tmp_path / "runs"), "--quiet"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "0000.png: it cannot be read (permission denied)" in line


@pytest.mark.parametrize(
    ("side", "told"), [(0, "no image is so small"), (-3, "no image is so small"), (10**7, "838,190.3 GiB")]
)
def test_sizes_that_no_image_has(side, told, tmp_path):
    lay(tmp_path / "a", 3)
    with pytest.raises(UserError) as refused:
        recognise(tmp_path, side).decode()
    assert told in str(refused.value)


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")
    assert open_image_folder(tmp_path / "a.png", SIDE) is None
