"""Training, drawing and extractors read nothing of the device on their way, and take nothing of the host.

Tried on a device without numbers; `test_gpu.py` does it where there is a GPU.
"""

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from backbones.small import ALL, SHALLOW, SMALL, arguments, awake
from one_device import NOWHERE, OneDevice
from torch import nn
from training import worker

from triptych.backbones.state_space.chunks import CHUNK
from triptych.backbones.state_space.ssd import ssd
from triptych.denoiser import Denoiser
from triptych.diffusion.objectives import WEIGHTS, PredictionMSE
from triptych.diffusion.predictions import PREDICTIONS
from triptych.diffusion.schedules import SCHEDULES
from triptych.diffusion.times import TIMES
from triptych.distributed import ALONE
from triptych.generation import Request, steps_of
from triptych.guidance import named_guide
from triptych.metrics.extractors.classifier import Classifier
from triptych.metrics.extractors.classifier_recipe import LARGE_IMAGES, SMALL_IMAGES
from triptych.metrics.extractors.dinov2 import DINOv2
from triptych.metrics.extractors.inception import Inception
from triptych.metrics.extractors.inception_layers import InceptionV3
from triptych.metrics.extractors.lpips import LPIPS, NETWORKS
from triptych.sampling import SAMPLERS, named_sampler
from triptych.training.ema import update_ema

HOST, THERE = torch.zeros(3, 3), torch.zeros(3, 3, device=NOWHERE)


@pytest.mark.parametrize(
    "mixed",
    [
        lambda: THERE + HOST,
        lambda: THERE @ HOST,
        lambda: nn.functional.conv2d(THERE[None, None], HOST[None, None]),
        lambda: nn.functional.embedding(torch.zeros(2, dtype=torch.int64, device=NOWHERE), HOST),
        lambda: THERE[torch.zeros(2, dtype=torch.int64)],  # a GPU takes this, and waits for it
    ],
)
def test_a_tensor_of_the_host_is_seen(mixed):
    with OneDevice(), pytest.raises((AssertionError, RuntimeError), match="cpu"):
        mixed()


@pytest.mark.parametrize(
    "read",
    [
        lambda: float(THERE.sum()),
        lambda: bool(THERE[0, 0] > 0),
        lambda: THERE[torch.zeros(2, dtype=torch.int64, device=NOWHERE)].tolist(),
        lambda: THERE.cpu(),
        lambda: THERE[THERE > 0],
    ],
)
def test_a_number_that_is_read_is_seen(read):
    with OneDevice(), pytest.raises((NotImplementedError, RuntimeError), match="meta"):
        read()


def model(kind: str, schedule: str = "cosine", prediction: str = "v") -> Denoiser:
    network = awake(SHALLOW[kind].build(1, 8, 3))
    return Denoiser(network, SCHEDULES[schedule](), PREDICTIONS[prediction]).to(NOWHERE)


@pytest.mark.parametrize("kind", ALL)
def test_a_network_and_its_gradients(kind):
    network = awake(ALL[kind].build(1, 8, 3)).to(NOWHERE).train()
    given = [x.to(NOWHERE) for x in arguments(network)]
    with OneDevice() as mode:
        network(*given).square().mean().backward()
    assert mode.seen > 100
    assert {p.grad.device for p in network.parameters() if p.grad is not None} == {NOWHERE}


def drawn(denoiser: Denoiser, sampler: str, guide: str = "cfg", *, clip: bool = True) -> None:
    weak = model("unet") if "against" in guide else None
    chosen = named_sampler(sampler, clip=clip)
    request = Request(4, 2.0, chosen, guide=named_guide(guide), weak=weak, weak_digest="w")
    index = torch.arange(4, device=NOWHERE)
    with OneDevice() as mode:
        *_, last = steps_of(denoiser, request, index)[1]
    assert mode.seen > 100
    assert (last.x.device, last.x.shape) == (NOWHERE, (4, 1, 8, 8))


@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler(name, clip):
    drawn(model("unet"), f"{name}:5", clip=clip)


@pytest.mark.parametrize(
    "sampler", ["ddpm:3,variance=large", "ddim:3,eta=1", "dpm++:4,eta=1", "heun:5,churn=1"]
)
def test_samplers_with_noise_on_the_way(sampler):
    drawn(model("unet"), sampler)


@pytest.mark.parametrize("kind", SMALL)
def test_every_backbone_is_drawn_from(kind):
    drawn(model(kind), "ddim:2")


@pytest.mark.parametrize(
    "guide", ["apg", "cfg,above=0.2,below=3", "cfg,shape=linear", "cfg,rescale=0.7", "cfg,against=1"]
)
def test_every_guide(guide):
    drawn(model("unet"), "ddim:4", guide)


@pytest.mark.parametrize(
    ("schedule", "prediction"),
    [*((name, "v") for name in SCHEDULES), *(("flow", name) for name in PREDICTIONS if name != "eps")],
)
def test_every_schedule_and_prediction(schedule, prediction):
    drawn(model("unet", schedule, prediction), "ddim:3")


def taken(takes) -> None:
    """Take two steps; what a fused optimiser does on a GPU has no meta kernel, and is left out."""
    takes.state.optimizer.step = lambda: None
    with OneDevice() as mode:
        for _ in range(2):
            takes.take()
    assert mode.seen > 100
    assert {p.grad.device for p in takes.state.network.parameters() if p.grad is not None} == {NOWHERE}


@pytest.mark.parametrize("kind", SMALL)
def test_a_step_of_training(kind):
    backbone = replace(SHALLOW[kind], dropout=0.2) if hasattr(SHALLOW[kind], "dropout") else SHALLOW[kind]
    taken(worker.stepper(ALONE, torch.float32, backbone=backbone, device=NOWHERE))


@pytest.mark.parametrize(
    "changes", [{"microbatch": 3}, {"ema_half_life": 0.0}, {"clip_norm": 0.0}, {"label_drop": 0.0}], ids=str
)
def test_a_step_with_its_options(changes):
    config = replace(worker.CONFIG, **changes)
    taken(worker.stepper(ALONE, torch.float32, config, SHALLOW["unet"], NOWHERE))


@pytest.mark.parametrize(
    ("weight", "times"), [*((name, "uniform") for name in WEIGHTS), *(("mse", name) for name in TIMES)]
)
def test_every_objective(weight, times):
    takes = worker.stepper(ALONE, torch.float32, backbone=SHALLOW["unet"], device=NOWHERE)
    takes.loss.objective = PredictionMSE(WEIGHTS[weight], TIMES[times])
    taken(takes)


@pytest.mark.parametrize("kind", SMALL)
def test_an_average_of_weights_takes_few_operations_however_many_there_are(kind):
    network, average = (SMALL[kind].build(1, 8, 3).to(NOWHERE) for _ in range(2))
    with OneDevice() as mode:
        update_ema(average, network, 0.9, torch.zeros((), dtype=torch.bool, device=NOWHERE))
    assert 0 < mode.seen <= 6


def operations_of_a_scan(tokens: int) -> int:
    x, dt = torch.zeros(2, tokens, 4, 8), torch.ones(2, tokens, 4)
    write, read = (torch.zeros(2, tokens, 1, 6) for _ in range(2))
    leaves = [t.to(NOWHERE).requires_grad_() for t in (x, dt, -torch.ones(4), write, read)]
    with OneDevice() as mode:
        ssd(*leaves).sum().backward()
    return mode.seen


def test_a_scan_takes_few_operations_more_for_many_more_tokens():
    few, many = operations_of_a_scan(2 * CHUNK), operations_of_a_scan(16 * CHUNK)
    assert many - few < 14 * 30  # of each chunk: one state and its gradient
    assert many < 3 * few


EXTRACTORS = {
    "inception": lambda: Inception(InceptionV3(), "of random weights"),
    "dinov2": DINOv2,
    "small classifier": lambda: Classifier(3, 32, 32, 10, SMALL_IMAGES).finish(),
    "large classifier": lambda: Classifier(3, 32, 32, 10, LARGE_IMAGES).finish(),
    **{name: (lambda name=name: LPIPS(name)) for name in NETWORKS},
}


@pytest.mark.parametrize("name", EXTRACTORS)
def test_every_extractor(name, monkeypatch):
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # of which this device has none
    with NOWHERE:  # weights are not looked at, and those of DINOv2 are large
        extractor = EXTRACTORS[name]()
    with OneDevice() as mode:
        found = extractor(torch.zeros(2, 3, 32, 32, dtype=torch.uint8, device=NOWHERE))
    assert mode.seen > 10
    assert {values.device for values in found.values()} == {NOWHERE}
