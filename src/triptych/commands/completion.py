"""`triptych completion`: a script that lets a shell complete verbs and options."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import Positional, arg

from triptych.commands import FILES, VERBS
from triptych.parsing import parse

Shell = Literal["bash", "zsh"]
SPECIFICATION = "COMPLETION_SPEC = "
"""How the line begins that holds all options and what is said of them."""


@dataclass(frozen=True)
class CompletionOptions:
    """Print a script that lets a shell complete verbs and options.

    For bash: `triptych completion bash > ~/.local/share/bash-completion/completions/triptych`. For zsh:
    `triptych completion zsh > ~/.zfunc/_triptych`, with ~/.zfunc in fpath.
    """

    shell: Annotated[Positional[Shell], arg(metavar="SHELL")]
    """bash or zsh."""


def run(tokens: Sequence[str]) -> int:
    """Print the script that the tokens ask for; return the exit code."""
    options = parse(CompletionOptions, tokens, "triptych completion")
    print(script(options.shell), end="")
    return 0


def script(shell: Shell) -> str:
    """Return the completion of a shell, made of the options of every verb."""
    kinds: dict[str, Callable[..., Any]] = {verb: options_of(verb) for verb in VERBS}
    printed = io.StringIO()
    try:
        with redirect_stdout(printed):
            tyro.extras.subcommand_cli_from_dict(
                kinds, prog="triptych", args=["--tyro-print-completion", shell]
            )
    except SystemExit:  # which is how it ends
        lines = printed.getvalue().splitlines(keepends=True)
        # Of a text of several lines, all but the first would be offered as words to type.
        return "".join(line.replace(r"\n", " ") if line.startswith(SPECIFICATION) else line for line in lines)
    raise AssertionError("the parser prints a script and exits")


def options_of(verb: str) -> type:
    """Return the dataclass of a verb's options."""
    module = import_module(f"triptych.commands.{FILES.get(verb, verb)}")
    return getattr(module, f"{verb.title()}Options")
