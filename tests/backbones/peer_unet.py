"""diffusers' UNet2DModel beside ours, with the same random weights."""

import torch
from diffusers import UNet2DModel

from triptych.backbones.diffusers_options import from_options, to_options
from triptych.backbones.diffusers_tensors import from_theirs, to_theirs


def randomise(network, seed=0):
    """Give every tensor of a network random values at which its output stays near 1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            inputs = parameter[0].numel() if parameter.ndim > 1 else 1
            near_one = parameter.ndim == 1 and name.endswith("weight")  # a gain of a normalisation
            parameter.copy_(1 + 0.1 * noise if near_one else noise * (inputs**-0.5 if inputs > 1 else 0.1))
    return network.eval()


def peer_of(config, channels, image_size, classes):
    """Return diffusers' network of our sizes, made from our options."""
    options = to_options(config, channels, image_size, classes)
    return UNet2DModel.from_config(options).eval()


def ours_from(peer):
    """Return our network with the sizes and weights of diffusers' one."""
    sizes = from_options(dict(peer.config) | {"_class_name": "UNet2DModel"})
    network = sizes.config.build(sizes.channels, sizes.image_size, max(sizes.embedded - 1, 0))
    network.load_state_dict(from_theirs(peer.state_dict(), network, sizes.config))
    return network.eval()


def peer_from(network, config):
    """Return diffusers' network with the sizes and weights of ours."""
    peer = peer_of(config, network.channels, network.image_size, network.classes)
    peer.load_state_dict(to_theirs(network.state_dict(), config))
    return peer.eval()
