"""The same weights in diffusers' UNet2DModel and in ours: the same images and gradients."""

import pytest
import torch
from backbones.peer_unet import ours_from, peer_from, peer_of, randomise

from triptych.backbones.diffusers_tensors import OLD_NAMES, from_theirs, to_theirs
from triptych.backbones.unet import UNetConfig
from triptych.errors import UserError

SMALL = {
    "one level": (UNetConfig(width=8, multipliers=(1,), blocks=1, attention=(6,), groups=2), 1, 6),
    "no attention": (UNetConfig(width=16, multipliers=(1, 2, 3), blocks=1, attention=(), groups=4), 3, 8),
    "attention apart": (UNetConfig(width=8, multipliers=(1, 2, 2), attention=(16, 4), groups=4), 3, 16),
    "three blocks": (UNetConfig(width=8, multipliers=(1, 1), blocks=3, attention=(4,), groups=8), 4, 8),
    "heads": (UNetConfig(width=16, multipliers=(1, 2, 2), attention=(4, 2), heads=4, groups=4), 1, 8),
}
TINY = UNetConfig(width=8, multipliers=(1, 2), blocks=1, attention=(4,), groups=4, dropout=0.0)


def inputs(channels, image_size, classes, count=3):
    """Return images, steps and classes (the null class among them) to try a network on."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(count, channels, image_size, image_size, generator=generator)
    steps = torch.tensor([0.0, 417.0, 999.0])[:count]
    return x, steps, torch.tensor([0, classes, classes - 1])[:count] if classes else None


@torch.no_grad()
def differences(peer, ours, classes):
    """Return the largest difference of outputs in float32, and in float64 with one embedding of the steps."""
    x, steps, label = inputs(ours.channels, ours.image_size, classes)
    single = (ours(x, steps, label) - peer(x, steps, label).sample).abs().max()
    # Sines of angles up to 999 in float32 differ by their rounding, which is not the networks' doing.
    peer.double().time_proj = ShiftedSine(ours.noise_embedding.width)
    hook = ours.double().noise_embedding.up.register_forward_pre_hook(lambda *_: (peer.time_proj(steps),))
    double = (ours(x.double(), steps, label) - peer(x.double(), steps, label).sample).abs().max()
    hook.remove()
    return float(single), float(double)


class ShiftedSine(torch.nn.Module):
    """An embedding of steps in float64."""

    def __init__(self, width):
        super().__init__()
        self.width = width

    def forward(self, steps):
        return torch.sin(steps.double()[:, None] * 0.01 + torch.arange(self.width))


@pytest.mark.parametrize("classes", [0, 5])
@pytest.mark.parametrize("name", SMALL)
def test_small_networks_agree(name, classes):
    config, channels, image_size = SMALL[name]
    peer = randomise(peer_of(config, channels, image_size, classes))
    single, double = differences(peer, ours_from(peer), classes)
    assert single < 1e-5
    assert double < 1e-12


def test_the_network_of_35_7_million_parameters_agrees():
    peer = randomise(peer_of(UNetConfig(), 3, 32, 0))
    assert sum(p.numel() for p in peer.parameters()) == 35_746_307
    x, steps, _ = inputs(3, 32, 0, count=1)
    with torch.no_grad():
        theirs, ours = peer(x, steps + 321).sample, ours_from(peer)(x, steps + 321)
    assert theirs.std() > 0.1
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("classes", [0, 10])
def test_gradients_agree(classes):
    ours = randomise(TINY.build(3, 8, classes), seed=2)
    peer = peer_from(ours, TINY)
    x, steps, label = inputs(3, 8, classes)
    ours(x, steps, label).square().mean().backward()
    peer(x, steps, label).sample.square().mean().backward()
    theirs = {name: parameter.grad for name, parameter in peer.named_parameters()}
    mine = to_theirs({name: parameter.grad for name, parameter in ours.named_parameters()}, TINY)
    assert mine.keys() == theirs.keys()
    for name, gradient in mine.items():
        torch.testing.assert_close(gradient, theirs[name], rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("classes", [0, 5])
@pytest.mark.parametrize("name", SMALL)
def test_there_and_back_changes_no_bit(name, classes):
    config, channels, image_size = SMALL[name]
    ours = randomise(config.build(channels, image_size, classes), seed=3)
    theirs = peer_from(ours, config).state_dict()
    back = from_theirs(theirs, ours, config)
    assert back.keys() == ours.state_dict().keys()
    assert all(torch.equal(tensor, ours.state_dict()[name]) for name, tensor in back.items())


@pytest.fixture
def theirs():
    return dict(randomise(peer_of(TINY, 3, 8, 0)).state_dict())


@pytest.fixture
def network():
    with torch.device("meta"):
        return TINY.build(3, 8, 0)


def test_old_names_of_attention_are_read(theirs, network):
    older = {to: name for name, to in OLD_NAMES.items()}
    old = dict(theirs)
    for name in theirs:
        for new, former in older.items():
            if f".{new}." in name:
                old[name.replace(f".{new}.", f".{former}.")] = old.pop(name)
    assert old.keys() != theirs.keys()
    read, expected = from_theirs(old, network, TINY), from_theirs(theirs, network, TINY)
    assert all(torch.equal(read[name], expected[name]) for name in expected)


def test_half_precision_is_widened_without_loss(theirs, network):
    half = {name: tensor.half() for name, tensor in theirs.items()}
    read = from_theirs(half, network, TINY)
    assert {tensor.dtype for tensor in read.values()} == {torch.float32}
    assert torch.equal(read["conv_in.weight"].half(), half["conv_in.weight"])


BIAS = "mid_block.attentions.0.to_k.bias"


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({BIAS: None, "conv_in.bias": None}, "missing tensor 'conv_in.bias' (2 of "),
        ({"extra": torch.zeros(1), "more": torch.zeros(1)}, "unknown tensor 'extra' (2 of "),
        ({BIAS: torch.zeros(7)}, f"{BIAS} is float32 [7], not float [16] (1 of "),
        ({BIAS: torch.zeros(16, dtype=torch.int32)}, f"{BIAS} is int32 [16], not float"),
        ({BIAS: torch.zeros(16, dtype=torch.float64)}, f"{BIAS} is float64 [16], not float"),
    ],
)
def test_tensors_that_do_not_fit_are_named_and_counted(changed, told, theirs, network):
    given = {name: tensor for name, tensor in (theirs | changed).items() if tensor is not None}
    with pytest.raises(UserError) as refused:
        from_theirs(given, network, TINY)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)
