"""The sizes of our UNet as the options of diffusers' `UNet2DModel`, and back.

Both are the network of DDPM (arXiv 2006.11239, appendix B). What `UNet2DModel` can be beyond that, this UNet
cannot represent, and it is refused by the option's name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from triptych.backbones.unet import UNetConfig
from triptych.errors import UserError

CLASS = "UNet2DModel"

REPRESENTABLE: dict[str, Any] = {
    "act_fn": "silu",
    "add_attention": True,
    "center_input_sample": False,
    "class_embed_type": None,
    "downsample_padding": 0,
    "downsample_type": "conv",
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "mid_block_scale_factor": 1,
    "mid_block_type": "UNetMidBlock2D",
    "norm_eps": 1e-6,
    "resnet_time_scale_shift": "default",
    "time_embedding_type": "positional",
    "upsample_type": "conv",
}
"""The one value that an option must have, where there is one."""

DEFAULTS: dict[str, Any] = {
    "act_fn": "silu",
    "add_attention": True,
    "attention_head_dim": 8,
    "attn_norm_num_groups": None,
    "block_out_channels": (224, 448, 672, 896),
    "center_input_sample": False,
    "class_embed_type": None,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
    "downsample_padding": 1,
    "downsample_type": "conv",
    "dropout": 0.0,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "in_channels": 3,
    "layers_per_block": 2,
    "mid_block_scale_factor": 1,
    "mid_block_type": "UNetMidBlock2D",
    "norm_eps": 1e-5,
    "norm_num_groups": 32,
    "num_class_embeds": None,
    "num_train_timesteps": None,
    "out_channels": 3,
    "resnet_time_scale_shift": "default",
    "sample_size": None,
    "time_embedding_dim": None,
    "time_embedding_type": "positional",
    "up_block_types": ("AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    "upsample_type": "conv",
}
"""What an option means that a configuration leaves out, as old ones do; there are no others."""

LARGEST = {"sample_size": 4096, "in_channels": 64, "layers_per_block": 64, "norm_num_groups": 4096}
"""Sizes beyond which a configuration is a mistake that would exhaust the machine."""


class Sizes(NamedTuple):
    """All that `UNetConfig.build` needs.

    Attributes:
        config: sizes of the network.
        channels: colour channels of its images.
        image_size: their height and width, in pixels.
        embedded: rows of the class embedding; 0 for an unconditional network.
    """

    config: UNetConfig
    channels: int
    image_size: int
    embedded: int


def from_options(options: Mapping[str, Any]) -> Sizes:
    """Return our sizes of a `UNet2DModel`, given the content of its `config.json`.

    Raises:
        UserError: an option is unknown, malformed, or says what this UNet cannot represent.
    """
    if options.get("_class_name") != CLASS:
        raise _refusal("_class_name", options.get("_class_name"), CLASS)
    given = {name: value for name, value in options.items() if not name.startswith("_")}
    for name, value in given.items():
        if name not in DEFAULTS and value not in (None, False):
            raise _refusal(f"the option {repr(name)[:60]}", value, "no option of that name")
    full = DEFAULTS | given
    for name, value in REPRESENTABLE.items():
        if full[name] != value or isinstance(full[name], bool) != isinstance(value, bool):
            raise _refusal(name, full[name], value)
    size = full["sample_size"]
    if isinstance(size, list) and len(size) == 2 and size[0] == size[1]:
        full["sample_size"] = size[0]
    image_size, channels, blocks, groups = (_whole(full, name) for name in LARGEST)
    if full["out_channels"] != channels:
        raise _refusal("out_channels", full["out_channels"], f"as many as in_channels, {channels}")
    widths = full["block_out_channels"]
    if not isinstance(widths, list | tuple) or not widths or not all(_is_whole(width) for width in widths):
        raise _refusal("block_out_channels", widths, "a list of whole numbers")
    if any(width % widths[0] for width in widths):
        raise _refusal("block_out_channels", widths, "multiples of the first")
    for name, usual in (("time_embedding_dim", 4 * widths[0]), ("attn_norm_num_groups", groups)):
        if full[name] not in (None, usual):
            raise _refusal(name, full[name], usual)
    attends = _attending(full, len(widths))
    dropout = full["dropout"]
    if not isinstance(dropout, int | float):
        raise _refusal("dropout", dropout, "a probability")
    config = UNetConfig(
        width=widths[0],
        multipliers=tuple(width // widths[0] for width in widths),
        blocks=blocks,
        attention=tuple(image_size // 2**level for level, there in enumerate(attends) if there),
        heads=_heads(full, [w for w, there in zip(widths, attends, strict=True) if there] + [widths[-1]]),
        dropout=float(dropout),
        groups=groups,
    )
    embedded = full["num_class_embeds"]
    if embedded is not None and not _is_whole(embedded):
        raise _refusal("num_class_embeds", embedded, "a whole number")
    config.check(image_size)
    return Sizes(config, channels, image_size, embedded or 0)


def to_options(config: UNetConfig, channels: int, image_size: int, classes: int) -> dict[str, Any]:
    """Return the content of the `config.json` of a `UNet2DModel` with our sizes.

    Args:
        config: sizes of the network.
        channels: colour channels of its images.
        image_size: their height and width, in pixels.
        classes: number of classes; one more is embedded, the null class, which is the last.

    Raises:
        UserError: `UNet2DModel` has no such network.
    """
    widths = [config.width * multiplier for multiplier in config.multipliers]
    sizes = config.level_sizes(image_size)
    attended = {w for w, size in zip(widths, sizes, strict=True) if size in config.attention} | {widths[-1]}
    for field, found, impossible in (
        ("patch", config.patch, config.patch != 1),
        ("multipliers", config.multipliers, config.multipliers[0] != 1),
        ("heads", config.heads, config.heads > 1 and len(attended) > 1),
    ):
        if impossible:
            need = {"patch": "1", "multipliers": "1 first", "heads": "1, or attended levels of one width"}
            raise UserError(
                f"export a UNet with backbone.{field} {found}",
                f"{CLASS} represents {need[field]} alone",
                "train one without it, or keep to the run itself",
            )
    attends = [size in config.attention for size in sizes]
    return (
        DEFAULTS
        | REPRESENTABLE
        | {
            "_class_name": CLASS,
            "attention_head_dim": None if config.heads == 1 else attended.pop() // config.heads,
            "block_out_channels": widths,
            "down_block_types": ["AttnDownBlock2D" if there else "DownBlock2D" for there in attends],
            "dropout": config.dropout,
            "in_channels": channels,
            "layers_per_block": config.blocks,
            "norm_num_groups": config.groups,
            "num_class_embeds": classes + 1 if classes else None,
            "out_channels": channels,
            "sample_size": image_size,
            "up_block_types": ["AttnUpBlock2D" if there else "UpBlock2D" for there in reversed(attends)],
        }
    )


def _attending(full: Mapping[str, Any], levels: int) -> list[bool]:
    """Return which levels have attention, on the way down and, mirrored, on the way up."""
    found = []
    for name, plain in (("down_block_types", "DownBlock2D"), ("up_block_types", "UpBlock2D")):
        types = full[name]
        if not isinstance(types, list | tuple) or len(types) != levels:
            raise _refusal(name, types, f"{levels} of them, as in block_out_channels")
        if other := [kind for kind in types if kind not in (plain, f"Attn{plain}")]:
            raise _refusal(name, other[0], f"{plain} or Attn{plain}")
        found.append([kind != plain for kind in types])
    if found[0] != found[1][::-1]:
        raise _refusal("up_block_types", list(full["up_block_types"]), "down_block_types mirrored")
    return found[0]


def _heads(full: Mapping[str, Any], widths: Sequence[int]) -> int:
    """Return the number of heads, the same at every width that has attention."""
    width_of_head = full["attention_head_dim"]
    if width_of_head is None:
        return 1
    if not _is_whole(width_of_head) or any(width % width_of_head for width in widths):
        raise _refusal("attention_head_dim", width_of_head, "a divisor of the channels, or null")
    if len(heads := {width // width_of_head for width in widths}) > 1:
        counts = " and ".join(map(str, sorted(heads)))
        raise _refusal(f"attention_head_dim, which gives {counts} heads,", width_of_head, "equally many")
    return heads.pop()


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**20


def _whole(full: Mapping[str, Any], name: str) -> int:
    value = full[name]
    if not _is_whole(value) or value > LARGEST[name]:
        raise _refusal(name, value, f"one whole number, 1 to {LARGEST[name]:,}")
    return value


def _refusal(option: str, value: object, represented: object) -> UserError:
    shown = represented if isinstance(represented, str) else repr(represented)
    return UserError(
        f"import a {CLASS} with {option} {repr(value)[:60]}",
        f"what can be represented here is {shown}",
        "import another model, or use it with diffusers",
    )
