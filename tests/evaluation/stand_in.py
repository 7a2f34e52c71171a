"""An extractor that costs nothing, by the name of the real one."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from triptych.metrics.extractors import Available

WIDTHS = {"features": 4, "log_probs": 10}


@dataclass
class Counted:
    """Stands in for a network: four mean intensities, scores that follow the first, images counted."""

    name: str = "classifier"
    sha256: str = "0" * 64
    images: int = field(default=0, compare=False)

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        self.images += len(images)
        quarters = torch.nn.functional.avg_pool2d(images.float() / 255, 4).flatten(1)
        scores = -(quarters[:, :1] * 20 - torch.arange(10.0, device=images.device)).square()
        return {"features": quarters, "log_probs": scores.log_softmax(1)}

    @property
    def available(self) -> Available:
        """It, as the list of extractors has them."""
        return Available(lambda train, device, *, watch=None: self, lambda train: WIDTHS)
