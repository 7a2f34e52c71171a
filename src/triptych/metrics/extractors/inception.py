"""The network of the FID and of the Inception Score, with its published weights.

GANs trained by a two time-scale update rule converge to a local Nash equilibrium, M. Heusel, H. Ramsauer,
T. Unterthiner, B. Nessler and S. Hochreiter, 2017. What is called FID is the Fréchet distance of the pool3
features of one network with one set of weights, and of images that were brought to its size in one way: that
of TensorFlow 1. Another way of resizing changes the figure (On aliased resizing and surprising subtleties in
GAN evaluation, G. Parmar, R. Zhang and J.-Y. Zhu, 2022), and so do other weights.

Letters: B images, H height, W width, D features, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from triptych.downloads import PublishedFile
from triptych.errors import UserError
from triptych.metrics.extractors.extractor import TrainingImages, at_once, full_float32
from triptych.metrics.extractors.inception_layers import CLASSES, FEATURES, InceptionV3
from triptych.metrics.extractors.published import check_images, published_weights
from triptych.work import Watch, unwatched

NAME = "inception"

WEIGHTS = PublishedFile(
    "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
    size=95_628_359,
    algorithm="sha256",
    checksum="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
)
"""TensorFlow's `inception-2015-12-05.tgz` for PyTorch: the file that pytorch-fid and torch-fidelity read."""

OTHERWISE = "leave the metrics of inception out"

COUNTER = "num_batches_tracked"
"""Of a batch norm in training: nothing is computed from it, and not every file of weights has it."""

SIDE = 299
"""Height and width of what the network sees."""

MIDDLE, HALF_RANGE = 128, 128
"""Pixels 0 to 255 are shifted and scaled by these, as in the published graph: not quite to [-1, 1]."""

CHUNK = 32
"""Most images per forward pass on a processor: some 340 MB, whatever the caller's batch."""

CHUNK_VALUES = 2**24
"""Most pixels times channels per forward pass there: very large images come in smaller chunks."""


class Inception(nn.Module):
    """The network as an extractor.

    Args:
        network: with its weights; it is changed to compute the same in less time.
        sha256: hash by which its weights are known, hexadecimal: of the file that they were published in.
    """

    name = NAME

    def __init__(self, network: InceptionV3, sha256: str):
        super().__init__()
        self.sha256 = sha256
        self.network = network.fold()

    @torch.no_grad()
    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Turn images, uint8 [B, 3, H, W], into `features` [B, D] and `log_probs` [B, K], float32.

        Raises:
            UserError: they are not in colour, or not bytes.
        """
        check_images(NAME, images.shape[1:])
        if images.dtype != torch.uint8:
            found = f"their pixels are {images.dtype}"
            raise UserError(f"measure images with {NAME}", found, "give uint8, from 0 to 255")
        with full_float32(images.device):
            chunks = [
                self.network(network_input(chunk))
                for chunk in images.split(at_once(images, CHUNK, CHUNK_VALUES))
            ]
        features, logits = (torch.cat(parts) for parts in zip(*chunks, strict=True))
        return {"features": features, "log_probs": logits.log_softmax(dim=1)}


def network_input(pixels: Tensor) -> Tensor:
    """Turn uint8 [B, 3, H, W] into float32 [B, 3, 299, 299], shifted and scaled as the network expects."""
    x = resized(pixels, SIDE).sub_(MIDDLE).div_(HALF_RANGE)
    # oneDNN's convolutions take it as it lies then, in three quarters of the time.
    return x.contiguous(memory_format=torch.channels_last) if x.device.type == "cpu" else x


def resized(pixels: Tensor, side: int) -> Tensor:
    """Return images with another side, as TensorFlow 1 has them: bilinear, corners not aligned.

    Pixel i of n is what was at i / n of the old side, counted from the middle of its first pixel: torch's own
    function puts middles of pixels onto one another. What is made smaller is not smoothed before. Along the
    rows first, in float32, by TensorFlow's operations, so that every number is the same.

    Args:
        pixels: [B, C, H, W], of any type.
        side: height and width to bring them to.

    Returns:
        Float32 [B, C, side, side], on the scale of the pixels.
    """
    return _stretched(_stretched(pixels, 3, side), 2, side)


def _stretched(x: Tensor, dim: int, size: int) -> Tensor:
    """Return x with `size` entries along `dim`, each between two that it has, float32."""
    place = torch.arange(size, dtype=torch.float32, device=x.device) * (x.shape[dim] / size)
    below = place.long()
    share = (place - below).view(-1, *[1] * (x.ndim - 1 - dim))
    low = x.index_select(dim, below).float()
    high = x.index_select(dim, (below + 1).clamp_(max=x.shape[dim] - 1)).float()
    return low.add_(high.sub_(low).mul_(share))


def inception(train: TrainingImages, device: torch.device, *, watch: Watch = unwatched) -> Inception:
    """Return the network with its published weights, which are fetched once.

    Args:
        train: images like those that it will be given; nothing is learned from them.
        device: where it is to run.
        watch: sees nothing: the download has a bar of its own.

    Raises:
        UserError: the images are not in colour; or the weights cannot be had, or are not those.
    """
    check_images(NAME, train.images.shape[1:])
    with torch.device("meta"):
        network = InceptionV3()
    shapes = {name: value.shape for name, value in network.state_dict().items() if not name.endswith(COUNTER)}
    network.load_state_dict(published_weights(WEIGHTS, shapes, OTHERWISE), strict=False, assign=True)
    return Inception(network, WEIGHTS.checksum).to(device)


def inception_widths(train: TrainingImages) -> dict[str, int]:
    """Return D and K by the names of the outputs.

    Raises:
        UserError: the images are not in colour.
    """
    check_images(NAME, train.images.shape[1:])
    return {"features": FEATURES, "log_probs": CLASSES}
