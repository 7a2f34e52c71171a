"""A run so small that it trains in a second; as a UNet with dropout, which a resume has to draw again."""

import json
from pathlib import Path

from triptych.checkpoints.find import FOLDER
from triptych.checkpoints.read import read
from triptych.cli import main
from triptych.record.record import Record

SIZES = {
    "unet": [
        *("--backbone.width", "4", "--backbone.multipliers", "1", "1", "--backbone.blocks", "1"),
        *("--backbone.attention", "4", "--backbone.groups", "2", "--backbone.dropout", "0.2"),
    ],
    "dit": [
        "--backbone.patch",
        "4",
        "--backbone.width",
        "8",
        "--backbone.depth",
        "2",
        "--backbone.heads",
        "2",
    ],
    "dim": [
        *("--backbone.patch", "2", "--backbone.width", "8", "--backbone.depth", "2"),
        *("--backbone.head-width", "8", "--backbone.state", "4", "--training.weight-decay", "0.1"),
    ],
}
"""Of the digits' recipe of each backbone."""

TINY = [
    *("--training.batch-size", "500", "--training.epochs", "6", "--training.warmup-epochs", "3"),
    *("--training.checkpoint-every", "2", "--training.preview-from", "2", "--training.preview-every", "2"),
    *("--training.preview-sampler", "ddim:2", "--training.preview-count", "4"),
    *("--training.held-out-count", "64", "--training.keep-full", "10", "--data.flip", "True"),
]


def train(runs: Path, *extra: str, name: str = "tiny", kind: str = "dit") -> int:
    """Train the tiny run of a backbone in `runs` and return the exit code."""
    own = ["--name", name, "--runs", str(runs), "--quiet"]
    return main(["train", f"digits-{kind}", *own, *SIZES[kind], *TINY, *extra])


def checkpoint(runs: Path, epoch: str, name: str = "tiny"):
    """Return the contents of a checkpoint."""
    return read(runs / name / FOLDER / epoch)


CLOCKS = {"took", "stalled", "images_per_second", "times", "size", "removed", "thinned", "device", "versions"}


def figures(runs: Path, name: str = "tiny") -> list[str]:
    """Return the record without clocks, hardware and restarts: what must not depend on interruptions."""
    kept = []
    # A checkpoint is recorded when it is safe, which may be some steps after it was begun.
    for event in sorted(Record.of_run(runs / name).valid_events(), key=lambda event: event.step):
        # A stop saves where no checkpoint was due, which is an event of the restart.
        due = event.kind != "saved" or event.data.epoch % 2 == 0
        if due and event.kind in ("progress", "held-out", "previewed", "saved"):
            data = {k: v for k, v in vars(event.data).items() if k not in CLOCKS}
            kept.append(json.dumps([event.kind, event.step, data]))
    return kept
