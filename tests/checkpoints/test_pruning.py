"""What is kept of older checkpoints, and what never goes."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from checkpoints.faults import snapshot
from checkpoints.small import make, same

from triptych.checkpoints.contents import Contents
from triptych.checkpoints.find import all_checkpoints, newest_valid
from triptych.checkpoints.manifest import Manifest
from triptych.checkpoints.names import name_of
from triptych.checkpoints.prune import Pruned, Retention, clear_leftovers, prune, thin
from triptych.checkpoints.read import read
from triptych.checkpoints.verify import verify
from triptych.checkpoints.write import write
from triptych.errors import UserError


def kept(root: Path) -> dict[int, int]:
    """Epoch -> number of parts, of every checkpoint; each is verified."""
    return {int(folder.name.split("-")[1]): len(verify(folder).parts) for folder in all_checkpoints(root)}


def test_by_default_old_ones_are_thinned_and_none_goes(trained: Callable[..., Path]):
    root = trained(1, 2, 3, 4)
    pruned = prune(root, Retention())
    assert pruned == Pruned(removed=(), thinned=("epoch-00002", "epoch-00001"))
    assert kept(root) == {1: 1, 2: 1, 3: 3, 4: 3}
    ema = read(root / "epoch-00001")
    assert same(ema, Contents({"ema": make(1).tensors["ema"]}, ema.state))
    assert prune(root, Retention()) == Pruned((), ())


def test_multiples_stay_and_the_rest_goes(trained: Callable[..., Path]):
    root = trained(*range(1, 13), best=5)
    write(root, "epoch-00008-step-00000100", make(8))
    pruned = prune(root, Retention(full=3, keep_every=4))
    assert kept(root) == {4: 1, 5: 1, 8: 1, 10: 3, 11: 3, 12: 3}
    assert "epoch-00008-step-00000100" in pruned.removed
    assert set(pruned.thinned) == {"epoch-00004", "epoch-00005", "epoch-00008"}
    assert not (root / ".writing").exists()


def test_the_best_goes_only_when_asked(trained: Callable[..., Path]):
    root = trained(*range(1, 7), best=3)
    prune(root, Retention(full=1, keep_every=100))
    assert kept(root) == {3: 1, 6: 3}
    prune(root, Retention(full=1, keep_every=100, best=0))
    assert kept(root) == {6: 3}


def measured(root: Path, errors: dict[int, float], records: bool = True) -> None:
    """Write checkpoints whose held-out MSE are `errors`, epoch by epoch, as training notes them."""
    held_out, best = [], []
    for epoch, mse in errors.items():
        entry = {"epoch": epoch, "checkpoint": name_of(epoch), "mse": mse}
        held_out.append(entry)
        if not best or mse < best[-1]["mse"]:
            best.append(entry)
        state = {"epoch": epoch, "best": best} | ({"held_out": held_out} if records else {})
        write(root, name_of(epoch), Contents(make(epoch).tensors, state))


ERRORS = {1: 9.0, 2: 5.0, 3: 7.0, 4: 4.0, 5: 6.0, 6: 8.0, 7: 8.5}


@pytest.mark.parametrize(
    ("best", "left"), [(0, []), (1, [4]), (2, [2, 4]), (3, [2, 4, 5]), (4, [2, 3, 4, 5]), (99, range(1, 7))]
)
def test_as_many_of_the_best_stay_as_are_asked_for(root: Path, best: int, left: list[int]):
    measured(root, ERRORS)
    prune(root, Retention(full=1, keep_every=100, best=best))
    assert kept(root) == dict.fromkeys(left, 1) | {7: 3}


def test_the_best_stay_as_training_goes_on(root: Path):
    """Pruned after each checkpoint, as training does, the same ones are left as at the end."""
    for last in ERRORS:
        measured(root, {epoch: mse for epoch, mse in ERRORS.items() if epoch <= last})
        prune(root, Retention(full=1, keep_every=100, best=3))
    assert {epoch for epoch in kept(root) if epoch < 7} == {2, 4, 5}


def test_states_that_list_records_alone_still_tell_the_best(root: Path):
    measured(root, ERRORS, records=False)
    prune(root, Retention(full=1, keep_every=100, best=3))
    assert kept(root) == {1: 1, 2: 1, 4: 1, 7: 3}


def test_the_best_are_those_that_are_there(root: Path):
    """One that a user took away leaves its place to the next."""
    measured(root, ERRORS)
    shutil.rmtree(root / name_of(4))
    prune(root, Retention(full=1, keep_every=100, best=2))
    assert kept(root) == {2: 1, 5: 1, 7: 3}


def test_newest_ones_that_are_among_the_best_count_as_such(root: Path):
    measured(root, ERRORS | {8: 1.0})
    prune(root, Retention(full=1, keep_every=100, best=2))
    assert kept(root) == {4: 1, 8: 3}


def test_rules_add_up(root: Path):
    """The newest, multiples, the best, those that evaluations chose and pinned ones, all at once."""
    measured(root, dict.fromkeys(range(1, 21), 9.0) | {3: 1.0, 7: 2.0})
    (root / name_of(2) / "pinned").touch()
    prune(root, Retention(full=3, keep_every=8, best=2), keep=["epoch-11", "epoch-nothing"])
    assert kept(root) == {2: 3, 3: 1, 7: 1, 8: 1, 11: 1, 16: 1, 18: 3, 19: 3, 20: 3}


def test_pinned_and_chosen_ones_stay(trained: Callable[..., Path]):
    root = trained(*range(1, 7), best=6)
    (root / "epoch-00001" / "pinned").touch()
    before = snapshot(root / "epoch-00001")
    prune(root, Retention(full=1, keep_every=100), keep=["epoch-2", "epoch-00004"])
    assert kept(root) == {1: 3, 2: 1, 4: 1, 6: 3}
    assert snapshot(root / "epoch-00001") == before


@pytest.mark.parametrize("damaged", ["manifest.json", "optimizer.safetensors"])
def test_broken_ones_are_never_counted_as_safe(trained: Callable[..., Path], damaged: str):
    root = trained(1, 2, 3, 4, 5)
    for epoch in (4, 5):
        (root / f"epoch-{epoch:05d}" / damaged).write_bytes(b"torn")
    prune(root, Retention(full=2, keep_every=100))
    assert [folder.name[-1] for folder in all_checkpoints(root)] == ["2", "3", "4", "5"]
    assert newest_valid(root, ["optimizer"])[0] == root / "epoch-00003"


def test_thinned_ones_are_never_counted_as_resumable(trained: Callable[..., Path]):
    root = trained(1, 2, 3, 4)
    thin(root / "epoch-00004")
    thin(root / "epoch-00003")
    prune(root, Retention(full=1, keep_every=100))
    assert kept(root) == {2: 3, 3: 1, 4: 1}


def test_nothing_happens_while_too_few_are_whole(trained: Callable[..., Path]):
    root = trained(1, 2, 3)
    before = snapshot(root)
    assert prune(root, Retention(full=3, keep_every=100)) == Pruned((), ())
    assert prune(root, Retention(full=9, keep_every=100)) == Pruned((), ())
    assert snapshot(root) == before
    for folder in all_checkpoints(root):
        (folder / "state.json").write_text("{}")
    before = snapshot(root)
    assert prune(root, Retention(full=1, keep_every=100)) == Pruned((), ())
    assert snapshot(root) == before


def test_an_old_broken_one_is_left_or_removed_but_stops_nothing(trained: Callable[..., Path]):
    root = trained(1, 2, 3)
    (root / "epoch-00001" / "manifest.json").write_bytes(b"torn")
    assert prune(root, Retention(full=1)).thinned == ("epoch-00002",)
    assert (root / "epoch-00001" / "optimizer.safetensors").exists()
    assert prune(root, Retention(full=1, keep_every=2)).removed == ("epoch-00001",)


@pytest.mark.parametrize(
    ("parts", "left"),
    [
        ("ema weights optimizer", "ema"),
        ("weights optimizer", "weights"),
        ("ema", "ema"),
        ("ema ema_long weights optimizer", "ema ema_long"),
        ("ema_long weights", "ema_long"),
        ("ema emax weights", "ema"),
        ("guard timing", None),
    ],
)
def test_thinning_keeps_what_images_are_drawn_from(root: Path, parts: str, left: str | None):
    folder = write(root, "epoch-00001", make(1, parts=parts))
    size = Manifest.load(folder).size
    assert thin(folder) == (left is not None and left != parts)
    assert list(verify(folder).parts) == sorted((left or parts).split())
    assert len(list(folder.glob("*.safetensors"))) == len(verify(folder).parts)
    assert (verify(folder).size < size) == (left is not None and left != parts)
    assert not thin(folder)


def test_a_thinned_one_can_be_written_in_full_again(trained: Callable[..., Path]):
    root = trained(1)
    thin(root / "epoch-00001")
    assert same(read(write(root, "epoch-00001", make(1))), make(1))


@pytest.mark.parametrize("wrong", [{"full": 0}, {"keep_every": 0}, {"full": -1}, {"best": -1}])
def test_rules_that_would_keep_nothing_are_refused(wrong: dict):
    with pytest.raises(UserError, match=r"give [01] or more"):
        Retention(**wrong)


def test_leftovers_are_cleared_and_nothing_else(trained: Callable[..., Path]):
    root = trained(1, 2)
    for name in ("pinned", "notes.txt", "grid.png"):
        (root / "epoch-00001" / name).touch()
    before = snapshot(root)
    (root / ".writing" / "epoch-00003.1.x").mkdir(parents=True)
    (root / ".writing" / "epoch-00003.1.x" / "ema.safetensors").touch()
    (root / "epoch-00001" / "ema.2.safetensors").touch()
    (root / "epoch-00002" / "state.2.json").touch()
    assert clear_leftovers(root) == [
        ".writing/epoch-00003.1.x",
        "epoch-00001/ema.2.safetensors",
        "epoch-00002/state.2.json",
    ]
    assert snapshot(root) == before
    assert clear_leftovers(root) == []
    assert clear_leftovers(root.parent / "none") == []
