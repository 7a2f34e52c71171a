"""What is measured, one question a file."""

from __future__ import annotations

from benchmarks.cases import (
    checkpoint_stall,
    dim_step,
    dit_step,
    frechet_step,
    inception_features,
    loop_step,
    s6_scan,
    ssd_mixer,
    ssd_scan,
)
from benchmarks.comparison import Case

CASES: dict[str, Case] = {
    "dit-step": dit_step.CASE,
    "ssd-scan": ssd_scan.CASE,
    "ssd-mixer": ssd_mixer.CASE,
    "s6-scan": s6_scan.CASE,
    "dim-step": dim_step.CASE,
    "loop-step": loop_step.CASE,
    "checkpoint-stall": checkpoint_stall.CASE,
    "inception-features": inception_features.CASE,
    "frechet-step": frechet_step.CASE,
}
"""Every case by the name that `--only` takes."""
