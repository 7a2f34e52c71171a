"""All that a resume needs, and nothing else."""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from triptych.backbones.backbone import Backbone
from triptych.checkpoints.contents import Contents
from triptych.training.config import TrainingConfig


@dataclass(frozen=True)
class Best:
    """A checkpoint that had the lowest held-out error when it was made."""

    epoch: float
    checkpoint: str
    mse: float


@dataclass
class Running:
    """Sums since the last progress event, so that an interrupted epoch is averaged as a whole."""

    loss: float = 0.0
    gradient_norm: float = 0.0
    steps: int = 0
    finite: int = 0
    """Steps that the sums are of: those left out because fp16 overflowed are not."""


@dataclass
class TrainState:
    """Weights, their average, the optimiser, and the counters from which all else is derived.

    Attributes:
        network: the backbone in training.
        ema: a copy of it that holds the moving average of its weights.
        optimizer: AdamW over the parameters of `network`, in their order.
        step: optimiser steps taken.
        attempt: how many times the run was started before.
        salt: rollbacks so far: what repeated stretches of training draw anew with.
        best: the checkpoints that had the lowest held-out error, each lower than the one before.
        running: sums for the next progress event.
        scaler: of fp16's loss, so that small gradients do not vanish; does nothing in other precisions.
        threads: threads that a CPU trains with: sums are split between them, so that another number
            rounds differently. Frozen at the first start.
    """

    network: Backbone
    ema: Backbone
    optimizer: torch.optim.AdamW
    scaler: torch.amp.GradScaler
    step: int = 0
    attempt: int = 0
    salt: int = 0
    best: list[Best] = field(default_factory=list)
    running: Running = field(default_factory=Running)
    threads: int = field(default_factory=torch.get_num_threads)

    @classmethod
    def fresh(cls, network: Backbone, config: TrainingConfig, precision: str = "float32") -> TrainState:
        """Return the state before the first step, around a network on its device."""
        optimizer = torch.optim.AdamW(
            parameter_groups(network, config.weight_decay),
            lr=config.learning_rate,
            betas=(config.beta1, config.beta2),
        )
        ema = copy.deepcopy(network).requires_grad_(False).eval()
        device = next(network.parameters()).device
        scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
        return cls(network, ema, optimizer, scaler)

    def contents(self, name: str, epoch: float) -> Contents:
        """Return what a checkpoint called `name` holds of this state."""
        state = {
            "checkpoint": name,
            "epoch": epoch,
            "step": self.step,
            "attempt": self.attempt,
            "salt": self.salt,
            "best": [asdict(best) for best in self.best],
            "running": asdict(self.running),
            "scaler": self.scaler.state_dict(),
            "threads": self.threads,
        }
        tensors = {
            "ema": dict(self.ema.state_dict()),
            "weights": dict(self.network.state_dict()),
            "optimizer": flatten_optimizer(self.network, self.optimizer),
        }
        return Contents(tensors=tensors, state=state)

    def restore(self, contents: Contents) -> None:
        """Take over a checkpoint's weights, average, optimiser and counters."""
        self.network.load_state_dict(contents.tensors["weights"])
        self.ema.load_state_dict(contents.tensors["ema"])
        unflatten_optimizer(self.network, self.optimizer, contents.tensors["optimizer"])
        state = contents.state
        self.step, self.attempt, self.salt = state["step"], state["attempt"], state["salt"]
        self.best = [Best(**best) for best in state["best"]]
        self.running = Running(**({"finite": state["running"]["steps"]} | state["running"]))
        if saved := state.get("scaler"):  # empty where the precision was another
            self.scaler.load_state_dict(saved)
        self.threads = state["threads"]


def parameter_groups(network: Backbone, weight_decay: float) -> list[dict[str, Any]]:
    """Return the parameters that decay and, where there are any, those that must not."""
    undecayed = network.undecayed_parameters()
    spared = set(map(id, undecayed))
    groups: list[dict[str, Any]] = [
        {"params": [p for p in network.parameters() if id(p) not in spared], "weight_decay": weight_decay}
    ]
    if undecayed:
        groups.append({"params": undecayed, "weight_decay": 0.0})
    return groups


def flatten_optimizer(network: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the optimiser's tensors as `parameter name/entry`."""
    return {
        f"{name}/{entry}": value
        for name, parameter in network.named_parameters()
        for entry, value in optimizer.state.get(parameter, {}).items()
    }


def unflatten_optimizer(
    network: nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]
) -> None:
    """Put tensors from `flatten_optimizer` back where they belong."""
    parameters = dict(network.named_parameters())
    optimizer.state.clear()
    for key, value in tensors.items():
        name, entry = key.rsplit("/", 1)
        parameter = parameters[name]
        # AdamW keeps its step counter on the host; its averages live beside their parameter.
        device = value.device if entry == "step" else parameter.device
        optimizer.state[parameter][entry] = value.to(device)
