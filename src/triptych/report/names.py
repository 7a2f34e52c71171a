"""What records call by short keys, as readers know it; an unknown key stands for itself."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from triptych.record.verdict import Better

BACKBONES = {"unet": "UNet", "dit": "Diffusion Transformer", "dim": "Diffusion Mamba"}

DATA = {"cifar10": "CIFAR-10", "cifar-10": "CIFAR-10", "digits": "Digits"}

SAMPLERS = {
    "ddpm": "DDPM",
    "ddim": "DDIM",
    "heun": "Heun",
    "euler": "Euler",
    "dpm++": "DPM-Solver++",
    "unipc": "UniPC",
    "ipndm": "iPNDM",
    "deis": "DEIS",
}


Family = Literal["quality", "overlap", "diversity"]
"""How near images are to real ones; which of them lie among the real ones, and the reverse; how unlike one
another they are, and how unlike what was learnt from."""


@dataclass(frozen=True)
class MetricName:
    """How a metric is printed, and which of two of its values is the better one."""

    label: str
    """English; `Language.term` has it in other languages."""
    better: Better
    decimals: int
    family: Family = "quality"


METRICS = {
    "fid": MetricName("FID", "lower", 3),
    "fid_infinity": MetricName("FID∞", "lower", 3),
    "kid": MetricName("KID", "lower", 5),
    "fd_dinov2": MetricName("FD (DINOv2)", "lower", 2),
    "fd_classifier": MetricName("FD (classifier)", "lower", 3),
    "frechet_classifier": MetricName("FD (classifier)", "lower", 3),
    "inception_score": MetricName("IS", "higher", 3),
    "classifier_accuracy": MetricName("Accuracy (classifier)", "higher", 4),
    "precision": MetricName("Precision", "higher", 4, "overlap"),
    "recall": MetricName("Recall", "higher", 4, "overlap"),
    "density": MetricName("Density", "real", 4, "overlap"),
    "coverage": MetricName("Coverage", "higher", 4, "overlap"),
    "precision_classifier": MetricName("Precision (classifier)", "higher", 4, "overlap"),
    "recall_classifier": MetricName("Recall (classifier)", "higher", 4, "overlap"),
    "density_classifier": MetricName("Density (classifier)", "real", 4, "overlap"),
    "coverage_classifier": MetricName("Coverage (classifier)", "higher", 4, "overlap"),
    "lpips_diversity": MetricName("LPIPS diversity", "real", 4, "diversity"),
    "lpips_diversity_all": MetricName("LPIPS diversity, all pairs", "real", 4, "diversity"),
    "lpips_vgg_diversity": MetricName("LPIPS diversity (VGG)", "real", 4, "diversity"),
    "lpips_vgg_diversity_all": MetricName("LPIPS diversity (VGG), all pairs", "real", 4, "diversity"),
    "diversity_classifier": MetricName("Diversity (classifier)", "real", 4, "diversity"),
    "diversity_classifier_all": MetricName("Diversity (classifier), all pairs", "real", 4, "diversity"),
    "nearest": MetricName("Nearest training image", "real", 3, "diversity"),
    "nearest_classifier": MetricName("Nearest training image (classifier)", "real", 3, "diversity"),
}
"""In the order in which tables show them; the first that ranks two rows of a table decides which is best."""


DISTANCES = frozenset({"fid", "fd_dinov2", "fd_classifier", "frechet_classifier"})
"""Fréchet distances, which few images bias upward."""


MEMORISATION = frozenset({"nearest", "nearest_classifier"})
"""Distances from training images, which stand beside those of held-out images whatever the others do."""


def metric_name(key: str) -> MetricName:
    """Return how the metric `key` is printed."""
    return METRICS.get(key, MetricName(key, "unknown", 4))


def has_scale(conditional: bool, guidance: float) -> bool:
    """Whether a guidance scale says something of images: not of an unconditional model that nothing leads."""
    return not math.isnan(guidance) and (conditional or guidance > 0)


def scale_name(scale: float, guide: str) -> str:
    """Return a guidance scale, and how it guides where that is not everywhere alike: `3 (cfg,below=2)`."""
    if math.isnan(scale):  # nobody wrote it down
        return "–"
    return f"{scale:g}" if guide == "cfg" else f"{scale:g} ({guide})"


def sampler_parts(sampler: str) -> tuple[str, str]:
    """Split `ddim:50,eta=0.5` into the method, `DDIM, eta=0.5`, and the steps, `50` (empty if not given)."""
    name, _, rest = sampler.partition(":")
    steps, *options = rest.split(",")
    return ", ".join([SAMPLERS.get(name, name), *options]), steps
