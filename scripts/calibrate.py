"""Hold FID and Inception Score against the literature's, on CIFAR-10 and on a model that others measured.

    python scripts/calibrate.py                                  a GPU, some hours
    python scripts/calibrate.py --averaged ./ddpm_ema_cifar10    the same, by the weights of the paper's 3.17
    python scripts/calibrate.py --real                           without a model: some hours of a processor
    python scripts/calibrate.py --quick                          minutes: does everything work?

Fetched, and checked by sha256: CIFAR-10, the FID's network, and google/ddpm-cifar10-32, which are DDPM's
weights as they came out of training. The weights of the paper's figures are their moving average, which is
not on that page: `--averaged` takes a folder of diffusers that has it. Of the model 50,000 images are drawn
in 1,000 steps. What all of it will take is said first; the same command again goes on where it was.

Exit code 0: whatever was compared is within its tolerance; 1: something is not; 2: something is missing.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from published_figures import AVERAGED, COUNT, MODEL, RAW, TEST_SET, TRAINING_SET, Published

from triptych.commands import import_model
from triptych.commands.evaluate import evaluated
from triptych.commands.evaluate_options import EvaluateOptions, check
from triptych.commands.work_console import WorkConsole
from triptych.data import DataConfig
from triptych.data.dataset import Dataset, ImageSet
from triptych.devices import select_device
from triptych.distributed import ALONE
from triptych.downloads import PublishedFile, fetch
from triptych.errors import UserError
from triptych.evaluation.cost import Cost, drawing_seconds, measuring_seconds
from triptych.evaluation.yardstick import Yardstick
from triptych.exchange.importing import read_model
from triptych.metrics import named_metrics
from triptych.parsing import parse
from triptych.record.environment import describe_device, versions
from triptych.record.events import Figure
from triptych.record.record import Record
from triptych.report.numbers import duration
from triptych.runs import Run
from triptych.work import Watch

DATA = "cifar10"
HUB = f"https://huggingface.co/google/{MODEL}/resolve/267b167dc01f0e4e61923ea244e8b988f84deb80"
FILES = (
    PublishedFile(
        f"{HUB}/config.json",
        699,
        "sha256",
        "49579448cd5728fb83f14186de12464eee143d2f5dccb11b8e13744d712eae9d",
        MODEL,
    ),
    PublishedFile(
        f"{HUB}/scheduler_config.json",
        256,
        "sha256",
        "da5d9d26605d2aab854e8f2f2b26d3a407618de17b948bdb7d3846fb0561c7d3",
        MODEL,
    ),
    PublishedFile(
        f"{HUB}/diffusion_pytorch_model.safetensors",
        0,
        "sha256",
        "1558dbe3fb093b0857d473e376b711eeda1b186c557be5e85b3a56300cd49f0f",
        MODEL,
    ),
)
"""The model as diffusers has it; the page tells the length of its weights in megabytes alone."""
OTHERWISE = "calibrate without a model: --real"

SAMPLER = "ddpm:1000,variance=large"
"""Of the paper's figures."""
QUICK_SAMPLER, QUICK_COUNT = "ddim:10", 64
QUICK_REAL = 256
"""Real images of each split, where it has to be quick."""
METRICS = ("fid", "inception_score")
BATCH = 256


@dataclass(frozen=True)
class Row:
    """A published figure, and what was found."""

    published: Published
    found: Figure | None
    """None: of so few images it would mean nothing, and was not measured."""
    quick: bool
    """Whether fewer images were measured than the published figure is of."""

    @property
    def within(self) -> bool | None:
        """Whether it is the published figure, as far as can be expected; None: it cannot be compared."""
        if self.quick or self.found is None:
            return None
        return abs(self.found.estimate - self.published.value) <= self.published.tolerance

    def line(self) -> str:
        """Return it as a line of a table."""
        known, value, images = self.published, "", "so few"
        if self.found is not None:
            images = f"{self.found.n:,}"
            value = f"{self.found.estimate:.3f}"
            value += "" if self.found.spread is None else f" ± {self.found.spread:.3f}"
        answer = {True: "yes", False: "NO", None: f"not comparable: {images} images"}[self.within]
        what = f"{known.metric} of {known.count:,} images: {known.of}"
        return f"| {what} | {known.value:g} ± {known.tolerance:g} | {value} | {answer} |"


def real_rows(dataset: Dataset, options: argparse.Namespace, yardstick: Yardstick) -> Iterator[Row]:
    """Yield the rows of real images, which need no model."""
    train, held_out = dataset.train, dataset.held_out
    against = {figure.metric: figure for figure in yardstick.figures_of(held_out, None)}
    yield Row(TEST_SET, against["fid"], options.quick)
    of_itself = Yardstick(
        train,
        None,
        named_metrics(["inception_score"]),
        yardstick.device,
        force=options.quick,
        watch=yardstick.watch,
    )
    (score,) = of_itself.figures_of(train, None)
    yield Row(TRAINING_SET, score, options.quick)


def model_rows(run: Path, options: argparse.Namespace) -> Iterator[Row]:
    """Yield the rows of the model, by `triptych evaluate`: from its record, or drawn now."""
    tokens = [str(run), *_drawn(options), *_handed(options, "device", "precision", "batch_size")]
    asked = parse(EvaluateOptions, _shown("evaluate", tokens), "triptych evaluate")
    check(asked)
    (row,) = evaluated(asked, ALONE)
    figures = {figure.metric: figure for figure in row.figures}
    for published in AVERAGED if options.averaged else RAW:
        yield Row(published, figures.get(published.metric), options.quick)


def fetched() -> Path:
    """Return the folder with the files of the model, on this machine."""
    paths = [fetch(file, OTHERWISE) for file in FILES]
    return paths[0].parent


def imported(options: argparse.Namespace) -> Path:
    """Return the run of the model, which is made of its files where it is not there yet."""
    folder = options.averaged or fetched()
    digest, run = read_model(folder).digest, options.runs / folder.resolve().name
    if run.exists():
        history = Record.of_run(run).history()
        if history.imported is None or history.imported.digest != digest:
            raise UserError(f"calibrate with {folder}", f"{run} is another model", "say another --runs")
    else:
        tokens = [str(folder), "--runs", str(options.runs), "--name", run.name, "--data.name", DATA]
        import_model.run(_shown("import", [*tokens, *_handed(options)]))
    print(f"weights: sha256 {digest}")
    return run


def cifar10(options: argparse.Namespace, watch: Watch) -> Dataset:
    """Return the images that published figures are of, and no others."""
    dataset = DataConfig(DATA, options.data).load(watch)
    if dataset.name == DATA:
        return dataset
    asked, found = f"calibrate with --data {options.data}", f"it is {dataset.name}"
    raise UserError(asked, f"{found}, and published figures are of {DATA} alone", "give its own archive")


def cost(dataset: Dataset, run: Path | None, options: argparse.Namespace, yardstick: Yardstick) -> Cost:
    """Return what all of it takes where nothing is there yet."""
    train, held_out = len(dataset.train), len(dataset.held_out)
    _, channels, height, width = dataset.train.images.shape
    shape = BATCH, channels, height, width
    measuring = measuring_seconds(yardstick.extractors.values(), shape, yardstick.device)
    each = Cost(measuring=measuring)
    total = each.times(2 * train + held_out)  # features of the training set, and its probabilities
    if run is None:
        return total
    opened = Run(run, options.data)
    model = opened.model(device=options.device, precision=options.precision)
    count = QUICK_COUNT if options.quick else COUNT
    size = options.batch_size or opened.experiment.sampling.batch_size
    sampler = QUICK_SAMPLER if options.quick else SAMPLER
    request = opened.request(model, count=count, sampler=sampler, batch_size=size)
    return total + (each + Cost(drawing_seconds(model.denoiser, request))).times(count)


def calibrate(options: argparse.Namespace) -> list[Row]:
    """Do what the options ask for and return the rows; UserError where something is missing."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        remedy = "give the line `triptych evaluate ...` that it prints to torchrun, then this again"
        raise UserError("calibrate under torchrun", "real images are measured by one process", remedy)
    watch = WorkConsole(print)
    whole = cifar10(options, watch)
    dataset = Dataset(DATA, _few(whole.train), _few(whole.held_out)) if options.quick else whole
    device = select_device(options.device or "auto")
    metrics = named_metrics(METRICS)
    yardstick = Yardstick(dataset.train, None, metrics, device, force=options.quick, watch=watch)
    for name, extractor in yardstick.extractors.items():
        print(f"{name}: sha256 {extractor.sha256}")
    print(f"{DATA}: sha256 {whole.train.digest} (training), {whole.held_out.digest} (test)")
    run = None if options.real else imported(options)
    about = cost(dataset, run, options, yardstick)
    parts = f"{duration(about.drawing)} to draw, {duration(about.measuring)} to measure"
    print(f"about {duration(about.total)} ({parts}), less what an earlier start has done", flush=True)
    rows = list(real_rows(dataset, options, yardstick))
    return rows if run is None else [*rows, *model_rows(run, options)]


def told(rows: Sequence[Row]) -> list[str]:
    """Return the table, and what the tolerances rest on."""
    lines = ["", "| | published | found | within |", "|---|---|---|---|", *(row.line() for row in rows), ""]
    for known in (row.published for row in rows):
        lines.append(f"{known.metric} {known.value:g} ± {known.tolerance:g}: {known.because}")
        lines.append(f"  {', '.join(known.sources)}")
    compared = [row.within for row in rows if row.within is not None]
    agree = f"{sum(compared)} of {len(compared)} figures are those of the literature"
    return [*lines, "", agree if compared else "nothing was compared with the literature: --quick"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line asks for; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--averaged", type=Path, help="folder of diffusers with DDPM's averaged weights")
    add("--real", action="store_true", help="real images alone")
    add("--quick", action="store_true", help="few images: see that all works, and compare nothing")
    add("--data", default="", help="CIFAR-10's archive or its unpacked folder, where it is at hand")
    add("--runs", type=Path, default=Path("runs"), help="folder in which runs are kept (default runs)")
    add("--device", help="where to compute; by default what there is")
    add("--precision", help="of the model's network; by default what suits the device")
    add("--batch-size", type=int, help="images drawn at a time")
    options = parser.parse_args(arguments)
    try:
        rows = calibrate(options)
    except UserError as error:
        print(f"calibrate: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ncalibrate: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    print("\n".join(told(rows)))
    device = describe_device(select_device(options.device or "auto"))
    print(f"{device.name}, " + ", ".join(f"{name} {version}" for name, version in versions().items()))
    return 1 if any(row.within is False for row in rows) else 0


def _few(images: ImageSet) -> ImageSet:
    return images.take(torch.arange(min(QUICK_REAL, len(images))))


def _drawn(options: argparse.Namespace) -> list[str]:
    """Return which images are drawn, as tokens: of few, FID would mean nothing."""
    if options.quick:
        return [
            *("--sampler", QUICK_SAMPLER, "--count", str(QUICK_COUNT)),
            *("--metrics", "inception_score", "--force"),
        ]
    return ["--sampler", SAMPLER, "--protocol", f"{COUNT}/train", "--metrics", *METRICS]


def _handed(options: argparse.Namespace, *names: str) -> list[str]:
    """Return options that a verb takes as they were given, as tokens."""
    given = {f"--{name.replace('_', '-')}": vars(options)[name] for name in names}
    given["--data.path"] = options.data or None
    return [token for name, value in given.items() if value is not None for token in (name, str(value))]


def _shown(verb: str, tokens: list[str]) -> list[str]:
    """Print a command as it would be typed, and return its tokens."""
    print(f"\n$ triptych {verb} {shlex.join(tokens)}", flush=True)
    return tokens


if __name__ == "__main__":
    sys.exit(main())
