"""An image depends on its seed and its number alone: not on its batch, its place there, or who draws it."""

from dataclasses import fields, replace

import pytest
import torch
from backbones.small import SHALLOW, awake

from triptych import generation
from triptych.denoiser import Denoiser
from triptych.diffusion.predictions import PREDICTIONS
from triptych.diffusion.schedules import SCHEDULES
from triptych.distributed import Ranks
from triptych.generation import Request, generate
from triptych.guidance import APG
from triptych.random import normal
from triptych.sampling import SAMPLERS, named_sampler

COUNT = 7
NOISY = {"eta": 1.0, "churn": 30.0}
"""What makes a sampler draw noise on its way, where it has such an option."""


def specs():
    """Every sampler as it is, and with all the noise that it can draw."""
    for name, kind in SAMPLERS.items():
        yield f"{name}:4"
        options = [f"{option.name}={NOISY[option.name]}" for option in fields(kind) if option.name in NOISY]
        yield from [",".join([f"{name}:4", *options])] if options else []


def model(kind):
    torch.manual_seed(0)
    return Denoiser(awake(SHALLOW[kind].build(1, 8, 3)), SCHEDULES["cosine"](), PREDICTIONS["v"])


@pytest.fixture
def drawn_noise(monkeypatch):
    """All noise that is drawn: its bits, by stream, step and number of the image."""
    seen = {}

    def noted(seed, stream, step, index, shape):
        found = normal(seed, stream, step, index, shape)
        for j, noise in zip(index.tolist(), found, strict=True):
            assert torch.equal(seen.setdefault((seed, stream, step, j), noise), noise)
        return found

    monkeypatch.setattr(generation, "normal", noted)
    return seen


def images_of(denoiser, request, shares):
    """Return the images of a request by their numbers, drawn by several in these shares."""
    found = {}
    for share in shares:
        for batch in generate(denoiser, request, share=share):
            assert torch.equal(batch.labels, batch.index % 3)
            found |= dict(zip(batch.index.tolist(), batch.pixels, strict=True))
    assert sorted(found) == list(range(COUNT))
    return torch.stack([found[j] for j in range(COUNT)]).short()


@pytest.mark.parametrize("kind", SHALLOW)
@pytest.mark.parametrize("spec", [*specs()])
def test_noise_is_the_same_to_the_bit_and_images_to_rounding(kind, spec, drawn_noise):
    denoiser = model(kind)
    request = Request(COUNT, 2.0, named_sampler(spec), seed=5, guide=APG(above=0.1))
    whole = images_of(denoiser, request, [range(COUNT)])
    keys = set(drawn_noise)
    dealt = {
        "a batch of one": ([range(COUNT)], 1),
        "batches of three": ([range(COUNT)], 3),
        "other places": ([[4, 6, 0], [5, 3, 2, 1]], 7),
        "two ranks": ([Ranks(rank, 2).share(COUNT) for rank in range(2)], 2),
        "three ranks": ([Ranks(rank, 3).share(COUNT) for rank in range(3)], 7),
    }
    for name, (shares, size) in dealt.items():
        found = images_of(denoiser, replace(request, batch_size=size), shares)
        assert (found - whole).abs().max() <= 1, name
        assert set(drawn_noise) == keys, name
    other = images_of(denoiser, replace(request, seed=6), [range(COUNT)])
    assert (other - whole).abs().max() > 10
