"""The networks: UNet today; every backbone is one file and one line in `BACKBONES`."""

from triptych.backbones.backbone import BackboneConfig
from triptych.backbones.unet import UNetConfig

BACKBONES: dict[str, type[BackboneConfig]] = {"unet": UNetConfig}
"""Every backbone's configuration by the name that recipes use; `.build(...)` makes the network."""
