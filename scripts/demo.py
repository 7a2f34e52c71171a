"""The demonstration: the commands that a user would type, on the digits that come with the program."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from environment import ROOT, Environment

RECIPES = ("digits-unet", "digits-dit", "digits-dim")
"""What is trained and compared, in the order of the report: one recipe of each backbone."""


def steps(recipes: Sequence[str]) -> list[str]:
    """Return the `triptych` commands, each of which can be given again: what is done is not repeated."""
    runs = [f"runs/{recipe}" for recipe in recipes]
    return [
        f"train {' '.join(recipes)}",
        f"sample {' '.join(runs)} --sampler ddim:50 --guidance 1.25 --per-class 8 --seed 0 --gif",
        *(f"evaluate {run} --guidance 1 1.25" for run in runs),
        f"report {' '.join(runs)}",
        f"info {' '.join(runs)}",
    ]


def main(environment: Environment) -> int:
    """Run the steps one after another, each shown as it would be typed; stop at the first that fails."""
    for step in steps(RECIPES):
        print(f"\n$ triptych {step}", flush=True)
        code = environment.run("-m", "triptych", *shlex.split(step))
        if code != 0:
            print(f"demo: `triptych {step}` ended with {code}; `make demo` goes on from there")
            return code
    print("\nLook at:")
    for what, path in results(ROOT, RECIPES):
        print(f"  {path.relative_to(ROOT)}  {what}")
    return 0


def results(root: Path, recipes: Sequence[str]) -> Iterator[tuple[str, Path]]:
    """Yield what there is to see, in words, and where it lies: of each kind the newest."""
    yield "the experiment record", root / "EXPERIMENTS.md"
    yield "the same as a page with everything inside", root / "EXPERIMENTS.html"
    runs = root / "runs"
    if len(recipes) > 1:
        bout = runs / f"bout-{'-'.join(recipes)}"
        yield from _newest("the same noise, drawn by each model", bout, "side-by-side.png")
    for recipe in recipes:
        samples = runs / recipe / "samples"
        yield from _newest("samples, one row per class", samples, "grid.png")
        yield from _newest("the same, being drawn", samples, "*.gif")


def _newest(what: str, folder: Path, pattern: str) -> Iterator[tuple[str, Path]]:
    found = sorted(folder.rglob(pattern), key=lambda path: path.stat().st_mtime)
    yield from ((what, path) for path in found[-1:])
