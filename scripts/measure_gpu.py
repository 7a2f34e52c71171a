"""Measure on a GPU what the benchmarks have for one, try the tests of it, and keep all of it in a folder.

    python scripts/measure_gpu.py measured-on-gpu
    python scripts/measure_gpu.py measured-on-gpu --only training-unet tests

Each part is a process of its own. What it prints goes to FOLDER/measured.txt, what it measured to
FOLDER/PART.json, comparison by comparison, so that a part that is cut off leaves what it had. A part that
fails does not keep the others from being tried; the exit code is 1 then. Needed are a checkout, torch, and
what pyproject.toml names; pytest with its plugins for the tests.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
TEXT = "measured.txt"
LAST = 12
"""Lines of a part that are shown on the screen when it ends."""
TESTS = (
    "tests/test_gpu.py",
    "tests/philox/test_triton_kernels.py",
    "tests/backbones/state_space/test_triton_scan.py",
)
LONGEST = 800
"""Seconds of a test: kernels are compiled in them."""

MEASURED = {
    "scan": ["device-scan", "--profile"],
    "training-unet": ["device-training", "--matching", "unet,", "--profile"],
    "training-dit": ["device-training", "--matching", "dit,", "--profile"],
    "training-dim": ["device-training", "--matching", "dim,", "--profile"],
    "sampling": ["device-sampling", "--profile"],
    "evaluation": ["device-evaluation"],  # of a million kernels, which no profiler holds
}
"""Cases of the benchmarks by part: training by backbone, as compilation takes minutes."""


def commands(folder: Path, *, quick: bool = False, device: str = "cuda") -> dict[str, list[str]]:
    """Return every part by its name, as what python is to run.

    Args:
        folder: for the files of figures.
        quick: in tiny, to try the parts themselves.
        device: that is measured; `cuda` fails where there is none, rather than measure another.
    """
    found = {"tests": ["-m", "pytest", *TESTS, "-q", "-rs", f"--timeout={LONGEST}"]}
    for name, words in MEASURED.items():
        file = (folder / f"{name}.json").absolute()
        asked = ["--only", *words, "--device", device, *(["--quick"] if quick else [])]
        found[name] = ["-m", "benchmarks", *asked, "--json", str(file)]
    return found


def run(parts: Mapping[str, Sequence[str]], folder: Path, limit: float) -> dict[str, str]:
    """Run parts, one after another; return what went wrong with each, by name: nothing, where it is empty.

    Args:
        parts: what python is to run, by name.
        folder: that what they print is added to.
        limit: seconds after which a part is ended.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for name, arguments in parts.items():
        print(f"{name} ...", flush=True)
        (folder / f"{name}.json").unlink(missing_ok=True)  # of another session, it would pass for this one's
        start = time.monotonic()
        with (folder / TEXT).open("ab+") as text:
            text.write(f"\n===== {name}: python {' '.join(arguments)}\n".encode())
            text.flush()
            begin = text.tell()
            found[name] = _fault(arguments, text.fileno(), limit)
            text.seek(begin)
            lines = text.read().decode(errors="replace").splitlines()
            told = f"{name}: {found[name] or 'done'}, {time.monotonic() - start:.0f} s"
            text.write(f"===== {told}\n".encode())
        print("\n".join([*(f"  {line}" for line in lines[-LAST:]), told]), flush=True)
    return found


def _fault(arguments: Sequence[str], output: int, limit: float) -> str:
    """Run python and return what went wrong; what it prints goes to the file with this number."""
    # The checkout's own package, whether one is installed or not.
    paths = [str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, *arguments]
    # With all that it starts, which would go on using the device beside the next part.
    part = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=output, stderr=output, start_new_session=True
    )
    try:
        code = part.wait(limit)
    except subprocess.TimeoutExpired:
        return f"ended after {limit:.0f} s"
    finally:
        if part.poll() is None:
            os.killpg(part.pid, signal.SIGKILL)
            part.wait()
    return f"failed with exit code {code}" if code else ""


def main(words: Sequence[str] | None = None) -> int:
    """Run the parts that are asked for, tell which failed, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", help="where figures and texts are kept")
    parser.add_argument("--only", nargs="+", metavar="PART", help="parts to run; none given: all of them")
    parser.add_argument("--list", action="store_true", help="print the parts, and run none")
    parser.add_argument("--limit", type=float, default=900.0, help="seconds of a part (default 900)")
    parser.add_argument("--quick", action="store_true", help="in tiny: the figures mean nothing")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="cuda", help="(default cuda)")
    options = parser.parse_args(words)
    if options.limit <= 0:
        parser.error(f"--limit {options.limit:g}: no part would be done; choose more than 0")
    parts = commands(options.folder or Path("FOLDER"), quick=options.quick, device=options.device)
    if unknown := [name for name in options.only or () if name not in parts]:
        parser.error(f"--only {unknown[0]}: no such part; choose from {', '.join(parts)}")
    wanted = {name: parts[name] for name in options.only or parts}
    if options.list:
        for name, arguments in wanted.items():
            print(f"{name}: python {' '.join(arguments)}")
        return 0
    if options.folder is None:
        parser.error("no folder is named; say where figures and texts are to be kept")
    if options.folder.exists() and not options.folder.is_dir():
        parser.error(f"{options.folder}: it is no folder; name one, or one that is not there yet")
    if options.device == "cuda" and not torch.cuda.is_available():
        found = f"torch {torch.__version__} finds no GPU"
        parser.error(f"--device cuda: {found}; --device cpu --quick tries the parts without one")
    failed = {name: fault for name, fault in run(wanted, options.folder, options.limit).items() if fault}
    broken = f", without {', '.join(failed)}" if failed else ""
    print(f"{len(wanted) - len(failed)} of {len(wanted)} parts are done{broken}; see {options.folder / TEXT}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
