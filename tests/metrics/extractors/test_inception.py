"""The FID's network: another implementation, TensorFlow's resizing pixel by pixel, refusals of one line."""

import hashlib
import math
import socket
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import environment
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks import peers
from benchmarks.cases.inception_features import random_weights, their_network
from benchmarks.comparison import Absent
from triptych.data.dataset import ImageSet
from triptych.downloads import PublishedFile
from triptych.errors import UserError
from triptych.metrics.extractors import inception as module
from triptych.metrics.extractors.inception import (
    COUNTER,
    WEIGHTS,
    Inception,
    inception,
    inception_widths,
    network_input,
    resized,
)
from triptych.metrics.extractors.inception_layers import (
    CLASSES,
    FEATURES,
    LARGEST,
    InceptionV3,
    Mixed,
    pooled,
)

CPU = torch.device("cpu")
SIZES = [(8, 8), (32, 32), (64, 64), (299, 299), (40, 24), (310, 400)]


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    return random_weights()


def network_of(weights: dict[str, Tensor]) -> InceptionV3:
    made = InceptionV3()
    made.load_state_dict(weights)
    return made


@pytest.fixture(scope="module")
def extractor(weights: dict[str, Tensor]) -> Inception:
    return Inception(network_of(weights), "of random weights")


@pytest.fixture(scope="module")
def peer() -> peers.Peer:
    """The file of torch-fidelity; where the set-up ran with the tests' extra, nothing excuses its absence."""
    found = peers.torch_fidelity(None)
    if isinstance(found, Absent):
        stamp = environment.Stamp.read(Path(sys.prefix))
        assert stamp is None or not set(environment.APART) & set(stamp.extras), found.why
        pytest.skip(found.why)
    return found


@pytest.fixture(scope="module")
def theirs(peer: peers.Peer, weights: dict[str, Tensor]) -> nn.Module:
    return their_network(peer, weights)


def noise(count: int, height: int = 32, width: int | None = None, channels: int = 3) -> Tensor:
    """Images that differ: each is noise in a range of its own."""
    generator = torch.Generator().manual_seed(height)
    shape = (count, channels, height, width or height)
    most = torch.linspace(256, 90, count)[:, None, None, None]
    return (torch.rand(shape, generator=generator) * most).to(torch.uint8)


def like(images: Tensor) -> ImageSet:
    return ImageSet("noise", images, torch.zeros(len(images), dtype=torch.int64), ("all",))


def apart(found: Tensor, expected: Tensor) -> float:
    """The largest difference of an image, in units of how far its numbers are spread."""
    return float(((found - expected).abs().amax(1) / expected.std(1)).max())


@pytest.mark.parametrize("size", SIZES)
def test_features_and_probabilities_are_those_of_torch_fidelity(
    extractor: Inception, theirs: nn.Module, size: tuple[int, int]
):
    images = noise(2, *size)
    features, logits = theirs(images)
    found = extractor(images)
    assert apart(features[1:], features[:1]) > 0.1  # images are told apart at all
    assert apart(found["features"], features) < 1e-4
    assert apart(found["log_probs"], logits.log_softmax(1)) < 1e-4
    torch.testing.assert_close(found["log_probs"].exp().sum(1), torch.ones(2))


def test_logits_are_those_without_a_bias(extractor: Inception, theirs: nn.Module):
    x = network_input(noise(1))
    with torch.no_grad():
        features, logits = extractor.network(x)
    torch.testing.assert_close(logits, features @ extractor.network.fc.weight.T)
    assert apart(logits, theirs(noise(1))[1]) < 1e-4
    assert apart(logits + extractor.network.fc.bias, theirs(noise(1))[1]) > 1e-3


def test_folded_norms_change_nothing(extractor: Inception, weights: dict[str, Tensor]):
    x = network_input(noise(2))
    with torch.no_grad():
        whole = network_of(weights).eval()(x)
        folded = extractor.network(x)
    assert not [layer for layer in extractor.modules() if isinstance(layer, nn.BatchNorm2d)]
    for one, other in zip(folded, whole, strict=True):
        assert apart(one, other) < 1e-4


def test_averages_are_of_pixels_inside_the_image_alone_and_may_come_after_the_convolution():
    torch.manual_seed(0)
    block = Mixed(5, (pooled(7),)).eval()
    layer = block.get_submodule("branch_pool")
    for tensor in (layer.bn.running_mean, layer.bn.bias):
        nn.init.normal_(tensor)
    x = torch.randn(2, 5, 4, 6)
    expected = torch.zeros(2, 7, 4, 6)
    for row in range(4):
        for column in range(6):
            window = x[:, :, max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]
            single = layer.conv(window.mean(dim=(2, 3), keepdim=True))
            expected[:, :, row, column] = layer.bn(single)[:, :, 0, 0].clamp(min=0)
    assert 0.2 < float((expected > 0).float().mean()) < 0.8
    torch.testing.assert_close(block(x), expected)


def test_the_last_block_takes_the_largest_neighbour_before_the_convolution():
    torch.manual_seed(0)
    block = Mixed(5, (LARGEST,)).eval()
    layer = block.get_submodule("branch_pool")
    x = torch.randn(2, 5, 4, 4)
    within = F.pad(x, (1, 1, 1, 1), value=-math.inf)
    largest = within.unfold(2, 3, 1).unfold(3, 3, 1).amax(dim=(4, 5))
    torch.testing.assert_close(block(x), layer.bn(layer.conv(largest)).clamp(min=0))


def between(line: list[int], place: Fraction) -> float:
    """What lies at a place between the first pixel, at 0, and the last; beyond that the last goes on."""
    below = math.floor(place)
    above = min(below + 1, len(line) - 1)
    share = place - below
    return float((1 - share) * line[below] + share * line[above])


@pytest.mark.parametrize(("height", "width", "side"), [(4, 6, 11), (9, 5, 4), (1, 3, 5), (8, 8, 8)])
def test_images_are_resized_as_by_tensorflow_1(height: int, width: int, side: int):
    (image,) = noise(1, height, width, channels=2)
    found = resized(image[None], side)
    assert found.shape == (1, 2, side, side)
    assert found.dtype == torch.float32
    for channel, plane in enumerate(image.tolist()):
        for row in range(side):
            for column in range(side):
                along = [between(line, Fraction(column * width, side)) for line in plane]
                expected = between(along, Fraction(row * height, side))
                assert float(found[0, channel, row, column]) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("size", SIZES)
def test_every_number_of_the_resized_image_is_that_of_torch_fidelity(peer: peers.Peer, size: tuple[int, int]):
    images = noise(2, *size)
    theirs = peer.module.interpolate_bilinear_2d_like_tensorflow1x
    expected = theirs(images.float(), size=(299, 299), align_corners=False)
    assert torch.equal(resized(images, 299), expected)
    assert torch.equal(network_input(images), (expected - 128) / 128)


def test_what_torch_itself_makes_of_a_size_is_another_thing():
    images = noise(1)
    for corners in (False, True):
        other = F.interpolate(images.float(), (299, 299), mode="bilinear", align_corners=corners)
        assert float((other - resized(images, 299)).abs().mean()) > 1


def test_the_network_has_the_layout_of_the_published_file(peer: peers.Peer, weights: dict[str, Tensor]):
    with torch.device("meta"):
        ours = InceptionV3()
    shapes = {name: value.shape for name, value in ours.state_dict().items()}
    theirs = their_network(peer, weights).state_dict()
    assert shapes == {name: value.shape for name, value in theirs.items()}


def test_the_network_has_the_size_of_the_published_file():
    with torch.device("meta"):
        made = InceptionV3()
    assert len(made.state_dict()) == 566
    assert sum(value.numel() for value in made.parameters()) == 23_850_960
    numbers = sum(value.numel() for name, value in made.state_dict().items() if not name.endswith(COUNTER))
    assert 0 < WEIGHTS.size - 4 * numbers < 1e-3 * WEIGHTS.size
    assert WEIGHTS.checksum.startswith(WEIGHTS.name.removesuffix(".pth").rpartition("-")[2])


@pytest.mark.parametrize(("chunk", "values"), [(1, 2**24), (3, 2**24), (32, 1)])
def test_an_image_has_the_same_features_in_any_batch(
    extractor: Inception, chunk: int, values: int, monkeypatch: pytest.MonkeyPatch
):
    images = noise(4)
    whole = extractor(images)
    monkeypatch.setattr(module, "CHUNK", chunk)
    monkeypatch.setattr(module, "CHUNK_VALUES", values)
    for name, rows in extractor(images).items():
        assert apart(rows, whole[name]) < 1e-4
    for name, rows in extractor(images[2:3]).items():
        assert apart(rows, whole[name][2:3]) < 1e-4


def test_no_images_have_no_features(extractor: Inception):
    shapes = {name: tuple(rows.shape) for name, rows in extractor(noise(1)[:0]).items()}
    assert shapes == {"features": (0, FEATURES), "log_probs": (0, CLASSES)}


def test_features_escape_a_callers_autocast_and_faster_products(
    extractor: Inception, monkeypatch: pytest.MonkeyPatch
):
    met, forward = [], extractor.network.forward

    def watched(x: Tensor) -> tuple[Tensor, Tensor]:
        met.append((torch.is_autocast_enabled("cpu"), torch.get_float32_matmul_precision(), x.dtype))
        return forward(x)

    monkeypatch.setattr(extractor.network, "forward", watched)
    plain = extractor(noise(2))
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", torch.bfloat16):
            inside = extractor(noise(2))
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    assert met == [(False, "highest", torch.float32)] * 2
    for name, rows in plain.items():
        assert inside[name].dtype == torch.float32
        assert torch.equal(inside[name], rows)


def refused(told: str, make: Callable[..., object], *arguments: object) -> None:
    with pytest.raises(UserError, match=told) as caught:
        make(*arguments)
    assert len(str(caught.value).splitlines()) == 1


def test_grey_images_are_refused(extractor: Inception):
    grey = noise(2, channels=1)
    for make, arguments in (
        (extractor, (grey,)),
        (inception_widths, (like(grey),)),
        (inception, (like(grey), CPU)),
    ):
        refused("they have 1 channel; it takes colour images", make, *arguments)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.int64])
def test_pixels_that_are_no_bytes_are_refused(extractor: Inception, dtype: torch.dtype):
    refused(f"their pixels are {dtype}; give uint8, from 0 to 255", extractor, noise(1).to(dtype))


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An address at which nothing answers, and an empty cache."""
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path))
    monkeypatch.setenv("no_proxy", "*")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"http://127.0.0.1:{taken.getsockname()[1]}/weights.pth"


def put(url: str, weights: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch) -> PublishedFile:
    """Write weights where downloads lie, and make them those that are published."""
    path = PublishedFile(url, 0, "sha256", "").path
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(weights, path)
    content = path.read_bytes()
    file = PublishedFile(url, len(content), "sha256", hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(module, "WEIGHTS", file)
    return file


@pytest.mark.parametrize("counters", [True, False])
def test_the_published_weights_make_the_network(
    counters: bool,
    nowhere: str,
    weights: dict[str, Tensor],
    extractor: Inception,
    monkeypatch: pytest.MonkeyPatch,
):
    kept = {name: value for name, value in weights.items() if counters or not name.endswith(COUNTER)}
    published = put(nowhere, kept, monkeypatch)
    before = torch.get_rng_state()
    made = inception(like(noise(1)), CPU)
    assert torch.equal(torch.get_rng_state(), before)
    assert not any(value.requires_grad for value in made.parameters())
    assert (made.name, made.sha256) == ("inception", published.checksum)
    found, expected = made(noise(1)), extractor(noise(1))
    assert {name: rows.shape[1] for name, rows in found.items()} == inception_widths(like(noise(1)))
    for name, rows in found.items():
        assert torch.equal(rows, expected[name])


def test_weights_of_another_network_are_refused(
    nowhere: str, weights: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
):
    put(nowhere, {name: value for name, value in weights.items() if name.startswith("Conv")}, monkeypatch)
    told = (
        r"447 of 472 tensors do not fit, Mixed_5b.branch1x1.conv.weight has shape None for \(64, 192, 1, 1\)"
    )
    refused(f"{told}; delete it", inception, like(noise(1)), CPU)
    put(nowhere, weights | {"fc.weight": torch.zeros(1000, 2048)}, monkeypatch)
    told = r"1 of 472 tensors do not fit, fc.weight has shape \(1000, 2048\) for \(1008, 2048\); delete it"
    refused(told, inception, like(noise(1)), CPU)


@pytest.mark.parametrize("damage", ["a byte", "the end", "all of it"])
def test_a_damaged_file_is_refused(damage: str, nowhere: str, monkeypatch: pytest.MonkeyPatch):
    published = put(nowhere, {"fc.weight": torch.randn(1008, 20)}, monkeypatch)
    content = bytearray(published.path.read_bytes())
    middle = len(content) // 2
    content[middle] ^= 1
    left = {"a byte": content, "the end": content[:middle], "all of it": b"<html>not found</html>"}[damage]
    published.path.write_bytes(left)
    refused(f"{published.path}: it is not the published file .* delete it", inception, like(noise(1)), CPU)
    assert published.path.read_bytes() == left  # put there by hand, perhaps: not ours to delete


def test_without_a_network_it_says_which_file_from_where_and_where_to_put_it(
    nowhere: str, monkeypatch: pytest.MonkeyPatch
):
    published = put(nowhere, {}, monkeypatch)
    published.path.unlink()
    told = (
        f"download {nowhere}: Connection refused; try again, put weights.pth at {published.path} by hand, "
        "or leave the metrics of inception out"
    )
    refused(told, inception, like(noise(1)), CPU)
