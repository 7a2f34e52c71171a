"""`triptych.json`, which our exports hold for what another program's files have no place for.

Other programs do not read it. Reading of JSON that somebody hands over stands here as well.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from triptych.data.dataset import check_class_names
from triptych.errors import UserError
from triptych.models import Model
from triptych.runs import Run

SIDECAR = "triptych.json"

LARGEST_JSON = 1 << 20
"""Bytes. No honest configuration is longer, and a longer one is not read."""


def told_of(run: Run, model: Model) -> dict[str, Any]:
    """Return what `triptych.json` says of every exported model: where it comes from, and its classes.

    Raises:
        UserError: a class has a name that would not be imported again.
    """
    classes = model.denoiser.backbone.classes
    names = run.class_names if classes else ()  # without classes they are of its images alone
    return {
        "run": run.experiment.name,
        "checkpoint": model.checkpoint,
        "weights": model.weights,
        "null_class": "last" if classes else None,
        "class_names": check_class_names(names, f"export {run.folder}"),
    }


def class_names(path: Path, names: object, classes: int) -> tuple[str, ...]:
    """Return the names of classes that our own export wrote to the file `path`; none where it did not.

    Raises:
        UserError: they are no names, or not as many as the network has `classes`.
    """
    if names is None:
        return ()
    checked = check_class_names(names, f"import {path}")
    if classes not in (0, len(checked)):
        found = f"it names {len(checked)} classes, and the network has {classes}"
        raise UserError(f"import {path}", found, "restore the file, or remove it")
    return checked


def as_json(fields: dict[str, Any]) -> bytes:
    """Return the content of a JSON file, the same for the same fields."""
    return (json.dumps(fields, indent=2, sort_keys=True) + "\n").encode()


def read_json(path: Path) -> dict[str, Any]:
    """Return the fields of a JSON file.

    Raises:
        UserError: there is none, it cannot be read, or it is no JSON object of honest length.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST_JSON + 1)
        fields = json.loads(data) if len(data) <= LARGEST_JSON else None
    except FileNotFoundError:
        remedy = "give the folder of a whole pipeline, or copy the file there"
        raise UserError(f"import {path.parent}", f"no {path.name} in it", remedy) from None
    except OSError as error:
        found = (error.strerror or str(error)).lower()
        raise UserError(f"import {path}", found, "make it readable") from error
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise UserError(f"import {path}", "it is no JSON object", "restore the file from where it came")
    return fields
