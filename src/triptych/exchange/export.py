"""A run's model written as files of another program."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from triptych.checkpoints.durable import write_file
from triptych.errors import UserError
from triptych.exchange.diffusers_folder import folder_files
from triptych.exchange.dit_checkpoint import checkpoint_files
from triptych.exchange.publish import published, refuse_taken
from triptych.models import Model
from triptych.runs import Run

FORMATS: dict[str, Callable[[Run, Model], dict[str, bytes]]] = {
    "diffusers": folder_files,
    "dit": checkpoint_files,
}
"""Every format by name: from a run and one of its models to files, relative path -> content."""


def export(run: Run, model: Model, out: Path, layout: str) -> int:
    """Write `model` into the new folder `out`, and return how many bytes it takes.

    Args:
        run: of the model.
        model: with the weights that are wanted.
        out: folder that is not there yet, or empty.
        layout: one of `FORMATS`.

    Raises:
        UserError: there is no such format, it cannot hold the model, or something is at `out` already.
        OSError: the disk refuses; nothing is left behind.
    """
    if layout not in FORMATS:
        raise UserError(f"--format {layout}", "no such format", f"choose from {', '.join(FORMATS)}")
    refuse_taken(out, "export to", "choose another place with --out")
    files = FORMATS[layout](run, model)
    with published(out) as staged:
        for name, content in files.items():
            path = staged / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write_file(path, [content])
    return sum(map(len, files.values()))
