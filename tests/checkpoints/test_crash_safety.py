"""Whatever fails, and whenever the process dies: the checkpoint is the old one or the new, never torn."""

import errno
import os
import resource
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from checkpoints.faults import KILLED, failing, in_child, killed_at, snapshot, watched
from checkpoints.small import make, same

from triptych.checkpoints.contents import Contents
from triptych.checkpoints.find import all_checkpoints, newest_valid
from triptych.checkpoints.prune import Retention, clear_leftovers, prune, remove, thin
from triptych.checkpoints.read import read
from triptych.checkpoints.verify import verify
from triptych.checkpoints.write import write, write_finite
from triptych.errors import UserError

OLD, NEW = "epoch-00001", "epoch-00002"
MOST_CALLS = 100


def write_next(root: Path) -> None:
    write(root, NEW, make(2))


def write_again(root: Path) -> None:
    write(root, OLD, make(2))


def write_over_broken(root: Path) -> None:
    write(root, "epoch-00000", make(2))


def newest(root: Path) -> Contents:
    folder, _ = newest_valid(root)
    assert folder is not None
    return read(folder)


@pytest.fixture
def saved(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A whole checkpoint of epoch 1, and a broken one before it."""
    # Flushes are slow, and a killed process loses nothing that it wrote: here it is enough to see the calls.
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    write(root, "epoch-00000", make(0))
    (root / "epoch-00000" / "ema.safetensors").write_bytes(b"torn")
    write(root, OLD, make(1))
    return root


def each_call(saved: Path, attempt: Callable[[int], bool]) -> int:
    """Let `attempt` fail at call 1, 2, ... on the same starting point until it gets through; count them."""
    start = saved.parent / "start"
    saved.rename(start)
    for at in range(1, MOST_CALLS):
        shutil.copytree(start, saved)
        through = attempt(at)
        shutil.rmtree(saved)
        if through:
            return at
    raise AssertionError(f"still not done after {MOST_CALLS} calls")


class GivenUp(Exception):  # noqa: N818
    """As a second Ctrl-C has it."""


@pytest.mark.parametrize("name", [OLD, NEW])
def test_given_up_while_saving(saved: Path, name: str):
    """Wherever it is asked to give up, what was there is untouched and nothing is left of what was begun."""

    def attempt(at: int) -> bool:
        before, calls = snapshot(saved), []

        def proceed() -> None:
            calls.append(at)
            if len(calls) == at:
                raise GivenUp

        try:
            write_finite(saved, name, make(2), proceed)
        except GivenUp:
            assert snapshot(saved) == before
            assert sorted(path.name for path in saved.iterdir()) == ["epoch-00000", OLD]
            return False
        assert same(read(saved / name), make(2))
        return True

    # Before each of four files is written, and before all is published.
    assert each_call(saved, attempt) == 4 + 1 + 1


@pytest.mark.parametrize("save", [write_next, write_again, write_over_broken])
def test_killed_while_saving(saved: Path, save: Callable[[Path], None]):
    def attempt(at: int) -> bool:
        status = killed_at(at, lambda: save(saved))
        assert status in (0, KILLED)
        folder, skipped = newest_valid(saved)
        assert folder is not None
        found = read(folder)
        assert same(found, make(1)) or same(found, make(2))
        assert all(path.name == "epoch-00000" for path, _ in skipped)
        if save is write_over_broken:
            assert same(found, make(1))
        # The next attempt sweeps up and gets through.
        clear_leftovers(saved)
        assert not (saved / ".writing").exists()
        save(saved)
        for folder in all_checkpoints(saved):
            if folder.name != "epoch-00000" or save is write_over_broken:
                assert {path.name for path in folder.iterdir()} == files_of(folder)
        return status == 0

    assert each_call(saved, attempt) > 20


def files_of(folder: Path) -> set[str]:
    return {file.name for file in verify(folder).files} | {"manifest.json"}


@pytest.mark.parametrize(
    ("code", "forever"),
    [(errno.ENOSPC, False), (errno.ENOSPC, True), (errno.EROFS, True), (errno.EACCES, False)],
)
@pytest.mark.parametrize("save", [write_next, write_again, write_over_broken])
def test_failing_disk(saved: Path, save: Callable[[Path], None], code: int, forever: bool):
    def attempt(at: int) -> bool:
        before = snapshot(saved / OLD)
        refusal = None
        with failing(at, code, forever) as calls:
            try:
                save(saved)
            except UserError as error:
                refusal = str(error)
        found = newest(saved)
        if refusal is None:
            expected = make(1) if save is write_over_broken else make(2)
            assert same(found, expected)
            return len(calls) < at
        assert os.strerror(code) in refusal
        assert "\n" not in refusal
        assert same(found, make(1)) or same(found, make(2))
        if same(found, make(1)):  # not published: as if nothing had happened
            assert snapshot(saved / OLD) == before or forever
            assert not (saved / ".writing").exists() or forever
        save(saved)
        return False

    assert each_call(saved, attempt) > 20


AUDITED = {
    "open": "open",
    "mkdir": "os.mkdir",
    "rename": "os.rename",
    "replace": "os.rename",
    "unlink": "os.remove",
    "rmdir": "os.rmdir",
}
"""What the interpreter reports of a call, by the call's name; of `write` and `fsync` it reports nothing."""

CHANGES = {
    "os.chmod",
    "os.link",
    "os.mkdir",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.symlink",
    "os.truncate",
}


@pytest.mark.parametrize("save", [write_next, write_again, write_over_broken])
def test_every_operation_is_a_fault_point(saved: Path, save: Callable[[Path], None]):
    """What Python reports of a save and of retention is what is let fail here; no byte goes another way."""

    def watching() -> None:
        reported: list[str] = []
        seen: list[str] = []
        written: list[int] = []

        def hook(event: str, args: tuple) -> None:
            if event == "open" and (args[1] is None or set(args[1]) & set("wax+")):
                reported.append("open" if args[1] is None else f"{args}")
            elif event in CHANGES:
                reported.append(event)

        def before(name: str, args: tuple) -> None:
            seen.append(name)
            written.extend([len(args[1])] if name == "write" else [])

        sys.addaudithook(hook)
        with watched(before):
            save(saved)
            bytes_saved = sum(written)
            prune(saved, Retention(full=1, keep_every=1, best=0))
            remove(saved / "epoch-00000")
        assert reported == [AUDITED[name] for name in seen if name in AUDITED]
        if save is write_next:
            assert bytes_saved == sum(path.stat().st_size for path in (saved / NEW).iterdir())
        assert {"write", "fsync", "open", "mkdir", "rename", "rmdir"} <= set(seen)

    assert in_child(watching) == 0


@pytest.mark.parametrize("killed", [False, True])
def test_thinning_cut_short(saved: Path, killed: bool):
    ema = Contents({"ema": make(1).tensors["ema"]}, make(1).state)

    def attempt(at: int) -> bool:
        if killed:
            done = killed_at(at, lambda: thin(saved / OLD)) == 0
        else:
            with failing(at, errno.EIO) as calls, suppress(OSError):
                thin(saved / OLD)
            done = len(calls) < at
        found = read(saved / OLD)
        verify(saved / OLD)
        assert same(found, make(1)) or same(found, ema)
        assert same(found, ema) or not done
        clear_leftovers(saved)
        thin(saved / OLD)
        assert files_of(saved / OLD) == {path.name for path in (saved / OLD).iterdir()}
        assert same(read(saved / OLD), ema)
        return done

    assert each_call(saved, attempt) > 8


def test_removal_cut_short(saved: Path):
    def attempt(at: int) -> bool:
        status = killed_at(at, lambda: remove(saved / OLD))
        if (saved / OLD).exists():
            verify(saved / OLD)
        clear_leftovers(saved)
        assert not (saved / ".writing").exists()
        return status == 0

    assert each_call(saved, attempt) > 8


def test_pruning_on_a_failing_disk(trained: Callable[..., Path]):
    saved = trained(1, 2, 3, 4)

    def attempt(at: int) -> bool:
        with failing(at, errno.EIO, forever=True) as calls, suppress(UserError):
            prune(saved, Retention(full=1, keep_every=3))
        for folder in all_checkpoints(saved):
            verify(folder)
        assert newest(saved).state["epoch"] == 4
        return len(calls) < at

    assert each_call(saved, attempt) > 20


def test_an_interrupted_save_leaves_nothing_behind(saved: Path):
    before = snapshot(saved)

    def before_call(name: str, args: tuple) -> None:
        if name == "rename":
            raise KeyboardInterrupt

    for save in (write_next, write_again):
        with watched(before_call), pytest.raises(KeyboardInterrupt):
            save(saved)
        assert snapshot(saved) == before
        assert not (saved / ".writing").exists()


def test_a_disk_that_takes_only_so_much(saved: Path):
    """The system itself refuses here: no file of this process may grow beyond 200 bytes."""
    before = snapshot(saved)

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))
        for save in (write_next, write_again):
            with pytest.raises(UserError, match="File too large"):
                save(saved)

    assert in_child(limited) == 0
    assert snapshot(saved) == before
    assert not (saved / ".writing").exists()


def test_a_disk_that_lies_is_caught_before_anything_is_published(
    saved: Path, monkeypatch: pytest.MonkeyPatch
):
    """Bytes that come back changed, although every call succeeded."""
    before = snapshot(saved)
    honest = os.write

    def lying(descriptor: int, data: memoryview) -> int:
        return honest(descriptor, bytes(data[:-1]) + b"?")

    monkeypatch.setattr(os, "write", lying)
    for save in (write_next, write_again):
        with pytest.raises(UserError, match="what was read back differs"):
            save(saved)
        assert snapshot(saved) == before


@pytest.mark.parametrize("save", [write_next, write_again])
def test_everything_is_flushed_before_it_is_relied_on(saved: Path, save: Callable[[Path], None]):
    """A power cut may undo what was not flushed: no publishing before that, no deleting before either."""
    dirty: set[str] = set()
    published = False
    deleted = []

    def path_of(descriptor: int) -> str:
        return os.readlink(f"/proc/self/fd/{descriptor}")

    def before(name: str, args: tuple) -> None:
        nonlocal published
        if name == "write":
            dirty.add(path_of(args[0]))
            dirty.add(str(Path(path_of(args[0])).parent))
        elif name == "fsync":
            dirty.discard(path_of(args[0]))
        elif name in ("rename", "replace"):
            source, target = map(Path, args)
            whole = source.is_dir() or target.name == "manifest.json"
            if whole:
                assert not [
                    path for path in dirty if path.startswith((str(source), str(target.parent / OLD)))
                ]
                assert not [
                    path for path in dirty if target.name == "manifest.json" and path == str(target.parent)
                ]
                published = True
            dirty.add(str(target.parent))
        elif name == "unlink" and isinstance(args[0], Path) and OLD in args[0].parts:
            assert str(args[0].parent) not in dirty
            deleted.append(args[0].name)

    with watched(before):
        save(saved)
    assert published
    assert not dirty & {str(saved), str(saved / OLD), str(saved / NEW)}
    assert len(deleted) == (4 if save is write_again else 0)


def test_nothing_goes_before_the_new_manifest_is_flushed(saved: Path, monkeypatch: pytest.MonkeyPatch):
    """A network file system may report a failure for a replacement that did happen."""
    before = {path.name for path in (saved / OLD).iterdir()}
    honest = os.replace

    def done_yet_failed(source: Path, target: Path) -> None:
        honest(source, target)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "replace", done_yet_failed)
    with pytest.raises(UserError, match="Input/output error"):
        write_again(saved)
    assert same(newest(saved), make(2))
    assert {path.name for path in (saved / OLD).iterdir()} > before
