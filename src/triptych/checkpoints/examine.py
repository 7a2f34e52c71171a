"""What lies in a folder of checkpoints, told without torch and without touching anything."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from triptych.checkpoints import manifest as manifests
from triptych.checkpoints.find import all_checkpoints
from triptych.checkpoints.manifest import BrokenCheckpoint
from triptych.checkpoints.prune import PIN
from triptych.checkpoints.verify import read_state, verify

Condition = Literal["whole", "thinned", "broken"]


@dataclass(frozen=True)
class Examined:
    """One checkpoint, as its bytes are.

    Attributes:
        name: of its folder.
        condition: whole; thinned to what images are drawn from; broken.
        reason: why it is broken; else empty.
        parts: that it holds, none of a broken one.
        size: bytes of its files, 0 of a broken one.
        step: optimiser steps taken, where its state says so.
        pinned: whether it is exempt from pruning.
    """

    name: str
    condition: Condition
    reason: str = ""
    parts: tuple[str, ...] = ()
    size: int = 0
    step: int | None = None
    pinned: bool = False


def examine(root: Path) -> Iterator[Examined]:
    """Check every byte of every checkpoint in `root`, one after another, the oldest first.

    Training may go on meanwhile: one that was taken away is left out, one that changed is looked at again.
    """
    for folder in all_checkpoints(root):
        if (found := _examine(folder)) is not None:
            yield found


def _examine(folder: Path) -> Examined | None:
    while True:
        before = _stamp(folder)
        try:
            manifest = verify(folder)
            step = read_state(folder, manifest).get("step")
        except BrokenCheckpoint as error:
            if not folder.is_dir():
                return None
            if _stamp(folder) != before:
                continue
            return Examined(folder.name, "broken", error.reason, pinned=(folder / PIN).exists())
        return Examined(
            folder.name,
            "whole" if manifest.is_full else "thinned",
            parts=tuple(manifest.parts),
            size=manifest.size,
            step=step if type(step) is int else None,
            pinned=(folder / PIN).exists(),
        )


def _stamp(folder: Path) -> tuple[int, int] | None:
    """Return what changes whenever the manifest in `folder` is replaced; None: there is none."""
    try:
        status = (folder / manifests.FILE_NAME).lstat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns
