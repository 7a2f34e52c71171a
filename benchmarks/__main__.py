"""The benchmarks' command line: `python -m benchmarks`, with the options of `triptych bench`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from triptych.commands.bench import parsed
from triptych.errors import UserError

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


def main(arguments: Sequence[str]) -> int:
    """Measure what the arguments ask for; return 0, 2 for a mistake in them, or 130 after Ctrl-C."""
    kept, before = None, None
    try:
        options = parsed(arguments, "python -m benchmarks")
        kept = options.json
        before = _written(kept)

        from benchmarks.session import run  # loads torch

        run(options)
    except UserError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        left = f"; {kept} has what was measured" if _written(kept) != before else ""
        print(f"\nbenchmarks: interrupted{left}", file=sys.stderr)
        return INTERRUPTED
    return 0


def _written(file: Path | None) -> int | None:
    """Return when a file was written, in nanoseconds; None where it is not there."""
    return file.stat().st_mtime_ns if file is not None and file.exists() else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
