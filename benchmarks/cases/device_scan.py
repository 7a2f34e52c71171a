"""The scan of Mamba-2 on the device, forward and backward: plain, compiled, and by the Triton kernels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from benchmarks.comparison import CPU, Absent, Case, Comparison, Made, Variant
from benchmarks.on_device import chosen, out_of_reach, tried
from triptych.backbones.state_space import fused
from triptych.backbones.state_space.ssd import ssd
from triptych.backbones.state_space.trial import Scan, results, ssd_batch
from triptych.commands.bench import BenchOptions
from triptych.precision import DTYPES, best_precision

BASE = "plain"
SIZES = (64, 64)
"""Width of a head, and of the state."""
IMAGES, QUICK_IMAGES = 64, 1
ROUNDS = 12
NO_COMPILER = Absent("it is compiled on a GPU alone")
NO_TRITON = Absent("Triton's kernels need a GPU")


def comparisons(options: BenchOptions) -> list[Comparison]:
    """Return a comparison for each precision: the device's best, and float32."""
    precisions = dict.fromkeys([best_precision(chosen(options)), "float32"])
    return [in_precision(name, options) for name in precisions]


def in_precision(precision: str, options: BenchOptions) -> Comparison:
    """Return the comparison in one precision."""
    device, dtype = chosen(options), DTYPES[precision]
    images = options.batch or (QUICK_IMAGES if options.quick else IMAGES)
    tensors = partial(ssd_batch, device, dtype, *SIZES, images=images)
    x = ssd_batch(torch.device("meta"), dtype, *SIZES, images=images)[0]
    on_gpu = device != CPU
    makes = {
        BASE: lambda: called(ssd, tensors(), device),
        "compiled": partial(compiled, tensors, device) if on_gpu else NO_COMPILER,
        "Triton": partial(by_triton, tensors, device) if on_gpu else NO_TRITON,
    }
    variants = {
        name: Variant(out_of_reach(options) or one, like="" if name == BASE else BASE)
        for name, one in makes.items()
    }
    title = f"a layer's scan in {precision}, {x.shape[2]} heads"
    return Comparison(
        title,
        x.shape[1],
        x.shape[0],
        BASE,
        variants,
        ROUNDS,
        dtype=precision,
        device=device,
        images=x.shape[0],
        weighed=on_gpu,
    )


def called(scan: Scan, tensors: Sequence[Tensor], device: torch.device, note: str = "") -> Made:
    """Return a scan of tensors with all its gradients, or why it cannot be."""

    def call() -> Sequence[Tensor]:
        return results(scan, tensors, (False,), lambda y: tensors[0])

    return tried(call, device, note)


def compiled(tensors: partial[tuple[Tensor, ...]], device: torch.device) -> Made:
    """Return the plain scan as torch compiles it."""
    return called(torch.compile(ssd, dynamic=False), tensors(), device)


def by_triton(tensors: partial[tuple[Tensor, ...]], device: torch.device) -> Made:
    """Return the kernels' scan, and what the program's own trial of them says."""
    given = tensors()
    found = fused.tried(fused.SSD_TRITON, device, given[0].dtype, (given[0].shape[3], given[3].shape[3]))
    try:
        scan = fused.SSD_TRITON.load()
    except Exception as error:  # whatever a package does when it is imported
        return Absent(f"{type(error).__name__}: {error}")
    return called(scan, given, device, found.passed_over or f"passes its trial: {found.name}")


CASE = Case("the scan of Mamba-2 on the device: plain, compiled, by Triton", comparisons, on_device=True)
