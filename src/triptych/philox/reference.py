"""Philox4x32-10 in integer tensor operations: the same words on every device that torch knows.

Salmon, Moraes, Dror, Shaw: Parallel Random Numbers: As Easy as 1, 2, 3; SC 2011.

Letters: B indices, W 32-bit words per index.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

MASK32 = 0xFFFFFFFF
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10


def multiply(a: Tensor, multiplier: int) -> tuple[Tensor, Tensor]:
    """Return high and low 32-bit halves of the product of 32-bit words; no intermediate passes 2^49."""
    low16, high16 = multiplier & 0xFFFF, multiplier >> 16
    p, q = a * low16, a * high16
    high = (q + (p >> 16)) >> 16
    low = (p + ((q & 0xFFFF) << 16)) & MASK32
    return high, low


def philox(counter: Sequence[Tensor], key: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Encrypt counters with Philox4x32-10 (SC 2011, section 4.3).

    Args:
        counter: four int64 tensors of one shape, each holding 32-bit words.
        key: two 32-bit words.

    Returns:
        four int64 tensors of the same shape, each holding 32-bit words.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(ROUNDS):
        high0, low0 = multiply(c0, MULTIPLIERS[0])
        high1, low1 = multiply(c2, MULTIPLIERS[1])
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + WEYL[0]) & MASK32, (k1 + WEYL[1]) & MASK32
    return c0, c1, c2, c3


def words(seed: int, stream: int, step: int, index: Tensor, count: int) -> Tensor:
    """Return the first words of every index's sequence, int64 [B, count] on the device of `index`.

    Args:
        seed: a 32-bit word, as are the next two.
        stream: with the seed, the key.
        step: with index and number of the block, the counter.
        index: int64 [B], nonnegative.
        count: W.
    """
    blocks = -(-count // 4)
    block = torch.arange(blocks, device=index.device).expand(len(index), blocks)
    low = (index & MASK32)[:, None].expand_as(block)
    high = (index >> 32)[:, None].expand_as(block)
    out = philox((block, low, high, torch.full_like(block, step)), (seed, stream))
    return torch.stack(out, dim=-1).flatten(1)[:, :count]


def below(threshold: int, seed: int, stream: int, step: int, index: Tensor, count: int) -> Tensor:
    """Return whether 16-bit draws are below a threshold, bool [B, count]; each word gives two.

    Args:
        threshold: 0 to 65536.
        seed: as of `words`, like the next two.
        stream: of the key.
        step: of the counter.
        index: int64 [B].
        count: draws for every index.
    """
    w = words(seed, stream, step, index, -(-count // 2))
    halves = torch.stack((w & 0xFFFF, w >> 16), dim=-1).flatten(1)[:, :count]
    return halves < threshold
