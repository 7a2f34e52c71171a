"""Recipes as files: where they lie, and their fields as command-line tokens. Imports no torch."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import yaml
from yaml.constructor import ConstructorError

from triptych.errors import UserError

NAME = re.compile(r"\w[\w.-]{0,99}")
"""What a run or a data set may be called, so that a folder can bear the name."""

MERGE = "tag:yaml.org,2002:merge"
"""What YAML calls the key `<<`, which takes over fields that may be said again."""

MALFORMED = (ValueError, KeyError, IndexError, AttributeError, TypeError)
"""What PyYAML raises beside its own errors, for values such as `2024-13-45` or `!!int x`."""


def packaged_recipes() -> list[str]:
    """Return the names of the recipes that come with the program."""
    return sorted(
        entry.name[:-5] for entry in files("triptych.recipes").iterdir() if entry.name.endswith(".yaml")
    )


def load_recipe(recipe: str) -> tuple[str, dict]:
    """Return the name of a recipe and its nested fields, on top of those of the recipe that is its `base`.

    Args:
        recipe: path of a YAML file, or a packaged recipe's name; so is a base, whose path is taken from the
            folder of the file that names it.

    Raises:
        UserError: there is no such recipe, it is none, or it is a base of itself.
    """
    name, text = find_recipe(recipe)
    itself = str(Path(recipe).resolve()) if _is_path(recipe) else recipe
    return name, _on_base(recipe, parse_recipe(recipe, text), (itself,))


def _on_base(recipe: str, fields: dict, above: tuple[str, ...]) -> dict:
    """Return the fields of a recipe on top of its base's; `above` are it and the recipes that build on it."""
    if "base" not in fields:
        return fields
    base = fields.pop("base")
    if not isinstance(base, str):
        raise UserError(f"recipe {recipe}", f"its base is {base!r}", "name a recipe, or the path of a file")
    if _is_path(base):
        base = str((Path(recipe).parent / base).resolve())
    if base in above:
        raise UserError(f"recipe {recipe}", f"its base, {base}, builds on it", "take that base out")
    try:
        text = find_recipe(base)[1]
    except UserError as error:
        raise UserError(f"base {base} of recipe {recipe}", error.found, error.remedy) from error
    below = _on_base(base, parse_recipe(base, text), (*above, base))
    below.pop("name", None)  # which is that of the base's own run
    return _merged(below, fields)


def _merged(below: dict, above: dict) -> dict:
    """Return nested fields, those of `above` where both have one."""
    found = dict(below)
    for name, value in above.items():
        inner = found.get(name)
        both = isinstance(value, dict) and isinstance(inner, dict)
        found[name] = _merged(inner, value) if both else value
    return found


def _is_path(recipe: str) -> bool:
    return Path(recipe).suffix in (".yaml", ".yml") or "/" in recipe


def find_recipe(recipe: str) -> tuple[str, str]:
    """Return the name and the text of a recipe given by file or by the name of a packaged one.

    Raises:
        UserError: there is neither, or the file cannot be read as text.
    """
    path = Path(recipe)
    if _is_path(recipe):
        try:
            return path.stem, path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not a text file"
            raise UserError(
                f"recipe {recipe}", str(reason).lower(), "give the path of a YAML file"
            ) from error
    if recipe not in packaged_recipes():
        raise UserError(
            f"recipe {recipe}",
            "no packaged recipe of this name",
            f"choose from {', '.join(packaged_recipes())}, or give the path of a .yaml file",
        )
    return recipe, (files("triptych.recipes") / f"{recipe}.yaml").read_text(encoding="utf-8")


class PlainLoader(yaml.SafeLoader):
    """Reads plain values alone, and no field twice: which of the two was meant nobody knows."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        """Return a mapping; ConstructorError at the second of two keys that name the same field."""
        seen: dict[str, int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != MERGE:
                name = key.value.replace("-", "_")
                if name in seen:
                    told = f"{key.value[:60]} is there a second time, after line {seen[name]}"
                    raise ConstructorError(None, None, told, key.start_mark)
                seen[name] = key.start_mark.line + 1
        return super().construct_mapping(node, deep)


def parse_recipe(recipe: str, text: str) -> dict:
    """Return the nested fields of a recipe's text; see `parse_fields`."""
    return parse_fields(f"recipe {recipe}", text)


def parse_fields(asked: str, text: str) -> dict:
    """Return the nested fields of a YAML text; nothing in it is executed.

    Args:
        asked: what is read, for messages, such as `recipe digits-unet`.
        text: the text.

    Raises:
        UserError: it is no YAML, or no mapping.
    """
    try:
        fields = yaml.load(text, Loader=PlainLoader)
        if isinstance(fields, dict):
            as_tokens(fields)  # follows every alias, also one that leads back to itself
    except RecursionError as error:
        raise UserError(asked, "it is nested without end", "mend the file") from error
    except MALFORMED as error:
        found = f"a value does not fit its tag or looks like a date that there is not ({error})"
        raise UserError(asked, found, "mend the value, or quote it") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}: " if mark else ""
        found = f"{place}{getattr(error, 'problem', None) or 'not YAML'}"
        raise UserError(asked, found, "mend the file") from error
    if not isinstance(fields, dict):
        raise UserError(asked, "it holds no fields", "write it as `field: value` lines")
    return fields


def as_tokens(fields: dict, prefix: str = "--") -> list[str]:
    """Flatten nested fields into `--a.b value` tokens, as they would be typed."""
    tokens: list[str] = []
    for name, value in fields.items():
        if isinstance(value, dict):
            tokens += as_tokens(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            tokens += [f"{prefix}{name}", *map(str, value)]
        else:
            tokens += [f"{prefix}{name}", str(value)]
    return tokens
