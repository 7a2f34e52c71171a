"""One of several processes that train together: `python worker.py OUT DTYPE STEPS MICROBATCH`."""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import torch
from torch import Tensor

from triptych.backbones.backbone import BackboneConfig
from triptych.backbones.unet import UNetConfig
from triptych.data.batches import Batches
from triptych.data.dataset import ImageSet
from triptych.denoiser import Denoiser
from triptych.diffusion.objectives import PredictionMSE
from triptych.diffusion.predictions import PREDICTIONS
from triptych.diffusion.schedules import SCHEDULES
from triptych.distributed import Ranks, joined
from triptych.training.clock import Clock
from triptych.training.config import TrainingConfig
from triptych.training.held_out import held_out_error
from triptych.training.loss import StepLoss
from triptych.training.state import TrainState
from triptych.training.step import Stepper

CONFIG = TrainingConfig(batch_size=7, epochs=60, learning_rate=1e-3, ema_half_life=100, label_drop=0.2)
NETWORK = UNetConfig(width=8, multipliers=(1, 2), blocks=1, attention=(4,), groups=4, dropout=0.2)


class DoubleDenoiser(Denoiser):
    """A denoiser that computes in float64, whatever it is given."""

    def output(self, x: Tensor, t: Tensor, class_label: Tensor | None = None, guidance=None) -> Tensor:
        """Return the network's output in float64."""
        return self.backbone(x.double(), self.schedule.label(t).double(), class_label, guidance)


def stepper(
    ranks: Ranks,
    dtype: torch.dtype,
    config: TrainingConfig = CONFIG,
    backbone: BackboneConfig = NETWORK,
    device: torch.device | str = "cpu",
) -> Stepper:
    """Return what takes the steps of a tiny run on random images."""
    torch.manual_seed(0)
    pixels = torch.randint(0, 256, (29, 1, 8, 8), dtype=torch.uint8)
    images = ImageSet("random/train", pixels.to(device), torch.arange(29, device=device) % 3, ("a", "b", "c"))
    network = backbone.build(1, 8, 3).to(dtype)
    for parameter in network.parameters():  # no layer is silent
        torch.nn.init.normal_(parameter, std=0.1)
    network.to(device)
    kind = DoubleDenoiser if dtype == torch.float64 else Denoiser
    denoiser = kind(network, SCHEDULES["cosine"](), PREDICTIONS["v"])
    state = TrainState.fresh(network, config)
    batches = Batches(images, config.batch_size, seed=3, flip=True)
    loss = StepLoss(denoiser, PredictionMSE(), 3, config.label_drop)
    return Stepper(state, Clock(config, len(images)), batches, loss, ranks)


def losses(ranks: Ranks, dtype: torch.dtype, steps: int, config: TrainingConfig = CONFIG) -> dict:
    """Return the losses of the first steps, the gradients of the first, and weights after the last."""
    takes = stepper(ranks, dtype, config)
    found, first, honest = [], {}, takes._backward

    def backward() -> Tensor:
        loss = honest()
        if not found:
            named = takes.state.network.named_parameters()
            first.update({name: p.grad.clone() for name, p in named if p.grad is not None})
        found.append(float(loss))
        return loss

    takes._backward = backward
    for _ in range(steps):
        takes.take()
    weights = {name: p.detach().clone() for name, p in takes.state.network.named_parameters()}
    images = takes.batches.images
    denoiser = copy.copy(getattr(takes.loss, "module", takes.loss).denoiser)
    error = held_out_error(denoiser, images, 20, 4, torch.device("cpu"), ranks)
    return {"losses": found, "gradients": first, "weights": weights, "held_out": error.mse}


def gloo_threads() -> list[str]:
    """Return the names of this process's threads that speak with other processes."""
    names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    return [name for name in names if "gloo" in name]


def main() -> None:
    """Train as one of several, and write down what came of it."""
    out, dtype, steps, microbatch = sys.argv[1:]
    torch.set_num_threads(1)
    config = TrainingConfig(**(vars(CONFIG) | {"microbatch": int(microbatch) or None}))
    with joined() as ranks:
        found = losses(ranks, getattr(torch, dtype), int(steps), config)
        torch.save(found, Path(out) / f"{ranks.rank}-of-{ranks.size}.pt")


if __name__ == "__main__":
    main()
