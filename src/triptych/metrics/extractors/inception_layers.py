"""Inception v3 as the FID has it: the graph that Google published on 5 December 2015, with its 1,008 classes.

Rethinking the Inception architecture for computer vision, C. Szegedy, V. Vanhoucke, S. Ioffe, J. Shlens and
Z. Wojna, 2016. That graph differs from the paper and from most other programs in its pools: averages are of
pixels inside the image alone, and the last block takes the largest value where the one before it averages.
Layers have the names of the file in which Heusel et al.'s graph is published for PyTorch.

Letters: B images, C channels, H height, W width, D features, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

FEATURES, CLASSES = 2048, 1008
"""D and K."""

EPSILON = 1e-3
"""Added to the variance by batch norms."""

Pool = Callable[[Tensor], Tensor]

average: Pool = partial(F.avg_pool2d, kernel_size=3, stride=1, padding=1, count_include_pad=False)
largest: Pool = partial(F.max_pool2d, kernel_size=3, stride=1, padding=1)
halving: Pool = partial(F.max_pool2d, kernel_size=3, stride=2)


class Normed(nn.Module):
    """A convolution, its batch norm and a rectifier; see `fold`."""

    def __init__(
        self, inputs: int, outputs: int, kernel: tuple[int, int] = (1, 1), stride: int = 1, pad: bool = False
    ):
        super().__init__()
        padding = (kernel[0] // 2, kernel[1] // 2) if pad else (0, 0)
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.bn: nn.Module = nn.BatchNorm2d(outputs, eps=EPSILON)

    def forward(self, x: Tensor, between: Pool | None = None) -> Tensor:
        """Turn [B, C, H, W] into the same of other sizes; `between` comes before the rectifier."""
        x = self.bn(self.conv(x))
        return F.relu(x if between is None else between(x), inplace=True)

    def fold(self) -> None:
        """Take the batch norm, as in evaluation, into the convolution: the same function, in less time."""
        if isinstance(self.bn, nn.BatchNorm2d):
            self.conv = fuse_conv_bn_eval(self.conv.eval(), self.bn.eval())
            self.bn = nn.Identity()


class Layer(NamedTuple):
    """A `Normed` of a branch. It keeps the size, or halves it without a border, where its stride is 2."""

    outputs: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1


class Branch(NamedTuple):
    """Layers one after another; those of the last place stand side by side and are joined."""

    name: str
    places: tuple[tuple[Layer, ...], ...]
    before: Pool | None = None
    """Comes before the first layer."""
    between: Pool | None = None
    """Comes between the convolution and the rectifier of the one layer."""

    def names(self) -> list[list[str]]:
        """Return the published name of each layer: a number tells its place, where there are several."""
        if len(self.places) == 1:
            return [[self.name]]
        return [
            [f"{self.name}_{number}{letter}" for letter in ("ab" if len(layers) > 1 else ("",))]
            for number, layers in enumerate(self.places, 1)
        ]


def branch(name: str, *layers: Layer, fork: tuple[Layer, ...] = ()) -> Branch:
    """Return a branch of layers one after another, and of those of `fork` side by side at its end."""
    return Branch(name, (*((layer,) for layer in layers), *((fork,) if fork else ())))


class Mixed(nn.Module):
    """Branches on one input, whose outputs are joined along the channels."""

    def __init__(self, inputs: int, branches: tuple[Branch, ...]):
        super().__init__()
        self.branches = branches
        for one in branches:
            width = inputs
            for names, layers in zip(one.names(), one.places, strict=True):
                for name, (outputs, kernel, stride) in zip(names, layers, strict=True):
                    self.add_module(name, Normed(width, outputs, kernel, stride, pad=stride == 1))
                width = sum(layer.outputs for layer in layers)

    def forward(self, x: Tensor) -> Tensor:
        """Turn [B, C, H, W] into the same of other sizes."""
        return torch.cat([y for one in self.branches for y in self._followed(one, x)], dim=1)

    def _followed(self, one: Branch, x: Tensor) -> list[Tensor]:
        """Return what comes out of a branch, one tensor or two."""
        ends = [x if one.before is None else one.before(x)]
        for names in one.names():
            ends = [self.get_submodule(name)(ends[0], one.between) for name in names]
        return ends


def pooled(outputs: int) -> Branch:
    """Return the branch that averages neighbours.

    In the graph the average comes before the convolution. It is the same for each channel, and a convolution
    of single pixels the same for each place, so that they may change places: there are fewer channels then.
    """
    return Branch("branch_pool", ((Layer(outputs),),), between=average)


HALVED = Branch("", (), before=halving)


def block_35(outputs: int) -> tuple[Branch, ...]:
    """Return the branches of a block on 35x35 places; `outputs` are those of its pool (figure 5)."""
    return (
        branch("branch1x1", Layer(64)),
        branch("branch5x5", Layer(48), Layer(64, (5, 5))),
        branch("branch3x3dbl", Layer(64), Layer(96, (3, 3)), Layer(96, (3, 3))),
        pooled(outputs),
    )


def block_17(width: int) -> tuple[Branch, ...]:
    """Return the branches of a block on 17x17 places; `width` is that of its inner layers (figure 6)."""
    row, column = Layer(width, (1, 7)), Layer(width, (7, 1))
    end_row, end_column = Layer(192, (1, 7)), Layer(192, (7, 1))
    return (
        branch("branch1x1", Layer(192)),
        branch("branch7x7", Layer(width), row, end_column),
        branch("branch7x7dbl", Layer(width), column, row, column, end_row),
        pooled(192),
    )


def block_8(pool: Branch) -> tuple[Branch, ...]:
    """Return the branches of a block on 8x8 places, the last of which is `pool` (figure 7)."""
    fork = (Layer(384, (1, 3)), Layer(384, (3, 1)))
    return (
        branch("branch1x1", Layer(320)),
        branch("branch3x3", Layer(384), fork=fork),
        branch("branch3x3dbl", Layer(448), Layer(384, (3, 3)), fork=fork),
        pool,
    )


TO_17 = (
    branch("branch3x3", Layer(384, (3, 3), stride=2)),
    branch("branch3x3dbl", Layer(64), Layer(96, (3, 3)), Layer(96, (3, 3), stride=2)),
    HALVED,
)
"""From 35x35 places to 17x17 (figure 10)."""

TO_8 = (
    branch("branch3x3", Layer(192), Layer(320, (3, 3), stride=2)),
    branch("branch7x7x3", Layer(192), Layer(192, (1, 7)), Layer(192, (7, 1)), Layer(192, (3, 3), stride=2)),
    HALVED,
)
"""From 17x17 places to 8x8."""

LARGEST = Branch("branch_pool", ((Layer(192),),), before=largest)


class InceptionV3(nn.Module):
    """The network: its layers are called one after another, in the order in which they stand here."""

    def __init__(self):
        super().__init__()
        self.Conv2d_1a_3x3 = Normed(3, 32, (3, 3), stride=2)  # B 32 149 149
        self.Conv2d_2a_3x3 = Normed(32, 32, (3, 3))  # B 32 147 147
        self.Conv2d_2b_3x3 = Normed(32, 64, (3, 3), pad=True)  # B 64 147 147
        self.MaxPool_1 = nn.MaxPool2d(3, 2)  # B 64 73 73
        self.Conv2d_3b_1x1 = Normed(64, 80)  # B 80 73 73
        self.Conv2d_4a_3x3 = Normed(80, 192, (3, 3))  # B 192 71 71
        self.MaxPool_2 = nn.MaxPool2d(3, 2)  # B 192 35 35
        self.Mixed_5b = Mixed(192, block_35(32))  # B 256 35 35
        self.Mixed_5c = Mixed(256, block_35(64))  # B 288 35 35
        self.Mixed_5d = Mixed(288, block_35(64))  # B 288 35 35
        self.Mixed_6a = Mixed(288, TO_17)  # B 768 17 17
        self.Mixed_6b = Mixed(768, block_17(128))  # B 768 17 17
        self.Mixed_6c = Mixed(768, block_17(160))  # B 768 17 17
        self.Mixed_6d = Mixed(768, block_17(160))  # B 768 17 17
        self.Mixed_6e = Mixed(768, block_17(192))  # B 768 17 17
        self.Mixed_7a = Mixed(768, TO_8)  # B 1280 8 8
        self.Mixed_7b = Mixed(1280, block_8(pooled(192)))  # B 2048 8 8
        self.Mixed_7c = Mixed(2048, block_8(LARGEST))  # B 2048 8 8
        self.fc = nn.Linear(FEATURES, CLASSES)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Turn [B, 3, 299, 299], about in [-1, 1], into features [B, D] and logits [B, K].

        The logits are without the bias of the last layer: the Inception Score has always been of these.
        """
        *trunk, _ = self.children()
        for layer in trunk:
            x = layer(x)
        features = x.mean(dim=(2, 3))  # B D
        return features, features @ self.fc.weight.T  # B D, B K

    def fold(self) -> InceptionV3:
        """Take all batch norms into their convolutions, and return this network, frozen, for evaluation."""
        for layer in self.modules():
            if isinstance(layer, Normed):
                layer.fold()
        return self.eval().requires_grad_(False)
