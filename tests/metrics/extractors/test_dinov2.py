"""DINOv2: the network's formulas on a small stand-in, Pillow's resizing, and refusals of one line."""

import hashlib
import math
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from triptych.data.dataset import ImageSet
from triptych.downloads import PublishedFile
from triptych.errors import UserError
from triptych.metrics.extractors import dinov2 as module
from triptych.metrics.extractors.dinov2 import (
    LARGE,
    WEIGHTS,
    DINOv2,
    Size,
    dinov2,
    dinov2_widths,
    network_input,
    resized,
)

SMALL = Size(width=12, depth=2, heads=3, patch=4, grid=5, side=12)
CPU = torch.device("cpu")


def random_weights(size: Size = SMALL) -> dict[str, Tensor]:
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in DINOv2(size).state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    return {key: 0.5 * torch.randn(shape, generator=generator) for key, shape in shapes.items()}


@pytest.fixture(scope="module")
def extractor() -> DINOv2:
    made = DINOv2(SMALL)
    made.load_state_dict(random_weights())
    return made.eval().requires_grad_(False)


def noise(count: int, side: int = 32, channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(side)
    return torch.randint(0, 256, (count, channels, side, side), generator=generator, dtype=torch.uint8)


def like(images: Tensor) -> ImageSet:
    return ImageSet("noise", images, torch.zeros(len(images), dtype=torch.int64), ("all",))


def cubic(distance: float) -> float:
    """Weight of a pixel at this distance: cubic convolution, Keys 1981, with a = -0.75."""
    a, x = -0.75, abs(distance)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0


def along(before: int, after: int, scale: float) -> Tensor:
    """The matrix [after, before] that resizes a line of pixels, whose ends are repeated outwards."""
    matrix = torch.zeros(after, before, dtype=torch.float64)
    for i in range(after):
        centre = (i + 0.5) / scale - 0.5
        for j in range(math.floor(centre) - 1, math.floor(centre) + 3):
            matrix[i, min(max(j, 0), before - 1)] += cubic(centre - j)
    return matrix


def norm(x: Tensor, weights: dict[str, Tensor], name: str) -> Tensor:
    centred = x - x.mean()
    scaled = centred / (centred.square().mean() + 1e-6).sqrt()
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def linear(x: Tensor, weights: dict[str, Tensor], name: str) -> Tensor:
    return weights[f"{name}.weight"] @ x + weights[f"{name}.bias"]


def attention(tokens: list[Tensor], weights: dict[str, Tensor], name: str, heads: int) -> list[Tensor]:
    width = len(tokens[0])
    each = width // heads
    qkv = [linear(token, weights, f"{name}.qkv") for token in tokens]
    out = []
    for asking in qkv:
        gathered = []
        for head in range(heads):
            part = slice(head * each, (head + 1) * each)
            query = asking[:width][part]
            scores = torch.stack([query @ other[width : 2 * width][part] for other in qkv])
            shares = (scores / each**0.5).exp()
            values = torch.stack([other[2 * width :][part] for other in qkv])
            gathered.append((shares[:, None] * values).sum(0) / shares.sum())
        out.append(linear(torch.cat(gathered), weights, f"{name}.proj"))
    return out


def by_hand(weights: dict[str, Tensor], x: Tensor, size: Size) -> Tensor:
    """The class token of one image, float64 [3, H, W], token by token."""
    patches = size.side // size.patch
    same = torch.eye(patches, dtype=torch.float64)  # the program leaves positions that fit as they are
    matrix = same if patches == size.grid else along(size.grid, patches, (patches + 0.1) / size.grid)
    grid = weights["pos_embed"][0, 1:].reshape(size.grid, size.grid, size.width)
    places = torch.einsum("ih,jw,hwd->ijd", matrix, matrix, grid)
    tokens = [weights["cls_token"][0, 0] + weights["pos_embed"][0, 0]]
    kernel, bias = weights["patch_embed.proj.weight"], weights["patch_embed.proj.bias"]
    for row in range(patches):
        for column in range(patches):
            top, left = row * size.patch, column * size.patch
            patch = x[:, top : top + size.patch, left : left + size.patch]
            tokens.append((kernel * patch).sum(dim=(1, 2, 3)) + bias + places[row, column])
    for number in range(size.depth):
        name = f"blocks.{number}"
        gathered = attention(
            [norm(token, weights, f"{name}.norm1") for token in tokens], weights, f"{name}.attn", size.heads
        )
        tokens = [t + weights[f"{name}.ls1.gamma"] * g for t, g in zip(tokens, gathered, strict=True)]
        for place, token in enumerate(tokens):
            hidden = linear(norm(token, weights, f"{name}.norm2"), weights, f"{name}.mlp.fc1")
            hidden = hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5))
            tokens[place] = token + weights[f"{name}.ls2.gamma"] * linear(hidden, weights, f"{name}.mlp.fc2")
    return norm(tokens[0], weights, "norm")


@pytest.mark.parametrize("size", [SMALL, Size(width=8, depth=1, heads=2, patch=2, grid=3, side=6)])
def test_features_are_the_class_token_of_the_papers_network(size: Size):
    made = DINOv2(size)
    made.load_state_dict(random_weights(size))
    images = noise(2)
    weights = {key: value.double() for key, value in random_weights(size).items()}
    expected = [by_hand(weights, x.double(), size) for x in network_input(images, size.side)]
    torch.testing.assert_close(made(images)["features"].double(), torch.stack(expected), rtol=1e-4, atol=1e-5)


def by_pillow(images: Tensor, side: int) -> Tensor:
    pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]
    made = [np.array(picture.resize((side, side), Image.Resampling.BICUBIC)) for picture in pictures]
    return torch.from_numpy(np.stack(made)).permute(0, 3, 1, 2).float()


@pytest.mark.parametrize(("side", "share"), [(28, 0.0), (32, 5e-4), (64, 1e-2), (224, 0.0), (300, 1e-3)])
def test_images_are_resized_as_by_pillow(side: int, share: float):
    images = noise(4, side)
    apart = (resized(images, 224) - by_pillow(images, 224)).abs()
    assert float(apart.max()) <= 2
    assert float((apart > 0).double().mean()) <= share


def test_the_input_is_in_units_of_imagenets_deviations():
    grey = torch.full((1, 3, 32, 32), 128, dtype=torch.uint8)
    x = network_input(grey, 56)
    assert x.shape == (1, 3, 56, 56)
    for channel, (mean, deviation) in enumerate(((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))):
        expected = torch.full((56, 56), (128 / 255 - mean) / deviation)
        torch.testing.assert_close(x[0, channel], expected)


def test_the_large_network_has_the_size_of_the_published_file():
    with torch.device("meta"):
        made = DINOv2(LARGE)
    bytes_of_weights = 4 * (
        sum(value.numel() for value in made.parameters()) + LARGE.width
    )  # and a mask token
    assert 0 < WEIGHTS.size - bytes_of_weights < 1e-4 * WEIGHTS.size
    assert len(made.state_dict()) == 342


@pytest.mark.parametrize("chunk", [1, 2, 32])
def test_an_image_has_the_same_features_in_any_batch(
    extractor: DINOv2, chunk: int, monkeypatch: pytest.MonkeyPatch
):
    images = noise(5)
    whole = extractor(images)["features"]
    monkeypatch.setattr(module, "CHUNK", chunk)
    torch.testing.assert_close(extractor(images)["features"], whole, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(extractor(images[3:4])["features"][0], whole[3], rtol=1e-4, atol=1e-5)


def test_features_escape_a_callers_autocast(extractor: DINOv2):
    with torch.autocast("cpu", torch.bfloat16):
        inside = extractor(noise(2))["features"]
    assert inside.dtype == torch.float32
    assert torch.equal(inside, extractor(noise(2))["features"])


def test_no_images_have_no_features(extractor: DINOv2):
    assert extractor(noise(1)[:0])["features"].shape == (0, SMALL.width)


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PublishedFile:
    """A stand-in's weights, lying where downloads lie; nothing answers where they come from."""
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path))
    monkeypatch.setenv("no_proxy", "*")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/small.pth"
    monkeypatch.setattr(module, "LARGE", SMALL)
    return put(url, random_weights() | {"mask_token": torch.zeros(1, SMALL.width)}, monkeypatch)


def put(url: str, weights: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch) -> PublishedFile:
    path = PublishedFile(url, 0, "sha256", "").path
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(weights, path)
    content = path.read_bytes()
    file = PublishedFile(url, len(content), "sha256", hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(module, "WEIGHTS", file)
    return file


def refused(told: str, make: Callable[..., object], *arguments: object) -> None:
    with pytest.raises(UserError, match=told) as caught:
        make(*arguments)
    assert len(str(caught.value).splitlines()) == 1


def test_the_published_weights_make_the_network(published: PublishedFile, extractor: DINOv2):
    before = torch.get_rng_state()
    made = dinov2(like(noise(1)), CPU)
    assert torch.equal(torch.get_rng_state(), before)
    assert not any(value.requires_grad for value in made.parameters())
    assert torch.equal(made(noise(2))["features"], extractor(noise(2))["features"])
    assert (made.name, made.sha256) == ("dinov2", extractor.sha256)
    assert dinov2_widths(like(noise(1))) == {"features": SMALL.width}


def test_weights_of_another_network_are_refused(published: PublishedFile, monkeypatch: pytest.MonkeyPatch):
    other = random_weights(Size(width=12, depth=1, heads=3, patch=4, grid=5, side=12))
    put(published.url, other, monkeypatch)
    refused("14 of 34 tensors do not fit, blocks.1.norm1.weight has", dinov2, like(noise(1)), CPU)


def test_a_damaged_file_is_refused(published: PublishedFile):
    content = bytearray(published.path.read_bytes())
    content[len(content) // 2] ^= 1
    published.path.write_bytes(content)
    refused("it is not the published file .* delete it", dinov2, like(noise(1)), CPU)


def test_without_a_network_it_says_what_to_do(published: PublishedFile):
    published.path.unlink()
    told = "Connection refused; try again, put small.pth at .* by hand, or leave FD-DINOv2 out"
    refused(told, dinov2, like(noise(1)), CPU)


def test_grey_images_are_refused(extractor: DINOv2):
    grey = noise(2, channels=1)
    for make, arguments in (
        (extractor, (grey,)),
        (dinov2_widths, (like(grey),)),
        (dinov2, (like(grey), CPU)),
    ):
        refused("they have 1 channel; it takes colour images", make, *arguments)
