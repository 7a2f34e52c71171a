"""The tensors of our UNet under the names of diffusers' `UNet2DModel`, and back.

The networks are the same (see `diffusers_options`), so that weights go over unchanged; only queries, keys
and values, three matrices there, are stacked in one here.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from triptych.backbones.backbone import Backbone
from triptych.backbones.diffusers_options import CLASS
from triptych.backbones.foreign_tensors import in_float32
from triptych.backbones.unet import UNetConfig

OUTSIDE = {
    "noise_embedding.up": "time_embedding.linear_1",
    "noise_embedding.out": "time_embedding.linear_2",
    "class_embedding": "class_embedding",
    "conv_in": "conv_in",
    "norm_out": "conv_norm_out",
    "conv_out": "conv_out",
}
"""Our modules outside of all levels, and theirs."""

INSIDE = {
    "block.norm1": ("resnets.{}.norm1",),
    "block.conv1": ("resnets.{}.conv1",),
    "block.condition": ("resnets.{}.time_emb_proj",),
    "block.norm2": ("resnets.{}.norm2",),
    "block.conv2": ("resnets.{}.conv2",),
    "block.shortcut": ("resnets.{}.conv_shortcut",),
    "attention.norm": ("attentions.{}.group_norm",),
    "attention.qkv": ("attentions.{}.to_q", "attentions.{}.to_k", "attentions.{}.to_v"),
    "attention.out": ("attentions.{}.to_out.0",),
}
"""Our modules inside a stage, and theirs, by the number of the stage within its level."""

OLD_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""How files written before 2023 call the linear maps of attention."""


def their_names(name: str, blocks: int) -> tuple[str, ...]:
    """Return what `UNet2DModel` calls our tensor `name`: one name, or three that are stacked in ours.

    Args:
        name: of a tensor of our UNet, such as `down.3.block.norm1.weight`.
        blocks: residual blocks per level, `UNetConfig.blocks`.
    """
    module, _, kind = name.rpartition(".")
    if module in OUTSIDE:
        return (f"{OUTSIDE[module]}.{kind}",)
    way, number, rest = module.split(".", 2)
    if way == "middle":
        level, place = "mid_block", int(number)
    else:
        # A level is its stages, then what leads to the next: one module more.
        per_level = blocks + (1 if way == "down" else 2)
        level, place = f"{way}_blocks.{int(number) // per_level}", int(number) % per_level
    if rest == "conv":
        return (f"{level}.{way}samplers.0.conv.{kind}",)
    return tuple(f"{level}.{inner.format(place)}.{kind}" for inner in INSIDE[rest])


def to_theirs(tensors: Mapping[str, Tensor], config: UNetConfig) -> dict[str, Tensor]:
    """Return the tensors of our UNet under the names of `UNet2DModel`."""
    theirs: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        names = their_names(name, config.blocks)
        theirs |= zip(names, (part.contiguous() for part in tensor.chunk(len(names))), strict=True)
    return theirs


def from_theirs(tensors: Mapping[str, Tensor], network: Backbone, config: UNetConfig) -> dict[str, Tensor]:
    """Return the tensors of a `UNet2DModel` under our names, in float32.

    Args:
        tensors: under today's names or those of old files.
        network: our UNet of the same sizes; its tensors may be on the `meta` device.
        config: its sizes.

    Raises:
        UserError: a tensor is missing, unknown, of another shape, or holds no floating-point numbers.
    """
    wanted = {name: their_names(name, config.blocks) for name in network.state_dict()}
    shapes = {
        inner: (tensor.shape[0] // len(wanted[name]), *tensor.shape[1:])
        for name, tensor in network.state_dict().items()
        for inner in wanted[name]
    }
    today = {_today(name): tensor for name, tensor in tensors.items()}
    theirs = in_float32(today, shapes, CLASS, "its config.json")
    return {name: torch.cat([theirs[inner] for inner in names]) for name, names in wanted.items()}


def _today(name: str) -> str:
    """Return today's name of a tensor."""
    module, _, kind = name.rpartition(".")
    stem, _, last = module.rpartition(".")
    return f"{stem}.{OLD_NAMES[last]}.{kind}" if ".attentions." in name and last in OLD_NAMES else name
