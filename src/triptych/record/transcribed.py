"""A written-down experiment as events of a record, those that training, sampling and evaluation write."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from triptych.record.events import (
    DataSummary,
    Evaluated,
    Finished,
    Payload,
    Previewed,
    Resumed,
    Sampled,
    Started,
    Stopped,
    Times,
)
from triptych.record.figures import LOWEST, Device, Figure, Passport
from triptych.record.record import Record
from triptych.record.transcript import Drawn, Evaluation, Part, Row, Transcript

UNKNOWN = Device("–", 1, 1)
"""What drew or measured, where nobody wrote it down."""


def record_transcript(transcript: Transcript, record: Record) -> None:
    """Write the events of an experiment into an empty record, as they would have been written in its time."""
    for payload, epoch, attempt, moment in _events(transcript):
        record.append(payload, transcript.step(epoch), attempt, moment)


def _events(told: Transcript) -> Iterator[tuple[Payload, float | None, int, float]]:
    """Yield each event with its epoch (None: the last), its attempt, and when it was."""
    last = len(told.parts) - 1
    yield from _training(told)
    for drawn in told.samples:
        yield _sampled(told, drawn), drawn.epoch, last, told.ended
    if told.evaluation is not None:
        for row in told.evaluation.rows:
            yield _evaluated(told, told.evaluation, row), row.epoch, last, told.ended


def _training(told: Transcript) -> Iterator[tuple[Payload, float, int, float]]:
    """Yield starts, resumes and ends, and with the last part the time of a preview."""
    now, epoch = told.ended - math.fsum(part.took for part in told.parts), 0.0
    for attempt, part in enumerate(told.parts):
        device = part.device or told.device
        start: Payload = _started(told, device) if attempt == 0 else _resumed(told, epoch, device)
        yield start, epoch, attempt, now
        now, epoch = now + part.took, epoch + part.epochs
        if part is told.parts[-1] and told.seconds_per_preview is not None:
            yield _previewed(told, told.seconds_per_preview), epoch, attempt, now
        times = _times(told, part)
        end = Finished(epoch, times) if part is told.parts[-1] else Stopped(epoch, "", times)
        yield end, epoch, attempt, now


def _started(told: Transcript, device: Device) -> Started:
    images = told.data
    return Started(
        name=told.name,
        config=_config(told),
        data=DataSummary(
            name=images.name,
            digest="",
            channels=images.channels,
            image_size=images.image_size,
            train_images=images.train_images,
            held_out_images=images.held_out_images,
            class_names=images.class_names,
        ),
        parameters=told.parameters,
        conditional=told.conditional,
        device=device,
        versions={},
        steps_per_epoch=images.train_images / told.training.batch_size,
        total_steps=told.step(told.training.epochs),
        precision="",
        written_in=told.file,
        written_digest=told.digest,
    )


def _config(told: Transcript) -> dict[str, Any]:
    training = {name: value for name, value in vars(told.training).items() if value is not None}
    return {"name": told.name, "backbone": {"kind": told.backbone}, "training": training}


def _resumed(told: Transcript, epoch: float, device: Device) -> Resumed:
    steps = told.step(told.training.epochs)
    return Resumed("", (), {}, device, {}, steps, precision="")


def _times(told: Transcript, part: Part) -> Times:
    """Return the time of a part; what it was spent on is not known but for training, if that was told."""
    training = math.nan if told.seconds_per_epoch is None else told.seconds_per_epoch * part.epochs
    return Times(training, math.nan, math.nan, math.nan, part.took, approximate=part.approximate)


def _previewed(told: Transcript, took: float) -> Previewed:
    training = told.training
    sampler, scale = training.preview_sampler or "", training.preview_guidance or 0.0
    return Previewed(training.epochs, "", sampler, scale, training.preview_count or 0, took)


def _sampled(told: Transcript, drawn: Drawn) -> Sampled:
    classes = max(1, len(told.data.class_names))
    count = drawn.per_class * classes if drawn.per_class is not None else drawn.count
    return Sampled(
        epoch=told.training.epochs if drawn.epoch is None else drawn.epoch,
        checkpoint="",
        weights="ema",
        sampler=drawn.sampler,
        guidance=_scale(told, drawn.guidance),
        clip=True,
        seed=0,
        count=count or 0,
        per_class=drawn.per_class,
        grid=drawn.grid,
        gif=drawn.gif,
        network_calls=0,
        took=math.nan if drawn.took is None else drawn.took,
        device=drawn.device or UNKNOWN,
        precision="",
    )


def _scale(told: Transcript, guidance: float | None) -> float:
    """Return a guidance scale: NaN where nobody wrote down that of a model that has one."""
    return (math.nan if told.conditional else 0.0) if guidance is None else guidance


def _evaluated(told: Transcript, evaluation: Evaluation, row: Row) -> Evaluated:
    unknown = math.nan if row.lowest_mse else told.training.epochs
    return Evaluated(
        passport=Passport(
            checkpoint=LOWEST if row.lowest_mse else "",
            epoch=unknown if row.epoch is None else row.epoch,
            weights="ema",
            sampler=row.sampler,
            guidance=_scale(told, row.guidance),
            clip=True,
            seed=0,
            count=evaluation.count,
            reference=evaluation.reference,
            reference_digest="",
            reference_count=evaluation.reference_count,
            versions={},
            device=evaluation.device or UNKNOWN,
            precision="",
            extractors={},
        ),
        figures=tuple(
            Figure(metric, f.estimate, f.spread, f.real, split_std=f.split_std)
            for metric, f in row.figures.items()
        ),
        batch_size=evaluation.batch_size,
        network_calls=0,
        generation_took=math.nan if row.took is None else row.took,
        measuring_took=None,
    )
