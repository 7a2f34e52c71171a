"""A training step of Diffusion Mamba against one of our Diffusion Transformer with as many parameters."""

from __future__ import annotations

from benchmarks.comparison import Case, Comparison, Variant
from benchmarks.work import our_costs, our_network, our_step, step_operations
from triptych.backbones.backbone import BackboneConfig
from triptych.backbones.dim import DiMConfig
from triptych.backbones.dit import DiTConfig
from triptych.commands.bench import BenchOptions

BASE = "dit"
SIZES = {32: 16, 64: 4}
"""Batch by pixels: as many tokens in all each time."""
ROUNDS = 9


def comparisons(options: BenchOptions) -> list[Comparison]:
    """Return a comparison for each size of images."""
    networks = quick_networks() if options.quick else full_networks()
    found = []
    for size, batch in ({8: 2} if options.quick else SIZES).items():
        batch = options.batch or batch
        variants = {
            name: Variant(
                lambda config=config, batch=batch, size=size: our_step(config, batch, size),
                facts=lambda config=config, size=size: our_costs(config, size),
                operations=lambda config=config, batch=batch, size=size: step_operations(
                    our_network(config, size), batch, size
                ),
            )
            for name, config in networks.items()
        }
        tokens = (size // 2) ** 2
        found.append(
            Comparison(f"{tokens} tokens, {size}x{size} pixels", tokens, batch, BASE, variants, ROUNDS)
        )
    return found


def full_networks() -> dict[str, BackboneConfig]:
    """Return the networks as recipes have them without further options."""
    return {
        BASE: DiTConfig(),
        "dim split": DiMConfig(directions="split"),
        "dim alternating": DiMConfig(directions="alternating"),
    }


def quick_networks() -> dict[str, BackboneConfig]:
    """Return the same in tiny."""
    return {
        BASE: DiTConfig(width=32, depth=1, heads=2),
        "dim split": DiMConfig(width=32, depth=2, head_width=16, state=8),
        "dim alternating": DiMConfig(width=32, depth=2, head_width=16, state=8, directions="alternating"),
    }


CASE = Case(
    "training step of Diffusion Mamba against Diffusion Transformer, forward, backward, AdamW", comparisons
)
