"""The folder that diffusers' `DDPMPipeline` saves: read as a foreign model, and written from ours.

Today's folders have the network under `unet/` and the schedule under `scheduler/`; older ones, such as the
first on the hub, have all files side by side.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import torch as safetensors

from triptych.backbones.diffusers_options import from_options, to_options
from triptych.backbones.diffusers_tensors import from_theirs, to_theirs
from triptych.backbones.unet import UNet, UNetConfig
from triptych.diffusion.diffusers_scheduler import from_scheduler, to_scheduler
from triptych.errors import UserError
from triptych.exchange.foreign import Foreign
from triptych.exchange.sidecar import SIDECAR, as_json, class_names, read_json, told_of
from triptych.exchange.weights_file import read_weights
from triptych.models import Model
from triptych.runs import Run

LAYOUT_VERSION = "0.42.1"
"""The version of diffusers whose files these are; older and newer ones read them as well."""

PIPELINES = ("DDPMPipeline", "DDIMPipeline")
"""Pipelines whose network works on the pixels themselves."""

INDEX, NETWORK, SCHEDULER = "model_index.json", "config.json", "scheduler_config.json"
WEIGHTS = "diffusion_pytorch_model"


def read_folder(folder: Path, null_class: str | None = None) -> Foreign:
    """Return the model in a folder, checked.

    Args:
        folder: of a saved pipeline, or of a saved `UNet2DModel` with its scheduler's configuration.
        null_class: `last`, if the caller knows that the last class embedding is that of no class.

    Raises:
        UserError: a file is missing or damaged, or says what cannot be represented here.
    """
    if not folder.is_dir():
        remedy = "give a folder of files; a model on the hub is downloaded first, by the hub's own tools"
        raise UserError(f"import {folder}", "there is no such folder or file", remedy)
    index = read_json(folder / INDEX) if (folder / INDEX).exists() else {"_class_name": PIPELINES[0]}
    if index.get("_class_name") not in PIPELINES:
        found = f"it is a {str(index.get('_class_name'))[:60]!r}, whose network may not work on pixels"
        raise UserError(f"import {folder}", found, f"import a {' or a '.join(PIPELINES)}")
    network_folder = folder / "unet" if (folder / "unet" / NETWORK).exists() else folder
    config, channels, image_size, embedded = from_options(read_json(network_folder / NETWORK))
    nested = folder / "scheduler" / SCHEDULER
    diffusion = from_scheduler(read_json(nested if nested.exists() else folder / SCHEDULER))
    ours = read_json(folder / SIDECAR) if (folder / SIDECAR).exists() else {}
    classes = _classes(folder, embedded, null_class or ours.get("null_class"))
    path = _weights(network_folder)
    with torch.device("meta"):  # a network as large as it may claim to be costs nothing yet
        network = UNet(config, channels, image_size, classes)
    weights = read_weights(path)
    return Foreign(
        layout="diffusers",
        source=str(path),
        digest=weights.digest,
        backbone=config,
        diffusion=diffusion,
        channels=channels,
        image_size=image_size,
        classes=classes,
        class_names=class_names(folder / SIDECAR, ours.get("class_names"), classes),
        tensors=from_theirs(weights.tensors, network, config),
    )


def folder_files(run: Run, model: Model) -> dict[str, bytes]:
    """Return the files of the pipeline that holds `model`, of `run`: relative path -> content.

    Raises:
        UserError: diffusers has no such network, schedule or prediction, or a class has a name that would
            not be imported again.
    """
    config, network = run.experiment.backbone, model.denoiser.backbone
    if not isinstance(config, UNetConfig):
        found = f"its backbone is {config.kind}, which diffusers' pipelines do not have"
        fits = "only --format dit fits it" if config.kind == "dit" else "export a unet"
        raise UserError(f"export {run.folder} --format diffusers", found, fits)
    options = to_options(config, network.channels, network.image_size, network.classes)
    scheduler = to_scheduler(run.experiment.diffusion)
    tensors = to_theirs({name: t.cpu() for name, t in network.state_dict().items()}, config)
    index = {
        "_class_name": "DDPMPipeline",
        "scheduler": ["diffusers", scheduler["_class_name"]],
        "unet": ["diffusers", options["_class_name"]],
    }
    version = {"_diffusers_version": LAYOUT_VERSION}
    return {
        INDEX: as_json(index | version),
        f"scheduler/{SCHEDULER}": as_json(scheduler | version),
        f"unet/{NETWORK}": as_json(options | version),
        f"unet/{WEIGHTS}.safetensors": safetensors.save(tensors, {"format": "pt"}),
        SIDECAR: as_json(told_of(run, model)),
    }


def _weights(folder: Path) -> Path:
    """Return the file of weights in a folder, the safer one where there are two."""
    for suffix in (".safetensors", ".bin"):
        if (path := folder / f"{WEIGHTS}{suffix}").is_file():
            return path
        if (index := folder / f"{WEIGHTS}{suffix}.index.json").exists():
            remedy = "save it in one with diffusers: save_pretrained(..., max_shard_size='100GB')"
            raise UserError(f"import {index}", "the weights are in several files", remedy)
    found = f"no {WEIGHTS}.safetensors in it, nor {WEIGHTS}.bin"
    raise UserError(f"import {folder}", found, "give the folder of a whole pipeline")


def _classes(folder: Path, embedded: int, null_class: object) -> int:
    """Return the number of classes of a network that embeds so many, the null class among them."""
    if null_class is not None and null_class != "last":
        raise UserError(f"import {folder / SIDECAR}", "its null_class is not 'last'", "restore the file")
    if embedded == 0:
        return 0
    if null_class is None:
        raise UserError(
            f"import {folder}",
            f"it embeds {embedded} classes, and nothing says that the last of them is no class",
            "if it was trained so, say --null-class last; without a null class it cannot be represented",
        )
    if embedded == 1:
        raise UserError(f"import {folder}", "it embeds no class but the null class", "import another model")
    return embedded - 1
