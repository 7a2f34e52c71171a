"""What is measured, one question a file."""

from __future__ import annotations

from benchmarks.cases import (
    batch_loading,
    checkpoint_stall,
    cost_growth,
    device_evaluation,
    device_sampling,
    device_scan,
    device_training,
    dim_step,
    dit_step,
    frechet_step,
    inception_features,
    loop_step,
    s6_scan,
    sampling_step,
    ssd_mixer,
    ssd_scan,
    unet_step,
    weight_average,
    whole_commands,
    whole_run,
)
from benchmarks.comparison import Case

CASES: dict[str, Case] = {
    "unet-step": unet_step.CASE,
    "dit-step": dit_step.CASE,
    "ssd-scan": ssd_scan.CASE,
    "ssd-mixer": ssd_mixer.CASE,
    "s6-scan": s6_scan.CASE,
    "dim-step": dim_step.CASE,
    "loop-step": loop_step.CASE,
    "batch-loading": batch_loading.CASE,
    "weight-average": weight_average.CASE,
    "checkpoint-stall": checkpoint_stall.CASE,
    "sampling-step": sampling_step.CASE,
    "inception-features": inception_features.CASE,
    "frechet-step": frechet_step.CASE,
    "whole-run": whole_run.CASE,
    "whole-commands": whole_commands.CASE,
    "cost-growth": cost_growth.CASE,
    "device-training": device_training.CASE,
    "device-sampling": device_sampling.CASE,
    "device-evaluation": device_evaluation.CASE,
    "device-scan": device_scan.CASE,
}
"""Every case by the name that `--only` takes."""
