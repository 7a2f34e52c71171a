"""The loss of one step, with every draw keyed by the step and the image's place in it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from triptych.backbones.dropout import DropoutKey, key_dropout
from triptych.data.batches import Batch
from triptych.denoiser import Denoiser
from triptych.diffusion.objectives import Objective
from triptych.random import Stream, bernoulli, normal, stream_key, uniform


class StepLoss(nn.Module):
    """The loss of each image of a batch or of a part of one: what is computed on every rank.

    Args:
        denoiser: what is trained.
        objective: the loss of each image.
        seed: of the run.
        label_drop: probability with which a label becomes the null class.
    """

    def __init__(self, denoiser: Denoiser, objective: Objective, seed: int, label_drop: float):
        super().__init__()
        self.denoiser = denoiser
        self.objective = objective
        self.seed = seed
        self.label_drop = label_drop

    def forward(self, batch: Batch, step: int, salt: int, progress: float) -> Tensor:
        """Return the losses [B].

        Args:
            batch: images, labels, and their places in the global batch.
            step: optimiser steps taken before this one.
            salt: rollbacks so far.
            progress: share of training done, in [0, 1].
        """
        seed, denoiser = self.seed, self.denoiser
        # Times are wanted on the host, where schedules live; drawing them there avoids a synchronisation.
        on_host = torch.arange(batch.places.start, batch.places.stop)
        u = uniform(seed, stream_key(Stream.LEVEL, salt=salt), step, on_host)
        t = self.objective.times(u, denoiser.schedule)
        eps = normal(seed, stream_key(Stream.NOISE, salt=salt), step, batch.index, batch.x0.shape[1:])
        labels = None
        if denoiser.backbone.classes:
            stream = stream_key(Stream.LABEL_DROP, salt=salt)
            dropped = bernoulli(self.label_drop, seed, stream, step, batch.index)
            labels = torch.where(dropped, denoiser.backbone.null_class, batch.labels)
        key_dropout(denoiser.backbone, DropoutKey(seed, salt, step, batch.index))
        return self.objective.loss(denoiser, batch.x0, eps, t, labels, progress)
