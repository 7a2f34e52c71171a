"""Train recipes for the same time each, draw and measure what they have learnt, and keep the worth of it.

    python scripts/equal_time.py equal --minutes 8 --data.path cifar10-jpeg --training.compile True
    python scripts/equal_time.py digits --minutes 1 --recipes digits-unet-modern digits-dit-modern

How fast each of them trains is measured first, by a short trial with all that is typed. The epochs that fit
into the time follow from that, and warm-up, checkpoints and previews go with them. The minutes are those of
training steps alone: previews, held-out errors and saves come on top.

In FOLDER/kept lie in the end a small copy of each run (record, pictures, weights in bf16), what they drew
side by side, a report of them all in English and in Chinese, and what was planned and taken. They are written
anew where a run has gone on; what else lies there stays.

Every command is shown as it would be typed. The same command again goes on where it was, with the plan that
was made then, also with other samplers, scales and numbers of images, of which rows are added. Ctrl-C and
--stop-after end it, all saved, with exit code 75.
"""

from __future__ import annotations

import _thread
import argparse
import json
import math
import shlex
import shutil
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))  # the checkout's own package, whether one is installed or not

from keep_results import renew_copies  # noqa: E402
from time_plan import Planned, planned, rate_of, training_seconds  # noqa: E402

from triptych.cli import main as triptych  # noqa: E402
from triptych.errors import UserError  # noqa: E402
from triptych.record.record import Record  # noqa: E402

if TYPE_CHECKING:
    from triptych.experiment import ExperimentConfig

PLAN, DONE, SUMMARY = "plan.json", "done.json", "equal-time.json"
MODERN = ("cifar10-unet-modern", "cifar10-dit-modern", "cifar10-dim-modern")
STOPPED = 75
"""Exit code of what goes on by the same command."""
INTERRUPTED = 130
"""That of a command that Ctrl-C has ended."""
EXPORT = ("export", "--format", "run")
TRIAL = 200
"""Steps of a trial, of which the later half counts."""
APART = 0.1
"""Of the planned time; more is told."""
OURS = ("name", "runs", "max-minutes", "quiet", "json", "training.epochs", "training.max-steps")
OURS_TOO = ("training.checkpoint-every", "training.preview-from", "training.preview-every")
"""Options of `triptych train` that this says itself."""


class Session:
    """The commands of one folder, each called at most once, in this process, which loads torch once.

    Args:
        folder: for all of it.
        options: what was asked for.
        overrides: options of the recipes.
    """

    def __init__(self, folder: Path, options: argparse.Namespace, overrides: Sequence[str]):
        self.folder, self.options, self.overrides = folder, options, list(overrides)

    def call(self, *words: str, every_time: bool = True) -> None:
        """Call `triptych`; raise `Ended` where it does not come to its end.

        Args:
            words: what is typed.
            every_time: also where it was called so before, as it knows by itself what is done.
        """
        line = shlex.join(words)
        done = self._read(DONE) or []
        if line in done and not every_time:
            return
        print(f"\n$ triptych {line}", flush=True)
        if code := triptych(list(words)):
            raise Ended(code)
        if not every_time:
            self._write(DONE, [*done, line])

    def experiments(self) -> list[ExperimentConfig]:
        """Return what the recipes say, all of which is looked at before anything is done.

        Raises:
            UserError: one cannot be trained so, or they do not draw the same.
        """
        from triptych.commands.sampler_options import SamplerOptions, chosen_samplers
        from triptych.experiment import load_experiment

        found = [load_experiment(recipe, self.overrides) for recipe in self.options.recipes]
        chosen_samplers(self.options.sampler, SamplerOptions(), ())
        if len({experiment.conditional for experiment in found}) > 1:
            asked = f"--recipes {' '.join(self.options.recipes)}"
            raise UserError(asked, "some learn classes, and others none", "compare recipes of one kind")
        if not found[0].conditional and any(float(scale) != 0 for scale in self.options.guidance):
            asked = f"--guidance {' '.join(self.options.guidance)}"
            raise UserError(asked, "the recipes learn no classes", "say --guidance 0")
        return found

    def plan(self, experiments: Sequence[ExperimentConfig]) -> list[Planned]:
        """Return how long each recipe trains, as it was planned at the first start.

        Raises:
            UserError: something else was asked for then.
        """
        options = self.options
        asked = {
            "--recipes": " ".join(options.recipes),
            "--minutes": f"{options.minutes:g}",
            "options of the recipes": shlex.join(self.overrides) or "none",
        }
        found: Any = self._read(PLAN) or {"asked": asked, "runs": []}
        for name, value in asked.items():
            if (before := found["asked"].get(name)) != value:
                told = f"it was begun with {name} {before}"
                raise UserError(f"go on in {self.folder} with {name} {value}", told, "name another folder")
        plans = [Planned.of(each) for each in found["runs"]]
        for recipe, experiment in list(zip(options.recipes, experiments, strict=True))[len(plans) :]:
            trial = self._tried(recipe)
            images = Record.of_run(trial).history().started.data.train_images
            plans.append(planned(recipe, experiment, rate_of(trial), images, 60 * options.minutes))
            self._write(PLAN, {"asked": asked, "runs": [asdict(each) for each in plans]})
            shutil.rmtree(trial / "checkpoints")
        return plans

    def _tried(self, recipe: str) -> Path:
        """Train a little by a recipe; return the run's folder."""
        trials, name = self.folder / "trials", Path(recipe).stem
        print(f"trial of {name}", flush=True)
        # Nothing is due before the end but figures; the last epoch is far.
        rare = "--training.epochs 1000000 --training.checkpoint-every 1000000 --training.preview-every 0"
        short = f"{rare} --training.max-steps {TRIAL} --training.held-out-count 16 --quiet".split()
        self.call("train", recipe, *self.overrides, *short, "--name", name, "--runs", str(trials))
        return trials / name

    def train(self, plans: Sequence[Planned]) -> None:
        """Train all runs, each for its time."""
        for each in plans:
            place = ("--name", each.name, "--runs", str(self.folder / "runs"))
            self.call("train", each.recipe, *self.overrides, *each.options, *place)

    def draw(self, runs: Sequence[str], *, conditional: bool) -> None:
        """Draw the same noise by all runs: grids by sampler and scale, and one GIF of each."""
        options = self.options
        many, few = (("--per-class", "8"), ("--per-class", "4")) if conditional else (("--count", "64"),) * 2
        rows = ("--sampler", *options.sampler, "--guidance", *options.guidance)
        self.call("sample", *runs, *rows, *many, "--seed", "0", every_time=False)
        last = ("--sampler", options.sampler[-1], "--guidance", options.guidance[-1])
        self.call("sample", *runs, *last, *few, "--seed", "1", "--gif", every_time=False)

    def measure(self, runs: Sequence[str]) -> None:
        """Measure every run by sampler and scale."""
        rows = ("--sampler", *self.options.sampler, "--guidance", *self.options.guidance)
        for run in runs:
            self.call("evaluate", run, *rows, "--count", str(self.options.count))

    def keep(self, plans: Sequence[Planned]) -> None:
        """Write what is worth keeping; copies of runs that have not gone on stay as they are."""
        kept = self.folder / "kept"
        runs = [self.folder / "runs" / each.name for each in plans]
        copies = renew_copies(runs, kept, lambda run, out: self.call(*EXPORT, str(run), "--out", str(out)))
        for language in ("en", "zh"):
            self.call("report", *map(str, copies), "--out", str(kept), "--language", language)
        summary = {"minutes": self.options.minutes, "runs": [self._summary(each) for each in plans]}
        (kept / SUMMARY).write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")

    def _summary(self, plan: Planned) -> dict:
        return asdict(plan) | {"taken": training_seconds(self.folder / "runs" / plan.name)}

    def told(self, plans: Sequence[Planned]) -> Iterator[str]:
        """Yield what was planned and what training took, a line for each run."""
        for each in plans:
            taken = training_seconds(self.folder / "runs" / each.name)
            off = taken / each.seconds - 1
            note = (
                f"; it was {'slower' if off > 0 else 'faster'} than in the trial" if abs(off) > APART else ""
            )
            yield f"{each.name}: {taken:.0f} s of training, {each.seconds:.0f} s planned{note}"

    def _read(self, name: str) -> Any:
        path = self.folder / name
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def _write(self, name: str, value: object) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        aside = self.folder / f".{name}"
        aside.write_text(json.dumps(value, indent=1), encoding="utf-8")
        aside.replace(self.folder / name)


class Ended(Exception):  # noqa: N818
    """A command came to no end of its own: `code` is what it returned."""

    def __init__(self, code: int):
        super().__init__(code)
        self.code = code


def parsed(words: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    """Return the options, and those of the recipes; SystemExit where they make no sense."""
    about, _, rest = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        usage="equal_time.py FOLDER --minutes MINUTES [options] [options of the recipes]",
        description=about,
        epilog=rest.strip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("folder", type=Path, help="where all of it lies, and from where it goes on")
    parser.add_argument("--minutes", type=float, required=True, help="of training steps, for each recipe")
    recipes = f"packaged ones or files (default: {' '.join(MODERN)})"
    parser.add_argument("--recipes", nargs="+", default=list(MODERN), metavar="RECIPE", help=recipes)
    parser.add_argument("--sampler", nargs="+", default=["quality", "fast"], help="(default: quality fast)")
    scales = "scales (default: 1 1.4 2 3)"
    parser.add_argument("--guidance", nargs="+", default=["1", "1.4", "2", "3"], metavar="SCALE", help=scales)
    parser.add_argument(
        "--count", type=int, default=10_000, help="images of an evaluated row (default: 10000)"
    )
    ending = "end, all saved, so many seconds after the start"
    parser.add_argument("--stop-after", type=float, metavar="SECONDS", help=ending)
    words = sys.argv[1:] if words is None else words
    if words and words[0].startswith("-") and words[0] not in ("-h", "--help"):
        parser.error(f"{words[0]} comes before the folder; give the folder first")
    options, overrides = parser.parse_known_args(words)
    for name in ("minutes", "stop_after", "count"):
        value = getattr(options, name)
        if value is not None and not 0 < value < math.inf:
            parser.error(f"--{name.replace('_', '-')} {value:g}: out of range; choose more than 0")
    for scale in options.guidance:
        if not scale.replace(".", "", 1).isdecimal():
            parser.error(f"--guidance {scale}: no scale; choose 0 or more")
    if len({Path(recipe).stem for recipe in options.recipes}) < len(options.recipes):
        parser.error(f"--recipes {' '.join(options.recipes)}: two runs would be called alike; rename a file")
    if options.folder.exists() and not options.folder.is_dir():
        parser.error(f"{options.folder}: it is no folder; name one, or one that is not there yet")
    typed = {word.partition("=")[0].removeprefix("--").replace("_", "-") for word in overrides}
    for name in (*OURS, *OURS_TOO):
        if name in typed:
            parser.error(f"--{name}: that follows from the time, or is said already; leave it out")
    return options, overrides


def main(words: Sequence[str] | None = None) -> int:
    """Do what is asked for, as far as it is not done yet, and return the exit code."""
    options, overrides = parsed(words)
    session = Session(options.folder, options, overrides)
    watch = threading.Timer(options.stop_after or 0, _thread.interrupt_main)
    watch.daemon = True
    try:
        if options.stop_after:
            watch.start()
        experiments = session.experiments()
        plans = session.plan(experiments)
        print("\n".join(each.told for each in plans), flush=True)
        session.train(plans)
        runs = [str(options.folder / "runs" / each.name) for each in plans]
        session.draw(runs, conditional=experiments[0].conditional)
        session.measure(runs)
        session.keep(plans)
    except (Ended, KeyboardInterrupt) as ended:
        code = ended.code if isinstance(ended, Ended) else INTERRUPTED
        if code in (STOPPED, INTERRUPTED):
            print("equal_time: not done yet; the same command goes on from here", flush=True)
            return STOPPED
        return code
    except UserError as error:
        print(f"equal_time: {error}", file=sys.stderr)
        return 2
    finally:
        watch.cancel()
    print("\n" + "\n".join(session.told(plans)))
    print(f"see {options.folder / 'kept' / 'EXPERIMENTS.md'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
