"""Train recipes for the same time each, draw and measure what they have learnt, and keep the worth of it.

    python scripts/equal_time.py gpu --recipes cifar10-unet-modern cifar10-dit-modern cifar10-dim-modern \
        --minutes 8 --training.compile True --data.path cifar10-jpeg

How fast each of them trains is measured first, by a short trial with all that is typed. The epochs that fit
into the time follow from that, and warm-up, checkpoints and previews go with them. Options beyond those of
--help are the recipes' own, as `triptych train` takes them. In FOLDER/kept lie in the end a small copy of
each run (record, pictures, weights in bf16), what they drew side by side, and a report of them all in English
and in Chinese.

Every command is shown as it would be typed. The same command again goes on where it was, with the plan that
was made then; --stop-after ends it, all saved, as Ctrl-C does.
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
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))  # the checkout's own package, whether one is installed or not

from triptych.cli import main as triptych  # noqa: E402
from triptych.errors import UserError  # noqa: E402
from triptych.experiment import ExperimentConfig, load_experiment  # noqa: E402
from triptych.record.events import Progress  # noqa: E402
from triptych.record.record import Record  # noqa: E402

PLAN = "plan.json"
DONE = "done.json"
MODERN = ("cifar10-unet-modern", "cifar10-dit-modern", "cifar10-dim-modern")
STOPPED = 75
"""Exit code of what goes on by the same command."""
INTERRUPTED = 130
"""That of a command that Ctrl-C has ended."""
TRIAL = 200
"""Steps of a trial: ten figures of the rate, of which the later half counts."""
STAGES = 4
"""Checkpoints and previews of a run."""
WARMUP = 0.05
"""Of a run, the most that the rate may rise for; recipes are made for longer ones."""
WHOLE = 8
"""Epochs from which on a run ends with an epoch, which makes a sixteenth of the time at most."""


@dataclass(frozen=True)
class Planned:
    """What a recipe's training comes to in the time that each has."""

    recipe: str
    rate: float
    """Images per second, of the trial."""
    epochs: int
    max_steps: int | None
    """Where the last epoch is not whole."""
    options: tuple[str, ...]
    """What is typed after the recipe, folder aside."""

    @classmethod
    def of(cls, kept: dict) -> Planned:
        """Return what was kept of it in a file."""
        options = tuple(kept["options"])
        return cls(kept["recipe"], kept["rate"], kept["epochs"], kept["max_steps"], options)

    @property
    def name(self) -> str:
        """What its run is called."""
        return Path(self.recipe).stem


def planned(recipe: str, experiment: ExperimentConfig, rate: float, images: int, seconds: float) -> Planned:
    """Return how long a recipe trains.

    Args:
        recipe: as it is typed.
        experiment: what it says.
        rate: images per second.
        images: of an epoch.
        seconds: that training is to take, all else aside.
    """
    training = experiment.training
    exact = max(rate * seconds, training.batch_size) / images
    whole = exact >= WHOLE
    epochs = round(exact) if whole else math.ceil(exact)
    max_steps = None if whole else round(exact * images / training.batch_size)
    length = epochs if whole else exact
    every = max(1, round(length / STAGES))
    options = {
        "epochs": epochs,
        "max-steps": max_steps,
        "warmup-epochs": round(min(training.warmup_epochs, WARMUP * length), 3),
        "checkpoint-every": every,
        "preview-from": every,
        "preview-every": every,
    }
    typed = [f"--training.{name} {value}".split() for name, value in options.items() if value is not None]
    return Planned(recipe, rate, epochs, max_steps, tuple(word for words in typed for word in words))


def rate_of(run: Path) -> float:
    """Return the images per second of a run, over the later half of what its record tells."""
    rates = [event.data.images_per_second for event in Record.of_run(run).history().of_kind(Progress)]
    late = rates[len(rates) // 2 :]
    return len(late) / sum(1 / rate for rate in late)


class Session:
    """The commands of one folder, each called at most once, in this process, which loads torch once.

    Args:
        folder: for all of it.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def call(self, *words: str, every_time: bool = False) -> None:
        """Call `triptych` unless it was called so before; raise `Ended` where it does not come to its end.

        Args:
            words: what is typed.
            every_time: whether it knows by itself what is done.
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

    def plan(self, options: argparse.Namespace, overrides: Sequence[str]) -> list[Planned]:
        """Return how long each recipe trains, as it was planned at the first start.

        Raises:
            UserError: something else was asked for then.
        """
        asked = {"recipes": options.recipes, "minutes": options.minutes, "overrides": list(overrides)}
        if found := self._read(PLAN):
            if found["asked"] != asked:
                words = " ".join(f"{name} {value}" for name, value in found["asked"].items())
                raise UserError(
                    f"go on in {self.folder}", f"it was begun with {words}", "name another folder"
                )
            return [Planned.of(each) for each in found["runs"]]
        plans = [self._planned(recipe, overrides, 60 * options.minutes) for recipe in options.recipes]
        self._write(PLAN, {"asked": asked, "runs": [asdict(each) for each in plans]})
        return plans

    def _planned(self, recipe: str, overrides: Sequence[str], seconds: float) -> Planned:
        trials, name = self.folder / "trials", Path(recipe).stem
        # Nothing is due before the end but figures; the last epoch is far.
        rare = "--training.epochs 1000000 --training.checkpoint-every 1000000 --training.preview-every 0"
        short = f"{rare} --training.max-steps {TRIAL} --training.held-out-count 16".split()
        self.call("train", recipe, *overrides, *short, "--name", name, "--runs", str(trials), every_time=True)
        images = Record.of_run(trials / name).history().started.data.train_images
        shutil.rmtree(trials / name / "checkpoints")
        experiment = load_experiment(recipe, overrides)
        return planned(recipe, experiment, rate_of(trials / name), images, seconds)

    def train(self, plans: Sequence[Planned], overrides: Sequence[str]) -> None:
        """Train all runs, each for its time."""
        for each in plans:
            place = ("--name", each.name, "--runs", str(self.folder / "runs"))
            self.call("train", each.recipe, *overrides, *each.options, *place, every_time=True)

    def draw(self, runs: Sequence[str], options: argparse.Namespace) -> None:
        """Draw the same noise by all runs: grids by sampler and scale, and one GIF of each."""
        rows = ("--sampler", *options.sampler, "--guidance", *options.guidance)
        self.call("sample", *runs, *rows, "--per-class", "8", "--seed", "0")
        last = ("--sampler", options.sampler[-1], "--guidance", options.guidance[-1])
        self.call("sample", *runs, *last, "--per-class", "4", "--seed", "1", "--gif")

    def measure(self, runs: Sequence[str], options: argparse.Namespace) -> None:
        """Measure every run by sampler and scale."""
        rows = ("--sampler", *options.sampler, "--guidance", *options.guidance)
        for run in runs:
            self.call("evaluate", run, *rows, "--count", str(options.count), every_time=True)

    def keep(self, runs: Sequence[str]) -> None:
        """Write what is worth keeping, anew."""
        kept = self.folder / "kept"
        shutil.rmtree(kept, ignore_errors=True)
        copies = []
        for run in runs:
            copies.append(str(kept / Path(run).name))
            self.call("export", run, "--format", "run", "--out", copies[-1], every_time=True)
        for pictures in (self.folder / "runs").glob("bout-*"):
            shutil.copytree(pictures, kept / pictures.name)
        for language in ("en", "zh"):
            self.call("report", *copies, "--out", str(kept), "--language", language, every_time=True)

    def _read(self, name: str):
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


def told(plans: Sequence[Planned]) -> Iterator[str]:
    """Yield what was planned, a line for each run."""
    for each in plans:
        length = f"{each.epochs} epochs" if each.max_steps is None else f"{each.max_steps:,} steps"
        yield f"{each.name}: {each.rate:,.0f} images per second, {length}"


def main(words: Sequence[str] | None = None) -> int:
    """Do what is asked for, as far as it is not done yet, and return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0], allow_abbrev=False, epilog="Further options are the recipes'."
    )
    parser.add_argument("folder", type=Path, help="where all of it lies, and goes on")
    parser.add_argument(
        "--recipes", nargs="+", default=list(MODERN), metavar="RECIPE", help="(the modern ones)"
    )
    parser.add_argument("--minutes", type=float, required=True, help="of training, for each recipe")
    parser.add_argument("--sampler", nargs="+", default=["quality", "fast"], help="(default quality fast)")
    parser.add_argument("--guidance", nargs="+", default=["1", "1.4", "2", "3"], help="(1 1.4 2 3)")
    parser.add_argument("--count", type=int, default=10_000, help="images of an evaluated row (10,000)")
    parser.add_argument("--stop-after", type=float, metavar="SECONDS", help="of this call")
    options, overrides = parser.parse_known_args(words)
    for name in ("minutes", "stop_after"):
        value = getattr(options, name)
        if value is not None and not 0 < value < math.inf:
            parser.error(f"--{name.replace('_', '-')} {value:g}: out of range; choose more than 0")
    if len({Path(recipe).stem for recipe in options.recipes}) < len(options.recipes):
        parser.error(f"--recipes {' '.join(options.recipes)}: two runs would be called alike")
    session = Session(options.folder)
    watch = threading.Timer(options.stop_after or 0, _thread.interrupt_main)
    if options.stop_after:
        watch.daemon = True
        watch.start()
    try:
        plans = session.plan(options, overrides)
        print("\n".join(told(plans)), flush=True)
        session.train(plans, overrides)
        runs = [str(options.folder / "runs" / each.name) for each in plans]
        session.draw(runs, options)
        session.measure(runs, options)
        session.keep(runs)
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
    print(f"\nsee {options.folder / 'kept' / 'EXPERIMENTS.md'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
