"""torch.compile by option, tried before it is relied on."""

from __future__ import annotations

import torch

from triptych.backbones.backbone import Backbone

TRIAL_IMAGES = 2


def compile_network(network: Backbone) -> str:
    """Let torch compile the network in place, and return what to tell of it.

    It is tried forward and backward first: where that fails, as without a C++ compiler, the network
    stays as it is. Weights, and the names of its parameters, are untouched either way.
    """
    network.compile()
    try:
        _try(network)
    except Exception as error:
        network._compiled_call_impl = None
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        return f"torch.compile failed, and training goes on without it ({reason})"
    finally:
        network.zero_grad(set_to_none=True)
    return "the network is compiled"


def _try(network: Backbone) -> None:
    """Go through the network and back once."""
    device = next(network.parameters()).device
    shape = (TRIAL_IMAGES, network.channels, network.image_size, network.image_size)
    labels = None
    if network.classes:
        labels = torch.zeros(TRIAL_IMAGES, dtype=torch.int64, device=device)
    was_training = network.training
    network.eval()  # dropout has no key yet
    try:
        x, noise = torch.zeros(shape, device=device), torch.zeros(TRIAL_IMAGES, device=device)
        network(x, noise, labels).square().mean().backward()
    finally:
        network.train(was_training)
