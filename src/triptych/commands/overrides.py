"""The fields of recipes among the tokens of a verb that takes recipes. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def split_tokens(tokens: Sequence[str], options: Iterable[str]) -> tuple[list[str], list[str]]:
    """Part the tokens into a command's own and the overrides of recipe fields.

    An option and the values that follow it belong together; what precedes all options are recipes.

    Args:
        tokens: what was typed after the verb.
        options: names of the command's own options, as its dataclass has them.
    """
    names = [name.replace("_", "-") for name in options]
    known = {f"--{name}" for name in names} | {f"--no-{name}" for name in names} | {"--help"}
    own: list[str] = []
    overrides: list[str] = []
    current = own
    for token in tokens:
        if token.startswith("--") or token == "-h":
            current = own if token.split("=")[0].replace("_", "-") in known else overrides
        current.append("--help" if token == "-h" else token)
    return own, overrides
