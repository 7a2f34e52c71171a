"""An experiment: the configurations of all its parts, loaded, overridden, compared and built."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Generic, TypeVar

import torch

from triptych.backbones import BACKBONES
from triptych.backbones.backbone import BackboneConfig, build
from triptych.data import DataConfig
from triptych.data.dataset import Dataset
from triptych.denoiser import Denoiser
from triptych.diffusion import DiffusionConfig
from triptych.diffusion.predictions import PREDICTIONS
from triptych.diffusion.schedules import SCHEDULES
from triptych.errors import UserError
from triptych.evaluation.config import EvaluationConfig
from triptych.generation import SamplingConfig
from triptych.parsing import parse
from triptych.precision import Precision
from triptych.random import MASK32
from triptych.recipe_files import NAME, as_tokens, load_recipe
from triptych.training.config import RESUMABLE, TrainingConfig

Sizes = TypeVar("Sizes", bound=BackboneConfig)


@dataclass(frozen=True)
class ExperimentConfig(Generic[Sizes]):
    """Everything that a recipe can set."""

    backbone: Sizes
    """The network."""
    name: str = ""
    """Name of the run and of its folder."""
    seed: int = 0
    """Of the initial weights and of every draw; 0 to 2^32 - 1."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda, cuda:1, mps."""
    precision: Precision = "auto"
    """Of the network: auto takes bf16 or fp16 where the device gains by it, float32 elsewhere."""
    force_precision: bool = False
    """Compute in a precision even if the device loses by it."""
    conditional: bool = True
    """Whether the network is told the class."""
    data: DataConfig = field(default_factory=DataConfig)
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    def __post_init__(self) -> None:
        """Raise `UserError` for values out of range."""
        if not 0 <= self.seed <= MASK32:
            raise UserError("--seed", f"{self.seed} is out of range", "choose 0 to 2^32 - 1")
        if not NAME.fullmatch(self.name):
            found = f"{self.name[:40]!r} is no name for a run's folder"
            raise UserError("--name", found, "use up to 100 letters, digits, dots, - and _")

    def fields(self) -> dict:
        """Return all fields as plain nested values, as in `config.yaml` and in the record."""
        return {name: _plain(value) for name, value in asdict(self).items()}

    def build(self, channels: int, image_size: int, classes: int) -> Denoiser:
        """Return a freshly initialised model, on the CPU; its weights are a function of the seed.

        Args:
            channels: colour channels of its images.
            image_size: their height and width, in pixels.
            classes: of the data set; an unconditional model is not told of them.

        Raises:
            UserError: the backbone's sizes do not fit such images.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            backbone = build(self.backbone, channels, image_size, classes if self.conditional else 0)
        return Denoiser(
            backbone, SCHEDULES[self.diffusion.schedule](), PREDICTIONS[self.diffusion.prediction]
        )

    def build_for(self, dataset: Dataset) -> Denoiser:
        """Return a freshly initialised model for the images of `dataset`; see `build`."""
        return self.build(dataset.channels, dataset.image_size, len(dataset.class_names))


def load_experiment(
    recipe: str, overrides: Sequence[str] = (), name: str | None = None, verb: str = "train"
) -> ExperimentConfig:
    """Return the experiment of a recipe (a file, or the name of a packaged one) with fields overridden.

    Args:
        recipe: path of a YAML file, or a packaged recipe's name.
        overrides: tokens such as `["--training.epochs", "5"]`.
        name: of the run; None takes the recipe's.
        verb: of the command that was typed, for messages.

    Raises:
        UserError: no such recipe, an unknown field, a value of the wrong type or out of range.
    """
    default_name, fields = load_recipe(recipe)
    said = {"name": default_name} | fields
    named = [] if name is None else ["--name", name]
    tokens = [*as_tokens(said), *overrides, *named]
    # Whatever was typed, it is the help of `train` that lists the fields.
    return parse_experiment(tokens, f"triptych {verb} {recipe}", f"see `triptych train {recipe} --help`")


def parse_experiment(tokens: Sequence[str], command: str, remedy: str) -> ExperimentConfig:
    """Return the experiment that `--a.b value` tokens describe; see `load_experiment` for errors.

    Args:
        tokens: all fields without a default, and any others.
        command: where the tokens come from, for messages.
        remedy: what to do about a wrong one.
    """
    wanted = [token for token in tokens if token != "--help"]
    kinds = _values(tokens, "--backbone.kind") or ["unet"]
    kind = kinds[-1]
    if kind not in BACKBONES:
        raise UserError(f"backbone.kind {kind}", "no such backbone", f"choose from {', '.join(BACKBONES)}")
    if other := next((name for name in kinds if name != kind), None):
        found = f"the recipe is one of a {other}, whose sizes mean nothing to others"
        raise UserError(f"backbone.kind {kind}", found, f"choose a recipe of a {kind}")
    refuse_fields_of_others(kind, wanted, command)
    generic: Any = ExperimentConfig  # a type argument that is known at run time only
    experiment = parse(generic[BACKBONES[kind]], wanted, command, flags=False, remedy=remedy)
    if len(wanted) < len(tokens):  # the help shows this recipe's values, not those of the classes
        parse(generic[BACKBONES[kind]], ["--help"], command, flags=False, default=experiment)
    return experiment


def refuse_fields_of_others(kind: str, tokens: Sequence[str], command: str) -> None:
    """Raise `UserError` for a field among the tokens that backbones have, but none of this kind."""
    for token in tokens:
        part, _, rest = token.partition("=")[0].partition(".")
        name = rest.replace("-", "_")
        owners = [
            other for other, config in BACKBONES.items() if name in {each.name for each in fields(config)}
        ]
        if part == "--backbone" and owners and kind not in owners:
            found = f"{part}.{rest} is a field of {' and '.join(owners)}, and its backbone is a {kind}"
            raise UserError(command, found, f"leave it out, or choose a recipe of a {' or '.join(owners)}")


def changes(before: dict, after: dict, prefix: str = "") -> dict[str, tuple]:
    """Return the fields in which two configurations differ: dotted name -> (before, after)."""
    found: dict[str, tuple] = {}
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name), after.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            found |= changes(old, new, f"{prefix}{name}.")
        elif old != new:
            found[prefix + name] = (old, new)
    return found


def may_change(field_name: str) -> bool:
    """Whether a run may go on with this field (dotted name) changed."""
    part, _, rest = field_name.partition(".")
    return (
        field_name in ("device", "precision", "force_precision", "data.path", "data.image_size")
        or part in ("sampling", "evaluation")
        or (part == "training" and rest in RESUMABLE)
    )


def _values(tokens: Sequence[str], flag: str) -> list[str]:
    """Return the values of every `--flag value`, then of every `--flag=value`, among the tokens."""
    values = [after for token, after in itertools.pairwise(tokens) if token == flag]
    return values + [token.partition("=")[2] for token in tokens if token.startswith(f"{flag}=")]


def _plain(value: object) -> object:
    """Turn tuples into lists, which is what YAML and JSON give back."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, tuple | list) else value
