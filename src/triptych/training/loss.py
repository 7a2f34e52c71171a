"""The loss of one step, with every draw keyed by the step and the image's place in it."""

from __future__ import annotations

import torch
from torch import Tensor

from triptych.backbones.dropout import DropoutKey, key_dropout
from triptych.data.batches import Batch
from triptych.denoiser import Denoiser
from triptych.diffusion.objectives import Objective
from triptych.random import Stream, bernoulli, normal, stream_key, uniform


def batch_loss(
    denoiser: Denoiser,
    objective: Objective,
    batch: Batch,
    *,
    seed: int,
    salt: int,
    step: int,
    label_drop: float,
    progress: float,
) -> Tensor:
    """Return the mean loss of a batch, a scalar to differentiate.

    Args:
        denoiser: what is trained, in training mode.
        objective: the loss of each image.
        batch: images, labels, and their places in the global batch.
        seed: of the run.
        salt: rollbacks so far.
        step: optimiser steps taken before this one.
        label_drop: probability with which a label becomes the null class.
        progress: share of training done, in [0, 1].
    """
    # Times are wanted on the host, where schedules live; drawing them there avoids a synchronisation.
    u = uniform(seed, stream_key(Stream.LEVEL, salt=salt), step, batch.index.cpu())
    t = denoiser.schedule.training_time(u)
    eps = normal(seed, stream_key(Stream.NOISE, salt=salt), step, batch.index, batch.x0.shape[1:])
    labels = None
    if denoiser.backbone.classes:
        dropped = bernoulli(label_drop, seed, stream_key(Stream.LABEL_DROP, salt=salt), step, batch.index)
        labels = torch.where(dropped, denoiser.backbone.null_class, batch.labels)
    key_dropout(denoiser.backbone, DropoutKey(seed, salt, step, batch.index))
    return objective.loss(denoiser, batch.x0, eps, t, labels, progress).mean()
