"""Which implementation computes a scan: ours, or a fused kernel that agrees with it, of a package or our own.

A package that is installed may be broken, of another version than its kernel, or wrong on this device. So its
operation is tried on a small problem first, values and gradients, once per process and device; whatever it
does there, the scan is computed. Nothing is imported before a CUDA device asks.

Our own kernels of the scan of Mamba-2, in Triton, are tried in the same way, and have to be faster than our
plain scan as well. A package that agrees comes before them, in half precision: its kernels were made fast on
GPUs, where ours have never run.

Letters: B batch, L tokens, D channels, N numbers of the state per channel.
"""
# ruff: noqa: N803 -- the letters A, B, C are the papers'

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from triptych.backbones.state_space.selective_scan import selective_scan
from triptych.backbones.state_space.ssd import ssd
from triptych.backbones.state_space.trial import (
    Scan,
    difference,
    narrowed,
    selective_scan_problem,
    slowness,
    ssd_batch,
    ssd_problem,
    ssd_single_problem,
)

OURS = "triptych"

TRITON = "triptych triton"

MAMBA_STATE = 256
"""The largest state per channel that mamba-ssm's kernel of the selective scan takes."""

SSD_CHUNK = 64
"""Tokens of a chunk in mamba-ssm's scan of Mamba-2."""

TOLERANCE = 1e-4
"""Largest difference, relative to the largest entry of each tensor: a hundred times float32's rounding."""

HALF_TOLERANCE = 2e-2
"""The same of operations that are tried with bf16, whose rounding is 4e-3."""


class Implementation(NamedTuple):
    """An implementation."""

    name: str
    """`triptych`, or the package and its version, such as `mamba-ssm 2.3.2`."""
    function: Scan
    """The operation, called as ours is."""
    passed_over: str = ""
    """Why a package that is installed is not used; empty if none is installed, or asked for."""
    half_only: bool = False
    """Whether it leaves float32 to another."""
    single: str = OURS
    """That other one's name."""

    def computes(self, precision: str) -> str:
        """Return the name of what computes where the network has this precision."""
        return self.single if self.half_only and precision == "float32" else self.name


@dataclass(frozen=True)
class Operation:
    """An operation of ours that a package may compute as well."""

    ours: Scan
    load: Callable[[], Scan]
    """Import the package, and return its operation, called as ours is."""
    problem: Callable[[torch.device], tuple[Tensor, ...]]
    """Make the tensors on which both have to agree."""
    package: str
    """Name under which the package is imported."""
    distribution: str
    """Name under which it is installed."""
    directions: tuple[object, ...] = (False, True)
    """The values of `reverse` with which both are tried."""
    tolerance: float = TOLERANCE
    """Largest difference at which they agree, relative to the largest entry of each tensor."""
    half_only: bool = False
    """Whether the package's leaves float32 to ours."""
    dtypes: tuple[torch.dtype, ...] = ()
    """Those of products in which it is tried, one after another; none: as the problem has them."""
    batch: Callable[[torch.device], tuple[Tensor, ...]] | None = None
    """Make tensors with which the package's has to be faster than ours; None: it is taken without a race."""


def selective_scan_path(device: torch.device) -> Implementation:
    """Return what computes the selective scan on `device`; its function is called as `selective_scan` is."""
    return _path(SELECTIVE_SCAN, device)


def ssd_path(device: torch.device) -> Implementation:
    """Return what computes the scan of Mamba-2 on `device`; its function is called as `ssd` is."""
    package = _path(SSD, device)
    if device.type != "cuda":
        return package
    half = package if package.name != OURS else _path(SSD_TRITON, device)
    return _by_precision(package, half, _path(SSD_TRITON_SINGLE, device))


@cache
def _by_precision(package: Implementation, half: Implementation, single: Implementation) -> Implementation:
    """Return one implementation of two, for half precision and for float32; all that failed is told."""
    failures = dict.fromkeys(each.passed_over for each in (package, half, single) if each.passed_over)
    passed_over = "; ".join(failures)
    if half.name == single.name:
        return Implementation(half.name, half.function, passed_over)

    def scan(x: Tensor, *others: Any, **options: Any) -> Tensor:
        chosen = half if x.dtype in (torch.bfloat16, torch.float16) else single
        return chosen.function(x, *others, **options)

    return Implementation(half.name, scan, passed_over, half_only=True, single=single.name)


def _path(operation: Operation, device: torch.device) -> Implementation:
    if device.type != "cuda":
        return Implementation(OURS, operation.ours)
    if device.index is None:
        device = torch.device("cuda", torch.cuda.current_device())
    return tried(operation, device)


@cache
def tried(operation: Operation, device: torch.device) -> Implementation:
    """Return the package's implementation where it agrees with ours on `device`, otherwise ours."""
    try:
        theirs = operation.load()
    except Exception as error:  # whatever a package does when it is imported
        absent = isinstance(error, ModuleNotFoundError) and error.name == operation.package
        return Implementation(
            OURS, operation.ours, "" if absent else _failure(operation, "does not import", error)
        )
    try:
        failing = _failing(operation, theirs, device)
    except Exception as error:  # whatever a kernel does when it is called
        return Implementation(OURS, operation.ours, _failure(operation, "does not run", error))
    if failing:
        return Implementation(OURS, operation.ours, f"{_version(operation)} {failing}")
    return Implementation(_version(operation), theirs, half_only=operation.half_only)


def _failing(operation: Operation, theirs: Scan, device: torch.device) -> str:
    """Return in what the package's is wrong, or that it is slower; or nothing."""
    # Asked inside a forward pass, whatever context that runs in.
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device.type, enabled=False):
        given = operation.problem(device)
        ours, directions = operation.ours, operation.directions
        for inputs in [narrowed(given, dtype) for dtype in operation.dtypes] or [given]:
            differing = difference(ours, theirs, inputs, directions, operation.tolerance)
            if differing:
                return f"does not agree: {differing}"
        if operation.batch is None:
            return ""
        batch = operation.batch(device)
        batch = narrowed(batch, operation.dtypes[0]) if operation.dtypes else batch
        slower = slowness(ours, theirs, batch, (False,))
        precision = str(batch[0].dtype).removeprefix("torch.")
        return f"is not faster in {precision}: {slower}" if slower else ""


def _failure(operation: Operation, what: str, error: Exception) -> str:
    """Return a line that says what failed, and how."""
    said = str(error).strip().partition("\n")[0][:200]
    return f"{_version(operation)} {what}: {type(error).__name__}" + (f": {said}" if said else "")


def _version(operation: Operation) -> str:
    """Return the package's name and, where it is known, its version."""
    try:
        return f"{operation.distribution} {importlib.metadata.version(operation.distribution)}"
    except Exception:  # not installed as a distribution, or its description is broken
        return operation.distribution


def _load_selective_scan() -> Scan:
    """Import mamba-ssm's selective scan, and return it as a function called as `selective_scan` is."""
    kernel = importlib.import_module("mamba_ssm.ops.selective_scan_interface").selective_scan_fn

    def fused(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, reverse: bool = False) -> Tensor:
        if A.shape[1] > MAMBA_STATE or torch.float64 in {t.dtype for t in (x, dt, A, B, C)}:
            return selective_scan(x, dt, A, B, C, reverse)
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
        if x.dtype not in (torch.bfloat16, torch.float16):
            return ssd(x, dt, A, B, C, D, reverse)
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
    directions=((False, True), (True, False)),
    tolerance=HALF_TOLERANCE,
    half_only=True,
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
    problem=ssd_single_problem,
    package="triton",
    distribution=TRITON,
    directions=((False, True), (True, False)),
    tolerance=HALF_TOLERANCE,
    half_only=True,
    dtypes=(torch.bfloat16, torch.float16),
    batch=ssd_batch,
)

SSD_TRITON_SINGLE = dataclasses.replace(SSD_TRITON, tolerance=TOLERANCE, half_only=False, dtypes=())
"""The same in float32, which is another race: there tensor cores are of no use."""
