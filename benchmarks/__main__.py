"""The benchmarks' command line: `python -m benchmarks`, with the options of `triptych bench`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from triptych.commands.bench import parsed
from triptych.errors import UserError

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


def main(arguments: Sequence[str]) -> int:
    """Measure what the arguments ask for; return 0, 2 for a mistake in them, or 130 after Ctrl-C."""
    kept = None
    try:
        options = parsed(arguments, "python -m benchmarks")
        kept = options.json

        from benchmarks.session import run  # loads torch

        run(options)
    except UserError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        left = f"; {kept} has what was measured" if kept and kept.exists() else ""
        print(f"\nbenchmarks: interrupted{left}", file=sys.stderr)
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
