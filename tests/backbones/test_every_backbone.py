"""What is true of every backbone, and of every option of theirs."""

from dataclasses import replace

import pytest
import torch
from backbones.small import ALL, SMALL, arguments, awake

from triptych.backbones import BACKBONES
from triptych.backbones.backbone import build
from triptych.backbones.costs import costs, outline
from triptych.errors import UserError


def built(name, classes=4, channels=3):
    torch.manual_seed(0)
    return ALL[name].build(channels, 8, classes)


def test_every_kind_is_tried():
    assert set(SMALL) == set(BACKBONES)
    assert all(isinstance(config, BACKBONES[kind]) for kind, config in SMALL.items())


@pytest.mark.parametrize("classes", [0, 4])
@pytest.mark.parametrize("name", ALL)
def test_a_fresh_network_predicts_zero(name, classes):
    network = built(name, classes)
    assert not network(*arguments(network)).any()


@pytest.mark.parametrize("name", ALL)
def test_a_fresh_network_learns_at_once(name):
    """Nothing is so silent that no gradient comes through: after some steps every weight has one."""
    network = built(name)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01)
    for _ in range(4):
        optimizer.zero_grad()
        (network(*arguments(network, 5)) - 1).square().mean().backward()
        optimizer.step()
    silent = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


@pytest.mark.parametrize("name", ALL)
def test_output_depends_on_image_noise_and_class(name):
    network = awake(built(name))
    x, noise, label = arguments(network)
    with torch.no_grad():
        plain = network(x, noise, label)
        assert plain.shape == x.shape
        for other in ((x + 1, noise, label), (x, noise + 50, label), (x, noise, (label + 1) % 5)):
            assert (network(*other) - plain).abs().flatten(1).max(1).values.min() > 1e-4


@pytest.mark.parametrize("name", ALL)
def test_images_of_a_batch_do_not_mix(name):
    network = awake(built(name))
    x, noise, label = arguments(network)
    with torch.no_grad():
        together = network(x, noise, label)
        alone = torch.cat([network(x[i : i + 1], noise[i : i + 1], label[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ALL)
def test_labels_are_asked_for_and_refused(name):
    network = built(name)
    x, noise, label = arguments(network)
    with pytest.raises(ValueError, match="labels of 4 classes"):
        network(x, noise)
    with pytest.raises(ValueError, match="guidance scale"):
        network(x, noise, label, torch.ones(3))
    free = built(name, classes=0)
    with pytest.raises(ValueError, match="no class labels"):
        free(x, noise, label)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ALL)
def test_half_precision_is_near(name, dtype):
    """Under autocast, as on a GPU: forward inside, backward outside, as training does."""
    found = []
    for half in (False, True):
        network = awake(built(name)).train()
        with torch.autocast("cpu", dtype=dtype, enabled=half):
            output = network(*arguments(network))
        output.float().square().mean().backward()
        found.append([output.detach().float(), *(p.grad for p in network.parameters())])
    for single, half in zip(*found, strict=True):
        assert half.isfinite().all()
        assert (half - single).norm() < 0.1 * single.norm() + 1e-4


@pytest.mark.parametrize(
    "name", [n for n, config in ALL.items() if hasattr(config, "gradient_checkpointing")]
)
def test_activations_computed_again_change_no_gradient(name):
    found = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        network = awake(replace(ALL[name], gradient_checkpointing=checkpointing).build(3, 8, 4)).train()
        network(*arguments(network)).square().mean().backward()
        found.append([p.grad for p in network.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("name", ALL)
def test_costs_are_those_of_its_outline(name):
    network = built(name)
    assert costs(network) == costs(outline(ALL[name], 3, 8, 4))
    assert costs(network).flops > 2 * 3 * 64


@pytest.mark.parametrize("name", SMALL)
def test_a_network_tells_what_computes_the_parts_that_several_can(name):
    told = built(name).computed_by(torch.device("cpu"), torch.float32)
    assert told == ({"scan": "triptych"} if name == "dim" else {})


class Boundless:
    """Sizes that no machine has memory for."""

    def build(self, channels, image_size, classes):
        return torch.empty(2**62, dtype=torch.uint8)


def test_a_network_beyond_any_memory_is_refused_in_one_line():
    with pytest.raises(UserError, match="it is too large") as refused:
        build(Boundless(), 3, 32, 10)
    assert "\n" not in str(refused.value)
