"""All that a resume needs, and nothing else."""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from triptych.allocator import keep_freed_memory
from triptych.backbones.backbone import Backbone
from triptych.checkpoints.contents import Contents
from triptych.distributed import Ranks
from triptych.training.arrangement import as_laid, lay_out
from triptych.training.config import TrainingConfig
from triptych.training.guard import Guard

AVERAGES = ("ema", "ema_long")
"""The parts of a checkpoint that hold averaged weights; images are drawn from the first by default."""


@dataclass(frozen=True)
class Measured:
    """A checkpoint and its held-out error: the lowest of those of its averages."""

    epoch: float
    checkpoint: str
    mse: float
    weights: str = AVERAGES[0]
    """The part that has this error."""


@dataclass
class Running:
    """Sums since the last progress event, so that an interrupted epoch is averaged as a whole."""

    loss: float = 0.0
    gradient_norm: float = 0.0
    steps: int = 0
    finite: int = 0
    """Steps that the sums are of: those that were masked are not."""
    not_finite: int = 0
    spikes: int = 0
    overflows: int = 0


@dataclass
class TrainState:
    """Weights, their averages, the optimiser, and the counters from which all else is derived.

    Attributes:
        network: the backbone in training.
        averages: copies of it that hold moving averages of its weights, by their names in checkpoints.
        optimizer: AdamW over the parameters of `network`, in their order.
        scaler: of fp16's loss, so that small gradients do not vanish; does nothing in other precisions.
        guard: what tells unsound steps from sound ones.
        step: optimiser steps taken.
        attempt: how many times the run was started before.
        salt: rollbacks so far: what repeated stretches of training draw anew with.
        best: the checkpoints that had the lowest held-out error, each lower than the one before.
        held_out: all checkpoints that were measured, in order.
        running: sums for the next progress event.
        threads: threads that a CPU trains with: sums are split between them, so that another number
            rounds differently. Frozen at the first start.
        layout: how images lie in memory inside the network, by its name in `LAYOUTS`; frozen likewise.
        compiled: whether the network is compiled; frozen likewise.
    """

    network: Backbone
    averages: dict[str, Backbone]
    optimizer: torch.optim.AdamW
    scaler: torch.amp.GradScaler
    guard: Guard
    step: int = 0
    attempt: int = 0
    salt: int = 0
    best: list[Measured] = field(default_factory=list)
    held_out: list[Measured] = field(default_factory=list)
    running: Running = field(default_factory=Running)
    threads: int = field(default_factory=torch.get_num_threads)
    layout: str = "nchw"
    compiled: bool = False

    @property
    def ema(self) -> Backbone:
        """The average that images are drawn from by default."""
        return self.averages[AVERAGES[0]]

    @classmethod
    def fresh(cls, network: Backbone, config: TrainingConfig, precision: str = "float32") -> TrainState:
        """Return the state before the first step, around a network on its device."""
        optimizer = torch.optim.AdamW(
            parameter_groups(network, config.weight_decay),
            lr=config.learning_rate,
            betas=(config.beta1, config.beta2),
            fused=True,  # one pass over memory, and it can leave a step out without asking the host
        )
        names = AVERAGES[: config.averages]
        averages = {name: copy.deepcopy(network).requires_grad_(False).eval() for name in names}
        device = next(network.parameters()).device
        scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
        return cls(network, averages, optimizer, scaler, Guard(device, config.spike))

    def contents(self, name: str, epoch: float) -> Contents:
        """Return what a checkpoint called `name` holds of this state."""
        state = {
            "checkpoint": name,
            "epoch": epoch,
            "step": self.step,
            "attempt": self.attempt,
            "salt": self.salt,
            "best": [asdict(best) for best in self.best],
            "held_out": [asdict(measured) for measured in self.held_out],
            "running": asdict(self.running),
            "scaler": self.scaler.state_dict(),
            "guard": self.guard.state(),
            "threads": self.threads,
            "layout": self.layout,
            "compiled": self.compiled,
        }
        tensors = {name: dict(average.state_dict()) for name, average in self.averages.items()}
        tensors["weights"] = dict(self.network.state_dict())
        tensors["optimizer"] = flatten_optimizer(self.network, self.optimizer)
        return Contents(tensors=tensors, state=state)

    def restore(self, contents: Contents) -> None:
        """Take over a checkpoint's weights, averages, optimiser and counters.

        An average that the checkpoint does not hold begins as the first one.
        """
        self.network.load_state_dict(contents.tensors["weights"])
        for name, average in self.averages.items():
            average.load_state_dict(contents.tensors.get(name, contents.tensors[AVERAGES[0]]))
        unflatten_optimizer(self.network, self.optimizer, contents.tensors["optimizer"])
        state = contents.state
        self.step, self.attempt, self.salt = state["step"], state["attempt"], state["salt"]
        self.best = [Measured(**best) for best in state["best"]]
        self.held_out = [Measured(**measured) for measured in state.get("held_out", state["best"])]
        self.running = Running(**({"finite": state["running"]["steps"]} | state["running"]))
        if saved := state.get("scaler"):  # empty where the precision was another
            self.scaler.load_state_dict(saved)
        self.guard.restore(state.get("guard"))
        self.threads = state["threads"]
        self.layout, self.compiled = state.get("layout", "nchw"), state.get("compiled", False)

    def settle(self, config: TrainingConfig) -> None:
        """Compute as it was chosen for this run, unless `config` says otherwise now."""
        if config.layout != "auto":
            self.layout = config.layout
        if config.compile != "auto":
            self.compiled = config.compile
        if next(self.network.parameters()).device.type == "cpu":
            torch.set_num_threads(self.threads)
            keep_freed_memory()
        for network in (self.network, *self.averages.values()):
            lay_out(network, self.layout)
        for parameter, entries in self.optimizer.state.items():
            self.optimizer.state[parameter] = {
                name: as_laid(value, parameter) for name, value in entries.items()
            }

    def spread(self, ranks: Ranks) -> None:
        """Give every rank the state of the first, which alone may have read it."""
        if not ranks.many:
            return
        mine = self.contents("", 0.0)
        keys = ranks.agree({part: list(named) for part, named in mine.tensors.items()})
        counters = ranks.agree(mine.state)
        shapes = dict(self.network.named_parameters())
        if not mine.tensors["optimizer"]:  # before its first step, and the first rank's is further
            mine.tensors["optimizer"] = {key: _blank(key, shapes) for key in keys["optimizer"]}
        for part, names in keys.items():
            ranks.spread({name: mine.tensors[part][name] for name in names})
        self.restore(Contents(mine.tensors, counters))


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
        optimizer.state[parameter][entry] = as_laid(value, parameter)


def _blank(key: str, parameters: dict[str, nn.Parameter]) -> Tensor:
    """Return a tensor like that of the optimiser called `key`: a counter, or an average of a gradient."""
    name, entry = key.rsplit("/", 1)
    parameter = parameters[name].detach()
    return torch.zeros((), device=parameter.device) if entry == "step" else torch.zeros_like(parameter)
