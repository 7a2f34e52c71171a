"""LPIPS, the learned perceptual distance of two images, as a vector of each image.

The Unreasonable Effectiveness of Deep Features as a Perceptual Metric, R. Zhang, P. Isola, A. A. Efros,
E. Shechtman and O. Wang, 2018, equation 1, in the authors' version 0.1: networks trained on ImageNet, and a
linear head on each of five layers, fitted to human judgements of patches. The distance of images a and b is

    LPIPS(a, b) = sum_l 1 / (H_l W_l) sum_hw sum_c w_lc (f^a_lchw - f^b_lchw)^2

with activations f of unit length along the channels. As no w is negative, it is the squared Euclidean
distance of two vectors, one of each image: all sqrt(w_lc / (H_l W_l)) f_lchw side by side. So an image goes
through the network once, whatever the number of images that it is compared with.

Letters: B images, C channels, H height, W width, D numbers of a vector.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor, nn

from triptych.cache import weights_digest
from triptych.downloads import PublishedFile
from triptych.errors import UserError
from triptych.images import to_network
from triptych.metrics.extractors.extractor import TrainingImages, at_once, full_float32
from triptych.metrics.extractors.published import check_images, published_weights
from triptych.work import Watch, unwatched

SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)
"""ImageNet's mean and deviation for pixels in [-1, 1], as LPIPS rounds them."""

EPSILON = 1e-10
"""Added to the length of the channels' vector: where a network sees nothing, it is 0."""

CHUNK_VALUES = 2**19
"""Most pixels times channels per forward pass on a processor, 170 images of 32x32: bounds memory."""

OTHERWISE = "leave LPIPS out"

PUBLISHED_HEADS = (
    "https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/"
    "082bb24f84c091ea94de2867d34c4544f68e0963/lpips/weights/v0.1/"
)


@dataclass(frozen=True)
class Network:
    """A convolutional network that LPIPS looks through.

    Attributes:
        layers: make its trunk, up to the last layer that is read; numbered as torchvision numbers `features`.
        read: numbers of the layers whose output is read, all of them rectified.
        channels: of those layers.
        least: the smallest side in pixels that reaches the last of them.
        trunk: the published network, of which only the trunk is used.
        heads: the published weights of the channels.
    """

    layers: Callable[[], nn.Sequential]
    read: tuple[int, ...]
    channels: tuple[int, ...]
    least: int
    trunk: PublishedFile
    heads: PublishedFile


def _alexnet() -> nn.Sequential:
    """One weird trick for parallelizing convolutional neural networks, A. Krizhevsky, 2014."""
    rectified = partial(nn.ReLU, inplace=True)
    pool = partial(nn.MaxPool2d, kernel_size=3, stride=2)
    return nn.Sequential(
        *(nn.Conv2d(3, 64, 11, stride=4, padding=2), rectified(), pool()),
        *(nn.Conv2d(64, 192, 5, padding=2), rectified(), pool()),
        *(nn.Conv2d(192, 384, 3, padding=1), rectified()),
        *(nn.Conv2d(384, 256, 3, padding=1), rectified()),
        *(nn.Conv2d(256, 256, 3, padding=1), rectified()),
    )


def _vgg16() -> nn.Sequential:
    """Very Deep Convolutional Networks, K. Simonyan and A. Zisserman, 2015, table 1, column D."""
    layers: list[nn.Module] = []
    before = 3
    for stage, (width, count) in enumerate(((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))):
        if stage:
            layers.append(nn.MaxPool2d(2))
        for _ in range(count):
            layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU(inplace=True)]
            before = width
    return nn.Sequential(*layers)


NETWORKS: dict[str, Network] = {
    "lpips": Network(
        _alexnet,
        read=(1, 4, 7, 9, 11),
        channels=(64, 192, 384, 256, 256),
        least=31,
        trunk=PublishedFile(
            "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
            size=244_408_911,
            algorithm="sha256",
            checksum="7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
        ),
        heads=PublishedFile(
            f"{PUBLISHED_HEADS}alex.pth",
            size=6_009,
            algorithm="sha256",
            checksum="df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
        ),
    ),
    "lpips_vgg": Network(
        _vgg16,
        read=(3, 8, 15, 22, 29),
        channels=(64, 128, 256, 512, 512),
        least=16,
        trunk=PublishedFile(
            "https://download.pytorch.org/models/vgg16-397923af.pth",
            size=553_433_881,
            algorithm="sha256",
            checksum="397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
        ),
        heads=PublishedFile(
            f"{PUBLISHED_HEADS}vgg.pth",
            size=7_289,
            algorithm="sha256",
            checksum="a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
        ),
    ),
}
"""By the name of the extractor: AlexNet, which the authors advise for comparing images, and VGG-16."""


class LPIPS(nn.Module):
    """Turns images into vectors whose squared Euclidean distance is their LPIPS.

    Its parameters have torchvision's names; the heads are buffers `lin0` to `lin4`, each [C]. Made on torch's
    `meta` device it costs nothing, and tells how long its vectors are.

    Args:
        name: of the extractor, in NETWORKS.
    """

    def __init__(self, name: str):
        super().__init__()
        self.name = name
        self.network = NETWORKS[name]
        self.features = self.network.layers()
        for number, channels in enumerate(self.network.channels):
            self.register_buffer(f"lin{number}", torch.zeros(channels))

    @property
    def heads(self) -> list[Tensor]:
        """Weights of the channels, one tensor [C] for each layer that is read."""
        return [self.get_buffer(f"lin{number}") for number in range(len(self.network.channels))]

    def activations(self, x: Tensor) -> Iterator[Tensor]:
        """Yield the layers that are read, each [B, C, H_l, W_l], of x, float32 [B, 3, H, W] in [-1, 1]."""
        x = (x - x.new_tensor(SHIFT)[:, None, None]) / x.new_tensor(SCALE)[:, None, None]
        for number, layer in enumerate(self.features):
            x = layer(x)
            if number in self.network.read:
                yield x

    def vectors(self, x: Tensor) -> Tensor:
        """Return a vector of each image of x, float32 [B, 3, H, W] in [-1, 1]: [B, D]."""
        parts = []
        for weights, f in zip(self.heads, self.activations(x), strict=True):
            length = f.square().sum(dim=1, keepdim=True).sqrt()  # [B, 1, H_l, W_l]
            share = (weights / (f.shape[2] * f.shape[3])).sqrt()[:, None, None]  # [C, 1, 1]
            parts.append((f / (length + EPSILON) * share).flatten(1))  # [B, C H_l W_l]
        return torch.cat(parts, dim=1)

    @torch.no_grad()
    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Turn images, uint8 [B, 3, H, W], into `lpips`, float32 [B, D], at their own size.

        Raises:
            UserError: they are not in colour, or too small for the network.
        """
        check_images(self.name, images.shape[1:], self.network.least)
        size = at_once(images, values=CHUNK_VALUES)
        with full_float32(images.device):
            rows = [self.vectors(to_network(chunk)) for chunk in images.split(size)]
        return {"lpips": torch.cat(rows)}

    @cached_property
    def sha256(self) -> str:
        """Hash of the weights, of trunk and heads, hexadecimal."""
        return weights_digest(self.state_dict())


def lpips(train: TrainingImages, device: torch.device, *, watch: Watch = unwatched) -> LPIPS:
    """Return LPIPS by AlexNet; see `published_lpips`."""
    return published_lpips("lpips", train, device)


def lpips_vgg(train: TrainingImages, device: torch.device, *, watch: Watch = unwatched) -> LPIPS:
    """Return LPIPS by VGG-16, whose vectors are some twenty times as long; see `published_lpips`."""
    return published_lpips("lpips_vgg", train, device)


def lpips_widths(train: TrainingImages) -> dict[str, int]:
    """Return D of LPIPS by AlexNet: 5,760 for images of 32x32; see `vector_length`."""
    return {"lpips": vector_length("lpips", train)}


def lpips_vgg_widths(train: TrainingImages) -> dict[str, int]:
    """Return D of LPIPS by VGG-16: 124,928 for images of 32x32; see `vector_length`."""
    return {"lpips": vector_length("lpips_vgg", train)}


def published_lpips(name: str, train: TrainingImages, device: torch.device) -> LPIPS:
    """Return LPIPS with its published weights, which are fetched once.

    Args:
        name: of the extractor, in NETWORKS.
        train: images like those that it will be given; nothing is learned from them.
        device: where it is to run.

    Raises:
        UserError: the images are not in colour or too small; or the weights cannot be had, or are not those.
    """
    network = NETWORKS[name]
    check_images(name, train.images.shape[1:], network.least)
    with torch.device("meta"):
        made = LPIPS(name)
    shapes = {key: value.shape for key, value in made.named_parameters()}
    trunk = published_weights(network.trunk, shapes, OTHERWISE)
    names = [f"lin{number}.model.1.weight" for number in range(len(network.channels))]
    wanted = {key: (1, channels, 1, 1) for key, channels in zip(names, network.channels, strict=True)}
    heads = published_weights(network.heads, wanted, OTHERWISE)
    for key in names:
        if not bool((heads[key] >= 0).all()):  # asked so that what is no number is refused as well
            found = f"{key} has weights that are negative or no numbers: no distance can be made of them"
            raise UserError(str(network.heads.path), found, "delete it, and it is fetched anew")
    flat = {f"lin{number}": heads[key].flatten() for number, key in enumerate(names)}
    made.load_state_dict({**trunk, **flat}, assign=True)
    return made.eval().requires_grad_(False).to(device)


def vector_length(name: str, train: TrainingImages) -> int:
    """Return D for images like these, without weights.

    Raises:
        UserError: they are not in colour, or too small for the network.
    """
    shape = train.images.shape[1:]
    check_images(name, shape, NETWORKS[name].least)
    with torch.device("meta"):
        return LPIPS(name).vectors(torch.empty(1, *shape)).shape[1]
