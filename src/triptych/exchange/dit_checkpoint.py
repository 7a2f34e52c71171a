"""A checkpoint of facebookresearch/DiT: one file of weights, read as a foreign model and written from ours.

The file holds tensors under the names of their `models.py`, or, as their `train.py` saves them, two sets of
such tensors beside the optimiser. Neither says how many attention heads there are, which schedule it was
trained on, or what is predicted; an exported folder does, in the `triptych.json` that lies beside.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from safetensors import torch as safetensors

from triptych.backbones.dit import DiTConfig
from triptych.backbones.dit_tensors import NETWORK, PATCHES, Sizes, from_theirs, is_dit, sizes_of, to_theirs
from triptych.diffusion import DiffusionConfig
from triptych.errors import UserError
from triptych.exchange.foreign import Foreign
from triptych.exchange.sidecar import SIDECAR, as_json, class_names, read_json, told_of
from triptych.exchange.weights_file import Weights, read_weights
from triptych.models import Model
from triptych.runs import Run

WEIGHTS = "model.safetensors"

PARTS = {
    "ema": "the moving average of the weights was taken",
    "model": "no moving average of the weights is in it",
}
"""What their `train.py` saves weights under, the better one first, and what is said of it."""

THEIR_SCHEDULES = {"linear": "linear", "cosine": "squaredcos_cap_v2"}
"""Our schedules, and their `noise_schedule`."""

THEIR_PREDICTIONS = {"eps": False, "x0": True}
"""Our predictions, and their `predict_xstart`."""


def read_checkpoint(path: Path, heads: int | None = None) -> Foreign:
    """Return the model in a file of weights, checked.

    Args:
        path: of a `.safetensors` file, or of one that `torch.save` wrote.
        heads: attention heads; None for what is said beside the file, or is usual at that width.

    Raises:
        UserError: the file cannot be read, holds no such network, or one that cannot be represented here.
    """
    weights = read_weights(path, tuple(PARTS))
    if not is_dit(weights.tensors):
        found = f"among its {len(weights.tensors):,} tensors is no {PATCHES!r}, as a {NETWORK} has it"
        raise UserError(
            f"import {path}", found, "give a checkpoint of a DiT, or a folder of diffusers' files"
        )
    beside = path.with_name(SIDECAR)
    lies_there = read_json(beside) if beside.exists() else {}
    told = lies_there if lies_there.get("sha256") == weights.digest else {}
    sizes = sizes_of(weights.tensors, _heads(beside, told) if heads is None else heads)
    if sizes.channels not in (1, 3):
        found = f"its images have {sizes.channels} channels: latents of an autoencoder, no pixels"
        raise UserError(f"import {path}", found, "import one that was trained on pixels, of 1 or 3 channels")
    return Foreign(
        layout="dit",
        source=str(path),
        digest=weights.digest,
        backbone=sizes.config,
        diffusion=_diffusion(beside, told),
        channels=sizes.channels,
        image_size=sizes.image_size,
        classes=sizes.classes,
        class_names=class_names(beside, told.get("class_names") or None, sizes.classes),
        tensors=from_theirs(weights.tensors, sizes),
        remarks=(
            *_remarks(weights, sizes),
            *(() if told else _taken_for_granted(sizes, chosen=heads is not None)),
            *(
                (f"{SIDECAR} beside it is of other weights, and was passed over",)
                if lies_there != told
                else ()
            ),
        ),
    )


def checkpoint_files(run: Run, model: Model) -> dict[str, bytes]:
    """Return the file of weights of `model`, of `run`, and what is to be known of it: path -> content.

    Raises:
        UserError: their network, or their diffusion, cannot be as this one is, or a class has a name that
            would not be imported again.
    """
    config, network = run.experiment.backbone, model.denoiser.backbone
    if not isinstance(config, DiTConfig):
        found = f"its backbone is {config.kind}, and theirs is a Diffusion Transformer"
        fits = "say --format diffusers" if config.kind == "unet" else "export a dit"
        raise UserError(f"export {run.folder} --format dit", found, fits)
    diffusion = run.experiment.diffusion
    theirs = _their_diffusion(diffusion)
    ours = {name: tensor.cpu() for name, tensor in network.state_dict().items()}
    tensors = to_theirs(ours, config, network.image_size)
    content = safetensors.save(tensors, {"format": "pt"})
    hidden = len(tensors["blocks.0.mlp.fc1.bias"])
    sizes = {
        "input_size": network.image_size,
        "patch_size": config.patch,
        "in_channels": network.channels,
        "hidden_size": config.width,
        "depth": config.depth,
        "num_heads": config.heads,
        "mlp_ratio": their_ratio(hidden, config.width),
        # Without dropped classes there is no null class, and an unconditional network has one class alone.
        "class_dropout_prob": 0.1 if network.classes else 0.0,
        "num_classes": network.classes or 1,
        "learn_sigma": False,
    }
    told = {
        "sha256": hashlib.sha256(content).hexdigest(),
        "sizes": sizes,
        "schedule": diffusion.schedule,
        "prediction": diffusion.prediction,
        "network": f"DiT({', '.join(f'{name}={value!r}' for name, value in sizes.items())})",
        "diffusion": theirs,
    }
    return {WEIGHTS: content, SIDECAR: as_json(told_of(run, model) | told)}


def _their_diffusion(diffusion: DiffusionConfig) -> dict[str, Any]:
    """Return what their `create_diffusion` is to be told."""
    for field, value, names in (
        ("schedule", diffusion.schedule, THEIR_SCHEDULES),
        ("prediction", diffusion.prediction, THEIR_PREDICTIONS),
    ):
        if value not in names:
            asked = f"export a model with diffusion.{field} {value}"
            raise UserError(asked, "DiT's diffusion has none such", f"export one with {' or '.join(names)}")
    return {
        "noise_schedule": THEIR_SCHEDULES[diffusion.schedule],
        "predict_xstart": THEIR_PREDICTIONS[diffusion.prediction],
        "learn_sigma": False,
    }


def their_ratio(hidden: int, width: int) -> float:
    """Return the `mlp_ratio` of which their network, which rounds down, makes perceptrons of that width."""
    ratio = hidden / width
    return ratio if int(width * ratio) == hidden else (hidden + 0.5) / width


def _heads(path: Path, told: dict[str, Any]) -> int | None:
    """Return the number of heads that our export wrote beside the file; None where it did not."""
    if not told:
        return None
    sizes = told.get("sizes")
    heads = sizes.get("num_heads") if isinstance(sizes, dict) else None
    if not isinstance(heads, int) or isinstance(heads, bool):
        raise UserError(
            f"import {path}", "its num_heads is no whole number", "restore the file, or remove it"
        )
    return heads


def _diffusion(path: Path, told: dict[str, Any]) -> DiffusionConfig:
    """Return schedule and prediction: what our export wrote beside the file, or theirs by default."""
    usual = DiffusionConfig(schedule="linear", prediction="eps")
    schedule, prediction = (
        told.get(name, usually)
        for name, usually in (("schedule", usual.schedule), ("prediction", usual.prediction))
    )
    for name, value, known in (
        ("schedule", schedule, THEIR_SCHEDULES),
        ("prediction", prediction, THEIR_PREDICTIONS),
    ):
        if value not in list(known):  # of a list, unlike a dict, even what cannot be hashed can be asked
            found = f"its {name} is {repr(value)[:60]}, not {' or '.join(known)}"
            raise UserError(f"import {path}", found, "restore the file, or remove it")
    return DiffusionConfig(schedule=schedule, prediction=prediction)


def _remarks(weights: Weights, sizes: Sizes) -> list[str]:
    """Return a line for each thing that was left out or changed."""
    remarks = [PARTS[weights.part]] if weights.part else []
    if sizes.variances:
        remarks.append("it predicts variances too (learn_sigma), which were left out")
    if sizes.config.positions == "learned":
        remarks.append("its positions are not DiT's sines and cosines, and were imported as learned ones")
    return remarks


def _taken_for_granted(sizes: Sizes, *, chosen: bool) -> list[str]:
    """Return a line for each thing that nothing tells; heads are told where the caller has `chosen` them."""
    remarks = ["schedule and prediction were taken for those of DiT's own training"]
    if not chosen:
        remarks.append(
            f"{sizes.config.heads} heads, as the paper's network of width {sizes.config.width} has"
        )
    if sizes.classes:
        remarks.append(f"the last of its {sizes.embedded} class embeddings was taken for that of no class")
    else:
        remarks.append("its one class embedding, which all images share, was added to that of the noise")
    return remarks
