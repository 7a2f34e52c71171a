"""LPIPS: the paper's formula, pair by pair, and another implementation; and refusals of one line."""

import hashlib
import importlib
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from triptych.data.dataset import ImageSet
from triptych.downloads import PublishedFile
from triptych.errors import UserError
from triptych.images import to_network
from triptych.metrics.diversity import ClassDiversity, pairs_within_class
from triptych.metrics.extractors import lpips as module
from triptych.metrics.extractors.lpips import (
    LPIPS,
    NETWORKS,
    lpips,
    lpips_vgg,
    lpips_vgg_widths,
    lpips_widths,
    published_lpips,
)
from triptych.metrics.features import FeatureSet

MAKERS = {"lpips": (lpips, lpips_widths), "lpips_vgg": (lpips_vgg, lpips_vgg_widths)}
BUNDLED = {"lpips": "alex", "lpips_vgg": "vgg"}
CPU = torch.device("cpu")

# By the papers' tables: each convolution's stride, padding, and the window and stride of pooling before it.
ALEXNET = [(4, 2, None), (1, 2, (3, 2)), (1, 1, (3, 2)), (1, 1, None), (1, 1, None)]
VGG = [(1, 1, (2, 2) if number in (2, 4, 7, 10) else None) for number in range(13)]
PLANS = {"lpips": (ALEXNET, (0, 1, 2, 3, 4)), "lpips_vgg": (VGG, (1, 3, 6, 9, 12))}


def random_lpips(name: str) -> LPIPS:
    """An LPIPS whose activations neither die out nor grow, and whose heads are not negative."""
    with torch.device("meta"):
        made = LPIPS(name)
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for key, value in made.state_dict().items():
        drawn = torch.randn(value.shape, generator=generator)
        fan_in = value[0].numel()
        weights[key] = drawn.abs() if key.startswith("lin") else drawn * (2 / max(fan_in, 20)) ** 0.5
    made.load_state_dict(weights, assign=True)
    return made.eval().requires_grad_(False)


@pytest.fixture(scope="module", params=list(NETWORKS))
def extractor(request: pytest.FixtureRequest) -> LPIPS:
    return random_lpips(request.param)


def noise(count: int, side: int = 32, channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(count)
    return torch.randint(0, 256, (count, channels, side, side), generator=generator, dtype=torch.uint8)


def like(images: Tensor) -> ImageSet:
    return ImageSet("noise", images, torch.zeros(len(images), dtype=torch.int64), ("all",))


def activations(extractor: LPIPS, image: Tensor) -> list[Tensor]:
    """What the layers that are read make of one image, float64 [C, H, W], by the papers' tables."""
    plan, read = PLANS[extractor.name]
    tensors = [value.double() for key, value in extractor.state_dict().items() if "features" in key]
    x = 2 * image.double() / 255 - 1
    mean, deviation = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    x = (x - mean.double()[:, None, None]) / deviation.double()[:, None, None]
    found = []
    for number, (stride, padding, pool) in enumerate(plan):
        if pool:
            x = F.max_pool2d(x[None], *pool)[0]
        weight, bias = tensors[2 * number : 2 * number + 2]
        x = F.conv2d(x[None], weight, bias, stride, padding)[0].clamp(min=0)
        if number in read:
            found.append(x)
    return found


def paper(extractor: LPIPS, a: Tensor, b: Tensor) -> float:
    """Equation 1 of the paper, of two images, position by position."""
    total = 0.0
    for number, (fa, fb) in enumerate(zip(activations(extractor, a), activations(extractor, b), strict=True)):
        weights = extractor.state_dict()[f"lin{number}"].double()
        _, height, width = fa.shape
        for h in range(height):
            for w in range(width):
                ya, yb = (f[:, h, w] / (f[:, h, w].norm() + 1e-10) for f in (fa, fb))
                total += float((weights * (ya - yb) ** 2).sum()) / (height * width)
    return total


def distance(extractor: LPIPS, a: Tensor, b: Tensor) -> float:
    first, second = extractor(torch.stack([a, b]))["lpips"].double()
    return float((first - second).square().sum())


@pytest.mark.parametrize("side", [32, 45])
def test_the_squared_distance_of_two_vectors_is_the_papers_distance(extractor: LPIPS, side: int):
    images = noise(3, side)
    darker = images[0] // 2
    for a, b in ((images[0], images[1]), (images[1], images[2]), (images[0], darker)):
        expected = paper(extractor, a, b)
        assert expected > 1e-2
        assert distance(extractor, a, b) == pytest.approx(expected, rel=1e-5)


@pytest.fixture
def elsewhere() -> ModuleType:
    return importlib.import_module("torchmetrics.functional.image.lpips")


@pytest.mark.parametrize("name", list(NETWORKS))
def test_it_agrees_with_torchmetrics_and_the_published_heads(
    name: str, elsewhere: ModuleType, monkeypatch: pytest.MonkeyPatch
):
    extractor = random_lpips(name)
    trunk = NETWORKS[name].layers()
    trunk.load_state_dict(extractor.features.state_dict())
    for layer in trunk:
        if isinstance(layer, nn.ReLU):
            layer.inplace = False
    monkeypatch.setattr(elsewhere, "_get_tv_model_features", lambda net, pretrained: trunk)
    theirs = elsewhere._LPIPS(pretrained=True, net=BUNDLED[name], pnet_rand=True)
    for number in range(5):
        extractor.get_buffer(f"lin{number}").copy_(theirs.lins[number].model[1].weight.flatten())
    a, b = noise(4), noise(5)[:4]
    expected = theirs(to_network(a), to_network(b)).flatten().double()
    found = (extractor(a)["lpips"].double() - extractor(b)["lpips"].double()).square().sum(dim=1)
    assert float(expected.min()) > 0.01
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("name", list(NETWORKS))
def test_the_published_heads_are_those_that_others_bundle(name: str, elsewhere: ModuleType):
    path = Path(elsewhere.__file__).parent / "lpips_models" / f"{BUNDLED[name]}.pth"
    heads = NETWORKS[name].heads
    content = path.read_bytes()
    assert heads.name == path.name
    assert (len(content), hashlib.sha256(content).hexdigest()) == (heads.size, heads.checksum)
    weights = torch.load(path, map_location="cpu", weights_only=True)
    assert [len(value.flatten()) for value in weights.values()] == list(NETWORKS[name].channels)
    assert all(bool((value >= 0).all()) for value in weights.values())


@pytest.mark.parametrize("name", list(NETWORKS))
def test_the_published_name_holds_the_beginning_of_the_checksum(name: str):
    trunk = NETWORKS[name].trunk
    assert trunk.checksum.startswith(trunk.name.removesuffix(".pth").rpartition("-")[2])


def test_equal_images_have_none_and_order_does_not_matter(extractor: LPIPS):
    a, b = noise(2)
    assert distance(extractor, a, a.clone()) == 0
    assert distance(extractor, a, b) == distance(extractor, b, a) > 0


def test_where_a_network_sees_nothing_it_gives_no_number_but_zero():
    extractor = random_lpips("lpips")
    for key, value in extractor.state_dict().items():
        if key.endswith("bias"):
            value.fill_(-100.0)
    rows = extractor(noise(2))["lpips"]
    assert bool((rows == 0).all())


@pytest.mark.parametrize("values", [1, 3 * 32 * 32 * 2, 10**9])
def test_an_image_has_the_same_vector_in_any_batch(
    extractor: LPIPS, values: int, monkeypatch: pytest.MonkeyPatch
):
    images = noise(5)
    whole = extractor(images)["lpips"]
    monkeypatch.setattr(module, "CHUNK_VALUES", values)
    torch.testing.assert_close(extractor(images)["lpips"], whole, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(extractor(images[3:4])["lpips"][0], whole[3], rtol=1e-4, atol=1e-6)


def test_vectors_escape_a_callers_autocast(extractor: LPIPS):
    images = noise(2)
    with torch.autocast("cpu", torch.bfloat16):
        inside = extractor(images)["lpips"]
    assert inside.dtype == torch.float32
    assert torch.equal(inside, extractor(images)["lpips"])


@pytest.mark.parametrize("name", list(NETWORKS))
def test_how_long_its_vectors_will_be_is_known_before_it_is_fetched(name: str):
    for images in (noise(2), noise(2, 50)):
        rows = random_lpips(name)(images)["lpips"]
        assert MAKERS[name][1](like(images)) == {"lpips": rows.shape[1]}
    assert MAKERS[name][1](like(noise(2)))["lpips"] == {"lpips": 5_760, "lpips_vgg": 124_928}[name]


def test_no_images_have_no_vectors(extractor: LPIPS):
    assert extractor(noise(2)[:0])["lpips"].shape == (0, extractor(noise(2))["lpips"].shape[1])


def test_its_diversity_is_the_mean_lpips_of_pairs_of_one_class():
    extractor = random_lpips("lpips")
    images, labels = noise(8), torch.arange(8) % 2
    metric = ClassDiversity("lpips_diversity", "lpips", feature="lpips", squared=True, pairs_per_image=2)
    features = FeatureSet({metric.feature})
    features.add(extractor(images), labels, torch.arange(8))
    pairs = pairs_within_class(torch.arange(8), labels, 2)
    expected = [paper(extractor, images[a], images[b]) for a, b in zip(*pairs, strict=True)]
    assert metric(features, features).estimate == pytest.approx(sum(expected) / len(expected), rel=1e-5)


def refused(told: str, make: Callable[..., object], *arguments: object) -> None:
    with pytest.raises(UserError, match=told) as caught:
        make(*arguments)
    assert len(str(caught.value).splitlines()) == 1


def test_grey_images_are_refused(extractor: LPIPS):
    maker, widths = MAKERS[extractor.name]
    grey = noise(2, channels=1)
    refused("they have 1 channel; it takes colour images", extractor, grey)
    refused("they have 1 channel; it takes colour images", widths, like(grey))
    refused("they have 1 channel; it takes colour images", maker, like(grey), CPU)


def test_images_that_are_too_small_for_the_network_are_refused(extractor: LPIPS):
    maker, widths = MAKERS[extractor.name]
    least = extractor.network.least
    assert bool(extractor(noise(1, least))["lpips"].isfinite().all())
    small = noise(1, least - 1)
    with pytest.raises(RuntimeError, match="too small"):
        extractor.vectors(to_network(small))
    told = f"they have {least - 1}x{least - 1} pixels; its network takes images of at least {least} pixels"
    refused(told, extractor, small)
    refused(told, widths, like(small))
    refused(told, maker, like(small), CPU)


class Published:
    """The two files of a stand-in, where downloads lie; nothing answers where they come from."""

    def __init__(self, name: str, url: str, monkeypatch: pytest.MonkeyPatch):
        self.name, self.url, self.monkeypatch = name, url, monkeypatch
        self.extractor = random_lpips(name)
        state = self.extractor.state_dict()
        self.trunk = {key: value for key, value in state.items() if key.startswith("features")}
        self.trunk["classifier.6.bias"] = torch.zeros(1000)  # of the published network, and not of the trunk
        self.heads = {f"lin{n}.model.1.weight": state[f"lin{n}"][None, :, None, None] for n in range(5)}

    def put(self) -> None:
        """Write the files, and make them those that are known by their checksums."""
        kept = {}
        for part, weights in (("trunk", self.trunk), ("heads", self.heads)):
            there = PublishedFile(f"{self.url}/{self.name}-{part}.pth", 0, "sha256", "")
            there.path.parent.mkdir(parents=True, exist_ok=True)
            torch.save(weights, there.path)
            content = there.path.read_bytes()
            kept[part] = replace(there, size=len(content), checksum=hashlib.sha256(content).hexdigest())
        self.monkeypatch.setitem(NETWORKS, self.name, replace(NETWORKS[self.name], **kept))

    def made(self) -> LPIPS:
        return MAKERS[self.name][0](like(noise(1)), CPU)


@pytest.fixture(params=list(NETWORKS))
def published(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Published:
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path))
    monkeypatch.setenv("no_proxy", "*")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    return Published(request.param, f"http://127.0.0.1:{port}", monkeypatch)


def test_the_published_weights_make_the_network(published: Published):
    published.put()
    made = published.made()
    assert made.name == published.name
    assert not any(value.requires_grad for value in made.parameters())
    assert torch.equal(made(noise(2))["lpips"], published.extractor(noise(2))["lpips"])
    assert len(made.sha256) == 64
    assert made.sha256 == published.extractor.sha256


def test_its_hash_is_of_the_trunk_and_of_the_heads():
    hashes = {random_lpips("lpips").sha256}
    for key in ("features.0.bias", "lin4"):
        changed = random_lpips("lpips")
        changed.state_dict()[key][0] += 1
        hashes.add(changed.sha256)
    assert len(hashes) == 3


def test_to_make_it_draws_nothing_from_a_callers_generator(published: Published):
    published.put()
    before = torch.get_rng_state()
    published.made()
    assert torch.equal(torch.get_rng_state(), before)


def test_weights_of_another_network_are_refused(published: Published):
    del published.trunk["features.0.bias"]
    published.put()
    refused("1 of .* tensors do not fit, features.0.bias has shape None for", published.made)
    published.trunk["features.0.bias"] = torch.zeros(7)
    published.put()
    refused(r"features.0.bias has shape \(7,\) for \(64,\); delete it", published.made)


@pytest.mark.parametrize("value", [-1e-3, float("nan")])
def test_heads_that_make_no_distance_are_refused(value: float, published: Published):
    published.heads["lin2.model.1.weight"][0, 5] = value
    published.put()
    refused("lin2.model.1.weight has weights that are negative or no numbers", published.made)


def test_a_damaged_file_is_refused(published: Published):
    published.put()
    path = NETWORKS[published.name].heads.path
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    refused(f"{path.name}: it is not the published file .* delete it", published.made)


def test_without_a_network_it_says_what_to_do(published: Published):
    published.put()
    path = NETWORKS[published.name].trunk.path
    path.unlink()
    refused(
        f"Connection refused; try again, put {path.name} at .* by hand, or leave LPIPS out", published.made
    )


def test_it_is_called_after_its_network():
    assert [LPIPS(name).name for name in NETWORKS] == ["lpips", "lpips_vgg"]
    with pytest.raises(KeyError):
        published_lpips("lpips_squeeze", like(noise(1)), CPU)
