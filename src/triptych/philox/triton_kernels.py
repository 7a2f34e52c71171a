"""Philox4x32-10 as one Triton kernel, for words and for masks: on a GPU hundreds of operations become one.

This file imports triton, which comes with torch's CUDA builds for Linux and is never required: nothing
imports it but `fused.py`, where a CUDA device asks.
"""
# ruff: noqa: N803 -- capitals are known when it is compiled

from __future__ import annotations

from contextlib import nullcontext

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 512
"""Counters of a program."""

HALF = tl.constexpr(0xFFFFFFFF)
SKIPPED = ["seed", "stream", "step", "threshold"]
"""Numbers that change all the time, for whose values nothing is to be compiled anew."""


@triton.jit
def encrypted(block, index, step, seed, stream):
    """Return four 32-bit words, each as uint64, for counters and a key of such words."""
    c0, c1, c2, c3 = block, index & HALF, index >> 32, step
    k0, k1 = seed, stream
    for _ in tl.static_range(10):
        product0 = c0 * 0xD2511F53
        product1 = c2 * 0xCD9E8D57
        c0, c1 = (product1 >> 32) ^ c1 ^ k0, product1 & HALF
        c2, c3 = (product0 >> 32) ^ c3 ^ k1, product0 & HALF
        k0 = (k0 + 0x9E3779B9) & HALF
        k1 = (k1 + 0xBB67AE85) & HALF
    return c0, c1, c2, c3


@triton.jit
def counters(source, step, seed, stream, blocks, total, BLOCK: tl.constexpr):
    """Return the words of a program's counters, their rows, their blocks, and which are there."""
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = place < total
    row, block = place // blocks, place % blocks
    index = tl.load(source + row, mask=there, other=0).to(tl.uint64)
    zero = index * 0  # as many numbers as there are counters
    step, seed, stream = zero + step.to(tl.uint64), zero + seed.to(tl.uint64), zero + stream.to(tl.uint64)
    c0, c1, c2, c3 = encrypted(block.to(tl.uint64), index, step, seed, stream)
    return c0, c1, c2, c3, row, block, there


@triton.jit
def put(target, first, number, count, there, value):
    """Write a value to the place `number` of a row that begins at `first`, where the row is as long."""
    tl.store(target + first + number, value, mask=there & (number < count))


@triton.jit(do_not_specialize=SKIPPED)
def words_kernel(source, target, seed, stream, step, count, blocks, total, BLOCK: tl.constexpr):
    """Write int64 [B, count]: four words for each counter."""
    c0, c1, c2, c3, row, block, there = counters(source, step, seed, stream, blocks, total, BLOCK)
    first = row * count
    put(target, first, 4 * block, count, there, c0.to(tl.int64))
    put(target, first, 4 * block + 1, count, there, c1.to(tl.int64))
    put(target, first, 4 * block + 2, count, there, c2.to(tl.int64))
    put(target, first, 4 * block + 3, count, there, c3.to(tl.int64))


@triton.jit
def put_halves(target, first, number, count, there, word, threshold):
    """Write whether the lower and the upper half of a word are below a threshold."""
    put(target, first, number, count, there, ((word & 0xFFFF) < threshold).to(tl.uint8))
    put(target, first, number + 1, count, there, ((word >> 16) < threshold).to(tl.uint8))


@triton.jit(do_not_specialize=SKIPPED)
def below_kernel(source, target, threshold, seed, stream, step, count, blocks, total, BLOCK: tl.constexpr):
    """Write uint8 [B, count]: eight draws for each counter."""
    c0, c1, c2, c3, row, block, there = counters(source, step, seed, stream, blocks, total, BLOCK)
    first, limit = row * count, threshold.to(tl.uint64)
    put_halves(target, first, 8 * block, count, there, c0, limit)
    put_halves(target, first, 8 * block + 2, count, there, c1, limit)
    put_halves(target, first, 8 * block + 4, count, there, c2, limit)
    put_halves(target, first, 8 * block + 6, count, there, c3, limit)


def words(seed: int, stream: int, step: int, index: Tensor, count: int) -> Tensor:
    """Return what `reference.words` does."""
    target = torch.empty(len(index), count, dtype=torch.int64, device=index.device)
    _start(words_kernel, index, target, (seed, stream, step), -(-count // 4))
    return target


def below(threshold: int, seed: int, stream: int, step: int, index: Tensor, count: int) -> Tensor:
    """Return what `reference.below` does."""
    target = torch.empty(len(index), count, dtype=torch.uint8, device=index.device)
    _start(below_kernel, index, target, (threshold, seed, stream, step), -(-count // 8))
    return target.view(torch.bool)


def _start(kernel, index: Tensor, target: Tensor, numbers: tuple[int, ...], blocks: int) -> None:
    """Have a kernel fill `target` from so many blocks of every index."""
    total = len(index) * blocks
    if total:
        guard = torch.cuda.device(index.device) if index.device.type == "cuda" else nullcontext()
        with guard:
            grid = (triton.cdiv(total, BLOCK),)
            kernel[grid](index.contiguous(), target, *numbers, target.shape[1], blocks, total, BLOCK=BLOCK)
