"""Layers see all of an image in the directions that their route says, and start as their papers say."""

import math

import pytest
import torch
from backbones.small import arguments, awake
from torch import nn

from triptych.backbones import tokens
from triptych.backbones.dim import DiMConfig
from triptych.backbones.state_space.fused import Implementation
from triptych.backbones.state_space.mixer import MIXERS, MixerSizes, first_steps, route

SIDE = 4
WAYS = ("alternating", "split", "double", "mirrored")


def mixer(kind, directions, layer=0):
    torch.manual_seed(0)
    sizes = MixerSizes(width=16, inner=32, state=8, head_width=8, kernel=1, directions=directions)
    return MIXERS[kind](sizes, layer).double()


def reached(network, token):
    """Return which tokens' results depend on `token`: bool [L], row by row."""
    x = torch.randn(1, SIDE * SIDE, 16, dtype=torch.float64, requires_grad=True)
    seen = []
    for i in range(SIDE * SIDE):
        (gradient,) = torch.autograd.grad(network(x)[0, i].sum(), x)
        seen.append(bool(gradient[0, token].abs().max() > 0))
    return torch.tensor(seen)


def order(columns):
    """Return the place of each token, given row by row, on the layer's way through the image."""
    grid = torch.arange(SIDE * SIDE).view(SIDE, SIDE)
    return (grid.T if columns else grid).flatten()


@pytest.mark.parametrize("kind", MIXERS)
@pytest.mark.parametrize("layer", range(4))
def test_alternating_layers_look_one_way_each(kind, layer):
    expected_columns, expected_reverse = layer >= 2, layer % 2 == 1
    place = order(expected_columns)
    token = 6
    behind = place >= place[token] if not expected_reverse else place <= place[token]
    assert torch.equal(reached(mixer(kind, "alternating", layer), token), behind)


@pytest.mark.parametrize(
    ("kind", "directions"), [(k, d) for k in MIXERS for d in WAYS[1:] if (k, d) != ("s6", "mirrored")]
)
def test_other_layers_look_both_ways(kind, directions):
    assert reached(mixer(kind, directions), 6).all()


@pytest.mark.parametrize("directions", WAYS)
def test_rows_and_columns_take_turns(directions):
    assert {route(directions, layer).columns for layer in range(4)} == {False, True}


@pytest.mark.parametrize("kind", MIXERS)
def test_columns_are_rows_of_the_mirrored_image(kind):
    rows, columns = mixer(kind, "split", 0), mixer(kind, "split", 1)
    columns.load_state_dict(rows.state_dict())
    x = torch.randn(2, SIDE * SIDE, 16, dtype=torch.float64)
    mirrored = x[:, order(True)]
    torch.testing.assert_close(columns(x), rows(mirrored)[:, order(True)], rtol=1e-12, atol=1e-12)


def test_first_step_sizes_lie_evenly_by_their_logarithm():
    torch.manual_seed(0)
    steps = nn.functional.softplus(first_steps(20000).double()).log()
    assert steps.min() > math.log(1e-3) - 1e-3 and steps.max() < math.log(1e-1) + 1e-3
    quarters = torch.histc(steps, 4, math.log(1e-3), math.log(1e-1)) / 20000
    torch.testing.assert_close(quarters, torch.full_like(quarters, 0.25), rtol=0, atol=0.02)


def test_first_decays_are_those_of_the_papers():
    ssd, s6 = mixer("ssd", "split"), mixer("s6", "split")
    rates = ssd.log_decay.exp()
    assert rates.min() >= 1 and rates.max() <= 16
    torch.testing.assert_close(s6.log_decay.exp()[0, 0], torch.arange(1.0, 9.0, dtype=torch.float64))


@pytest.mark.parametrize("kind", MIXERS)
def test_what_weight_decay_must_spare(kind):
    network = mixer(kind, "split")
    names = {name for name, _ in network.named_parameters(recurse=False)}
    assert set(network.undecayed) == names == {"log_decay", "step_bias", "direct"}


@pytest.mark.parametrize("kind", MIXERS)
def test_the_layer_tells_what_computes_its_scan(kind):
    layer, asked = mixer(kind, "split"), (torch.device("cpu"), torch.float32)
    assert layer.implementation(*asked) == "state-space scan computed by triptych"
    assert layer.computed_by(*asked) == {"scan": "triptych"}


def test_the_layer_tells_why_another_was_passed_over(monkeypatch):
    layer, asked = mixer("ssd", "split"), (torch.device("cpu"), torch.float32)
    chosen = Implementation("triptych", lambda *tensors: tensors[0], "mamba-ssm 2.3.2 does not run: OSError")
    monkeypatch.setattr(layer, "scanner", lambda device, dtype: chosen)
    told = "state-space scan computed by triptych (mamba-ssm 2.3.2 does not run: OSError)"
    assert layer.implementation(*asked) == told


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("kind", MIXERS)
def test_with_gradient_checkpointing_the_scan_is_chosen_before_a_block_needs_it(kind, autocast, monkeypatch):
    """For the dtype that layers ask for: chosen inside, it would not be so again when one is repeated."""
    sizes = {"width": 16, "depth": 2, "head_width": 8, "state": 4}
    network = awake(DiMConfig(mixer=kind, gradient_checkpointing=True, **sizes).build(1, 8, 0))
    asked, honest = [], MIXERS[kind].scanner

    def scanner(layer, device, dtype):
        asked.append(dtype)
        return honest(layer, device, dtype)

    def noted(block, *given, **options):
        asked.append("a block")
        return block(*given)

    monkeypatch.setattr(MIXERS[kind], "scanner", scanner)
    monkeypatch.setattr(tokens, "checkpoint", noted)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        network(*arguments(network))
    assert asked.index("a block") == sizes["depth"]
    assert {*asked} == {"a block", torch.bfloat16 if autocast else torch.float32}
