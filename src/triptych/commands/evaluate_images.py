"""`triptych evaluate --images`: pictures of any program against real ones, without a run or a model."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from triptych.commands.evaluate_options import EvaluateOptions
from triptych.commands.evaluation_lines import forced_lines
from triptych.commands.work_console import WorkConsole
from triptych.data import DATASETS, DataConfig
from triptych.data.dataset import ImageSet
from triptych.data.stored_images import Splits, StoredImages, read_images, read_reference, told_as
from triptych.decoding import in_words
from triptych.devices import select_device
from triptych.errors import UserError
from triptych.evaluation.config import Protocol, parse_protocol
from triptych.evaluation.reference import BATCH
from triptych.evaluation.yardstick import Yardstick
from triptych.metrics import named_metrics
from triptych.metrics.metric import Metric
from triptych.record.environment import describe_device, versions
from triptych.record.events import Evaluated, Figure, Passport
from triptych.report.names import metric_name
from triptych.report.numbers import DIGEST, duration, figure, uncertain
from triptych.work import Watch

USUAL_METRICS = ("fid", "inception_score", "kid", "precision", "recall")
"""What is usually told of pictures."""
OWN = "classifier"
"""The extractor that needs no file: it is trained on the reference, where that has classes."""


@dataclass(frozen=True)
class Compared:
    """Pictures and what they are compared with.

    Attributes:
        images: the pictures; their labels are `labels`, or all 0.
        labels: their classes among those of the reference, int64 [N]; None: there are none.
        yardstick: the real images.
        remarks: what else the user should know of the pictures.
    """

    images: ImageSet
    labels: Tensor | None
    yardstick: Yardstick
    remarks: tuple[str, ...]


def measured_images(options: EvaluateOptions, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure the pictures that the options name; return the row as JSON has it, with what the pictures are.

    Nothing is recorded. Features of many images are kept in the cache, so that the same call is quick the
    next time, and goes on after a kill.

    Args:
        options: checked.
        say: prints a line.

    Raises:
        UserError: the pictures or the real images cannot be read, do not go together, or are too few; or a
            network cannot be had.
    """
    start = time.perf_counter()
    compared = _compared(options, WorkConsole(say, quiet=options.quiet))
    yardstick = compared.yardstick
    with _another_way(yardstick):
        for name in yardstick.available:
            yardstick.widths(name)  # refuses images that it does not take
    _check_counts(compared)
    for line in (*opening_lines(compared), *forced_lines(yardstick, len(compared.images), _shown(compared))):
        say(line)
    with _another_way(yardstick):
        passport = _passport(compared)
    say(f"in the features of {', '.join(f'{k} {v[:DIGEST]}' for k, v in passport.extractors.items())}")
    figures = yardstick.figures_of(compared.images, compared.labels)
    for found in figures:
        say(figure_line(found))
    took = time.perf_counter() - start
    say(f"measured in {duration(took)}")
    row = Evaluated(passport, figures, yardstick.batch_size, 0, 0.0, took)
    name, digest, classes = compared.images.name, compared.images.digest, compared.labels is not None
    return asdict(row) | {"images": {"name": name, "digest": digest, "labelled": classes}}


def opening_lines(compared: Compared) -> list[str]:
    """Return what is compared with what."""
    shape = in_words(compared.images.images.shape[1:])
    shown = "no classes" if compared.labels is None else f"{len(compared.labels.unique())} classes"
    reference, beside = compared.yardstick.reference, compared.yardstick.beside
    return [
        f"{_described(compared.images)}: {shape}, {shown}",
        f"against {_described(reference)}",
        "no real images beside them" if beside is None else f"beside {_described(beside)}",
        *compared.remarks,
    ]


def figure_line(found: Figure) -> str:
    """Return a metric with its spread, the deviation over splits, and the value of real images, if any."""
    decimals = metric_name(found.metric).decimals
    line = f"{found.metric:<26}{uncertain(found.estimate, found.spread, decimals)}"
    if found.split_std is not None:
        line += f"  split deviation {figure(found.split_std, decimals)}"
    if found.real is not None:
        line += f"  real {figure(found.real, decimals)}"
        line += f" of {found.real_n:,} images" if found.real_n != found.n else ""
    return line


def _described(images: ImageSet) -> str:
    return f"{images.name}, {len(images):,} images, sha256 {images.digest[:DIGEST]}"


def _compared(options: EvaluateOptions, watch: Watch) -> Compared:
    """Read both sides, and find out whether they go together."""
    assert options.images is not None
    assert options.reference is not None
    device, metrics = select_device(options.device or "auto"), named_metrics(options.metrics or USUAL_METRICS)
    protocol = Protocol(options.count, "train")
    if options.protocol is not None:
        protocol = parse_protocol(options.protocol)
    _check_reference(options.reference)
    stored = read_images(options.images, protocol.count, watch)
    splits = _reference(options.reference, stored, watch)
    if protocol.reference == "held-out" and splits.held_out is None:
        asked = f"--protocol {options.protocol} of {splits.train.name}"
        raise UserError(asked, "it has no test split", "say how many images with --count")
    labels = stored.labels_among(splits.train.class_names)
    metrics, remarks = _measurable(metrics, stored, labels, splits.train)
    named = torch.zeros(len(stored.images), dtype=torch.int64) if labels is None else labels
    yardstick = Yardstick(
        *splits,
        metrics,
        device,
        reference=protocol.reference,
        force=options.force,
        watch=watch,
        batch_size=options.batch_size or BATCH,
    )
    images = ImageSet(stored.name, stored.images, named, splits.train.class_names)
    return Compared(images, labels, yardstick, remarks)


def _check_reference(named: str) -> None:
    """Raise where there is no such reference, before pictures are read for minutes."""
    with told_as("--reference"):
        if named not in DATASETS and not Path(named).exists():
            remedy = f"choose {', '.join(DATASETS)}, or name a folder, an .npz or parquet files"
            raise UserError(f"--reference {named}", "neither a data set nor anything that lies there", remedy)


def _reference(named: str, stored: StoredImages, watch: Watch) -> Splits:
    """Return the real images, which are like those that are stored; a listed set is not fetched in vain."""
    if named not in DATASETS:
        splits = read_reference(Path(named), watch)
        _check_alike(stored, splits.train.name, splits.train.images.shape[1:])
        return splits
    sizes = DATASETS[named].sizes
    _check_alike(stored, named, (sizes.channels, sizes.image_size, sizes.image_size))
    with told_as("--reference"):
        dataset = DataConfig(named).load(watch)
    return Splits(dataset.train, dataset.held_out)


def _check_alike(stored: StoredImages, name: str, shape: Sequence[int]) -> None:
    """Raise where images of another size or kind, [C, H, W], are the reference."""
    mine, theirs = in_words(stored.images.shape[1:]), in_words(shape)
    if mine != theirs:
        found = f"the pictures are {mine}, the reference {theirs}"
        remedy = "give both in one size and kind: nothing is resized here"
        raise UserError(f"compare {stored.name} with {name}", found, remedy)


def _measurable(
    metrics: Mapping[str, Metric], stored: StoredImages, labels: Tensor | None, reference: ImageSet
) -> tuple[dict[str, Metric], tuple[str, ...]]:
    """Return the metrics that the pictures have the labels for, and what to remark of the others."""
    remarks = []
    if stored.left_aside:
        remarks.append(f"left aside: {stored.left_aside:,} other files or folders")
    if labels is not None:
        return dict(metrics), tuple(remarks)
    if stored.labels is not None:
        remarks.append(f"left aside: the labels of the pictures, which are not classes of {reference.name}")
    usable = {name: metric for name, metric in metrics.items() if not metric.labelled}
    left_out = ", ".join(name for name in metrics if name not in usable)
    if not usable:
        found = f"it is of pictures with labels, and these have none that are classes of {reference.name}"
        raise UserError(f"--metrics {left_out}", found, "put them into folders named after its classes")
    if left_out:
        remarks.append(f"left out, for lack of labels: {left_out}")
    return usable, tuple(remarks)


def _check_counts(compared: Compared) -> None:
    """Raise where a metric means nothing of so few pictures, or of so few real images."""
    yardstick = compared.yardstick
    try:
        yardstick.check_count(len(compared.images), _shown(compared))
    except UserError as error:  # whose remedy is to draw more
        remedy = "give more" if yardstick.force else "give more, or measure these with --force"
        raise UserError(error.asked, error.found, remedy) from error


def _shown(compared: Compared) -> int:
    """Return how many classes the pictures show; 0: they have none."""
    return 0 if compared.labels is None else len(compared.labels.unique())


@contextmanager
def _another_way(yardstick: Yardstick) -> Iterator[None]:
    """Where a network cannot be had or used, point to the one that can."""
    try:
        yield
    except UserError as error:
        if len(yardstick.train.class_names) < 2 or set(yardstick.available) == {OWN}:
            raise
        remedy = f"{error.remedy}, or say --metrics {OWN}, which needs no file"
        raise UserError(error.asked, error.found, remedy) from error


def _passport(compared: Compared) -> Passport:
    """Return what identifies the figures; what tells of models is empty."""
    yardstick, beside = compared.yardstick, compared.yardstick.beside
    return Passport(
        checkpoint="",
        epoch=0.0,
        weights="",
        sampler="",
        guidance=0.0,
        clip=False,
        seed=0,
        count=len(compared.images),
        reference=yardstick.reference.name,
        reference_digest=yardstick.reference.digest,
        reference_count=len(yardstick.reference),
        versions=versions(),
        device=describe_device(yardstick.device),
        held_out_digest="" if beside is None else beside.digest,
        beside="" if beside is None else beside.name,
        extractors={name: extractor.sha256 for name, extractor in yardstick.extractors.items()},
    )
