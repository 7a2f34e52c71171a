"""Looking at a folder of checkpoints tells what its bytes are, and touches nothing."""

from collections.abc import Callable
from pathlib import Path

import pytest
from checkpoints.faults import in_child, snapshot
from checkpoints.small import make

from triptych.checkpoints import examine as examining
from triptych.checkpoints.examine import Examined, examine
from triptych.checkpoints.lock import holder, lock
from triptych.checkpoints.manifest import Manifest
from triptych.checkpoints.prune import clear_leftovers, leftovers, remove, thin
from triptych.checkpoints.write import write


def test_each_is_told_as_it_is(trained: Callable[..., Path]):
    root = trained(1, 2, 3, 4)
    thin(root / "epoch-00001")
    (root / "epoch-00002" / "pinned").touch()
    (root / "epoch-00003" / "optimizer.safetensors").write_bytes(b"")
    (root / "epoch-00005").mkdir()
    before = snapshot(root)
    found = list(examine(root))
    assert snapshot(root) == before
    assert [(each.name[-1], each.condition) for each in found] == [
        ("1", "thinned"),
        ("2", "whole"),
        ("3", "broken"),
        ("4", "whole"),
        ("5", "broken"),
    ]
    assert found[0].parts == ("ema",)
    assert found[1] == Examined(
        "epoch-00002",
        "whole",
        parts=("ema", "optimizer", "weights"),
        size=Manifest.load(root / "epoch-00002").size,
        pinned=True,
    )
    assert "optimizer.safetensors has 0 bytes" in found[2].reason
    assert "no manifest" in found[4].reason


def test_the_steps_taken_are_read_from_the_state(root: Path):
    for epoch, step in enumerate((12, "import os", None, True)):
        contents = make(epoch)
        contents.state["step"] = step
        write(root, f"epoch-{epoch}", contents)
    assert [each.step for each in examine(root)] == [12, None, None, None]


def test_a_folder_without_any(root: Path):
    assert list(examine(root)) == []
    assert leftovers(root) == []


@pytest.mark.parametrize("change", ["taken away", "written again"])
def test_training_may_go_on_meanwhile(
    trained: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, change: str
):
    """A file that vanishes between the manifest and its own turn is no damage."""
    root = trained(1, 2)
    honest, changed = Manifest.load.__func__, []

    def load(cls: type, folder: Path) -> Manifest:
        manifest = honest(cls, folder)
        if folder.name == "epoch-00001" and not changed:
            changed.append(folder)
            if change == "taken away":
                remove(folder)
            else:
                write(root, folder.name, make(3))
        return manifest

    monkeypatch.setattr(examining.manifests.Manifest, "load", classmethod(load))
    found = {each.name: each.condition for each in examine(root)}
    assert changed
    gone = change == "taken away"
    assert found == ({} if gone else {"epoch-00001": "whole"}) | {"epoch-00002": "whole"}


def test_leftovers_are_told_of_and_left(trained: Callable[..., Path]):
    root = trained(1)
    (root / ".writing" / "epoch-00002.1.x").mkdir(parents=True)
    (root / "epoch-00001" / "ema.2.safetensors").touch()
    (root / "epoch-00001" / "notes.txt").touch()
    before = snapshot(root)
    assert leftovers(root) == [".writing/epoch-00002.1.x", "epoch-00001/ema.2.safetensors"]
    assert snapshot(root) == before
    assert (root / ".writing" / "epoch-00002.1.x").is_dir()
    assert clear_leftovers(root) == [".writing/epoch-00002.1.x", "epoch-00001/ema.2.safetensors"]
    assert leftovers(root) == []


def test_who_writes_is_told_without_a_trace(tmp_path: Path):
    assert holder(tmp_path) is None
    assert list(tmp_path.iterdir()) == []
    with lock(tmp_path):
        pass
    before = snapshot(tmp_path)
    assert holder(tmp_path) is None

    def ask() -> None:
        assert "is" not in str(holder(tmp_path))
        assert "process" in str(holder(tmp_path))

    with lock(tmp_path):
        signed = snapshot(tmp_path)
        assert in_child(ask) == 0
        assert snapshot(tmp_path) == signed
    assert snapshot(tmp_path).keys() == before.keys()
    with lock(tmp_path):  # nobody holds it still
        pass


def test_a_look_keeps_nobody_from_starting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The lock may be taken at the very moment at which somebody looks who has it."""
    from triptych.checkpoints import lock as locking

    looking = lock(tmp_path)
    looking.__enter__()
    monkeypatch.setattr(locking.time, "sleep", lambda pause: looking.__exit__(None, None, None))
    with lock(tmp_path):
        pass
