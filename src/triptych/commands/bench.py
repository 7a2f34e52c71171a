"""`triptych bench`: measure the backbones against their peers, with the benchmarks of the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from triptych.errors import UserError
from triptych.parsing import parse, refuse_below_one


@dataclass(frozen=True)
class BenchOptions:
    """Measure the backbones against their peers in one process: time as paired ratios, and peak memory.

    The benchmarks are part of a checkout, not of the installed package.
    """

    only: tuple[str, ...] = ()
    """Cases to run, such as ssd-scan; none given: all of them."""
    matching: str = ""
    """Run only comparisons with this in their title, such as unet; empty: all of each case."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """What the cases named device-... run on; auto: the GPU where there is one. All others: the processor."""
    peers: Path | None = None
    """Folder with checkouts of the peers, each under its repository's name: DiT, mamba.py, mamba."""
    threads: int | None = None
    """Threads to compute with; None: as many as torch takes by itself."""
    rounds: int | None = None
    """Times that each variant is timed; None: each case's own number. An interval takes at least 6."""
    batch: int | None = None
    """Images or sequences per call; None: each case's own number."""
    json: Path | None = None
    """File to write everything to that was measured, every single time included."""
    against: Path | None = None
    """File that an earlier call wrote with --json: every figure is told beside the one that it has there."""
    profile: bool = False
    """Tell which operations the time of each variant goes to, in one more call of it."""
    plain_allocator: bool = False
    """Leave the C library's treatment of freed memory as it is, for ours and peers alike."""
    memory: bool = True
    """Measure peak memory too: each variant in a process of its own."""
    quick: bool = False
    """Tiny sizes and 2 rounds: a trial of the benchmarks, whose figures mean nothing."""
    list: bool = False
    """Print the cases and the titles of their comparisons, and measure nothing."""

    def check(self) -> None:
        """Raise `UserError` for what cannot be measured so."""
        refuse_below_one(threads=self.threads, rounds=self.rounds, batch=self.batch)
        if self.peers is not None and not self.peers.is_dir():
            raise UserError(
                f"--peers {self.peers}", "no such folder", "docs/performance.md tells how to make it"
            )
        if self.against is not None and not self.against.is_file():
            raise UserError(f"--against {self.against}", "no such file", "name one that --json wrote")
        if self.json is not None:
            folder, remedy = self.json.absolute().parent, "choose another"
            if not folder.is_dir():
                raise UserError(f"--json {self.json}", "its folder does not exist", f"make it, or {remedy}")
            if self.json.is_dir():
                raise UserError(f"--json {self.json}", "it is a folder", "name a file")
            if self.json.exists() and not self.json.is_file():
                raise UserError(f"--json {self.json}", "it is no file", remedy)
            if not os.access(folder, os.W_OK):  # where it is written beside, and put in its place
                raise UserError(f"--json {self.json}", "it cannot be written", remedy)


def parsed(tokens: Sequence[str], command: str) -> BenchOptions:
    """Return the options in the tokens of a command.

    Raises:
        UserError: they are no options, or cannot be measured so.
    """
    options = parse(BenchOptions, tokens, command)
    if "--only" in tokens and not options.only:
        raise UserError("--only", "it names no case", "leave it out for all; --list tells their names")
    options.check()
    return options


def run(tokens: Sequence[str]) -> int:
    """Run the benchmarks of the checkout that this package lies in; return their exit code."""
    options = parsed(tokens, "triptych bench")
    folder = checkout()
    if folder is None:
        raise UserError(
            "triptych bench",
            "this package is installed without the benchmarks",
            "call it in a clone of the repository, installed with `pip install -e .`",
        )
    # They run in the checkout's folder: what was typed relative to this one is told in full.
    places = {"--peers": options.peers, "--json": options.json, "--against": options.against}
    full = [word for flag, place in places.items() if place for word in (flag, str(place.absolute()))]
    process = subprocess.Popen([sys.executable, "-m", "benchmarks", *tokens, *full], cwd=folder)
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:  # which it has met as well, and says what it has left
            continue


def checkout() -> Path | None:
    """Return the checkout whose `src/` holds this package, or None where it was installed without one."""
    source = Path(__file__).resolve().parents[2]
    folder = source.parent
    return folder if source.name == "src" and (folder / "benchmarks" / "__main__.py").is_file() else None
