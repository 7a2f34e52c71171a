"""Finding checkpoints: in order, whole ones, and the one that was meant."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from checkpoints.small import make

from triptych.checkpoints.find import all_checkpoints, best_mse, by_held_out, newest_valid, resolve
from triptych.checkpoints.names import Position
from triptych.checkpoints.prune import thin
from triptych.checkpoints.write import write
from triptych.errors import UserError


def test_all_in_the_order_of_training(root: Path):
    names = ["epoch-2", "epoch-00010", "epoch-00002-step-00000300", "epoch-00002-step-99", "epoch-1000000"]
    for name in names:
        (root / name).mkdir(parents=True)
    for other in (".writing", "notes", "epoch-x"):
        (root / other).mkdir()
    (root / "epoch-00003").touch()
    found = [folder.name for folder in all_checkpoints(root)]
    assert found == [names[0], names[3], names[2], names[1], names[4]]


def test_a_run_without_any(root: Path):
    assert all_checkpoints(root) == []
    assert newest_valid(root) == (None, [])


def test_broken_ones_are_skipped_with_their_reasons(trained: Callable[..., Path]):
    root = trained(1, 2, 3, 4)
    (root / "epoch-00004" / "manifest.json").unlink()
    (root / "epoch-00003" / "ema.safetensors").write_bytes(b"")
    (root / "epoch-00005").mkdir()
    folder, skipped = newest_valid(root)
    assert folder == root / "epoch-00002"
    assert [path.name for path, _ in skipped] == ["epoch-00005", "epoch-00004", "epoch-00003"]
    assert "no manifest" in skipped[0][1]
    assert "no manifest" in skipped[1][1]
    assert "ema.safetensors has 0 bytes" in skipped[2][1]


def test_none_is_whole(trained: Callable[..., Path]):
    root = trained(1, 2)
    for folder in all_checkpoints(root):
        (folder / "state.json").unlink()
    folder, skipped = newest_valid(root)
    assert folder is None
    assert len(skipped) == 2


def test_a_resume_passes_over_thinned_ones(trained: Callable[..., Path]):
    root = trained(1, 2)
    thin(root / "epoch-00002")
    assert newest_valid(root) == (root / "epoch-00002", [])
    folder, skipped = newest_valid(root, ["weights", "optimizer"])
    assert folder == root / "epoch-00001"
    assert skipped == [(root / "epoch-00002", "it holds no weights, optimizer (only ema)")]


def test_the_wanted_one(trained: Callable[..., Path]):
    root = trained(1, 2, 3, 10, best=2)
    write(root, "epoch-00003-step-00000044", make(3))
    run = root.parent
    assert resolve(run, "last") == root / "epoch-00010"
    assert resolve(run, "best-mse") == root / "epoch-00002"
    for wanted in ("3", "epoch-3", "epoch-00003", "epoch-0000000003"):
        assert resolve(run, wanted) == root / "epoch-00003"
    assert resolve(run, "epoch-3-step-44") == root / "epoch-00003-step-00000044"
    assert resolve(run, "best-fid", {"best-fid": "epoch-10"}) == root / "epoch-00010"


def test_last_is_the_newest_whole_one(trained: Callable[..., Path]):
    root = trained(1, 2, 3, best=3)
    (root / "epoch-00003" / "ema.safetensors").unlink()
    assert resolve(root.parent, "last") == root / "epoch-00002"
    assert resolve(root.parent, "best-mse") == root / "epoch-00002"  # as far as whole ones know
    assert resolve(root.parent, "3") == root / "epoch-00003"  # asked for by name: reading it will say why not


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("4", "epoch 4 is not there"),
        ("epoch-1-step-5", "epoch 1, step 5 is not there"),
        ("best-fid", "no evaluation has chosen one yet"),
        ("best-is", "no evaluation has chosen one yet"),
        ("newest", "names no checkpoint"),
        ("../checkpoints/epoch-00001", "names no checkpoint"),
        ("", "names no checkpoint"),
        (".writing", "names no checkpoint"),
    ],
)
def test_unknown_ones_are_answered_with_what_there_is(trained: Callable[..., Path], wanted: str, found: str):
    root = trained(1, 2)
    with pytest.raises(UserError, match="epoch-00001, epoch-00002") as caught:
        resolve(root.parent, wanted)
    assert found in str(caught.value)
    assert "\n" not in str(caught.value)


def test_many_are_listed_in_short(root: Path):
    for epoch in range(100):
        (root / f"epoch-{epoch}").mkdir(parents=True)
    with pytest.raises(UserError, match=r"epoch-3, \.\.\., epoch-96"):
        resolve(root.parent, "100")


@pytest.mark.parametrize("wanted", ["last", "best-mse", "best-fid", "350"])
def test_nothing_to_choose_from(root: Path, wanted: str):
    with pytest.raises(UserError, match="triptych train"):
        resolve(root.parent, wanted)


def test_all_broken(trained: Callable[..., Path]):
    root = trained(1)
    (root / "epoch-00001" / "manifest.json").unlink()
    with pytest.raises(UserError, match="no manifest"):
        resolve(root.parent, "last")


def test_best_is_the_lowest_and_the_earliest_of_equals():
    def entry(epoch: object, mse: object) -> dict:
        return {"checkpoint": epoch, "mse": mse}

    history = [entry("epoch-1", 0.5), entry("epoch-10", 0.25), entry("epoch-20", 0.25), entry("epoch-30", 1)]
    assert best_mse({"best": history}) == Position(10, None)
    assert best_mse({"best": history[::-1]}) == Position(10, None)
    odd = [entry("../x", 0.0), entry(7, 0.0), entry("epoch-2", None), entry("epoch-3", True), 5, {}]
    odd += [entry("epoch-4", float("nan")), entry("epoch-5", "0")]
    assert best_mse({"best": history + odd}) == Position(10, None)
    assert best_mse({"held_out": history + odd}) == Position(10, None)
    for none in ({}, {"best": None}, {"best": []}, {"best": odd}):
        assert best_mse(none) is None


def test_all_errors_are_ranked_where_a_state_lists_them():
    """A run of an older version that was resumed has its first ones among the records alone."""

    def entries(**errors: float) -> list[dict]:
        return [{"checkpoint": name.replace("_", "-"), "mse": mse} for name, mse in errors.items()]

    state = {"best": entries(epoch_1=5, epoch_4=3), "held_out": entries(epoch_3=4, epoch_4=3, epoch_5=4)}
    assert by_held_out(state) == [Position(epoch, None) for epoch in (4, 3, 5, 1)]
    again = {"held_out": entries(epoch_1=5, epoch_2=4) + entries(epoch_00001=3)}
    assert by_held_out(again) == [Position(1, None), Position(2, None)]
    assert by_held_out({}) == []


def test_best_that_was_never_measured_or_is_gone(root: Path):
    write(root, "epoch-00005", make(5))
    with pytest.raises(UserError, match="no held-out MSE"):
        resolve(root.parent, "best-mse")
    write(root, "epoch-00006", make(6, history=((3, 0.1),)))
    with pytest.raises(UserError, match="epoch 3 is not there"):
        resolve(root.parent, "best-mse")


def test_looking_does_not_import_torch():
    """It takes seconds, and `triptych info` or `report` should not wait for it."""
    rooms = ", ".join(f"triptych.checkpoints.{name}" for name in ("find", "verify", "prune", "lock"))
    code = f"import sys, {rooms}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
