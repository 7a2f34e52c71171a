"""The held-out error: the same triples whatever the batch, the truth at zero, its parts adding up."""

import pytest
import torch

from triptych.backbones.unet import UNetConfig
from triptych.data.digits import load
from triptych.denoiser import Denoiser
from triptych.diffusion.predictions import PREDICTIONS
from triptych.diffusion.schedules import cosine
from triptych.training.held_out import BANDS, held_out_error

CPU = torch.device("cpu")


def denoiser(prediction="v", classes=10):
    config = UNetConfig(width=8, multipliers=(1,), blocks=1, attention=(), groups=4, dropout=0.5)
    return Denoiser(config.build(1, 8, classes), cosine(), PREDICTIONS[prediction])


@pytest.mark.parametrize("classes", [0, 10])
def test_batch_size_does_not_matter(classes):
    torch.manual_seed(0)
    model = denoiser(classes=classes)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    errors = [held_out_error(model, load().held_out, 100, size, CPU) for size in (7, 100)]
    assert errors[0].mse == pytest.approx(errors[1].mse, rel=1e-5)


def test_a_silent_network_errs_by_the_size_of_its_target():
    """Predicting zero noise costs the noise's variance, 1."""
    error = held_out_error(denoiser("eps"), load().held_out, 1024, 256, CPU)
    assert error.mse == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize(("count", "bands"), [(1, 1), (5, 5), (8, 8), (100, BANDS)])
def test_parts_of_time_are_all_there(count, bands):
    error = held_out_error(denoiser(), load().held_out, count, 64, CPU)
    assert len(error.by_time) == bands
    assert all(part == part for part in error.by_time)
    if count % bands == 0:
        assert sum(error.by_time) / bands == pytest.approx(error.mse)
