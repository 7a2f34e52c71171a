"""The selective scan of Mamba-1 ("S6", arXiv 2312.00752, section 3.3 and algorithm 2), in either direction.

    h_t = exp(dt_t A) h_{t-1} + dt_t x_t B_t^T,    y_t = h_t C_t

Each channel remembers N numbers, which decay at rates of their own. How fast time passes (dt), how the token
is written (B) and how the state is read (C) depend on the token. This is equation 2 of the paper, with A made
discrete by its equation 4 and B by Euler's rule, as in the authors' code.

Beside the recurrence as it stands there is one made for speed. The states are N times as large as the input,
and moving them costs more than computing them: so they are made block by block, in buffers that stay in a
processor's cache. The backward pass makes each block's states again, from the state at its border.

Letters: B images of the batch, L tokens, D channels, N numbers per channel; T tokens of a block, G images of
a group. Buffers have tokens first, so that a step of the scan is contiguous, and channels last, so that each
factor lies along a long row or is one number for all of it.
"""
# ruff: noqa: N803, N806 -- the letters A, B, C are the paper's

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache, reduce
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from triptych.precision import without_autocast

BLOCK = 16
"""Tokens of a block: more of them keep fewer states at borders, fewer need less cache."""

GRAIN = 32768
"""Numbers per thread in a step of the scan: torch engages no other thread for fewer."""

LOG2_E = math.log2(math.e)


def selective_scan_reference(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, reverse: bool = False
) -> Tensor:
    """Return what `selective_scan` does, by the recurrence as it stands, in the dtype that is given."""
    tokens = list(zip(x.unbind(1), dt.unbind(1), B.unbind(1), C.unbind(1), strict=True))
    h = x.new_zeros(len(x), *A.shape)  # B D N
    y = []
    for x_t, dt_t, B_t, C_t in reversed(tokens) if reverse else tokens:
        h = torch.exp(dt_t[:, :, None] * A) * h + (dt_t * x_t)[:, :, None] * B_t[:, None, :]  # B D N
        y.append((h * C_t[:, None, :]).sum(2))  # B D
    return torch.stack(y[::-1] if reverse else y, dim=1)


def selective_scan(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, reverse: bool = False) -> Tensor:
    """Return y [B, L, D]: what each token reads of what it and the tokens before it have written.

    It is computed in float32, or in float64 where an input is float64, whatever autocast says. y has the
    dtype of x, and each gradient that of its input. There are no second derivatives.

    Args:
        x: what the tokens write, [B, L, D].
        dt: the time that passes at each token, positive, [B, L, D].
        A: the rates of decay, negative, [D, N].
        B: how the tokens are written into the state, [B, L, N].
        C: how the tokens read the state, [B, L, N].
        reverse: go from the last token to the first.
    """
    dtype = reduce(torch.promote_types, (t.dtype for t in (x, dt, A, B, C)), torch.float32)
    inputs = Inputs(*(t.to(dtype).contiguous() for t in (x, dt, A, B, C)))
    differentiable = torch.is_grad_enabled() and any(t.requires_grad for t in inputs)
    with without_autocast(x.device):
        if differentiable:
            y = SelectiveScan.apply(*inputs, reverse)
        else:
            y, _ = _forward(inputs, reverse, keep=False)
    return y.to(x.dtype)


class Inputs(NamedTuple):
    """The inputs of the scan, or their gradients: contiguous, in one dtype."""

    x: Tensor
    dt: Tensor
    A: Tensor
    B: Tensor
    C: Tensor


class SelectiveScan(torch.autograd.Function):
    """The scan with a backward pass that needs the inputs, and of the states those at borders of blocks."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tensor:
        """Return y [B, L, D], given the five inputs in one dtype and the direction."""
        inputs, reverse = Inputs(*arguments[:-1]), arguments[-1]
        y, borders = _forward(inputs, reverse, keep=True)
        ctx.save_for_backward(*inputs, borders)
        ctx.reverse = reverse
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of the five inputs, given that of y [B, L, D]."""
        *inputs, borders = ctx.saved_tensors
        with without_autocast(dy.device):
            return *_backward(Inputs(*inputs), borders, dy.contiguous(), ctx.reverse), None


class Tokens(NamedTuple):
    """What is known of each token, or its gradients: views with tokens first."""

    x: Tensor
    """[., G, 1, D]."""
    dt: Tensor
    """[., G, 1, D]."""
    B: Tensor
    """[., G, N, 1]."""
    C: Tensor
    """[., G, N, 1]."""

    @classmethod
    def of(cls, x: Tensor, dt: Tensor, B: Tensor, C: Tensor, images: slice) -> Tokens:
        """Return views of the tokens of some images."""
        return cls(_rows(x, images), _rows(dt, images), _rows(B, images).mT, _rows(C, images).mT)

    def at(self, span: slice) -> Tokens:
        """Return views of some of the tokens."""
        return Tokens(*(t[span] for t in self))


def _rows(x: Tensor, images: slice) -> Tensor:
    """Return a view [L, G, 1, D] of some images of x [B, L, D]."""
    return x[images].transpose(0, 1)[:, :, None]


class Block:
    """Buffers for a block of tokens of a group of images; tuples are its tokens in the order of the scan.

    Args:
        like: has the dtype and the device of the buffers.
        shape: T, G, N and D.
        reverse: go from the last token to the first.
        adjoint: have room for the gradients of the states as well.
    """

    def __init__(self, like: Tensor, shape: tuple[int, int, int, int], reverse: bool, adjoint: bool):
        order = -1 if reverse else 1
        tokens, images, numbers, channels = shape
        states = like.new_empty(tokens + 1, images, numbers, channels)
        self.before, self.after = (states[1:], states[:-1]) if reverse else (states[:-1], states[1:])
        self.states = states.unbind()[::order]  # one more than tokens: it begins with the state at the border
        self.decay = like.new_empty(shape)
        self.decays = self.decay.unbind()[::order]
        self.written = like.new_empty(tokens, images, 1, channels)
        if adjoint:
            self.gradient = like.new_empty(shape)
            self.gradients = self.gradient.unbind()[::order]

    def scan(self, tokens: Tokens, log2_decay: Tensor, state: Tensor) -> None:
        """Make decays and states, given A log2(e) [N, D] and the state [G, N, D] before the block."""
        self.states[0].copy_(state)
        torch.mul(tokens.dt, log2_decay, out=self.decay)  # T G N D
        torch.exp2(self.decay, out=self.decay)  # torch's exp takes four times as long
        torch.mul(tokens.dt, tokens.x, out=self.written)  # T G 1 D
        torch.mul(self.written, tokens.B, out=self.after)  # T G N D
        before = self.states[0]
        for decay, h in zip(self.decays, self.states[1:], strict=True):
            before = torch.addcmul(h, decay, before, out=h)

    def scan_back(self, C: Tensor, dy: Tensor, carried: Tensor) -> None:
        """Make the gradients of the states, dh_t = C_t dy_t + exp(dt_{t+1} A) dh_{t+1}.

        Args:
            C: the block's, [T, G, N, 1].
            dy: the block's, [T, G, 1, D].
            carried: the last term of the block's last token, [G, N, D].
        """
        torch.mul(C, dy, out=self.gradient)  # T G N D
        self.gradients[-1].add_(carried)
        for t in range(len(self.gradients) - 1, 0, -1):
            dh = self.gradients[t - 1]
            torch.addcmul(dh, self.decays[t], self.gradients[t], out=dh)


def _spans(length: int, reverse: bool) -> list[slice]:
    """Return the blocks of tokens in the order of the scan."""
    spans = [slice(start, min(start + BLOCK, length)) for start in range(0, length, BLOCK)]
    return spans[::-1] if reverse else spans


def _groups(x: Tensor, numbers: int) -> Iterator[slice]:
    """Yield groups of images, about equal: on a processor, as many together as occupy all its threads."""
    images, _, channels = x.shape
    groups = 1
    if x.device.type == "cpu":
        occupying = max(1, torch.get_num_threads() * GRAIN // (numbers * channels))
        groups = -(-images // occupying)
    for k in range(groups):
        yield slice(images * k // groups, images * (k + 1) // groups)


def _forward(inputs: Inputs, reverse: bool, keep: bool) -> tuple[Tensor, Tensor]:
    """Return y [B, L, D], and the state before each block where they are to be kept."""
    x, dt, A, B, C = inputs
    channels, numbers = A.shape
    log2_decay = (A * LOG2_E).T.contiguous()  # N D
    spans = _spans(x.shape[1], reverse)
    y = torch.empty_like(x)
    borders = x.new_empty(len(spans) if keep else 0, len(x), numbers, channels)

    @cache
    def block_of(tokens: int, images: int) -> Block:
        return Block(x, (tokens, images, numbers, channels), reverse, adjoint=False)

    for images in _groups(x, numbers):
        tokens, read = Tokens.of(x, dt, B, C, images), _rows(y, images)
        state = x.new_zeros(read.shape[1], numbers, channels)
        for k, span in enumerate(spans):
            now = tokens.at(span)
            block = block_of(*now.x.shape[:2])
            if keep:
                borders[k, images] = state
            block.scan(now, log2_decay, state)
            read[span] = torch.matmul(now.C.mT, block.after)  # T G 1 D
            state = block.states[-1]
    return y, borders


def _backward(inputs: Inputs, borders: Tensor, dy: Tensor, reverse: bool) -> Inputs:
    """Return the gradients of the inputs, given that of y and the state before each block."""
    x, dt, A, B, C = inputs
    channels, numbers = A.shape
    rate = A.T.contiguous()  # N D
    log2_decay = rate * LOG2_E
    spans = _spans(x.shape[1], reverse)
    dx, ddt, dA, dB, dC = (torch.empty_like(t) for t in (x, dt, rate, B, C))
    dA.zero_()

    @cache
    def block_of(tokens: int, images: int) -> Block:
        return Block(x, (tokens, images, numbers, channels), reverse, adjoint=True)

    for images in _groups(x, numbers):
        tokens, gradients = Tokens.of(x, dt, B, C, images), Tokens.of(dx, ddt, dB, dC, images)
        dread = _rows(dy, images)
        carried = x.new_zeros(dread.shape[1], numbers, channels)
        for k, span in reversed(list(enumerate(spans))):
            now, to = tokens.at(span), gradients.at(span)
            block = block_of(*now.x.shape[:2])
            block.scan(now, log2_decay, borders[k, images])
            block.scan_back(now.C, dread[span], carried)
            # Products with rows from the left: with columns from the right they take ten times as long.
            to.C.copy_(torch.matmul(dread[span], block.after.mT).mT)  # T G N 1
            to.B.copy_(torch.matmul(block.written, block.gradient.mT).mT)  # T G N 1
            dwritten = torch.matmul(now.B.mT, block.gradient)  # T G 1 D
            torch.mul(dwritten, now.dt, out=to.x)
            block.decay.mul_(block.gradient)  # T G N D
            carried.copy_(block.decays[0])
            dexponent = block.decay.mul_(block.before)  # T G N D, the gradient of dt A
            torch.mul(dexponent, rate, out=block.gradient)
            torch.addcmul(block.gradient.sum(2, keepdim=True), dwritten, now.x, out=to.dt)
            dA += dexponent.mul_(now.dt).sum((0, 1))
    return Inputs(dx, ddt, dA.T.contiguous(), dB, dC)
