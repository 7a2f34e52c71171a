"""Previews name their classes so that they can be read."""

import pytest

from triptych.backbones.unet import UNetConfig
from triptych.denoiser import Denoiser
from triptych.diffusion.predictions import PREDICTIONS
from triptych.diffusion.schedules import cosine
from triptych.training.config import TrainingConfig
from triptych.training.previews import draw_preview


@pytest.mark.parametrize(("names", "alike"), [(("a", "猫"), True), (("a", "b"), False)])
def test_a_class_that_cannot_be_written_is_called_by_its_number(names, alike, tmp_path):
    backbone = UNetConfig(width=4, multipliers=(1,), blocks=1, attention=(), groups=2, dropout=0.0)
    denoiser = Denoiser(backbone.build(1, 8, 2), cosine(), PREDICTIONS["eps"])
    config = TrainingConfig(preview_count=4, preview_sampler="ddim:1")
    drawn = []
    for folder, called in (("named", names), ("numbered", ("a", "class 1"))):
        draw_preview(denoiser, config, 0, called, tmp_path / folder / "epoch-1.png")
        drawn.append((tmp_path / folder / "epoch-1.png").read_bytes())
    assert (drawn[0] == drawn[1]) == alike
