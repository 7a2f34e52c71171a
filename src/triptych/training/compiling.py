"""torch.compile by option, tried before it is relied on."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import torch

from triptych.backbones.dropout import Dropout, DropoutKey, key_dropout
from triptych.cache_place import cache_folder
from triptych.denoiser import Denoiser
from triptych.devices import device_name, synchronize
from triptych.distributed import Ranks

KEPT = "TORCHINDUCTOR_CACHE_DIR"
"""Names the folder in which torch finds again what it has compiled."""


def compile_network(denoiser: Denoiser, images: int) -> str:
    """Let torch compile the network in place, and return what to tell of it.

    It is tried forward and backward first, in training mode and in its precision: where that fails, as
    without a C++ compiler, the network stays as it is. Weights, and the names of its parameters, are
    untouched either way. Every size of a batch has code of its own, which is kept for the next start.

    Args:
        denoiser: whose network it is.
        images: of a batch in training: code that is made for more sizes at once is slower.
    """
    device = next(denoiser.parameters()).device
    if KEPT not in os.environ and (folder := kept_code(device)) is not None:
        os.environ[KEPT] = str(folder)
    network = denoiser.backbone
    for layer in network.modules():
        if isinstance(layer, Dropout):
            # Its masks depend on the step, a number that compiled code would be made anew for each time.
            layer.mask = torch.compiler.disable(layer.mask)
    from torch._dynamo import config  # takes seconds

    # The masks part the code of every block, and each shape that a block meets counts as made anew: beyond a
    # limit torch would give up on the rest, and say so.
    layers = sum(1 for _ in network.modules())
    config.recompile_limit = max(config.recompile_limit, layers)  # ty: ignore[invalid-assignment]
    network.compile(dynamic=False)
    try:
        forward_and_back(denoiser, images)
    except Exception as error:
        network._compiled_call_impl = None
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        return f"torch.compile failed, and training goes on without it ({reason})"
    return "the network is compiled"


def kept_code(device: torch.device) -> Path | None:
    """Return where code for a device is kept, among the caches; None: nothing can be kept there.

    Of its own accord torch keeps it where a restart of the machine clears up. Machines may share a cache, and
    code is made for one processor and its number of threads.
    """
    made_for = f"{torch.__version__} {device_name(torch.device('cpu'))} {device_name(device)}"
    folder = cache_folder() / "compiled" / hashlib.sha256(made_for.encode()).hexdigest()[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder


def is_compiled(denoiser: Denoiser) -> bool:
    """Whether the network is called as torch has compiled it."""
    return denoiser.backbone._compiled_call_impl is not None


def compile_together(denoiser: Denoiser, images: int, ranks: Ranks) -> tuple[bool, str]:
    """Compile the network of every rank, or of none where one fails; return whether, and what to tell."""
    told = compile_network(denoiser, images)
    mine = is_compiled(denoiser)
    found = ranks.gather(mine)
    if not ranks.lead(lambda: all(found)):
        denoiser.backbone._compiled_call_impl = None
        return False, told if not mine else "torch.compile failed on another process, and none is compiled"
    return True, told


def forward_and_back(denoiser: Denoiser, images: int) -> None:
    """Go through the network and back once, in training mode, and wait for the device."""
    network = denoiser.backbone
    device = next(network.parameters()).device
    index = torch.arange(images, device=device)
    key_dropout(network, DropoutKey(0, 0, 0, index))
    x = torch.zeros(images, network.channels, network.image_size, network.image_size, device=device)
    was_training = network.training
    network.train()
    try:
        t = torch.full((images,), 0.5, dtype=torch.float64)
        denoiser.output(x, t, index * 0 if network.classes else None).square().mean().backward()
        synchronize(device)
    finally:
        network.train(was_training)
        network.zero_grad(set_to_none=True)
