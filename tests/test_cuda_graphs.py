"""Replays are the calls that they stand for: by a stand-in for a GPU, which computes into one place.

That a network may be recorded at all is shown of each: it fetches nothing from the host, and asks it nothing.
"""

import gc
import warnings
import weakref

import pytest
import torch
from backbones.small import ALL, arguments, awake
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from triptych.cuda_graphs import MOST, Recording, Replayed
from triptych.denoiser import Denoiser
from triptych.diffusion.predictions import PREDICTIONS
from triptych.diffusion.schedules import SCHEDULES
from triptych.generation import Request, generate
from triptych.guidance import named_guide
from triptych.sampling import named_sampler


class StandIn:
    """Records calls as a GPU does: their output has one place, which each replay overwrites."""

    def __init__(self):
        self.recorded = 0
        self.replayed = 0

    def __call__(self, function, inputs):
        self.recorded += 1
        output = function(*inputs).clone()

        def replay():
            self.replayed += 1
            output.copy_(function(*inputs))

        return Recording(replay, output)


def weighted(x, y):
    return 2 * x if y is None else 2 * x + y


@torch.no_grad()
def test_replays_are_the_calls():
    record = StandIn()
    replayed = Replayed(weighted, "it", record)
    inputs = [
        (torch.full((n,), float(i)), None if i % 2 else torch.arange(float(n)))
        for i in range(8)
        for n in (2, 3)
    ]
    found = [replayed(*each) for each in inputs]
    for each, one in zip(inputs, found, strict=True):
        assert torch.equal(one, weighted(*each))  # which later calls have not overwritten
    assert (record.recorded, record.replayed) == (4, 16)  # two sizes with and without y


@torch.no_grad()
def test_few_recordings_are_kept_and_the_oldest_goes_first():
    record = StandIn()
    replayed = Replayed(weighted, "it", record)
    for n in range(1, MOST + 2):
        replayed(torch.ones(n), None)
    assert record.recorded == MOST + 1
    replayed(torch.ones(MOST + 1), None)
    assert record.recorded == MOST + 1
    assert torch.equal(replayed(torch.ones(1), None), torch.full((1,), 2.0))
    assert record.recorded == MOST + 2


def test_gradients_go_through_the_function_itself():
    record = StandIn()
    replayed = Replayed(weighted, "it", record)
    x = torch.ones(2, requires_grad=True)
    for _ in range(3):
        replayed(x, None).sum().backward()
    assert x.grad.tolist() == [6, 6]
    assert record.recorded == 0


def test_what_was_recorded_in_inference_mode_is_replayed_outside_of_it():
    replayed = Replayed(weighted, "it", StandIn())
    for value in (1.0, 2.0):
        with torch.inference_mode():
            replayed(torch.full((2,), value), None)
    with torch.no_grad():
        assert replayed(torch.full((2,), 5.0), None).tolist() == [10, 10]


@torch.no_grad()
def test_what_cannot_be_recorded_is_called_as_it_is_and_that_is_said_once():
    def refusing(function, inputs):
        raise RuntimeError("operation not permitted\nwhen stream is capturing")

    replayed = Replayed(weighted, "the network", refusing)
    x = torch.ones(2)
    with pytest.warns(
        UserWarning, match="the network is called kernel by kernel: no CUDA graph .operation not perm"
    ):
        assert replayed(x, None).tolist() == [2, 2]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for n in (2, 3, 3):
            assert torch.equal(replayed(torch.ones(n), None), torch.full((n,), 2.0))
    assert replayed.refused


@pytest.mark.parametrize(("guide", "recorded"), [("cfg", 2), ("apg", 2), ("cfg,below=1", 4)])
def test_images_are_the_same_and_the_network_is_recorded(guide, recorded):
    def images(denoiser):
        request = Request(5, 3.0, named_sampler("ddim:8"), batch_size=3, guide=named_guide(guide))
        return torch.cat([batch.pixels for batch in generate(denoiser, request)])

    torch.manual_seed(0)
    network = awake(ALL["dit"].build(1, 8, 3))
    denoiser = Denoiser(network, SCHEDULES["cosine"](), PREDICTIONS["v"])
    plain, record = images(denoiser), StandIn()
    denoiser.replay(record)
    assert torch.equal(images(denoiser), plain)
    assert record.recorded == recorded  # whole and last batch; guided in some steps alone, twice as many
    assert denoiser.state_dict().keys() == {f"backbone.{name}" for name in network.state_dict()}


def test_a_model_that_is_let_go_frees_what_it_held():
    """At once: nothing that a collector of garbage would have to find, which knows of no memory of a GPU."""
    torch.manual_seed(0)
    denoiser = Denoiser(awake(ALL["dit"].build(1, 8, 3)), SCHEDULES["cosine"](), PREDICTIONS["v"])
    denoiser.replay(StandIn())
    for _ in generate(denoiser, Request(2, 1.0, named_sampler("ddim:2"))):
        pass
    gone, network = weakref.ref(denoiser), weakref.ref(denoiser.backbone)
    gc.disable()
    try:
        del denoiser
        assert gone() is None
        assert network() is None
    finally:
        gc.enable()


class Alone(TorchDispatchMode):
    """Refuses what a recording cannot hold: tensors of the host as operands, and numbers read by it."""

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        name = str(function)
        assert "_local_scalar_dense" not in name, "the host reads a number"
        assert "nonzero" not in name, "the host reads a shape"
        moved = "copy" in name or "lift" in name
        for tensor in tree_flatten((arguments, keywords))[0]:
            if isinstance(tensor, torch.Tensor) and not tensor.is_meta:
                # A number of the host is an argument of the kernel, the same in every call.
                assert tensor.ndim == 0 and not moved, f"{function} of a tensor of the host"
        return function(*arguments, **(keywords or {}))


@pytest.mark.parametrize("name", ALL)
def test_a_network_fetches_nothing_from_the_host(name):
    network = awake(ALL[name].build(1, 8, 3))
    inputs = [x.to("meta") for x in arguments(network)]
    network.to("meta")
    with torch.no_grad(), Alone():
        assert network(*inputs).is_meta


def test_what_fetches_from_the_host_is_found():
    x = torch.ones(2, device="meta")
    for fetch in (lambda: torch.ones(2).to("meta"), lambda: torch.ones(()).to("meta")):
        with pytest.raises(AssertionError, match="of a tensor of the host"), Alone():
            x + fetch()
    with pytest.raises(AssertionError, match="of a tensor of the host"), Alone():
        torch.cat([x, torch.ones(2)])
    number = torch.ones(())
    with pytest.raises(AssertionError, match="the host reads a number"), Alone():
        number.item()
