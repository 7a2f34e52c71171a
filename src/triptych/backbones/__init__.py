"""The networks: UNet, Diffusion Transformer, Diffusion Mamba; each one file, and one line in `BACKBONES`."""

from triptych.backbones.backbone import BackboneConfig
from triptych.backbones.dim import DiMConfig
from triptych.backbones.dit import DiTConfig
from triptych.backbones.unet import UNetConfig

BACKBONES: dict[str, type[BackboneConfig]] = {"unet": UNetConfig, "dit": DiTConfig, "dim": DiMConfig}
"""Every backbone's configuration by the name that recipes use; `.build(...)` makes the network."""
