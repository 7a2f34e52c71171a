"""The classifier's convolutions: from images in [-1, 1] to its raw features.

Letters: B images, C channels, H height, W width, D features.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from triptych.metrics.extractors.classifier_recipe import SMALL, ClassifierRecipe

LAST_SIDE = 4
"""Images are halved until their side is at most this."""


def small_trunk(channels: int, height: int, width: int, recipe: ClassifierRecipe) -> nn.Sequential:
    """Build the trunk of small images: [B, C, H, W] -> [B, D].

    The first convolution keeps the size; the side is halved until it is at most 4, averaged to half of
    that, and what is left is projected with its places.
    """
    inputs = recipe.width // 2
    layers: list[nn.Module] = [nn.Conv2d(channels, inputs, 3, padding=1), nn.SiLU()]
    while max(height, width) > LAST_SIDE:
        for stride in (2, 1):
            layers += [nn.Conv2d(inputs, recipe.width, 3, stride, padding=1)]
            layers += [nn.GroupNorm(8, recipe.width), nn.SiLU()]
            inputs = recipe.width
        height, width = _halved(height), _halved(width)
    # Plain average pooling: the adaptive one has no repeatable backward on CUDA.
    layers += [nn.AvgPool2d(2, ceil_mode=True), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(inputs * _halved(height) * _halved(width), recipe.features))


def large_trunk(channels: int, height: int, width: int, recipe: ClassifierRecipe) -> nn.Sequential:
    """Build the trunk of larger images: [B, C, H, W] -> [B, D].

    Time is what it is made for. The first layer reads overlapping patches that bring any image to 16x16 or
    less, where convolutions are cheap; channels double as the side is halved; batch norm learns most in few
    epochs and vanishes into the convolutions afterwards (`folded`).
    """
    outputs = recipe.width // 2
    patch = -(-max(height, width) // SMALL)
    layers = _normed(channels, outputs, 2 * patch, patch, patch // 2)
    height, width = (((side + 2 * (patch // 2)) // patch) - 1 for side in (height, width))
    while max(height, width) > LAST_SIDE:
        inputs, outputs = outputs, 2 * outputs
        layers += _normed(inputs, outputs, 3, 2, 1) + _normed(outputs, outputs, 3, 1, 1)
        height, width = _halved(height), _halved(width)
    layers += [nn.AvgPool2d((height, width)), nn.Flatten(), nn.Linear(outputs, recipe.features)]
    return nn.Sequential(*layers)


TRUNKS: dict[str, Callable[[int, int, int, ClassifierRecipe], nn.Sequential]] = {
    "small": small_trunk,
    "large": large_trunk,
}
"""What builds each trunk that a recipe may name, given channels, height and width of the images."""


def folded(trunk: nn.Sequential) -> nn.Sequential:
    """Return the same function of images with every batch norm folded into the convolution before it.

    With the statistics of training, as in evaluation: an image's features then depend on it alone.
    """
    layers: list[nn.Module] = []
    for layer in trunk.eval():
        if isinstance(layer, nn.BatchNorm2d):
            convolution = layers.pop()
            assert isinstance(convolution, nn.Conv2d)
            layer = fuse_conv_bn_eval(convolution, layer)
        layers.append(layer)
    return nn.Sequential(*layers)


def _normed(inputs: int, outputs: int, kernel: int, stride: int, padding: int) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]


def _halved(side: int) -> int:
    return -(-side // 2)
