"""What pyproject.toml asks for, and which of it this Python lacks."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def of_project(root: Path, extras: Iterable[str] = ()) -> list[str]:
    """Return the project's requirements with those of `extras`, and of the extras that these name in turn."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = list(project["dependencies"])
    for extra in extras:
        for requirement in project["optional-dependencies"][extra]:
            nested = re.fullmatch(rf"{project['name']}\[(.*)\]", requirement)
            found += of_project(root, nested[1].split(",")) if nested else [requirement]
    return list(dict.fromkeys(found))


def lacking(wanted: Iterable[str]) -> list[str]:
    """Return which of the requirements this Python does not meet, each with what it has instead.

    Only lower bounds are looked at: a newer release than the tested one is its user's choice.
    """
    short = []
    for requirement in wanted:
        name, _, least = requirement.partition(">=")
        name = name.partition("==")[0]
        try:
            present = version(name)
        except PackageNotFoundError:
            short.append(name)
            continue
        if least and numbers(present) < numbers(least):
            short.append(f"{name} {least} ({present} found)")
    return short


def numbers(release: str) -> tuple[int, ...]:
    """Turn a release into numbers that can be compared: 2.11.0+cu126 into (2, 11, 0)."""
    plain = re.match(r"\d+(\.\d+)*", release)
    return tuple(int(part) for part in plain[0].split(".")) if plain else ()
