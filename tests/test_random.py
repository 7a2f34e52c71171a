"""The generator against its published vectors, and against what randomness must satisfy."""

import math

import pytest
import torch

from triptych.philox.reference import MULTIPLIERS, multiply, philox
from triptych.random import (
    Stream,
    bernoulli,
    integers,
    normal,
    permutation,
    stream_key,
    uniform,
    words,
)

# Known answers published with the reference implementation (Random123, kat_vectors, philox4x32 10).
VECTORS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def hexes(text):
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize(("counter", "key", "expected"), VECTORS)
def test_published_vectors(counter, key, expected):
    out = philox([torch.tensor([c]) for c in hexes(counter)], tuple(hexes(key)))
    assert [int(o) for o in out] == hexes(expected)


def test_multiply_is_the_64_bit_product():
    a = torch.cat(
        [torch.tensor([0, 1, 2**16, 2**31, 2**32 - 1]), words(7, 1, 0, torch.arange(50), 4).flatten()]
    )
    for m in (*MULTIPLIERS, 2**32 - 1):
        high, low = multiply(a, m)
        assert [h << 32 | lo for h, lo in zip(high.tolist(), low.tolist(), strict=True)] == [
            x * m for x in a.tolist()
        ]


@pytest.mark.parametrize("draw", [integers, uniform, normal, lambda *a: bernoulli(0.3, *a)])
@pytest.mark.parametrize("shape", [(1,), (3,), (1, 8, 8), (3, 5, 7)])
def test_a_draw_depends_on_its_own_key_alone(draw, shape):
    """Bitwise the same alone, in any batch, at any place in it."""
    index = torch.arange(37) * 1009
    together = draw(3, Stream.NOISE, 5, index, shape)
    assert together.shape == (37, *shape)
    for i in (0, 1, 17, 36):
        assert torch.equal(draw(3, Stream.NOISE, 5, index[i : i + 1], shape)[0], together[i])
    shuffled = torch.randperm(37, generator=torch.Generator().manual_seed(0))
    assert torch.equal(draw(3, Stream.NOISE, 5, index[shuffled], shape), together[shuffled])


def test_every_part_of_the_key_counts():
    index = torch.arange(64)
    base = integers(0, Stream.NOISE, 0, index, (8,))
    others = [
        integers(1, Stream.NOISE, 0, index, (8,)),
        integers(0, Stream.FLIP, 0, index, (8,)),
        integers(0, stream_key(Stream.NOISE, part=1), 0, index, (8,)),
        integers(0, stream_key(Stream.NOISE, salt=1), 0, index, (8,)),
        integers(0, Stream.NOISE, 1, index, (8,)),
        integers(0, Stream.NOISE, 0, index + 2**32, (8,)),
    ]
    assert len({tuple(x.flatten().tolist()) for x in [base, *others]}) == 7


def test_streams_are_independent():
    """Correlations between streams, steps, salts and neighbours stay within five standard errors."""
    index = torch.arange(20000)
    draws = [normal(0, stream, step, index, (4,)).double() for stream in Stream for step in (0, 1)]
    draws += [normal(0, stream_key(Stream.NOISE, salt=1), 0, index, (4,)).double()]
    z = torch.cat(draws, dim=1)
    correlation = torch.corrcoef(z.T) - torch.eye(z.shape[1])
    assert correlation.abs().max() < 5 / math.sqrt(len(index))
    lag = (z[1:] * z[:-1]).mean(0)
    assert lag.abs().max() < 5 / math.sqrt(len(index))


def test_normal_moments_and_tails():
    x = normal(11, Stream.NOISE, 0, torch.arange(1000), (1000,)).double()
    n = x.numel()
    assert abs(x.mean()) < 5 / math.sqrt(n)
    assert abs(x.var() - 1) < 5 * math.sqrt(2 / n)
    assert abs((x**4).mean() - 3) < 5 * math.sqrt(96 / n)
    for z in (1.0, 2.0, 3.0, 4.0):
        p = math.erfc(z / math.sqrt(2))
        assert abs((x.abs() > z).double().mean() - p) < 5 * math.sqrt(p / n)
    assert x.isfinite().all()


def test_uniform_and_bernoulli():
    u = uniform(0, Stream.LEVEL, 0, torch.arange(200_000))
    assert u.min() >= 0 and u.max() < 1
    counts = torch.histc(u, 100, 0, 1)
    chi2 = ((counts - 2000) ** 2 / 2000).sum()
    assert 40 < chi2 < 180  # 99 degrees of freedom
    assert (
        abs(bernoulli(0.1, 0, Stream.DROPOUT, 0, torch.arange(100), (10_001,)).double().mean() - 0.1) < 0.0015
    )
    assert not bernoulli(0.0, 0, Stream.DROPOUT, 0, torch.arange(9), (9,)).any()
    assert bernoulli(1.0, 0, Stream.DROPOUT, 0, torch.arange(9), (9,)).all()


def test_permutation():
    p = permutation(0, Stream.ORDER, 3, 1437)
    assert torch.equal(p.sort().values, torch.arange(1437))
    assert not torch.equal(p, permutation(0, Stream.ORDER, 4, 1437))
    first = torch.stack([permutation(0, Stream.ORDER, epoch, 8)[0] for epoch in range(4000)])
    assert ((torch.bincount(first, minlength=8) - 500).abs() < 5 * math.sqrt(500)).all()


def test_keys_out_of_range_are_refused():
    for bad in ({"seed": -1}, {"seed": 2**32}, {"step": -1}, {"stream": 2**32}):
        with pytest.raises(ValueError, match="must lie in"):
            words(**({"seed": 0, "stream": 1, "step": 0, "index": torch.arange(1), "count": 1} | bad))
    with pytest.raises(ValueError, match="salt"):
        stream_key(Stream.NOISE, salt=4096)
