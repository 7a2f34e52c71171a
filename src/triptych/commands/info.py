"""`triptych info`: what runs and recipes are, cost and still take, side by side."""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from triptych.commands.overrides import split_tokens
from triptych.commands.run_folders import is_bout
from triptych.errors import UserError
from triptych.parsing import parse
from triptych.recipe_files import load_recipe, packaged_recipes
from triptych.record.record import FILE_NAME, Record

if TYPE_CHECKING:
    from triptych.commands.info_facts import Facts

ABSENT = "–"
"""What stands in a column that has nothing in a row."""


@dataclass(frozen=True)
class InfoOptions:
    """Tell what runs and recipes are, what they cost and what they still take, in one column each.

    Nothing is trained, downloaded or decoded. Any field of a recipe can be overridden by `--a.b value` as
    in `train`.
    """

    names: Annotated[Positional[tuple[str, ...]], arg(metavar="RUN|RECIPE...")]
    """Folders of runs; files, or names of packaged recipes."""
    config: bool = False
    """Print each configuration in full as well, as YAML."""
    json: bool = False
    """Print all of it as JSON on standard output."""


def run(tokens: Sequence[str]) -> int:
    """Tell what the tokens ask for; return the exit code."""
    own, overrides = split_tokens(tokens, (field.name for field in fields(InfoOptions)))
    options = parse(InfoOptions, own, "triptych info")
    names = [name for name in options.names if not is_bout(Path(name))]
    if not names:
        raise UserError("triptych info", "nothing to tell of", "name a run's folder, or a recipe")
    runs = [name for name in names if is_run(name)]  # a mistyped name is told before torch is loaded
    if runs and overrides:
        config = Path(runs[0]) / "config.yaml"
        raise UserError(
            f"triptych info {runs[0]} {overrides[0]}",
            "a run is what it was trained as",
            f"override the fields of its recipe instead: triptych info {config} {overrides[0]} ...",
        )

    import yaml

    from triptych.commands.info_facts import facts_of_recipe, facts_of_run  # loads torch

    facts = [facts_of_run(name) if name in runs else facts_of_recipe(name, overrides) for name in names]
    if options.json:
        told = [fact.plain | ({"config": fact.config} if options.config else {}) for fact in facts]
        json.dump(told, sys.stdout, indent=1)
        print()
        return 0
    print(table(facts))
    for fact in facts if options.config else ():
        print(f"\n# {fact.name}\n{yaml.safe_dump(fact.config, sort_keys=False, allow_unicode=True)}", end="")
    return 0


def is_run(name: str) -> bool:
    """Whether `name` is that of a run, not of a recipe; raise `UserError` where it is neither, or broken."""
    folder = Path(name)
    if (folder / FILE_NAME).is_file() or (folder.is_dir() and name not in packaged_recipes()):
        Record.of_run(folder)
        return True
    if not folder.exists() and folder.suffix not in (".yaml", ".yml") and name not in packaged_recipes():
        remedy = f"give a run's folder, a .yaml file, or one of {', '.join(packaged_recipes())}"
        raise UserError(f"triptych info {name}", "neither a run nor a recipe", remedy)
    load_recipe(name)
    return False


def table(facts: Sequence[Facts]) -> str:
    """Return facts as an aligned table: a row for all that any of them has, a column for each."""
    lines = [["", *(fact.name for fact in facts)]]
    for groups in zip(*(fact.groups for fact in facts), strict=True):
        titles = dict.fromkeys(title for group in groups for title in group)
        lines += [[title, *(group.get(title, ABSENT) for group in groups)] for title in titles]
    widths = [max(map(columns, cells)) for cells in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell + " " * (width - columns(cell)) for cell, width in zip(line, widths, strict=True)
        ).rstrip()
        for line in lines
    )


def columns(text: str) -> int:
    """Return the columns of a terminal that a text takes: Chinese characters take two each."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)
