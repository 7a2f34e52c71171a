"""Kill a training again and again with SIGKILL, and show that it loses nothing.

    python scripts/kill_training.py --kills 100 --inside 30

A small network is trained on the embedded digits, with a checkpoint after every epoch, twice: once left
alone, and once killed at drawn moments and started again by the same command until it is through. At least
`--inside` of the kills fall inside the writing of a checkpoint: they are counted by what they left behind,
the unfinished folder of a checkpoint that does not exist yet. After every kill a whole checkpoint must be
there, no start may fail, and at the end every checkpoint of both runs, whatever it holds, must have the same
bits, and both records the same figures.

What is killed is the real program, `triptych.cli.main(["train", ...])`, in a process of its own. Only the
interpreter is not started anew each time: children are forked from a parent that has loaded torch and done
nothing with it. That takes a system that can fork (Linux, macOS). The 100 kills take some minutes of one
core.
"""

from __future__ import annotations

import argparse
import itertools
import random
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

# First, since it keeps torch to one thread, which has to be said before it is loaded.
from training_process import POLL, WRITING, Failed, Life, entries, unfinished  # isort: split

from triptych.checkpoints.compare import difference
from triptych.checkpoints.find import FOLDER, RESUMED_FROM, all_checkpoints, newest_valid
from triptych.checkpoints.read import read
from triptych.record.events import HeldOut, Progress, Resumed
from triptych.record.record import Record

LOADED = ("triptych.commands.training_session", "torch._dynamo", "torch.utils.tensorboard")
"""What training loads, sooner or later: in the parent, once for all."""

RECIPE = """\
train digits-dit --device cpu
--backbone.patch 4 --backbone.width 8 --backbone.depth 2 --backbone.heads 2
--data.flip True --training.batch-size 361 --training.warmup-epochs 3 --training.held-out-count 64
--training.checkpoint-every 1 --training.keep-full 2 --training.keep-every 10 --training.preview-from 5
--training.preview-every 5 --training.preview-sampler ddim:2 --training.preview-count 4
"""
"""A run with everything switched on that could disturb a resume: four steps between two checkpoints."""

AIMED = 0.75
"""Share of the kills that wait for the writing of a checkpoint."""
AROUND = 2.0
"""Within how much of a save's usual length they then kill: what follows it, retention, is killed as well."""
FIGURES = (Progress, HeldOut)
CLOCKS = {"took", "images_per_second"}


@dataclass
class Tally:
    """What was done to the run that is killed, and what came of it."""

    kills: int = 0
    inside: int = 0
    """Kills that left the unfinished folder of a checkpoint that was not there yet."""
    pruning: int = 0
    """Kills that left an older checkpoint on its way out, or half thinned."""
    restarts: int = 0
    resumes: int = 0
    """Starts that came as far as to go on from a checkpoint before they were killed in their turn."""
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)

    def row(self) -> str:
        """Return it as a table of one row."""
        equal = "yes" if not self.problems else "NO"
        counts = (self.kills, self.inside, self.pruning, self.restarts, self.resumes)
        return (
            "| kills | inside a save | inside pruning | restarts | resumed | seconds | equal |\n"
            "|---|---|---|---|---|---|---|\n"
            f"| {' | '.join(map(str, counts))} | {self.seconds:.0f} | {equal} |"
        )


@dataclass(frozen=True)
class Pace:
    """Seconds that a run takes, measured where it is left alone."""

    start: float
    """Until the first step."""
    between: float
    """From one checkpoint to the next."""
    save: float
    """Until a checkpoint that is being written has its name."""
    all: float

    @classmethod
    def of(cls, life: Life) -> Pace:
        """Watch a run to its end."""
        begun, took = [], []
        for name in life.saves():
            begun.append(time.monotonic())
            while name in unfinished(life.folder) and not life.over():
                time.sleep(POLL)
            took.append(time.monotonic() - begun[-1])
        if life.end() != 0 or len(begun) < 2:
            raise Failed(f"the run left alone ended with {life.code}: {life.said()}")
        between = statistics.median(b - a for a, b in itertools.pairwise(begun))
        return cls(
            begun[0] - life.born - between, between, statistics.median(took), time.monotonic() - life.born
        )


def kill_once(life: Life, draw: random.Random, pace: Pace, *, inside: bool) -> bool:
    """Kill a life at a drawn moment, or, if `inside`, in the midst of a save; tell whether it was killed."""
    if inside:
        spared = draw.choice((0, 0, 1, 1, 2))
        for index, _ in enumerate(life.saves()):
            if index == spared:
                time.sleep(draw.random() * AROUND * pace.save)
                break
    else:
        until = life.born + draw.random() * (pace.start + 3 * pace.between)
        while time.monotonic() < until and not life.over():
            time.sleep(POLL)
    return life.kill()


def look(folder: Path, tally: Tally) -> None:
    """Count what a kill left behind, and make sure that what training goes on from is there."""
    left = entries(folder / WRITING)
    fresh = unfinished(folder)
    tally.inside += bool(fresh)
    tally.pruning += len(left) > len(fresh)
    newest, skipped = newest_valid(folder / FOLDER, RESUMED_FROM)
    there = all_checkpoints(folder / FOLDER)
    if skipped or (there and newest is None):
        raise Failed(f"after kill {tally.kills} a checkpoint is not whole: {skipped}")


def left_alone(runs: Path, command: Sequence[str]) -> tuple[Path, Pace]:
    """Train without interruption; return the run's folder and the seconds that it took."""
    folder, log = runs / "alone", runs / "alone.log"
    with Life(folder, [*command, "--name", "alone"], log) as life:
        return folder, Pace.of(life)


def killed(
    runs: Path, command: Sequence[str], kills: int, inside: int, draw: random.Random, pace: Pace
) -> tuple[Path, Tally]:
    """Train with at least so many interruptions, so many of them in a save; return folder and tally."""
    folder, log = runs / "killed", runs / "killed.log"
    tally, begun = Tally(), time.monotonic()
    while tally.kills < kills or tally.inside < inside:
        # Those that are drawn blindly fall inside now and then, those that are aimed miss now and then.
        aimed = draw.random() < AIMED or tally.kills >= kills
        with Life(folder, [*command, "--name", "killed"], log) as life:
            if not kill_once(life, draw, pace, inside=aimed):
                end = "it was through" if life.code == 0 else f"it ended with {life.code}"
                raise Failed(f"after {tally.kills} kills {end}: {life.said()}")
        tally.kills += 1
        look(folder, tally)
    with Life(folder, [*command, "--name", "killed"], log) as last:
        if last.end() != 0:
            raise Failed(f"the last start ended with {last.code}: {last.said()}")
    tally.restarts, tally.seconds = tally.kills, time.monotonic() - begun
    tally.resumes = len(resumes(folder))
    return folder, tally


def compared(alone: Path, killed: Path) -> list[str]:
    """Return in what two runs differ: in any checkpoint, or in any figure of their records."""
    names = [[path.name for path in all_checkpoints(run / FOLDER)] for run in (alone, killed)]
    if names[0] != names[1]:
        return [f"checkpoints: {names[0]} and {names[1]}"]
    problems = []
    for name in names[0]:
        contents = [read(run / FOLDER / name) for run in (alone, killed)]
        if found := difference(*contents, ignored={"attempt"}):
            problems.append(f"{name}: {found}")
    if figures(alone) != figures(killed):
        problems.append("the figures of their records")
    if skipped := [line for resume in resumes(killed) for line in resume.skipped]:
        problems.append(f"checkpoints were passed over: {skipped}")
    return problems


def resumes(run: Path) -> list[Resumed]:
    """Return what the record of a run says of each time that it went on."""
    return [event.data for event in Record.of_run(run).events() if isinstance(event.data, Resumed)]


def figures(run: Path) -> list[tuple]:
    """Return the figures of a run's record that hold, without clocks."""
    return [
        (event.kind, event.step, {k: v for k, v in vars(event.data).items() if k not in CLOCKS})
        for event in Record.of_run(run).valid_events()
        if isinstance(event.data, FIGURES)
    ]


def trial(runs: Path, kills: int, inside: int, seed: int, epochs: int | None = None) -> Tally:
    """Train twice in the folder `runs`, once with kills, and return what came of it; raises Failed."""
    for module in LOADED:
        try:
            import_module(module)
        except ImportError:  # TensorBoard is an extra
            continue
    length = ["--training.epochs", str(epochs or 20 + 2 * kills)]
    command = [*RECIPE.split(), *length, "--runs", str(runs), "--quiet"]
    alone, pace = left_alone(runs, command)
    told = (
        f"left alone: {pace.all:.0f} s; a start {pace.start:.2f} s, a checkpoint every {pace.between:.2f} s"
    )
    print(f"{told}, {pace.save * 1000:.0f} ms of which it is being written", flush=True)
    folder, tally = killed(runs, command, kills, inside, random.Random(seed), pace)
    tally.problems = compared(alone, folder)
    return tally


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line asks for; return 0 if nothing was lost."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=100, help="how often to kill (default 100)")
    parser.add_argument("--inside", type=int, default=30, help="at least so often inside a save (default 30)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default 0)")
    parser.add_argument("--epochs", type=int, help="of the run (default 20 and 2 for each kill)")
    options = parser.parse_args(arguments)
    with TemporaryDirectory(prefix="kill-training-") as place:
        try:
            tally = trial(Path(place), options.kills, options.inside, options.seed, options.epochs)
        except Failed as error:
            print(f"kill_training: {error}", file=sys.stderr)
            return 1
    print(tally.row())
    for problem in tally.problems:
        print(f"differs: {problem}", file=sys.stderr)
    return 1 if tally.problems else 0


if __name__ == "__main__":
    sys.exit(main())
