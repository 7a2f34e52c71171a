"""The recipes that come along: each can be built, and the full-size ones are what they are named after."""

import pytest

from triptych.experiment import load_experiment
from triptych.recipe_files import packaged_recipes

IMAGES = {"digits": (1, 8), "cifar10": (3, 32)}


def parameters(recipe: str) -> int:
    experiment = load_experiment(recipe)
    channels, side = IMAGES[experiment.data.name]
    return sum(p.numel() for p in experiment.build(channels, side, 10).parameters())


@pytest.mark.parametrize("recipe", packaged_recipes())
def test_every_recipe_builds_and_is_called_by_its_data_and_backbone(recipe):
    experiment = load_experiment(recipe)
    assert experiment.name == recipe
    assert recipe.startswith(f"{experiment.data.name}-{experiment.backbone.kind}")
    assert parameters(recipe) > 0


@pytest.mark.parametrize("recipe", [name for name in packaged_recipes() if name.endswith("-small")])
def test_small_recipes_have_about_a_million_parameters(recipe):
    assert 0.8e6 < parameters(recipe) < 1.6e6


def test_the_full_size_unet_is_the_logged_experiment_number_by_number():
    """2.2 of the log: 3,000 epochs in batches of 128 at 2e-4, 20 of warm-up, then cosine, and so on."""
    experiment = load_experiment("cifar10-unet-cfg")
    training, sampling = experiment.training, experiment.sampling
    assert experiment.conditional
    assert experiment.data.name == "cifar10"
    assert parameters("cifar10-unet-cfg") == 35_746_307 + 11 * 512
    assert (training.epochs, training.batch_size, training.learning_rate) == (3000, 128, 2e-4)
    assert (training.warmup_epochs, training.learning_rate_schedule) == (20, "cosine")
    assert (training.checkpoint_every, training.keep_full, training.keep_every) == (50, 2, None)
    assert (training.preview_from, training.preview_every, training.preview_count) == (400, 50, 16)
    assert (training.preview_guidance, training.preview_sampler) == (1.3, "ddim:50")
    assert (sampling.sampler, sampling.guidance, sampling.per_class) == (("ddim:50", "ddpm:1000"), 3, 8)
    assert experiment.evaluation.checkpoint == ("best-mse", "last")
    assert experiment.evaluation.guidance == (1.4, 3)
    assert (experiment.diffusion.schedule, experiment.diffusion.prediction) == ("linear", "eps")
    assert training.label_drop == 0.1
    assert 0.5 ** (128 / training.ema_half_life) == pytest.approx(0.9999, abs=1e-6)
