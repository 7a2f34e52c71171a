"""Arithmetic is counted whole: products, convolutions, attention, and what a layer says of itself."""

import pytest
import torch
import torch.nn.functional as F
from backbones.peer_unet import peer_of
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from triptych.backbones import BACKBONES
from triptych.backbones.backbone import Backbone
from triptych.backbones.costs import Costs, costs, outline
from triptych.backbones.dropout import DropoutKey, key_dropout
from triptych.backbones.unet import UNetConfig

TINY = UNetConfig(width=16, multipliers=(1, 2), blocks=1, attention=(4,), groups=4, dropout=0.1)


class Attention(nn.Module):
    """Attention of N tokens of width D and nothing else."""

    def __init__(self, heads):
        super().__init__()
        self.heads = heads

    def forward(self, tokens):
        parted = tokens.unflatten(2, (self.heads, -1)).transpose(1, 2)
        return F.scaled_dot_product_attention(parted, parted, parted).transpose(1, 2).flatten(2)


class Scan(nn.Module):
    """A recurrence, one elementwise multiply-add a value."""

    def forward(self, tokens, *, decay):
        state, states = torch.zeros_like(tokens[:, 0]), []
        for token in tokens.unbind(1):
            state = decay * state + token
            states.append(state)
        return torch.stack(states, 1)

    def uncounted_flops(self, tokens, *, decay):
        return 2 * tokens.numel()


class Sequence(Backbone):
    """Pixels as tokens through some layers, with or without a class."""

    def __init__(self, *layers, classes=0, size=8, width=3):
        super().__init__(width, size, classes)
        self.layers = nn.ModuleList(layers)

    def forward(self, x, noise_label, class_label=None, guidance=None):
        self.check_condition(class_label, guidance)
        tokens = x.flatten(2).transpose(1, 2)
        for layer in self.layers:
            tokens = layer(tokens, decay=0.5) if isinstance(layer, Scan) else layer(tokens)
        return tokens.transpose(1, 2).reshape(x.shape)


@pytest.mark.parametrize("heads", [1, 4])
@pytest.mark.parametrize("layers", [1, 3])
def test_attention_is_counted_by_its_closed_form(layers, heads):
    """4 N^2 D a layer: N^2 D multiply-adds for the weights, as many for the mixture."""
    network = Sequence(*(Attention(heads) for _ in range(layers)), size=6, width=8)
    assert costs(network) == Costs(0, layers * 4 * 36**2 * 8)


def test_a_matrix_product_and_a_convolution_have_their_closed_forms():
    linear, convolution = nn.Linear(3, 3, bias=False), nn.Conv1d(64, 64, 3, padding=1, groups=4, bias=False)
    network = Sequence(linear, convolution)  # 64 tokens of width 3; then 64 channels of length 3
    assert costs(network) == Costs(9 + 64 * 16 * 3, 2 * 64 * 9 + 2 * 3 * 64 * 16 * 3)


def test_a_scan_counts_itself_once_a_call():
    scan = Scan()
    assert costs(Sequence(scan, scan)).flops == 2 * 2 * 64 * 3
    assert not scan._forward_hooks


def test_ddpm_s_unet_takes_what_diffusers_takes():
    config = UNetConfig()
    ours = costs(outline(config, 3, 32, 0))
    assert ours.parameters == 35_746_307
    with torch.device("meta"):
        peer = peer_of(config, 3, 32, 0)
        with FlopCounterMode(display=False) as counter:
            peer(torch.empty(1, 3, 32, 32), torch.empty(1))
    assert ours.flops == counter.get_total_flops()
    assert 12.4e9 < ours.flops < 12.5e9


@pytest.mark.parametrize("kind", BACKBONES)
@pytest.mark.parametrize("classes", [0, 10])
def test_every_backbone_is_counted(kind, classes):
    network = outline(BACKBONES[kind](), 3, 32, classes)
    found = costs(network)
    assert found.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert found.flops > 2 * 32 * 32


def test_an_outline_costs_what_the_network_costs():
    assert costs(outline(TINY, 1, 8, 10)) == costs(TINY.build(1, 8, 10))


def test_the_network_is_left_as_it_was():
    network = TINY.build(1, 8, 10).train()
    key_dropout(network, DropoutKey(0, 0, 1, torch.arange(4)))
    before = {
        name: (id(tensor), tensor.clone()) for name, tensor in network.state_dict(keep_vars=True).items()
    }
    generator = torch.get_rng_state()
    costs(network)
    after = network.state_dict(keep_vars=True)
    assert all(id(after[name]) == identity for name, (identity, _) in before.items())
    assert all(torch.equal(after[name], values) for name, (_, values) in before.items())
    assert all(module.training for module in network.modules())
    assert torch.equal(torch.get_rng_state(), generator)
