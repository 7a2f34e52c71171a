"""The UNet: the published size, a silent start, its conditions, and dropout that is a function."""

from dataclasses import replace

import pytest
import torch
from diffusers import UNet2DModel

from triptych.backbones import BACKBONES
from triptych.backbones.dropout import Dropout, DropoutKey, key_dropout
from triptych.backbones.layers import sinusoid
from triptych.backbones.unet import UNetConfig
from triptych.errors import UserError

TINY = UNetConfig(width=16, multipliers=(1, 2), blocks=1, attention=(4,), groups=4, dropout=0.0)


def awake(network, seed=0):
    """Give a fresh network's silent layers random weights, so that its output depends on everything."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return network.eval()


def parameters(network):
    return sum(p.numel() for p in network.parameters())


def test_default_size_is_ddpm_s_for_cifar10():
    ours = UNetConfig().build(3, 32, 0)
    assert parameters(ours) == 35_746_307
    peer = UNet2DModel(
        sample_size=32,
        in_channels=3,
        out_channels=3,
        layers_per_block=2,
        block_out_channels=(128, 256, 256, 256),
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=None,
        downsample_padding=0,
    )
    assert parameters(peer) == parameters(ours)
    assert parameters(UNetConfig().build(3, 32, 10)) == parameters(ours) + 11 * 512


def test_patches_are_the_same_network_on_folded_images():
    folded = awake(TINY.build(4, 8, 10))
    patched = replace(TINY, patch=2).build(1, 16, 10).eval()
    patched.load_state_dict(folded.state_dict())
    x, noise, label = torch.randn(2, 1, 16, 16), torch.tensor([3.0, 900.0]), torch.tensor([1, 10])
    squares = x.reshape(2, 8, 2, 8, 2).permute(0, 2, 4, 1, 3).reshape(2, 4, 8, 8)
    out = folded(squares, noise, label).reshape(2, 2, 2, 8, 8).permute(0, 3, 1, 4, 2).reshape(2, 1, 16, 16)
    assert torch.equal(patched(x, noise, label), out)


@pytest.mark.parametrize("kind", BACKBONES)
def test_fresh_network_predicts_zero(kind):
    config = TINY if kind == "unet" else BACKBONES[kind]()
    network = config.build(1, 8, 10)
    out = network(torch.randn(2, 1, 8, 8), torch.tensor([3.0, 900.0]), torch.tensor([1, 10]))
    assert out.shape == (2, 1, 8, 8)
    assert torch.equal(out, torch.zeros_like(out))


def test_output_depends_on_image_noise_and_class():
    network = awake(TINY.build(1, 8, 10))
    x, noise, label = torch.randn(1, 1, 8, 8), torch.tensor([5.0]), torch.tensor([2])
    base = network(x, noise, label)
    for changed in (
        network(x + 0.1, noise, label),
        network(x, noise + 100, label),
        network(x, noise, label + 1),
        network(x, noise, torch.tensor([network.null_class])),
    ):
        assert not torch.allclose(changed, base)


def test_images_of_a_batch_do_not_mix():
    network = awake(TINY.build(1, 8, 10))
    x, noise, label = torch.randn(5, 1, 8, 8), torch.rand(5) * 1000, torch.arange(5)
    together = network(x, noise, label)
    alone = torch.cat([network(x[i : i + 1], noise[i : i + 1], label[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_labels_are_asked_for_and_refused():
    x, noise = torch.zeros(1, 1, 8, 8), torch.zeros(1)
    with pytest.raises(ValueError, match="labels of 10 classes"):
        TINY.build(1, 8, 10)(x, noise)
    with pytest.raises(ValueError, match="no class labels"):
        TINY.build(1, 8, 0)(x, noise, torch.zeros(1, dtype=torch.long))
    with pytest.raises(ValueError, match="guidance"):
        TINY.build(1, 8, 0)(x, noise, None, torch.ones(1))


def test_sinusoid_is_its_formula():
    out = sinusoid(torch.tensor([0.0, 7.0]), 8).double()
    frequency = torch.tensor([10000.0 ** (-i / 3) for i in range(4)], dtype=torch.float64)
    expected = torch.cat([(7 * frequency).sin(), (7 * frequency).cos()])
    torch.testing.assert_close(out[1], expected, rtol=1e-5, atol=1e-6)
    assert out[0].tolist() == [0.0] * 4 + [1.0] * 4


@pytest.mark.parametrize(
    "fields",
    [
        {"multipliers": (1, 2, 2, 2, 2)},
        {"patch": 0},
        {"patch": 3},
        {"groups": 5},
        {"heads": 3},
        {"heads": 0},
        {"groups": 0},
        {"width": 9, "groups": 3},
        {"width": 3, "groups": 1},
        {"width": 2, "groups": 1},
        {"width": 1, "groups": 1},
        {"width": 0, "groups": 1},
        {"width": -8, "groups": 1},
        {"blocks": 0},
        {"multipliers": (1, 0)},
        {"dropout": 1.0},
        {"multipliers": ()},
    ],
)
def test_sizes_that_cannot_be_built_are_refused(fields):
    config = UNetConfig(**({"width": 16, "multipliers": (1, 2), "groups": 4} | fields))
    with pytest.raises(UserError):
        config.build(1, 8, 10)


def test_dropout_is_a_function_of_its_key():
    layer = Dropout(0.25).train()
    x = torch.ones(6, 8, 4, 4)

    def drop(step=0, seed=0, salt=0, index=None):
        key_dropout(layer, DropoutKey(seed, salt, step, torch.arange(6) if index is None else index))
        return layer(x if index is None else x[: len(index)])

    base = drop()
    assert torch.equal(drop(), base)
    assert torch.equal(drop(index=torch.tensor([3, 1])), base[[3, 1]])
    for other in (drop(step=1), drop(seed=1), drop(salt=1)):
        assert not torch.equal(other, base)
    torch.testing.assert_close(base.unique(), torch.tensor([0.0, 4 / 3]))
    assert abs(float((base == 0).float().mean()) - 0.25) < 0.06


def test_dropout_layers_differ_and_rest_in_evaluation():
    network = UNetConfig(width=16, multipliers=(1, 2), blocks=1, attention=(), groups=4, dropout=0.5)
    built = network.build(1, 8, 0).train()
    with pytest.raises(RuntimeError, match="key_dropout"):
        built(torch.zeros(1, 1, 8, 8), torch.zeros(1))
    key_dropout(built, DropoutKey(0, 0, 0, torch.arange(1)))
    layers = [module for module in built.modules() if isinstance(module, Dropout)]
    assert [layer.layer for layer in layers] == list(range(len(layers)))
    masks = [layer(torch.ones(1, 64)) for layer in layers]
    assert not torch.equal(masks[0], masks[1])
    assert torch.equal(layers[0].eval()(torch.ones(1, 64)), torch.ones(1, 64))
