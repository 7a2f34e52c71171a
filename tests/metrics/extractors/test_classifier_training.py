from dataclasses import replace

import torch
import torch.nn.functional as F

from triptych.images import to_network
from triptych.metrics.extractors.classifier_recipe import ClassifierRecipe
from triptych.metrics.extractors.classifier_training import _varied

STILL = ClassifierRecipe(shift=0.0)
IMAGES = torch.randint(0, 256, (200, 8, 8, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
EVERY = torch.arange(200)
X = to_network(IMAGES).permute(0, 3, 1, 2)


def test_images_that_are_not_to_be_varied_stay_as_they_are():
    assert torch.equal(_varied(IMAGES, EVERY, 0, STILL), X)


def test_half_of_the_images_are_mirrored_others_at_every_step():
    steps = [_varied(IMAGES, EVERY, step, replace(STILL, mirrored=True)) for step in (0, 1)]
    mirrored = [(x == X.flip(-1)).flatten(1).all(1) for x in steps]
    for x, m in zip(steps, mirrored, strict=True):
        assert torch.equal(x, torch.where(m[:, None, None, None], X.flip(-1), X))
        assert 70 < int(m.sum()) < 130
    assert not torch.equal(*mirrored)


def test_moved_images_are_crops_of_those_with_repeated_borders():
    padded = F.pad(X, (1, 1, 1, 1), mode="replicate")
    crops = torch.stack([padded[:, :, r : r + 8, c : c + 8] for r in range(3) for c in range(3)])
    moved = _varied(IMAGES, EVERY, 0, replace(STILL, shift=0.125))
    same = (crops == moved).flatten(2).all(2)  # [9, N]
    assert bool((same.sum(0) == 1).all())
    assert bool((same.sum(1) > 5).all())


def test_what_becomes_of_an_image_depends_on_it_and_the_step_alone():
    recipe = ClassifierRecipe(mirrored=True)
    whole = _varied(IMAGES, EVERY, 3, recipe)
    some = torch.tensor([7, 150, 3])
    assert torch.equal(_varied(IMAGES, some, 3, recipe), whole[some])
