"""Which implementation computes a scan: ours, or a fused kernel that agrees with it, of a package or our own.

A package that is installed may be broken, of another version than its kernel, or wrong on this device. So its
operation is tried first, values and gradients, on a small problem of the precision and the sizes that are
asked for, once per process and device; where it raises or differs, ours computes. Nothing is imported before
a CUDA device asks.

Our own kernels of the scan of Mamba-2, in Triton, are tried in the same way, and have to be clearly faster
than our plain scan as well. A package that agrees comes before them: its kernels were made fast on GPUs,
where ours have never run.

Letters: B batch, L tokens, D channels, N numbers of the state per channel.
"""
# ruff: noqa: N803 -- the letters A, B, C are the papers'

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from triptych.backbones.backbone import OURS
from triptych.backbones.state_space.selective_scan import selective_scan
from triptych.backbones.state_space.ssd import WIDEST, ssd
from triptych.backbones.state_space.trial import (
    Scan,
    difference,
    selective_scan_problem,
    slowness,
    ssd_batch,
    ssd_problem,
)

SSD_CHUNK = 64
"""Tokens of a chunk in mamba-ssm's scan of Mamba-2."""

TOLERANCES = {torch.float32: 1e-4, torch.float16: 4e-3, torch.bfloat16: 5e-2}
"""Largest difference, relative to the largest entry of each tensor: about ten times the rounding of results
in half precision, in which a gradient of few numbers sums up that of many; of float32 a thousand times."""

BOTH_WAYS = ((False, True), (True, False))
"""Two groups of heads, in opposite directions."""


class Implementation(NamedTuple):
    """An implementation."""

    name: str
    """`triptych`, or the package and its version, such as `mamba-ssm 2.3.2`."""
    function: Scan
    """The operation, called as ours is."""
    passed_over: str = ""
    """Why a package that is installed is not used; empty if none is installed, or asked for."""


@dataclass(frozen=True)
class Operation:
    """An operation of ours that a package may compute as well."""

    ours: Scan
    load: Callable[[], Scan]
    """Import the package, and return its operation, called as ours is."""
    problem: Callable[..., tuple[Tensor, ...]]
    """Make the tensors on which both have to agree, given device, dtype and sizes."""
    package: str
    """Name under which the package is imported."""
    distribution: str
    """Name under which it is installed."""
    author: str = ""
    """Whose operation it is, where that is not the package."""
    directions: tuple[object, ...] = (False, True)
    """The values of `reverse` with which both are tried."""
    dtypes: tuple[torch.dtype, ...] = tuple(TOLERANCES)
    """The precisions that the package's computes in; others are left to ours."""
    widest: int | None = None
    """The largest size that the package's is made for; None: it says so itself."""
    batch: Callable[..., tuple[Tensor, ...]] | None = None
    """Make tensors, likewise, with which the package's has to be faster than ours; None: there is no race."""


CHOSEN: dict[tuple[object, ...], Implementation] = {}
"""What was chosen in this process; a dictionary that a compiled network can look into, unlike a cache."""


def selective_scan_path(device: torch.device, dtype: torch.dtype, state: int) -> Implementation:
    """Return what computes the selective scan; its function is called as `selective_scan` is.

    Args:
        device: that computes.
        dtype: of the tensors that are scanned.
        state: N.
    """
    return _chosen("selective scan", (SELECTIVE_SCAN,), device, dtype, (state,))


def ssd_path(device: torch.device, dtype: torch.dtype, head_width: int, state: int) -> Implementation:
    """Return what computes the scan of Mamba-2; its function is called as `ssd` is.

    Args:
        device: that computes.
        dtype: of the tensors that are scanned.
        head_width: channels of a head.
        state: N.
    """
    return _chosen("ssd", (SSD, SSD_TRITON), device, dtype, (head_width, state))


def _chosen(
    scan: str,
    operations: Sequence[Operation],
    device: torch.device,
    dtype: torch.dtype,
    sizes: tuple[int, ...],
) -> Implementation:
    """Return the first of some packages' implementations that passes, otherwise ours; the same every time."""
    ours = operations[0].ours
    if device.type != "cuda":
        return Implementation(OURS, ours)
    if device.index is None:
        device = torch.device("cuda", torch.cuda.current_device())
    key = (scan, device.index, dtype, sizes)
    if key not in CHOSEN:
        CHOSEN[key] = _first_that_passes(operations, device, dtype, sizes)
    return CHOSEN[key]


def _first_that_passes(
    operations: Sequence[Operation], device: torch.device, dtype: torch.dtype, sizes: tuple[int, ...]
) -> Implementation:
    failures: list[str] = []
    for operation in operations:
        if dtype in operation.dtypes and max(sizes) <= (operation.widest or max(sizes)):
            found = tried(operation, device, dtype, sizes)
            failures += [found.passed_over] if found.passed_over else []
            if found.name != OURS:
                return found._replace(passed_over="; ".join(failures))
    return Implementation(OURS, operations[0].ours, "; ".join(failures))


def tried(
    operation: Operation, device: torch.device, dtype: torch.dtype, sizes: tuple[int, ...]
) -> Implementation:
    """Return the package's implementation where it agrees with ours on `device`, otherwise ours."""
    try:
        theirs = operation.load()
    except Exception as error:  # whatever a package does when it is imported
        absent = isinstance(error, ModuleNotFoundError) and error.name == operation.package
        return Implementation(
            OURS, operation.ours, "" if absent else _failure(operation, "does not import", error)
        )
    try:
        failing = _failing(operation, theirs, device, dtype, sizes)
    except Exception as error:  # whatever a kernel does when it is called
        return Implementation(OURS, operation.ours, _failure(operation, "does not run", error))
    if failing:
        return Implementation(OURS, operation.ours, f"{_name(operation)} {failing}")
    return Implementation(_name(operation), theirs)


def _failing(
    operation: Operation, theirs: Scan, device: torch.device, dtype: torch.dtype, sizes: tuple[int, ...]
) -> str:
    """Return in what the package's is wrong, or that it is slower; or nothing."""
    ours, precision = operation.ours, str(dtype).removeprefix("torch.")
    # Asked inside a forward pass, whatever context that runs in.
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device.type, enabled=False):
        given = operation.problem(device, dtype, *sizes)
        differing = difference(ours, theirs, given, operation.directions, TOLERANCES[dtype])
        if differing:
            return f"does not agree in {precision}: {differing}"
        if operation.batch is None:
            return ""
        slower = slowness(ours, theirs, operation.batch(device, dtype, *sizes), (False,))
        return f"is not clearly faster in {precision}: {slower}" if slower else ""


def _failure(operation: Operation, what: str, error: Exception) -> str:
    """Return a line that says what failed, and how."""
    said = str(error).strip().partition("\n")[0][:200]
    return f"{_name(operation)} {what}: {type(error).__name__}" + (f": {said}" if said else "")


def _name(operation: Operation) -> str:
    """Return the author, if it is another, the package's name and, where it is known, its version."""
    try:
        known = f"{operation.distribution} {importlib.metadata.version(operation.distribution)}"
    except Exception:  # not installed as a distribution, or its description is broken
        known = operation.distribution
    return f"{operation.author} by {known}" if operation.author else known


def _load_selective_scan() -> Scan:
    """Import mamba-ssm's selective scan, and return it as a function called as `selective_scan` is."""
    kernel = importlib.import_module("mamba_ssm.ops.selective_scan_interface").selective_scan_fn

    def fused(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, reverse: bool = False) -> Tensor:
        by_token = [t.float().flip(1) if reverse else t.float() for t in (x, dt, B, C)]
        u, delta, write, read = (t.transpose(1, 2).contiguous() for t in by_token)  # B D L and B N L
        y = kernel(u, delta, A.float().contiguous(), write, read).transpose(1, 2)  # B L D
        return (y.flip(1) if reverse else y).to(x.dtype)

    return fused


SELECTIVE_SCAN = Operation(
    ours=selective_scan,
    load=_load_selective_scan,
    problem=selective_scan_problem,
    package="mamba_ssm",
    distribution="mamba-ssm",
)


def _load_ssd() -> Scan:
    """Import mamba-ssm's scan of Mamba-2, and return it as a function called as `ssd` is.

    It computes half precision alone: of float32 its products keep 10 bits on today's GPUs, ours all.
    """
    kernel = importlib.import_module("mamba_ssm.ops.triton.ssd_combined").mamba_chunk_scan_combined

    def fused(
        x: Tensor,
        dt: Tensor,
        A: Tensor,
        B: Tensor,
        C: Tensor,
        D: Tensor | None = None,
        reverse: Sequence[bool] = (False,),
    ) -> Tensor:
        heads = x.shape[2] // len(reverse)
        gathered = []
        for g, backward in enumerate(reverse):
            own = slice(g * heads, (g + 1) * heads)
            by_token = (x[:, :, own], dt[:, :, own].float(), B[:, :, g, None], C[:, :, g, None])
            u, delta, write, read = (t.flip(1) if backward else t.contiguous() for t in by_token)
            skip = None if D is None else D[own].float()
            y = kernel(u, delta, A[own].float(), write, read, chunk_size=SSD_CHUNK, D=skip)  # B L heads P
            gathered.append(y.flip(1) if backward else y)
        return torch.cat(gathered, dim=2).to(x.dtype)

    return fused


SSD = Operation(
    ours=ssd,
    load=_load_ssd,
    problem=ssd_problem,
    package="mamba_ssm",
    distribution="mamba-ssm",
    directions=BOTH_WAYS,
    dtypes=(torch.bfloat16, torch.float16),
)


def _load_triton() -> Scan:
    """Import triton and our kernels, and return their scan, called as `ssd` is."""
    importlib.import_module("triton")
    scan = importlib.import_module("triptych.backbones.state_space.triton_scan").ssd_triton
    # A kernel gains nothing by torch.compile, which would have to be taught where it may be called.
    return torch.compiler.disable(scan)


SSD_TRITON = Operation(
    ours=ssd,
    load=_load_triton,
    problem=ssd_problem,
    package="triton",
    distribution="triton",
    author=OURS,
    directions=BOTH_WAYS,
    widest=WIDEST,
    batch=ssd_batch,
)
