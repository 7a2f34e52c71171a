"""Sizes of our UNet as options of diffusers' UNet2DModel: all that fits goes over, all else is named."""

import inspect
import json

import pytest
from diffusers import UNet2DModel

from triptych.backbones.diffusers_options import DEFAULTS, from_options, to_options
from triptych.backbones.unet import UNetConfig
from triptych.errors import UserError

DDPM_CIFAR10 = {
    "_class_name": "UNet2DModel",
    "_diffusers_version": "0.0.4",
    "act_fn": "silu",
    "attention_head_dim": None,
    "block_out_channels": [128, 256, 256, 256],
    "center_input_sample": False,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"],
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "in_channels": 3,
    "layers_per_block": 2,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-06,
    "norm_num_groups": 32,
    "out_channels": 3,
    "sample_size": 32,
    "time_embedding_type": "positional",
    "up_block_types": ["UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
}
"""What the files of google/ddpm-cifar10-32 say, in the words of their day."""


def test_the_options_and_their_defaults_are_the_peer_s():
    parameters = list(inspect.signature(UNet2DModel.__init__).parameters.values())[1:]
    assert {p.name: p.default for p in parameters} == DEFAULTS


def test_ddpm_s_cifar10_model_is_our_default():
    config, channels, image_size, embedded = from_options(DDPM_CIFAR10)
    assert config == UNetConfig(dropout=0.0)
    assert (channels, image_size, embedded) == (3, 32, 0)


@pytest.mark.parametrize("classes", [0, 10])
@pytest.mark.parametrize(
    ("fields", "channels", "image_size"),
    [
        ({}, 3, 32),
        ({"width": 8, "multipliers": (1,), "groups": 2, "attention": (), "blocks": 1}, 1, 5),
        ({"multipliers": (1, 2, 2), "attention": (16, 8), "heads": 8, "dropout": 0.0}, 3, 32),
        ({"width": 64, "multipliers": (1, 3), "attention": (12, 6), "groups": 16}, 1, 12),
    ],
)
def test_options_and_back(fields, channels, image_size, classes):
    config = UNetConfig(**fields)
    options = to_options(config, channels, image_size, classes)
    sizes = from_options(json.loads(json.dumps(options)))
    assert sizes == (config, channels, image_size, classes + 1 if classes else 0)
    assert options.keys() - {"_class_name"} == DEFAULTS.keys()


REFUSED = {
    "_class_name": ["UNet2DConditionModel", None],
    "act_fn": ["gelu"],
    "add_attention": [False],
    "attention_head_dim": [3, 0, "8", True],
    "attn_norm_num_groups": [16],
    "block_out_channels": [[128, 192, 256, 256], [], "128", [128, 0, 0, 0], [128, 256.0, 256, 256]],
    "center_input_sample": [True],
    "class_embed_type": ["timestep", "identity"],
    "down_block_types": [
        ["DownBlock2D", "SkipDownBlock2D", "DownBlock2D", "DownBlock2D"],
        ["DownBlock2D", "AttnDownBlock2D"],
        None,
    ],
    "downsample_padding": [1],
    "downsample_type": ["resnet"],
    "dropout": [1.0, -0.1, "0.1", None, float("nan")],
    "flip_sin_to_cos": [True],
    "freq_shift": [0, True],
    "in_channels": [0, -3, 10**9, 3.0],
    "layers_per_block": [0, 10**9, [2, 2, 2, 2]],
    "mid_block_scale_factor": [0.5],
    "mid_block_type": [None, "UNetMidBlock2DCrossAttn"],
    "norm_eps": [1e-5],
    "norm_num_groups": [None, 48, 0],
    "num_class_embeds": [0, "10", 2.5],
    "out_channels": [6, 1],
    "resnet_time_scale_shift": ["scale_shift"],
    "sample_size": [[32, 64], None, 20, 10**9, "32"],
    "time_embedding_dim": [256],
    "time_embedding_type": ["fourier", "learned"],
    "up_block_types": [
        ["UpBlock2D", "AttnUpBlock2D", "UpBlock2D", "UpBlock2D"],
        ["UpBlock2D", "UpBlock2D", "ResnetUpsampleBlock2D", "UpBlock2D"],
    ],
    "upsample_type": ["resnet"],
    "cross_attention_dim": [768],
}
OUR_NAMES = {"norm_num_groups": "groups", "dropout": "dropout", "sample_size": "image"}
"""What a message may say of an option that is refused as a size of ours."""


@pytest.mark.parametrize(("option", "value"), [(name, value) for name in REFUSED for value in REFUSED[name]])
def test_what_cannot_be_represented_is_refused_by_name(option, value):
    with pytest.raises(UserError) as refused:
        from_options(DDPM_CIFAR10 | {option: value})
    message = str(refused.value)
    assert option in message or OUR_NAMES.get(option, option) in message
    assert "\n" not in message


def test_every_option_that_changes_the_network_can_be_refused():
    harmless = {"num_train_timesteps"}  # read where the time embedding is learned, which is refused
    assert REFUSED.keys() - {"_class_name", "cross_attention_dim"} == DEFAULTS.keys() - harmless


def test_heads_are_counted_where_they_are_equally_many():
    assert from_options(DDPM_CIFAR10 | {"attention_head_dim": 8}).config.heads == 32
    everywhere = {
        "attention_head_dim": 8,
        "down_block_types": ["AttnDownBlock2D"] * 4,
        "up_block_types": ["AttnUpBlock2D"] * 4,
    }
    with pytest.raises(UserError, match="attention_head_dim, which gives 16 and 32 heads"):
        from_options(DDPM_CIFAR10 | everywhere)


def test_square_sizes_and_options_of_no_effect_are_read():
    options = DDPM_CIFAR10 | {"sample_size": [32, 32], "time_embedding_dim": 512, "attn_norm_num_groups": 32}
    assert from_options(options | {"add_something": None, "freq_shift": 1.0}) == from_options(DDPM_CIFAR10)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"patch": 2}, "patch"),
        ({"multipliers": (2, 2, 2, 2)}, "multipliers"),
        ({"attention": (32, 16), "heads": 2}, "heads"),
    ],
)
def test_what_the_peer_does_not_have_is_refused_by_name(fields, told):
    with pytest.raises(UserError, match=f"backbone.{told}"):
        to_options(UNetConfig(**fields), 3, 32, 0)
