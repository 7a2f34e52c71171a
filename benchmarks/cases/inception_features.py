"""Features and logits of images by the network of the FID: ours, and torch-fidelity's module."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from benchmarks.comparison import Absent, Call, Case, Comparison, Variant
from benchmarks.peers import Peer, torch_fidelity
from benchmarks.work import CHANNELS
from triptych.cache import weights_digest
from triptych.commands.bench import BenchOptions
from triptych.metrics.extractors import inception
from triptych.metrics.extractors.inception_layers import InceptionV3

OURS = "triptych inception"
IMAGES, QUICK_IMAGES, SIDE = 500, 2, 32
USUAL = inception.CHUNK
OTHERS = (8, 128)
"""Images at once that it might be given instead."""
THEIR_BATCH = 50
"""What torch-fidelity may be given at once: its own default is 64, which takes longer here."""


def comparisons(options: BenchOptions) -> list[Comparison]:
    """Return the one comparison of this case."""
    batch = options.batch or (QUICK_IMAGES if options.quick else IMAGES)
    peer = torch_fidelity(options.peers)

    def theirs(at_once: int) -> Variant:
        if isinstance(peer, Absent):
            return Variant(peer)
        return Variant(lambda: their_features(peer, batch, at_once), like=OURS, note=peer.note)

    others = OTHERS[:1] if options.quick else OTHERS
    variants = {
        OURS: Variant(lambda: our_features(batch), note=f"{USUAL} images at once"),
        **{f"triptych, {n} at once": Variant(lambda n=n: our_features(batch, n), like=OURS) for n in others},
        f"torch-fidelity, {THEIR_BATCH} at once": theirs(THEIR_BATCH),
    }
    return [Comparison(f"{SIDE}x{SIDE} pixels", 0, batch, OURS, variants)]


def pixels(batch: int) -> Tensor:
    """Return images that differ: noise of a colour and a strength of its own about a colour of its own."""
    draw = torch.Generator().manual_seed(0)
    colour = 255 * torch.rand(batch, CHANNELS, 1, 1, generator=draw)
    strength = 60 * torch.rand(batch, CHANNELS, 1, 1, generator=draw)
    noise = torch.randn(batch, CHANNELS, SIDE, SIDE, generator=draw)
    return (colour + strength * noise).clamp(0, 255).to(torch.uint8)


def random_weights() -> dict[str, Tensor]:
    """Return weights under which activations neither die out nor grow, with norms that do something."""
    draw = torch.Generator().manual_seed(0)
    network = InceptionV3()
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=draw)
            elif isinstance(layer, nn.BatchNorm2d):
                assert layer.running_mean is not None
                assert layer.running_var is not None
                for tensor in (layer.weight, layer.running_var):
                    tensor.uniform_(0.7, 1.4, generator=draw)
                for tensor in (layer.bias, layer.running_mean):
                    tensor.normal_(std=0.2, generator=draw)
    return network.state_dict()


def our_features(batch: int, at_once: int = USUAL) -> Call:
    """Return the extractor's features of images, of which it is given so many at once."""
    network, weights = InceptionV3(), random_weights()
    network.load_state_dict(weights)
    extractor, images = inception.Inception(network, weights_digest(weights)), pixels(batch)

    def features() -> Sequence[Tensor]:
        vars(inception)["CHUNK"] = at_once
        try:
            return tuple(extractor(images).values())
        finally:
            vars(inception)["CHUNK"] = USUAL

    return features


def their_features(peer: Peer, batch: int, at_once: int) -> Call:
    """Return the same by their module, which is given so many images at once."""
    network, images = their_network(peer, random_weights()), pixels(batch)

    @torch.no_grad()
    def features() -> Sequence[Tensor]:
        chunks = [network(chunk) for chunk in images.split(at_once)]
        found, logits = (torch.cat(parts) for parts in zip(*chunks, strict=True))
        return found, logits.log_softmax(dim=1)

    return features


def their_network(peer: Peer, weights: dict[str, Tensor]) -> nn.Module:
    """Return their module, which gives features and logits, with these weights in place of a download."""
    vars(peer.module)["load_state_dict_from_url"] = lambda *_, **__: weights
    return peer.module.FeatureExtractorInceptionV3("inception-v3-compat", ["2048", "logits_unbiased"])


CASE = Case("features of images by the network of the FID", comparisons)
