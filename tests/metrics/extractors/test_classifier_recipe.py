import pytest

from triptych.metrics.extractors.classifier_recipe import SMALL_IMAGES, recipe_for

DIGITS = tuple("0123456789")
ANIMALS = ("cat", "dog")


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 16, 16)])
def test_small_images_have_one_recipe(shape: tuple[int, int, int]):
    assert recipe_for(shape, ANIMALS) == SMALL_IMAGES
    assert not SMALL_IMAGES.mirrored


@pytest.mark.parametrize(
    ("channels", "names", "mirrored"), [(3, ANIMALS, True), (1, ANIMALS, False), (3, DIGITS, False)]
)
def test_photographs_are_mirrored_and_writing_is_not(channels: int, names: tuple[str, ...], mirrored: bool):
    recipe = recipe_for((channels, 32, 32), names)
    assert recipe.trunk == "large"
    assert recipe.mirrored is mirrored


@pytest.mark.parametrize(("images", "seen"), [(100, 50_000), (50_000, 250_000), (10**6, 400_000)])
def test_training_is_neither_too_short_nor_too_long(images: int, seen: int):
    recipe = recipe_for((3, 32, 32))
    assert (recipe.steps(images) - 1) * recipe.batch_size < seen <= recipe.steps(images) * recipe.batch_size
