"""Kill an evaluation again and again with SIGKILL, and show that its table is that of one left alone.

    python scripts/kill_evaluation.py runs/digits-unet --kills 5 -- --checkpoint 10 20 40 --guidance 0 1 2

What follows `--` goes to `triptych evaluate`. It runs on two copies of the run: on one it is left alone, on
the other it is killed at drawn moments, spread over its length, and given again until it is through. Both
records must then hold the same figures to the last bit. What a kill left of a row must still be there at the
next one, and no batch drawn again; nothing may be left at the end. What was quoted before the first image is
set against what it took, left alone.

Processes are forked from a parent that has loaded torch, as in `kill_training.py`.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

# First, since it keeps torch to one thread, which has to be said before it is loaded.
from training_process import Failed, Life  # isort: split

from triptych.metrics.feature_store import PLAN
from triptych.record.events import Evaluated
from triptych.record.record import Record

LOADED = "triptych.commands.sweep"
"""What an evaluation loads: in the parent, once for all."""
FOLDER = "evaluations"
JOURNALS = f"{FOLDER}/*/batches.jsonl"
LOOK = 0.02
"""Seconds between two looks at how far a process has come."""
QUOTED = re.compile(r"(\d+) rows? of .*: about (.+?) \(")
TOOK = re.compile(r"^measured in (.+)$", re.MULTILINE)


@dataclass
class Tally:
    """What was done to the evaluation that is killed, and what came of it."""

    kills: int = 0
    inside: int = 0
    """Kills that left a row whose batches were there in part."""
    rows: int = 0
    quoted: float = 0.0
    """Seconds, before the first image of the evaluation left alone."""
    took: float = 0.0
    """Seconds, of the same."""
    problems: list[str] = field(default_factory=list)

    def row(self) -> str:
        """Return it as a table of one row."""
        equal = "yes" if not self.problems else "NO"
        times = f"{self.quoted:.1f} | {self.took:.1f} | {self.quoted / self.took:.2f}"
        return (
            "| kills | inside a row | rows | quoted, s | took, s | ratio | equal |\n"
            "|---|---|---|---|---|---|---|\n"
            f"| {self.kills} | {self.inside} | {self.rows} | {times} | {equal} |"
        )


def seconds(text: str) -> float:
    """Return the seconds of `1h 2m 3.4s`."""
    units = {"h": 3600, "m": 60, "s": 1}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"([\d.]+)([hms])", text))


def evaluated(run: Path) -> list[Evaluated]:
    """Return the rows that a run's record holds."""
    return [event.data for event in Record.of_run(run).history().of_kind(Evaluated)]


def batches(run: Path) -> int:
    """Return how many batches are there of rows that are not drawn to the end."""
    found = 0
    for journal in run.glob(JOURNALS):
        try:
            there = sum(bool(line.strip()) for line in journal.read_bytes().split(b"\n"))
            plan = json.loads((journal.parent / PLAN).read_bytes())
        except OSError:  # the row was finished just now
            continue
        if there * plan["batch_size"] < plan["count"]:
            found += there
    return found


def journals(run: Path) -> dict[str, list[bytes]]:
    """Return the whole lines in the journal of each unfinished row, which no process is writing now."""
    whole = {}
    for path in run.glob(JOURNALS):
        whole[path.parent.name] = [line for line in path.read_bytes().split(b"\n") if line.endswith(b"}")]
    return whole


def drawn_twice(before: dict[str, list[bytes]], after: dict[str, list[bytes]]) -> list[str]:
    """Return what is wrong with the journals after a kill, which those after the kill before have grown to.

    A row that is gone was finished.
    """
    problems = [
        f"{name}: batches that were there are not"
        for name, lines in before.items()
        if name in after and after[name][: len(lines)] != lines
    ]
    for name, lines in after.items():
        numbers = [json.loads(line)["batch"] for line in lines]
        if len(set(numbers)) < len(numbers):
            problems.append(f"{name}: batches {numbers} were drawn")
    return problems


def left_alone(run: Path, command: Sequence[str], log: Path, tally: Tally) -> None:
    """Evaluate to the end, and note what was quoted and what it took."""
    with Life(run, command, log) as life:
        if life.end() != 0:
            raise Failed(f"the evaluation left alone ended with {life.code}: {life.said()}")
    said = log.read_text()
    quoted, took = QUOTED.search(said), TOOK.search(said)
    if quoted is None or took is None:
        raise Failed(f"nothing was quoted: {said[-500:]}")
    tally.rows, tally.quoted, tally.took = int(quoted[1]), seconds(quoted[2]), seconds(took[1])


def killed(
    run: Path, command: Sequence[str], log: Path, kills: int, draw: random.Random, tally: Tally
) -> None:
    """Evaluate, killed so many times at moments spread over the whole, and then to the end."""
    before: dict[str, list[bytes]] = {}
    for kill in range(kills):
        rows = tally.rows * (kill + draw.random()) / (kills + 0.5)
        with Life(run, command, log) as life:
            while len(evaluated(run)) < int(rows) and not life.over():
                time.sleep(LOOK)
            while not batches(run) and len(evaluated(run)) == int(rows) and not life.over():
                time.sleep(LOOK)
            if not life.kill():
                raise Failed(f"it ended with {life.code} before kill {kill + 1}: {life.said()}")
        tally.kills += 1
        tally.inside += batches(run) > 0
        tally.problems += drawn_twice(before, after := journals(run))
        before = after
    with Life(run, command, log) as life:
        if life.end() != 0:
            raise Failed(f"the last start ended with {life.code}: {life.said()}")


def compared(alone: Path, other: Path) -> list[str]:
    """Return what differs between two records: nothing, if all is well."""
    one, two = evaluated(alone), evaluated(other)
    if len(one) != len(two):
        return [f"{len(one)} rows, and {len(two)} after kills"]
    return [
        f"{a.passport.checkpoint}, {a.passport.sampler}, scale {a.passport.guidance:g}"
        for a, b in zip(one, two, strict=True)
        if (replace(a.passport, versions={}), a.figures, a.network_calls)
        != (replace(b.passport, versions={}), b.figures, b.network_calls)
    ] + [f"features left in {path.parent}" for path in other.glob(JOURNALS)]


def trial(source: Path, place: Path, options: Sequence[str], kills: int, seed: int) -> Tally:
    """Evaluate two copies of a run in `place`, one with kills, and return what came of it; raises Failed."""
    import_module(LOADED)
    alone, other, tally = place / "alone", place / "killed", Tally()
    for copy in (alone, other):
        shutil.copytree(source, copy, ignore=shutil.ignore_patterns(FOLDER))
        (copy / ".lock").unlink(missing_ok=True)
    left_alone(alone, ["evaluate", str(alone), *options], place / "alone.log", tally)
    command = ["evaluate", str(other), *options]
    killed(other, command, place / "killed.log", kills, random.Random(seed), tally)
    tally.problems += compared(alone, other)
    return tally


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line asks for; return 0 if nothing was lost."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="folder of a run")
    parser.add_argument("--kills", type=int, default=5, help="how often to kill (default 5)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default 0)")
    given = list(sys.argv[1:] if arguments is None else arguments)
    own, handed = (
        (given[: given.index("--")], given[given.index("--") + 1 :]) if "--" in given else (given, [])
    )
    options = parser.parse_args(own)
    with TemporaryDirectory(prefix="kill-evaluation-") as place:
        try:
            tally = trial(options.run, Path(place), handed, options.kills, options.seed)
        except Failed as error:
            print(f"kill_evaluation: {error}", file=sys.stderr)
            return 1
    print(tally.row())
    for problem in tally.problems:
        print(f"differs: {problem}", file=sys.stderr)
    return 1 if tally.problems else 0


if __name__ == "__main__":
    sys.exit(main())
