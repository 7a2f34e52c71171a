"""Dropout whose masks are a function of (seed, layer, step, image) and of nothing else."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from triptych.random import Stream, bernoulli, stream_key


class DropoutKey(NamedTuple):
    """What a training step's dropout masks are drawn from."""

    seed: int
    salt: int
    step: int
    index: Tensor
    """int64 [B]: the place of each image in the global batch."""


class Dropout(nn.Module):
    """Zero each value with `probability` and scale the others up (JMLR 15, 2014), in training mode.

    Unlike `torch.nn.Dropout`, the mask is the same however the batch is split over processes, after
    a resume, and when activations are recomputed. `key_dropout` must be called before each step.
    """

    def __init__(self, probability: float):
        super().__init__()
        self.probability = probability
        self.layer = 0
        self.key: DropoutKey | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Return x [B, ...] with dropout applied; unchanged in evaluation mode."""
        if not self.training or self.probability == 0:
            return x
        if self.key is None:
            raise RuntimeError("dropout in training mode needs `key_dropout` before the forward pass")
        return x * self.mask(x.shape[1:]) / (1 - self.probability)

    def mask(self, shape: tuple[int, ...]) -> Tensor:
        """Return which values of each image are kept, bool [B, *shape]."""
        assert self.key is not None
        key = self.key
        stream = stream_key(Stream.DROPOUT, part=self.layer, salt=key.salt)
        return bernoulli(1 - self.probability, key.seed, stream, key.step, key.index, shape)

    def extra_repr(self) -> str:
        """Return what `print` shows of the layer."""
        return f"{self.probability}"


def key_dropout(network: nn.Module, key: DropoutKey) -> None:
    """Give every dropout layer of `network` the key of the step to come."""
    layers = [module for module in network.modules() if isinstance(module, Dropout)]
    for number, layer in enumerate(layers):
        layer.layer, layer.key = number, key
