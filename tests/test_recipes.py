"""The recipes that come along: each can be built, and the full-size ones are what they are named after."""

import pytest

from triptych.backbones.costs import costs, outline
from triptych.errors import UserError
from triptych.evaluation.config import parse_protocol
from triptych.experiment import load_experiment
from triptych.recipe_files import find_recipe, packaged_recipes, parse_recipe

IMAGES = {"digits": (1, 8), "cifar10": (3, 32)}


def parameters(recipe: str) -> int:
    experiment = load_experiment(recipe)
    channels, side = IMAGES[experiment.data.name]
    classes = 10 if experiment.conditional else 0
    return costs(outline(experiment.backbone, channels, side, classes)).parameters


@pytest.mark.parametrize("recipe", packaged_recipes())
def test_every_recipe_builds_and_is_called_by_its_data_and_backbone(recipe):
    experiment = load_experiment(recipe)
    assert experiment.name == recipe
    assert recipe.startswith(f"{experiment.data.name}-{experiment.backbone.kind}")
    assert parameters(recipe) > 0


@pytest.mark.parametrize("recipe", [name for name in packaged_recipes() if name.endswith("-small")])
def test_small_recipes_have_about_a_million_parameters(recipe):
    assert 0.8e6 < parameters(recipe) < 1.6e6


def assert_evaluated_as_logged(experiment):
    """10,000 test images, 512 at a time; FID, IS and LPIPS diversity, by FID first."""
    evaluation = experiment.evaluation
    assert (evaluation.protocol, evaluation.count, evaluation.batch_size) == ("10k/test", None, 512)
    assert parse_protocol(evaluation.protocol) == (10_000, "held-out")
    assert evaluation.metrics[:3] == ("fid", "inception_score", "lpips_diversity")


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
    assert_evaluated_as_logged(experiment)
    assert (experiment.diffusion.schedule, experiment.diffusion.prediction) == ("linear", "eps")
    assert training.label_drop == 0.1
    assert 0.5 ** (128 / training.ema_half_life) == pytest.approx(0.9999, abs=1e-6)


@pytest.mark.parametrize(
    ("recipe", "epochs", "warmup", "previews", "guidance"),
    [
        ("cifar10-dim", 20000, 20, (500, 100), ()),
        ("cifar10-dim-cfg", 4000, 20, (500, 50), (1.8, 3)),
        ("cifar10-dit-cfg", 5000, 0, (200, 50), (1.8, 2.4, 3)),
    ],
)
def test_the_other_logged_experiments_number_by_number(recipe, epochs, warmup, previews, guidance):
    """1.2, 2.3 and 2.4 of the log."""
    experiment = load_experiment(recipe)
    training, sampling = experiment.training, experiment.sampling
    assert experiment.conditional == recipe.endswith("-cfg")
    assert (training.epochs, training.batch_size, training.learning_rate) == (epochs, 128, 1e-4)
    assert (training.warmup_epochs, training.learning_rate_schedule) == (warmup, "cosine")
    assert (training.checkpoint_every, training.keep_full, training.keep_every) == (50, 2, None)
    assert (training.preview_from, training.preview_every) == previews
    assert (training.preview_count, training.preview_sampler) == (16, "ddim:50")
    assert (experiment.diffusion.schedule, experiment.diffusion.prediction) == ("linear", "eps")
    assert experiment.evaluation.checkpoint == ("best-mse", "last")
    assert experiment.data.name == "cifar10"
    assert_evaluated_as_logged(experiment)
    assert 32.2e6 < parameters(recipe) < 32.6e6
    if experiment.conditional:
        assert training.preview_guidance == 1.3
        assert (sampling.sampler, sampling.guidance, sampling.per_class) == (("ddim:50", "ddpm:1000"), 3, 8)
        assert experiment.evaluation.guidance == guidance
    else:
        assert sampling.sampler == ("ddpm:1000",)


@pytest.mark.parametrize("recipe", ["cifar10-dit-strong", "cifar10-dim-strong"])
def test_strong_recipes_are_as_large_as_the_unet_and_joined_by_long_skips(recipe):
    experiment = load_experiment(recipe)
    assert experiment.backbone.long_skips and experiment.backbone.output_conv
    assert parameters(recipe) == pytest.approx(parameters("cifar10-unet-cfg"), rel=0.04)


def test_the_digits_recipes_are_of_equal_size():
    counts = [parameters(f"digits-{kind}") for kind in ("unet", "dit", "dim")]
    assert max(counts) / min(counts) < 1.05


@pytest.mark.parametrize("recipe", [name for name in packaged_recipes() if name.endswith("-modern")])
def test_modern_recipes_have_the_network_of_their_base_and_another_diffusion(recipe):
    modern = load_experiment(recipe)
    base = load_experiment(parse_recipe(recipe, find_recipe(recipe)[1])["base"])
    assert parameters(recipe) == parameters(base.name)
    assert modern.diffusion != base.diffusion
    assert (modern.conditional, modern.data) == (base.conditional, base.data)


def test_a_recipe_stands_on_its_base(tmp_path):
    (tmp_path / "low.yaml").write_text(
        "base: digits-unet\nname: low\nseed: 7\ntraining: {epochs: 3, beta2: 0.95}\n"
    )
    (tmp_path / "deep").mkdir()
    high = tmp_path / "deep" / "high.yaml"
    high.write_text("base: ../low.yaml\ntraining: {epochs: 5}\nsampling: {sampler: [ddim:5]}\n")
    found, digits = load_experiment(str(high)), load_experiment("digits-unet")
    assert (found.name, found.seed, found.training.epochs, found.training.beta2) == ("high", 7, 5, 0.95)
    assert found.sampling.sampler == ("ddim:5",)
    assert found.backbone == digits.backbone
    assert found.training.learning_rate == digits.training.learning_rate


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("base: mine.yaml", "builds on it"),
        ("base: ../{folder}/mine.yaml", "builds on it"),
        ("base: digits-unit", "mine.yaml: no packaged recipe of this name"),
        ("base: other/none.yaml", "no such file"),
        ("base: [digits-unet]", "its base is ['digits-unet']"),
        ("base: broken.yaml", "it holds no fields"),
    ],
)
def test_a_base_that_is_none_is_one_line(text, told, tmp_path):
    (tmp_path / "broken.yaml").write_text("")
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(text.replace("{folder}", tmp_path.name) + "\ndata: {name: digits}\n")
    with pytest.raises(UserError) as refused:
        load_experiment(str(recipe))
    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("seed: 1\ndevice: cpu\nseed: 2", "line 3: seed is there a second time, after line 1; mend the file"),
        ("training: {epochs: 1, epochs: 2}", "line 1: epochs is there a second time, after line 1"),
        (
            "training:\n  batch-size: 8\n  batch_size: 9",
            "line 3: batch_size is there a second time, after line 2",
        ),
    ],
)
def test_a_field_that_is_said_twice_is_told(text, told, tmp_path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(text)
    with pytest.raises(UserError) as refused:
        load_experiment(str(recipe))
    assert told in str(refused.value)


def test_fields_that_are_taken_over_may_be_said_again(tmp_path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("base: digits-unet\ntraining: {<<: {epochs: 3, batch_size: 8}, epochs: 4}")
    training = load_experiment(str(recipe)).training
    assert (training.epochs, training.batch_size) == (4, 8)
