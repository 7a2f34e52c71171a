"""A training step of DiT-S/2: ours, and the authors' with and without torch's fused attention."""

from __future__ import annotations

import torch
from torch import nn

from benchmarks.comparison import Absent, Case, Comparison, Variant
from benchmarks.peers import Peer, dit
from benchmarks.work import (
    CHANNELS,
    CLASSES,
    our_costs,
    our_network,
    our_step,
    parameters,
    step_operations,
    training_step,
)
from triptych.backbones.dit import DiTConfig
from triptych.commands.bench import BenchOptions

OURS = "triptych dit"


def comparisons(options: BenchOptions) -> list[Comparison]:
    """Return the one comparison of this case."""
    config = DiTConfig(width=32, depth=2, heads=2) if options.quick else DiTConfig()
    size, batch = (8, 2) if options.quick else (32, 16)
    batch = options.batch or batch
    peer = dit(options.peers)

    def theirs(fused: bool) -> Variant:
        if isinstance(peer, Absent):
            return Variant(peer)
        return Variant(
            lambda: training_step(their_network(peer, config, fused, size), batch, size),
            note=peer.note,
            facts=lambda: parameters(their_network(peer, config, fused, size)),
            operations=lambda: step_operations(their_network(peer, config, fused, size), batch, size),
        )

    variants = {
        OURS: Variant(
            lambda: our_step(config, batch, size),
            facts=lambda: our_costs(config, size),
            operations=lambda: step_operations(our_network(config, size), batch, size),
        ),
        "DiT, fused attention": theirs(fused=True),
        "DiT, explicit softmax": theirs(fused=False),
    }
    tokens = (size // config.patch) ** 2
    title = f"{tokens} tokens, width {config.width}, {config.depth} blocks"
    return [Comparison(title, tokens, batch, OURS, variants)]


def their_network(peer: Peer, config: DiTConfig, fused: bool, size: int) -> nn.Module:
    """Return the authors' network of the same sizes, without dropping classes.

    Args:
        peer: their file.
        config: the sizes.
        fused: whether attention is one operation of torch.
        size: height and width of the images, in pixels.
    """
    torch.manual_seed(0)
    network = peer.module.DiT(
        input_size=size,
        patch_size=config.patch,
        in_channels=CHANNELS,
        hidden_size=config.width,
        depth=config.depth,
        num_heads=config.heads,
        mlp_ratio=config.mlp_ratio,
        class_dropout_prob=0.0,
        num_classes=CLASSES,
        learn_sigma=False,
    )
    for block in network.blocks:
        block.attn.fused_attn = fused  # by which timm's layer decides at each call
    return network


CASE = Case("training step of DiT-S/2 on 32x32 pixels: forward, backward, AdamW", comparisons)
