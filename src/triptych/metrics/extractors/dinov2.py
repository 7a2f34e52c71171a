"""DINOv2 features: what FD-DINOv2 compares, by a network that learned from photographs without labels.

Exposing flaws of generative model evaluation metrics, G. Stein and others, 2023: of the encoders compared in
it, the one whose Fréchet distance agrees best with people. The network is that of DINOv2: Learning Robust
Visual Features without Supervision, M. Oquab and others, 2023, ViT-L/14 as it was published (Apache 2.0); the
feature is its class token. An image costs some 80 billion multiplications, seconds on a processor: this is
meant for a GPU.

Letters: B images, C channels, H height, W width, T tokens, D features, A heads of attention.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from triptych.cache import weights_digest
from triptych.downloads import PublishedFile
from triptych.metrics.extractors.extractor import TrainingImages, at_once, full_float32
from triptych.metrics.extractors.published import COLOURS, check_images, published_weights
from triptych.work import Watch, unwatched

NAME = "dinov2"

WEIGHTS = PublishedFile(
    "https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth",
    size=1_217_586_395,
    algorithm="sha256",
    checksum="d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428",
)

MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)
"""Of ImageNet's pixels in [0, 1], by which the network's input is shifted and scaled."""

EPSILON = 1e-6
"""Of its layer norms."""

ROUNDING = 0.1
"""Patches added to a side when positions are resized: the published program's guard against rounding down. It
moves every position a little, and so belongs to the features."""

CHUNK = 32
"""Most images per forward pass on a processor: bounds memory, whatever the caller's batch."""


@dataclass(frozen=True)
class Size:
    """Sizes of a network.

    Attributes:
        width: D.
        depth: blocks.
        heads: A, of which `width` is a multiple.
        patch: side of a patch in pixels, which is one token.
        grid: patches along a side of the images that it was trained on last, for which it has positions.
        side: that images are resized to, in pixels, a multiple of `patch`.
    """

    width: int = 1024
    depth: int = 24
    heads: int = 16
    patch: int = 14
    grid: int = 37
    side: int = 224


LARGE = Size()
"""ViT-L/14."""


class Attention(nn.Module):
    """Self-attention over all tokens."""

    def __init__(self, size: Size):
        super().__init__()
        self.heads = size.heads
        self.qkv = nn.Linear(size.width, 3 * size.width)
        self.proj = nn.Linear(size.width, size.width)

    def forward(self, x: Tensor) -> Tensor:
        """Return what each token of x, [B, T, D], gathers from all: [B, T, D]."""
        split = self.qkv(x).unflatten(2, (3, self.heads, -1))  # [B, T, 3, A, D/A]
        query, key, value = split.permute(2, 0, 3, 1, 4)  # each [B, A, T, D/A]
        gathered = F.scaled_dot_product_attention(query, key, value)  # [B, A, T, D/A]
        return self.proj(gathered.transpose(1, 2).flatten(2))  # [B, T, D]


class Mlp(nn.Module):
    """Two layers on each token by itself."""

    def __init__(self, width: int):
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map x, [B, T, D], to [B, T, D]."""
        return self.fc2(F.gelu(self.fc1(x)))


class LayerScale(nn.Module):
    """A learned factor for each feature."""

    def __init__(self, width: int):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Scale x, [B, T, D]."""
        return x * self.gamma


class Block(nn.Module):
    """A block of the vision transformer, with norms in front and scaled branches."""

    def __init__(self, size: Size):
        super().__init__()
        self.norm1 = nn.LayerNorm(size.width, EPSILON)
        self.attn = Attention(size)
        self.ls1 = LayerScale(size.width)
        self.norm2 = nn.LayerNorm(size.width, EPSILON)
        self.mlp = Mlp(size.width)
        self.ls2 = LayerScale(size.width)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens x, [B, T, D], to [B, T, D]."""
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class DINOv2(nn.Module):
    """Turns images into the class token after the last norm. Its parameters have the published names."""

    name = NAME

    def __init__(self, size: Size = LARGE):
        super().__init__()
        self.size = size
        self.cls_token = nn.Parameter(torch.zeros(1, 1, size.width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + size.grid**2, size.width))
        self.patch_embed = nn.ModuleDict(
            {"proj": nn.Conv2d(COLOURS, size.width, size.patch, stride=size.patch)}
        )
        self.blocks = nn.ModuleList(Block(size) for _ in range(size.depth))
        self.norm = nn.LayerNorm(size.width, EPSILON)

    def positions(self) -> Tensor:
        """Return the embedding of every token's position, resized to the patches of an image: [1, T, D]."""
        size = self.size
        patches = size.side // size.patch
        if patches == size.grid:
            return self.pos_embed
        scale = (patches + ROUNDING) / size.grid
        square = self.pos_embed[:, 1:].transpose(1, 2).unflatten(2, (size.grid, size.grid))
        resized = F.interpolate(
            square, scale_factor=(scale, scale), mode="bicubic"
        )  # [1, D, H, W] in patches
        return torch.cat([self.pos_embed[:, :1], resized.flatten(2).transpose(1, 2)], dim=1)

    def class_token(self, x: Tensor) -> Tensor:
        """Return the class token, [B, D], of x: float32 [B, 3, H, W] as `network_input` gives it."""
        patches = self.patch_embed["proj"](x).flatten(2).transpose(1, 2)  # [B, T - 1, D]
        tokens = torch.cat([self.cls_token.expand(len(x), -1, -1), patches], dim=1) + self.positions()
        for block in self.blocks:
            tokens = block(tokens)  # [B, T, D]
        return self.norm(tokens[:, 0])

    @torch.no_grad()
    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Turn images, uint8 [B, 3, H, W] of any size, into `features`, float32 [B, D].

        Raises:
            UserError: they are not in colour.
        """
        check_images(self.name, images.shape[1:])
        with full_float32(images.device):
            chunks = images.split(at_once(images, CHUNK))
            rows = [self.class_token(network_input(chunk, self.size.side)) for chunk in chunks]
        return {"features": torch.cat(rows)}

    @cached_property
    def sha256(self) -> str:
        """Hash of the weights, hexadecimal."""
        return weights_digest(self.state_dict())


def resized(pixels: Tensor, side: int) -> Tensor:
    """Resize uint8 [B, C, H, W] to [B, C, side, side], float32 with whole values 0..255, as Pillow would.

    Bicubic, with the filter widened where it makes smaller; along rows, then along columns, each rounded to
    pixels again: what the paper's program leaves to Pillow. A few values that lie on the border of two, 7 in
    1,000 of pure noise at the most, differ by one or two.
    """
    x = pixels.float()
    for target in ((x.shape[2], side), (side, side)):
        x = F.interpolate(x, target, mode="bicubic", antialias=True).add(0.5).floor().clamp(0, 255)
    return x


def network_input(pixels: Tensor, side: int) -> Tensor:
    """Turn uint8 [B, 3, H, W] into float32 [B, 3, side, side], shifted and scaled as the network expects."""
    x = resized(pixels, side) / 255
    return (x - x.new_tensor(MEAN)[:, None, None]) / x.new_tensor(DEVIATION)[:, None, None]


def dinov2(train: TrainingImages, device: torch.device, *, watch: Watch = unwatched) -> DINOv2:
    """Return DINOv2 with its published weights, 1.2 GB, which are fetched once.

    Args:
        train: images like those that it will be given; nothing is learned from them.
        device: where it is to run.
        watch: sees nothing: the download has a bar of its own.

    Raises:
        UserError: the images are not in colour; or the weights cannot be had, or are not those.
    """
    check_images(NAME, train.images.shape[1:])
    with torch.device("meta"):
        made = DINOv2(LARGE)
    shapes = {key: value.shape for key, value in made.named_parameters()}
    made.load_state_dict(published_weights(WEIGHTS, shapes, "leave FD-DINOv2 out"), assign=True)
    return made.eval().requires_grad_(False).to(device)


def dinov2_widths(train: TrainingImages) -> dict[str, int]:
    """Return D, 1,024; UserError for images that are not in colour."""
    check_images(NAME, train.images.shape[1:])
    return {"features": LARGE.width}
