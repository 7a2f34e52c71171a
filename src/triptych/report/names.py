"""What records call by short keys, as readers know it; an unknown key stands for itself."""

from __future__ import annotations

from dataclasses import dataclass

from triptych.record.verdict import Better

BACKBONES = {"unet": "UNet", "dit": "Diffusion Transformer", "dim": "Diffusion Mamba"}

DATA = {"cifar10": "CIFAR-10", "cifar-10": "CIFAR-10", "digits": "Digits"}

SAMPLERS = {
    "ddpm": "DDPM",
    "ddim": "DDIM",
    "heun": "Heun",
    "euler": "Euler",
    "dpm-solver": "DPM-Solver++",
    "unipc": "UniPC",
    "ipndm": "iPNDM",
}


@dataclass(frozen=True)
class MetricName:
    """How a metric is printed, and which of two of its values is the better one."""

    label: str
    better: Better
    decimals: int


METRICS = {
    "fid": MetricName("FID", "lower", 3),
    "fd_classifier": MetricName("FD (classifier)", "lower", 3),
    "frechet_classifier": MetricName("FD (classifier)", "lower", 3),
    "kid": MetricName("KID", "lower", 5),
    "inception_score": MetricName("IS", "higher", 3),
    "classifier_accuracy": MetricName("Accuracy (classifier)", "higher", 4),
    "precision": MetricName("Precision", "higher", 4),
    "recall": MetricName("Recall", "higher", 4),
    "density": MetricName("Density", "higher", 4),
    "coverage": MetricName("Coverage", "higher", 4),
    "lpips_diversity": MetricName("LPIPS diversity", "real", 4),
    "diversity_classifier": MetricName("Diversity (classifier)", "real", 4),
}
"""In the order in which tables show them; the first that a table has decides which of its rows is best."""


def metric_name(key: str) -> MetricName:
    """Return how the metric `key` is printed."""
    return METRICS.get(key, MetricName(key, "unknown", 4))


def sampler_parts(sampler: str) -> tuple[str, str]:
    """Split `ddim:50,eta=0.5` into the method, `DDIM, eta=0.5`, and the steps, `50` (empty if not given)."""
    name, _, rest = sampler.partition(":")
    steps, *options = rest.split(",")
    return ", ".join([SAMPLERS.get(name, name), *options]), steps
