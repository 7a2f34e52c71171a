"""The tensors of our Diffusion Transformer under the names of facebookresearch/DiT's `models.py`, and back.

Our plain network is theirs, so that weights go over unchanged. They only stand in another order where noise
is embedded (cosines first there, sines here) and where pixels leave (row, column, channel there; channel,
row, column here), and the first layer is a convolution there.

Letters: D width of a token, C channels of the image, H those that leave the network (C, or twice as many with
variances), p side of a patch, N tokens, K classes, M width inside the perceptrons.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import NamedTuple

import torch
from torch import Tensor

from triptych.backbones.dit import SIZES, DiTConfig
from triptych.backbones.foreign_tensors import broken, in_float32, misfit
from triptych.backbones.tokens import NOISE_WIDTH, grid_positions
from triptych.errors import UserError

NETWORK = "DiT"

OUTSIDE = {
    "embed": "x_embedder.proj",
    "noise_embedding.up": "t_embedder.mlp.0",
    "noise_embedding.out": "t_embedder.mlp.2",
    "class_embedding": "y_embedder.embedding_table",
    "modulation_out.linear": "final_layer.adaLN_modulation.1",
    "project": "final_layer.linear",
}
"""Our modules outside of all blocks, and theirs."""

INSIDE = {
    "modulation.linear": "adaLN_modulation.1",
    "attention.qkv": "attn.qkv",
    "attention.out": "attn.proj",
    "mlp.up": "mlp.fc1",
    "mlp.down": "mlp.fc2",
}
"""Our modules inside a block, and theirs."""

PATCHES = "x_embedder.proj.weight"
POSITIONS = "pos_embed"
CLASSES = "y_embedder.embedding_table.weight"

CARRIED = (
    *("kind", "patch", "width", "positions", "depth", "heads", "mlp_ratio"),
    "gradient_checkpointing",  # changes nothing that is computed
)
"""Fields of ours that theirs can have with any value; all others are as by default, or not theirs."""

SAME_POSITIONS = 1e-5
"""Largest difference at which positions are taken for the sines and cosines that they are by default."""


class Sizes(NamedTuple):
    """All that their network and ours are built from.

    Attributes:
        config: sizes of the network.
        channels: colour channels of its images.
        image_size: their height and width, in pixels.
        embedded: rows of the class embedding, of which the last is taken for that of no class.
        variances: whether the network also predicts variances, which ours does not (`learn_sigma`).
    """

    config: DiTConfig
    channels: int
    image_size: int
    embedded: int
    variances: bool

    @property
    def classes(self) -> int:
        """Number of classes; 0 for an unconditional network, whose images all have the one embedding."""
        return self.embedded - 1


def is_dit(tensors: Mapping[str, Tensor]) -> bool:
    """Return whether any of these tensors bears a name that only such a network gives."""
    return any(name in tensors for name in (PATCHES, CLASSES, "final_layer.linear.weight"))


def sizes_of(tensors: Mapping[str, Tensor], heads: int | None = None) -> Sizes:
    """Return the sizes that the shapes of a network's tensors tell.

    Args:
        tensors: under their names.
        heads: attention heads, which no shape tells; None for those of the paper's network of that width.

    Raises:
        UserError: a tensor that tells a size is missing or misshapen, the sizes are none that can be built
            here, or the heads are not known or do not divide the width.
    """
    width, channels, patch, _ = _shape(tensors, PATCHES, "[D, C, p, p]")
    _, tokens, _ = _shape(tensors, POSITIONS, "[1, N, D]")
    side = math.isqrt(tokens)
    if side**2 != tokens:
        wanted = f"[1, N, {width}] where N is a square"
        raise broken(NETWORK, misfit(POSITIONS, tensors[POSITIONS], wanted))
    embedded, _ = _shape(tensors, CLASSES, "[K, D]")
    hidden, _ = _shape(tensors, "blocks.0.mlp.fc1.weight", "[M, D]")
    leaving, _ = _shape(tensors, "final_layer.linear.weight", "[ppH, D]")
    own = _are_usual(tensors[POSITIONS], side, width)
    config = DiTConfig(
        patch=patch,
        width=width,
        positions="sincos" if own else "learned",
        depth=len({name.split(".")[1] for name in tensors if name.startswith("blocks.")}),
        heads=1,
        mlp_ratio=hidden / width,
    )
    image_size = side * patch
    try:
        config.check(image_size)
    except UserError as error:
        raise UserError(f"import a {NETWORK} with {error.asked}", error.found, "import another one") from None
    config = replace(config, heads=_heads(width, heads))
    return Sizes(config, channels, image_size, embedded, leaving == 2 * channels * patch**2)


def from_theirs(tensors: Mapping[str, Tensor], sizes: Sizes) -> dict[str, Tensor]:
    """Return the tensors of their network under our names, in float32.

    The part that predicts variances is left out. An embedding that all images share is added to the offset of
    the noise embedding, which is where it is added in the end.

    Args:
        tensors: under their names.
        sizes: from `sizes_of`.

    Raises:
        UserError: a tensor is missing, unknown, of another shape, or holds no floating-point numbers.
    """
    theirs = in_float32(tensors, _shapes(sizes), NETWORK, "its other sizes")
    config, channels = sizes.config, sizes.channels
    ours = {_our_name(name): tensor for name, tensor in theirs.items() if name != POSITIONS}
    ours["embed.weight"] = ours["embed.weight"].flatten(1)  # D Cpp
    ours["noise_embedding.up.weight"] = _swapped(ours["noise_embedding.up.weight"])
    for name in ("project.weight", "project.bias"):
        by_pixel = ours[name].unflatten(0, (config.patch, config.patch, -1))[:, :, :channels]  # p p C ...
        ours[name] = by_pixel.movedim(2, 0).flatten(0, 2)  # Cpp ...
    if sizes.classes == 0:
        (shared,) = ours.pop("class_embedding.weight")  # D
        ours["noise_embedding.out.bias"] = ours["noise_embedding.out.bias"] + shared
    if config.positions == "learned":
        ours["positions"] = theirs[POSITIONS][0]  # N D
    return ours


def to_theirs(tensors: Mapping[str, Tensor], config: DiTConfig, image_size: int) -> dict[str, Tensor]:
    """Return the tensors of our network under their names; without variances (`learn_sigma=False`).

    An unconditional network is one there whose one class adds nothing.

    Args:
        tensors: under our names.
        config: sizes of the network.
        image_size: height and width of its images, in pixels.

    Raises:
        UserError: their network cannot be as this one is.
    """
    check_plain(config)
    ours = dict(tensors)
    embed, project, patch = ours["embed.weight"], ours["project.weight"], config.patch
    positions = ours.pop("positions", None)
    if positions is None:
        positions = grid_positions(image_size // patch, config.width).to(embed)
    ours["embed.weight"] = embed.unflatten(1, (-1, patch, patch))  # D C p p
    ours["noise_embedding.up.weight"] = _swapped(ours["noise_embedding.up.weight"])
    for name, tensor in (("project.weight", project), ("project.bias", ours["project.bias"])):
        by_channel = tensor.unflatten(0, (-1, patch, patch))  # C p p ...
        ours[name] = by_channel.movedim(0, 2).flatten(0, 2)  # ppC ...
    ours.setdefault("class_embedding.weight", embed.new_zeros(1, config.width))
    theirs = {_their_name(name): tensor.contiguous() for name, tensor in ours.items()}
    return theirs | {POSITIONS: positions[None].contiguous()}  # 1 N D


def check_plain(config: DiTConfig) -> None:
    """Raise `UserError` for the first option that their network does not have."""
    for field in fields(config):
        value = getattr(config, field.name)
        if field.name not in CARRIED and value != field.default:
            raise UserError(
                f"export a {NETWORK} with backbone.{field.name.replace('_', '-')} {value}",
                f"theirs has {field.default} alone",
                "train one without it, or keep to the run itself",
            )


def _shapes(sizes: Sizes) -> dict[str, tuple[int, ...]]:
    """Return the shapes of all tensors of their network, by their names."""
    config, width = sizes.config, sizes.config.width
    hidden = round(config.mlp_ratio * width)
    leaving = config.patch**2 * sizes.channels * (2 if sizes.variances else 1)
    layers: dict[str, tuple[int, ...]] = {
        "x_embedder.proj": (width, sizes.channels, config.patch, config.patch),
        "t_embedder.mlp.0": (width, NOISE_WIDTH),
        "t_embedder.mlp.2": (width, width),
        "final_layer.adaLN_modulation.1": (2 * width, width),
        "final_layer.linear": (leaving, width),
    }
    for i in range(config.depth):
        layers |= {
            f"blocks.{i}.adaLN_modulation.1": (6 * width, width),
            f"blocks.{i}.attn.qkv": (3 * width, width),
            f"blocks.{i}.attn.proj": (width, width),
            f"blocks.{i}.mlp.fc1": (hidden, width),
            f"blocks.{i}.mlp.fc2": (width, hidden),
        }
    shapes = {f"{name}.weight": shape for name, shape in layers.items()}
    shapes |= {f"{name}.bias": shape[:1] for name, shape in layers.items()}
    tokens = (sizes.image_size // config.patch) ** 2
    return shapes | {POSITIONS: (1, tokens, width), CLASSES: (sizes.embedded, width)}


def _shape(tensors: Mapping[str, Tensor], name: str, letters: str) -> tuple[int, ...]:
    """Return the sizes of a tensor that has as many as there are letters, none of them 0."""
    if name not in tensors:
        raise broken(NETWORK, f"missing tensor {name!r}, which tells its sizes")
    shape = tuple(tensors[name].shape)
    if len(shape) != letters.count(",") + 1 or 0 in shape:
        raise broken(NETWORK, misfit(name, tensors[name], letters))
    return shape


def _are_usual(positions: Tensor, side: int, width: int) -> bool:
    """Return whether positions [1, N, D] are those that our network has by default."""
    if positions.shape[2] != width or width % 4 or not positions.is_floating_point():
        return False  # and refused for it, by whoever asks for all shapes
    # A file of half precision holds the same positions, rounded.
    allowed = max(SAME_POSITIONS, torch.finfo(positions.dtype).eps)
    return bool((positions[0].float() - grid_positions(side, width)).abs().max() <= allowed)


def _heads(width: int, heads: int | None) -> int:
    """Return the number of attention heads of a network of that width."""
    if heads is None:
        known = {width: heads for width, _, heads in SIZES.values()}
        if width in known:
            return known[width]
        found = "no shape tells how many attention heads it has, and the paper has no network of that width"
        raise UserError(f"import a {NETWORK} of width {width}", found, "say how many with --heads")
    if heads < 1 or width % heads:
        found = f"its width {width} is not a multiple of it"
        raise UserError(
            f"import a {NETWORK} with --heads {heads}", found, "give the number it was trained with"
        )
    return heads


def _swapped(weight: Tensor) -> Tensor:
    """Return a weight [D, 2F] of sines and cosines with the halves of its columns exchanged."""
    return weight.roll(weight.shape[1] // 2, dims=1)


def _their_name(name: str) -> str:
    """Return their name of our tensor `name`, such as `blocks.3.mlp.up.weight`."""
    module, _, kind = name.rpartition(".")
    if module in OUTSIDE:
        return f"{OUTSIDE[module]}.{kind}"
    _, number, inner = module.split(".", 2)
    return f"blocks.{number}.{INSIDE[inner]}.{kind}"


def _our_name(name: str) -> str:
    """Return our name of their tensor `name`, such as `blocks.3.mlp.fc1.weight`."""
    module, _, kind = name.rpartition(".")
    outside = {theirs: ours for ours, theirs in OUTSIDE.items()}
    if module in outside:
        return f"{outside[module]}.{kind}"
    _, number, inner = module.split(".", 2)
    return f"blocks.{number}.{next(ours for ours, theirs in INSIDE.items() if theirs == inner)}.{kind}"
