"""The benchmarks' command line: `python -m benchmarks`, with the options of `triptych bench`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from triptych.commands.bench import BenchOptions
from triptych.errors import UserError
from triptych.parsing import parse


def main(arguments: Sequence[str]) -> int:
    """Measure what the arguments ask for and return the exit code: 0, or 2 for a mistake in them."""
    try:
        options = parse(BenchOptions, arguments, "python -m benchmarks")
        options.check()

        from benchmarks.session import run  # loads torch

        run(options)
    except UserError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
