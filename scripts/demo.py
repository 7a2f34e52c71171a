"""The demonstration: the commands that a user would type, on the digits that come with the program."""

from __future__ import annotations

import shlex
from pathlib import Path

from environment import ROOT, Environment

RECIPE = "digits-unet"
RUN = f"runs/{RECIPE}"

STEPS = [
    f"train {RECIPE}",
    f"sample {RUN} --sampler ddim:50 --guidance 1.25 --per-class 8 --seed 0 --gif",
    f"evaluate {RUN} --guidance 1 1.25 2",
    f"report {RUN}",
]
"""Each step is one `triptych` command, and can be given again: training that is done is not repeated."""


def main(environment: Environment) -> int:
    """Run the steps one after another, each shown as it would be typed; stop at the first that fails."""
    for step in STEPS:
        print(f"\n$ triptych {step}", flush=True)
        code = environment.run("-m", "triptych", *shlex.split(step))
        if code != 0:
            print(f"demo: `triptych {step}` ended with {code}; `make demo` goes on from there")
            return code
    print("\nLook at:")
    for what, path in _results():
        print(f"  {path.relative_to(ROOT)}  {what}")
    return 0


def _results() -> list[tuple[str, Path]]:
    results = [("the experiment record", ROOT / "EXPERIMENTS.md")]
    samples = ROOT / RUN / "samples"
    for what, pattern in [("samples, one row per class", "*.png"), ("the same, being drawn", "*.gif")]:
        pictures = sorted(samples.rglob(pattern), key=lambda path: path.stat().st_mtime)
        results += [(what, path) for path in pictures[-1:]]
    return results
