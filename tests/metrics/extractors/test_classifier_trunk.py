import pytest
import torch
from torch import nn

from triptych.metrics.extractors.classifier_recipe import LARGE_IMAGES, ClassifierRecipe
from triptych.metrics.extractors.classifier_trunk import TRUNKS, folded, large_trunk


@pytest.mark.parametrize("name", TRUNKS)
@pytest.mark.parametrize("side", [4, 8, 15, 16, 17, 32, 33, 64, 100])
def test_any_square_image_has_features(name: str, side: int):
    trunk = TRUNKS[name](3, side, side, ClassifierRecipe(width=16, features=5))
    assert trunk(torch.zeros(2, 3, side, side)).shape == (2, 5)


def test_folding_the_norms_changes_no_feature():
    generator = torch.Generator().manual_seed(0)
    trunk = large_trunk(3, 32, 32, LARGE_IMAGES).double()
    for layer in trunk:
        if isinstance(layer, nn.BatchNorm2d):
            for tensor in (layer.weight.data, layer.bias.data, layer.running_mean, layer.running_var):
                tensor.uniform_(0.5, 1.5, generator=generator)
    x = torch.randn(4, 3, 32, 32, generator=generator, dtype=torch.float64)
    one = folded(trunk)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in one)
    torch.testing.assert_close(one(x), trunk.eval()(x), rtol=1e-10, atol=1e-10)


def test_sixteen_pixels_a_side_are_the_most_that_the_costly_layers_see():
    sides = []
    trunk = large_trunk(3, 96, 96, ClassifierRecipe(width=16))
    trunk[0].register_forward_hook(lambda layer, given, made: sides.append(tuple(made.shape[2:])))
    trunk(torch.zeros(2, 3, 96, 96))
    assert sides == [(16, 16)]
