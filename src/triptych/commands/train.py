"""`triptych train`: train recipes, one after another, each from where it stands."""

from __future__ import annotations

import atexit
import json
import math
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from triptych.commands.overrides import split_tokens
from triptych.errors import UserError
from triptych.parsing import parse
from triptych.recipe_files import load_recipe

if TYPE_CHECKING:
    from triptych.distributed import Ranks
    from triptych.experiment import ExperimentConfig

STOPPED = 75
"""Exit code of a run that was stopped on request, after saving."""


@dataclass(frozen=True)
class TrainOptions:
    """Train recipes, one after another; the same command again resumes.

    Any field of a recipe can be overridden by `--a.b value`: `triptych train RECIPE --help` lists them.
    """

    recipes: Annotated[Positional[tuple[str, ...]], arg(metavar="RECIPE...")]
    """Files, or names of packaged recipes."""
    name: str | None = None
    """Name of the run; by default the recipe's."""
    runs: Path = Path("runs")
    """Folder in which runs are kept."""
    max_minutes: float | None = None
    """Stop, after saving, when this much time has passed since the command was given."""
    price_per_hour: float | None = None
    """What an hour of the machine costs, in any currency: the cost to the end is told in the same, once the
    first steps were measured."""
    quiet: bool = False
    """Print nothing but errors."""
    json: bool = False
    """Print the outcome as JSON on standard output."""


def run(tokens: Sequence[str]) -> int:
    """Train what the tokens ask for; return the exit code."""
    own, overrides = split_tokens(tokens, (field.name for field in fields(TrainOptions)))
    if "--help" in own and not own[0].startswith("-"):
        from triptych.experiment import load_experiment  # loads torch

        load_experiment(own[0], ["--help"])
    options = parse(TrainOptions, own, "triptych train")
    if not options.recipes:
        raise UserError("triptych train", "no recipe given", "name one first: triptych train digits-unet")
    if options.name is not None and len(options.recipes) > 1:
        raise UserError("--name", f"{len(options.recipes)} recipes given", "name one run at a time")
    deadline = None
    if options.max_minutes is not None:
        if not 0 < options.max_minutes < math.inf:
            raise UserError(f"--max-minutes {options.max_minutes:g}", "out of range", "choose more than 0")
        deadline = time.monotonic() + 60 * options.max_minutes
    if options.price_per_hour is not None and not 0 <= options.price_per_hour < math.inf:
        raise UserError(f"--price-per-hour {options.price_per_hour:g}", "out of range", "choose 0 or more")
    for recipe in options.recipes:  # a mistyped name is told before torch is loaded
        refuse_two_batches(load_recipe(recipe)[1], overrides)

    from triptych.distributed import joined  # loads torch
    from triptych.experiment import load_experiment

    # All recipes are read before the first one trains: a mistake in the last must not cost a night.
    experiments = [load_experiment(recipe, overrides, options.name) for recipe in options.recipes]
    names = [experiment.name for experiment in experiments]
    if twice := {name for name in names if names.count(name) > 1}:
        found = f"two runs would be called {', '.join(sorted(twice))}"
        raise UserError("triptych train", found, "set another `name` in one of the recipes")
    with joined() as ranks:  # all that speaks with the others is of `train_all`, and gone when that returns
        outcomes = train_all(experiments, options, deadline, ranks)
    if options.json and ranks.first:
        json.dump(outcomes, sys.stdout, indent=1)
        print()
    if not outcomes[-1]["stopped"]:
        return 0
    # All is saved: an impatient Ctrl-C while the interpreter ends shall not make an accident of it.
    atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)
    return stopped_code()


def refuse_two_batches(recipe: dict, overrides: Sequence[str]) -> None:
    """Raise `UserError` where a batch is given both as a whole and for each process.

    What is typed goes before what the `recipe` says, so that its batch as a whole may be typed over.
    """
    whole, each = "batch_size", "batch_size_per_rank"
    part = recipe.get("training")
    said = part.items() if isinstance(part, dict) else ()
    written = {str(name).replace("-", "_") for name, value in said if value is not None}
    typed = {token.partition("=")[0].replace("-", "_").removeprefix("__training.") for token in overrides}
    if {whole, each} <= typed or (each in written and each not in typed and whole in typed | written):
        raise UserError(
            "--training.batch-size and --training.batch-size-per-rank",
            "both say how many images a step takes",
            "give one of them",
        )


def train_all(
    experiments: Sequence[ExperimentConfig], options: TrainOptions, deadline: float | None, ranks: Ranks
) -> list[dict]:
    """Train experiments, one after another, to their ends or to a stop; return what became of each.

    Args:
        experiments: what to train.
        options: how, and where.
        deadline: when to stop, on the clock of `time.monotonic`; None: never.
        ranks: the processes that train, each of which calls this.
    """
    from triptych.commands.training_console import TrainingConsole
    from triptych.commands.training_session import train_run
    from triptych.training.stop import AgreedStop, StopRequest

    outcomes: list[dict] = []
    stop = AgreedStop(StopRequest(deadline), ranks)
    console = {"quiet": options.quiet or not ranks.first, "price": options.price_per_hour}
    for experiment in experiments:
        if outcomes and (reason := stop.now()):  # asked while the one before saved its last step
            outcomes.append({"run": str(options.runs / experiment.name), "stopped": reason})
            break
        said = TrainingConsole(experiment.name, **console)
        outcomes.append(train_run(experiment, options.runs, said, stop, ranks))
        if outcomes[-1]["stopped"]:
            break
    return outcomes


def stopped_code() -> int:
    """Return the exit code of a run that was stopped: under an elastic launcher, none that it would mend."""
    return 0 if "TORCHELASTIC_RUN_ID" in os.environ else STOPPED
