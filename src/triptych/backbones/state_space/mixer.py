"""What stands in a block of Diffusion Mamba where a transformer has attention.

Tokens are widened, see their neighbours by a small convolution, gather from each other by a scan, and are
gated (Mamba, arXiv 2312.00752, figure 3; Mamba-2, arXiv 2405.21060, figure 6). Text has one direction. An
image has four: along rows and along columns, forward and backward; how a layer goes through them is its
`Route`.

Letters: B batch, L tokens, D their width, I their width inside, H heads, P width of a head, N width of the
state.
"""
# ruff: noqa: N806 -- the letters B and C are the papers'

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from triptych.backbones.backbone import OURS
from triptych.backbones.layers import linear
from triptych.backbones.state_space.fused import Implementation, selective_scan_path, ssd_path
from triptych.backbones.state_space.gated_norm import GatedNorm
from triptych.backbones.state_space.ssd import ssd_mirrored

Directions = Literal["alternating", "split", "double", "mirrored"]

STEP_RANGE = (1e-3, 1e-1)
"""Between these lie the first step sizes, evenly by their logarithm, as in the code of both papers."""


MIRRORED = Implementation(OURS, ssd_mirrored)
"""The scan in both directions with shared decays, which no package has."""


@dataclass(frozen=True)
class MixerSizes:
    """Sizes of a mixer, as the configuration of its backbone has them."""

    width: int
    inner: int
    state: int
    head_width: int
    kernel: int
    directions: Directions


class Pass(NamedTuple):
    """One scan of a layer: which part of the inner width goes through it, and which way."""

    part: int
    """Number of the part, of as many equal ones as the route has."""
    reverse: bool
    parameters: int
    """Number of the set of B, C and step sizes that it goes by."""


class Route(NamedTuple):
    """How a layer goes through an image."""

    columns: bool
    """Whether it goes down columns, one after another, and not along rows."""
    parts: int
    passes: tuple[Pass, ...]

    @property
    def sets(self) -> int:
        """Number of sets of B, C and step sizes."""
        return 1 + max(one.parameters for one in self.passes)


def route(directions: Directions, layer: int) -> Route:
    """Return the route of layer number `layer`, from 0.

    Four layers see all four directions where each has one (alternating), two where each has two: half of the
    width each (split), all of it twice with parameters of their own (double) or with shared ones (mirrored).
    """
    if directions == "alternating":
        return Route(layer % 4 >= 2, 1, (Pass(0, layer % 2 == 1, 0),))
    second = {"split": Pass(1, True, 1), "double": Pass(0, True, 1), "mirrored": Pass(0, True, 0)}[directions]
    return Route(layer % 2 == 1, 2 if directions == "split" else 1, (Pass(0, False, 0), second))


class Mixer(nn.Module):
    """A state-space layer over the tokens of a square image; the kinds differ in `scan`."""

    undecayed = ("log_decay", "step_bias", "direct")
    """Parameters that weight decay would drive to where the layer forgets at once or never."""

    def __init__(self, sizes: MixerSizes, layer: int):
        super().__init__()
        self.sizes = sizes
        self.route = route(sizes.directions, layer)
        self.directions = sizes.directions
        self.gate = linear(sizes.width, sizes.inner, bias=False)
        self.into = linear(sizes.width, sizes.inner, bias=False)
        self.neighbours = depthwise(sizes.inner, sizes.kernel)
        self.gated_norm = GatedNorm(sizes.inner)
        self.out = linear(sizes.inner, sizes.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, L, D] for tokens of that shape, row by row."""
        x = turned(x) if self.route.columns else x
        u = F.silu(convolved(self.neighbours, self.into(x)))  # B L I
        y = self.out(self.gated_norm(self.scan(x, u), self.gate(x)))
        return turned(y) if self.route.columns else y

    def scanner(self, device: torch.device, dtype: torch.dtype) -> Implementation:
        """Return what computes the scan on `device` where the network's products have this dtype."""
        raise NotImplementedError

    def implementation(self, device: torch.device, dtype: torch.dtype) -> str:
        """Return what computes the scan, and why no other, in one line."""
        chosen = self.scanner(device, dtype)
        told = f"state-space scan computed by {chosen.name}"
        return f"{told} ({chosen.passed_over})" if chosen.passed_over else told

    def computed_by(self, device: torch.device, dtype: torch.dtype) -> dict[str, str]:
        """Return the name of what computes the scan; see `Backbone.computed_by`."""
        return {"scan": self.scanner(device, dtype).name}

    def scan(self, x: Tensor, u: Tensor) -> Tensor:
        """Return what tokens u [B, L, I] gather from each other; x [B, L, D] is the layer's input."""
        raise NotImplementedError


class SSDMixer(Mixer):
    """The layer of Mamba-2: one decay per head, B and C from the layer's input."""

    def __init__(self, sizes: MixerSizes, layer: int):
        super().__init__(sizes, layer)
        sets, heads = self.route.sets, sizes.inner // sizes.head_width // self.route.parts
        self.reading = linear(sizes.width, 2 * sets * sizes.state, bias=False)
        self.reading_neighbours = depthwise(2 * sets * sizes.state, sizes.kernel)
        self.step = linear(sizes.width, sets * heads, bias=False)
        self.step_bias = nn.Parameter(first_steps(sets * heads).view(sets, heads))
        self.log_decay = nn.Parameter(torch.empty(sets, heads).uniform_(1, 16).log())
        self.direct = nn.Parameter(torch.ones(sets, heads))

    def scanner(self, device: torch.device, dtype: torch.dtype) -> Implementation:
        """Return what computes the scan; see `Mixer.scanner`."""
        if self.directions == "mirrored":
            return MIRRORED
        return ssd_path(device, dtype, self.sizes.head_width, self.sizes.state)

    def scan(self, x: Tensor, u: Tensor) -> Tensor:
        """Return what tokens u [B, L, I] gather from each other; see `Mixer.scan`."""
        sizes, sets = self.sizes, self.route.sets
        read = F.silu(convolved(self.reading_neighbours, self.reading(x)))  # B L 2 sets N
        read = read.unflatten(2, (sets, 2, sizes.state))
        step = F.softplus(self.step(x).unflatten(2, (sets, -1)).float() + self.step_bias)  # B L sets H
        decay = -self.log_decay.float().exp()  # sets H
        scan = self.scanner(u.device, u.dtype).function
        x_heads = u.unflatten(2, (-1, sizes.head_width))  # B L H P
        B, C = read.unbind(3)  # B L sets N
        if self.directions == "mirrored":
            y = scan(x_heads, step[:, :, 0], decay[0], B, C, self.direct[0])
        elif self.directions == "double":
            forward, backward = (
                scan(
                    x_heads,
                    step[:, :, k],
                    decay[k],
                    B[:, :, k, None],
                    C[:, :, k, None],
                    self.direct[k],
                    (way,),
                )
                for _, way, k in self.route.passes
            )
            y = forward + backward
        else:  # a group of heads for each direction
            ways = tuple(one.reverse for one in self.route.passes)
            y = scan(x_heads, step.flatten(2), decay.flatten(), B, C, self.direct.flatten(), ways)
        return y.flatten(2)


FLOPS_PER_NUMBER = 5
"""Of the selective scan, for each token and each number of the state: dt A, its power, what is written, and
the state, a multiply-add. Reading is a matrix product, and is counted as such."""


class S6Mixer(Mixer):
    """The layer of Mamba: a decay per number and state, B, C and step sizes from the tokens themselves."""

    def __init__(self, sizes: MixerSizes, layer: int):
        super().__init__(sizes, layer)
        sets, part = self.route.sets, sizes.inner // self.route.parts
        self.rank = math.ceil(sizes.width / 16)
        self.select = nn.ModuleList(
            linear(part, self.rank + 2 * sizes.state, bias=False) for _ in range(sets)
        )
        steps = [nn.Linear(self.rank, part, bias=False) for _ in range(sets)]
        for step in steps:
            nn.init.uniform_(step.weight, -(self.rank**-0.5), self.rank**-0.5)
        self.step = nn.ModuleList(steps)
        self.step_bias = nn.Parameter(first_steps(sets * part).view(sets, part))
        rates = torch.arange(1, sizes.state + 1, dtype=torch.float32).log()  # S4D-Real, arXiv 2206.11893
        self.log_decay = nn.Parameter(rates.repeat(sets, part, 1))
        self.direct = nn.Parameter(torch.ones(sets, part))

    def scanner(self, device: torch.device, dtype: torch.dtype) -> Implementation:
        """Return what computes the scan; see `Mixer.scanner`."""
        return selective_scan_path(device, dtype, self.sizes.state)

    def scan(self, x: Tensor, u: Tensor) -> Tensor:
        """Return what tokens u [B, L, I] gather from each other; see `Mixer.scan`."""
        parts = u.chunk(self.route.parts, dim=2)
        gathered: dict[int, Tensor] = {}
        for part, reverse, k in self.route.passes:
            taken = parts[part]  # B L I/parts
            steps, B, C = self.select[k](taken).split([self.rank, self.sizes.state, self.sizes.state], dim=2)
            dt = F.softplus(self.step[k](steps).float() + self.step_bias[k])  # B L I/parts
            scan = self.scanner(u.device, u.dtype).function
            y = scan(taken, dt, -self.log_decay[k].float().exp(), B, C, reverse)
            y = torch.addcmul(y, taken, self.direct[k])
            gathered[part] = gathered[part] + y if part in gathered else y
        return torch.cat([gathered[part] for part in sorted(gathered)], dim=2)

    def uncounted_flops(self, x: Tensor) -> int:
        """Return the operations of the scan that are no matrix products, for tokens x [B, L, D]."""
        width = len(self.route.passes) * self.sizes.inner // self.route.parts
        return FLOPS_PER_NUMBER * x.shape[0] * x.shape[1] * width * self.sizes.state


MIXERS: dict[str, type[Mixer]] = {"ssd": SSDMixer, "s6": S6Mixer}
"""Every mixer by the name that recipes use."""


def first_steps(count: int) -> Tensor:
    """Return offsets [count] from which softplus makes the first step sizes."""
    low, high = map(math.log, STEP_RANGE)
    step = torch.empty(count).uniform_(low, high).exp()
    return step + torch.log(-torch.expm1(-step))  # the inverse of softplus


def depthwise(channels: int, kernel: int) -> nn.Conv2d:
    """Return a convolution of each channel by itself that keeps the size of images."""
    return nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels)


def convolved(convolution: nn.Conv2d, tokens: Tensor) -> Tensor:
    """Return tokens [B, L, channels] of a square image, row by row, after a convolution over the image."""
    side = math.isqrt(tokens.shape[1])
    image = tokens.unflatten(1, (side, side)).permute(0, 3, 1, 2)  # B channels side side, channels last
    return convolution(image).permute(0, 2, 3, 1).flatten(1, 2)


def turned(tokens: Tensor) -> Tensor:
    """Return tokens [B, L, D] of a square image column by column for row by row, and back."""
    side = math.isqrt(tokens.shape[1])
    return tokens.unflatten(1, (side, side)).transpose(1, 2).flatten(1, 2)
