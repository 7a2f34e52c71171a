"""Pictures drawn during training, always of the same noise, so that progress can be seen."""

from __future__ import annotations

import time
from pathlib import Path

import torch
from torch import Tensor

from triptych.denoiser import Denoiser
from triptych.distributed import ALONE, Ranks
from triptych.errors import UserError
from triptych.generation import Request, generate
from triptych.record.lettering import class_labels
from triptych.record.pictures import grid, save_png
from triptych.training.config import TrainingConfig

COLUMNS = 8
MOST_COLUMNS = 10
"""Up to so many classes stand in one row each, named above it."""


def preview_request(config: TrainingConfig, seed: int, conditional: bool) -> Request:
    """Return which images a preview shows; an unconditional model has guidance scale 0."""
    return Request(
        count=config.preview_count,
        guidance=config.preview_guidance if conditional else 0.0,
        sampler=config.sampler(),
        seed=seed,
        batch_size=min(config.preview_count, config.microbatch or config.preview_count),
        classes=config.preview_classes or None,
    )


def check_preview(config: TrainingConfig, classes: int) -> None:
    """Raise `UserError` where a model of `classes` classes (0: none) does not have those of the previews."""
    chosen = config.preview_classes
    if all(0 <= label < classes for label in chosen):
        return
    asked = f"--training.preview-classes {' '.join(map(str, chosen))}"
    if not classes:
        raise UserError(asked, "the model is unconditional", "leave them out")
    raise UserError(asked, f"the model has {classes} classes", f"choose from 0 to {classes - 1}")


def draw_preview(
    denoiser: Denoiser,
    config: TrainingConfig,
    seed: int,
    class_names: tuple[str, ...],
    path: Path,
    ranks: Ranks = ALONE,
) -> float:
    """Draw a preview into `path`, all ranks together, and return the seconds that sampling took."""
    conditional = denoiser.backbone.classes > 0
    request = preview_request(config, seed, conditional)
    start = time.perf_counter()
    side = denoiser.backbone.image_size
    pixels = torch.zeros(request.count, denoiser.backbone.channels, side, side, dtype=torch.uint8)
    for batch in generate(denoiser, request, share=ranks.share(request.count)):
        pixels[batch.index.cpu()] = batch.pixels.cpu()
    ranks.sum(pixels)  # each drew its own, and left zeros for the others
    took = time.perf_counter() - start
    if ranks.first:
        _save(pixels, denoiser, request, class_names, path)
    return took


def _save(
    pixels: Tensor, denoiser: Denoiser, request: Request, class_names: tuple[str, ...], path: Path
) -> None:
    """Save the images of a preview as a grid."""
    # Classes come in turn: a row as long as the turn shows each class in a column of its own.
    turn = request.classes or tuple(range(len(class_names)))
    by_class = denoiser.backbone.classes > 0 and len(turn) <= MOST_COLUMNS
    labels = class_labels(class_names)
    names = [labels[label] for label in turn[: request.count]] if by_class else []
    columns = len(turn) if by_class else COLUMNS
    save_png(grid(pixels, columns, column_labels=names, caption=f"{path.stem}, {request.caption}"), path)
