"""The command line: find the verb, call it, and turn the user's mistakes into one line."""

from __future__ import annotations

import errno
import os
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

from triptych.commands import FILES, VERBS
from triptych.errors import UserError, perhaps

DISK = {
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EROFS", "EFBIG", "EIO", "ESTALE")
    if hasattr(errno, name)
}
"""What the system says of a disk that is full, over a quota, read-only or failing: the user's to mend."""

USAGE = """\
usage: triptych VERB ... [--help]

{verbs}

`triptych VERB --help` tells more of a verb, `triptych train RECIPE --help` lists every field of a recipe.
Recipes that come along: {recipes}."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code: 0 done, 2 the user's input, 75 stopped after saving.

    A fault in the program raises, which Python reports with a traceback and exit code 1.
    """
    tokens = list(sys.argv[1:] if argv is None else argv)
    try:
        with warnings.catch_warnings():
            # The library documents this assignment as the way to change how warnings look.
            warnings.showwarning = _show_warning  # ty: ignore[invalid-assignment]
            return _call(tokens)
    except UserError as error:
        if os.environ.get("RANK", "0") == "0":  # of several processes one tells it
            print(f"triptych: {error}", file=sys.stderr)
        return 2
    except RuntimeError as error:
        if type(error).__name__ == "LostRank":
            print(f"triptych: {error}", file=sys.stderr)
            return 1
        # torch's, which must not be loaded to name it: of a GPU, and of a processor.
        if type(error).__name__ != "OutOfMemoryError" and "DefaultCPUAllocator" not in str(error):
            raise
        reason = str(error).partition(". ")[0].partition("\n")[0]
        remedy = "use a smaller --batch-size or --training.batch-size, or --device cpu"
        print(f"triptych: out of memory on the device: {reason}; {remedy}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("triptych: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read our output has seen enough
        sys.stderr.close()
        return 0
    except OSError as error:
        if error.errno not in DISK:
            raise
        found = f"{error.filename or 'the disk'}: {error.strerror}"
        remedy = "what was saved before is untouched: mend that, and give the same command again"
        print(f"triptych: {UserError(f'triptych {tokens[0]}', found, remedy)}", file=sys.stderr)
        return 2


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    """Print a warning as one line, without the place in the program that it came from."""
    print(f"triptych: {message}", file=sys.stderr)


def _call(tokens: list[str]) -> int:
    verb, *rest = tokens or ["--help"]
    if verb in ("--help", "-h", "help"):
        print(_usage())
        return 0
    if verb == "--version":
        print(f"triptych {_version()}")
        return 0
    if verb not in VERBS:
        raise UserError(f"triptych {verb}", "no such verb", perhaps(verb, VERBS))
    return import_module(f"triptych.commands.{FILES.get(verb, verb)}").run(rest)


def _usage() -> str:
    from triptych.recipe_files import packaged_recipes

    verbs = "\n".join(f"  {verb:<12}{what}" for verb, what in VERBS.items())
    return USAGE.format(verbs=verbs, recipes=", ".join(packaged_recipes()))


def _version() -> str:
    try:
        return version("triptych")
    except PackageNotFoundError:
        return "(not installed)"


if __name__ == "__main__":
    sys.exit(main())
