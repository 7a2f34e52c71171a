"""The project's chores: what the Makefile's targets, and the first word after scripts/make.py, stand for."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import demo as demonstration
import documentation
from environment import ROOT, Environment, prepare
from setup_error import SetupError

BUILD_LEFTOVERS = (
    "build",
    "dist",
    "site",
    ".pytest_cache",
    ".ruff_cache",
    ".import_linter_cache",
    ".hypothesis",
)


def checks(python: Path | str) -> dict[str, list[str]]:
    """Return every check of the source text, by name, as the arguments that `python` runs it with."""
    return {
        "ruff check": ["-m", "ruff", "check", "."],
        "ruff format": ["-m", "ruff", "format", "--check", "."],
        "ty": ["-m", "ty", "check", "--python", str(python)],
        "floors": ["-c", "from importlinter.cli import lint_imports_command as run; run(['--no-logo'])"],
    }


def setup(arguments: Sequence[str]) -> int:
    """Make the environment, with everything that demo and test need."""
    environment = prepare({"plots", "test"})
    print(f"setup: {environment.python} has triptych; next: make demo", flush=True)
    return 0


def demo(arguments: Sequence[str]) -> int:
    """Train, sample, evaluate and report on the embedded digits."""
    return demonstration.main(prepare({"plots", "page"}))


def test(arguments: Sequence[str]) -> int:
    """Run the tests, checks of the source text included."""
    workers = min(_cores(), 4)
    parallel = ["-n", str(workers)] if workers > 1 else []
    return prepare({"test"}).run("-m", "pytest", *parallel, *arguments)


def docs(arguments: Sequence[str]) -> int:
    """Build the documentation as a site, in site/."""
    environment = prepare({"docs"})
    documentation.put_together(ROOT, ROOT / "build" / "pages")
    return environment.run("-m", *documentation.BUILD)


def lint(arguments: Sequence[str]) -> int:
    """Check style, formatting, types and floors, without the tests."""
    environment = prepare({"test"})
    return max([environment.run(*check) for check in checks(environment.python).values()])


def format_(arguments: Sequence[str]) -> int:
    """Format the source text and mend what can be mended without thought."""
    environment = prepare({"test"})
    return max(_ruff(environment, "check", "--fix"), _ruff(environment, "format"))


def clean(arguments: Sequence[str]) -> int:
    """Remove caches and build products; runs, records and .venv stay."""
    for folder in [ROOT / name for name in BUILD_LEFTOVERS]:
        shutil.rmtree(folder, ignore_errors=True)
    for part in ("src", "scripts", "tests", "benchmarks"):
        for folder in (ROOT / part).rglob("__pycache__"):
            shutil.rmtree(folder, ignore_errors=True)
    return 0


def help_(arguments: Sequence[str]) -> int:
    """Print this list."""
    for name, task in TASKS.items():
        print(f"make {name:8} {(task.__doc__ or '').strip()}")
    print("\nWithout make: py scripts/make.py CHORE. Variables (VENV, TORCH, PYTHON, ...): docs/install.md")
    return 0


TASKS: dict[str, Callable[[Sequence[str]], int]] = {
    "demo": demo,
    "test": test,
    "docs": docs,
    "setup": setup,
    "lint": lint,
    "format": format_,
    "clean": clean,
    "help": help_,
}


def main(arguments: Sequence[str]) -> int:
    """Run one chore and return its exit code; 2 where there is something for the user to mend."""
    name, *rest = arguments or ["help"]
    try:
        if name not in TASKS:
            raise SetupError(f"make {name}", "there is no such chore", f"choose one of {', '.join(TASKS)}")
        return TASKS[name](rest)
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nsetup: stopped; the same command goes on from here", file=sys.stderr)
        return 130


def _ruff(environment: Environment, *arguments: str) -> int:
    return environment.run("-m", "ruff", *arguments, ".")


def _cores() -> int:
    # The cores that this process may use: fewer than the machine has in a container or under a job scheduler.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
