"""The extractor for data sets without one of their own: a small classifier, trained on their training split.

Its figures have their own names (`fd_classifier`, `classifier_accuracy`, ...). They judge images by
what tells the classes of this data set apart, compare models on this data set and nothing beyond, and
are never called FID.

Letters: B images, C channels, H height, W width, D features, K classes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from triptych.cache import weights_digest
from triptych.errors import UserError
from triptych.images import to_network
from triptych.metrics.extractors.classifier_recipe import ClassifierRecipe
from triptych.metrics.extractors.classifier_trunk import TRUNKS, folded
from triptych.metrics.extractors.extractor import at_once, full_float32

CHUNK = 500
"""Most images per forward pass on a processor: bounds memory, whatever the caller's batch."""

CHUNK_VALUES = 2**21
"""Most pixels times channels per forward pass there: large images come in smaller chunks."""


class Classifier(nn.Module):
    """A small convolutional classifier that gives features and log-probabilities.

    The features are the last hidden layer before its activation, each shifted and scaled to mean 0 and
    standard deviation 1 over the training images. A layer's own scale is arbitrary and changes from one
    training to the next; in units of training standard deviations a Fréchet distance is 0 for equal
    statistics, D for images that all have the features of the mean image, and nearly the same for any
    seed (held-out digits read 0.26 to 0.31 over five). They are not whitened further, because that would
    make the many directions in which the classes hardly differ count as much as the few in which they do.
    """

    name = "classifier"

    def __init__(self, channels: int, height: int, width: int, classes: int, recipe: ClassifierRecipe):
        super().__init__()
        self.image_shape = (channels, height, width)
        self.large = recipe.trunk == "large"
        self.trunk = TRUNKS[recipe.trunk](channels, height, width, recipe)
        self.head = nn.Linear(recipe.features, classes)
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.zeros(recipe.features))
        self.register_buffer("deviation", torch.ones(recipe.features))

    def logits(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return raw features [B, D] and logits [B, K] of x, float32 [B, C, H, W] in [-1, 1]."""
        raw = self.trunk(x)
        return raw, self.head(F.silu(raw))

    def finish(self) -> Classifier:
        """Turn the network that learns into the one that judges: frozen, and each image by itself."""
        self.trunk = folded(self.trunk)
        return self.eval().requires_grad_(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Turn images, uint8 [B, C, H, W], into `features` [B, D] and `log_probs` [B, K], float32.

        Raises:
            UserError: the images are not of the size that the classifier was trained on.
        """
        if tuple(images.shape[1:]) != self.image_shape:
            raise UserError(
                f"classify images of shape {tuple(images.shape[1:])}",
                f"the classifier was trained on shape {self.image_shape}",
                "give images of the training set's channels and size",
            )
        size = at_once(images, CHUNK, CHUNK_VALUES)
        with full_float32(images.device):
            chunks = [self.logits(self._network_input(chunk)) for chunk in images.split(size)]
        raw, logits = (torch.cat(parts) for parts in zip(*chunks, strict=True))
        return {
            "features": (raw - self.mean) / self.deviation,
            "log_probs": logits.log_softmax(dim=1),
        }

    @property
    def memory_format(self) -> torch.memory_format:
        """How its input lies in memory: large images with each pixel's channels together, which is faster."""
        return torch.channels_last if self.large else torch.contiguous_format

    @property
    def sha256(self) -> str:
        """Hash of the weights, hexadecimal."""
        return weights_digest(self.state_dict())

    def _network_input(self, pixels: Tensor) -> Tensor:
        return to_network(pixels).contiguous(memory_format=self.memory_format)
