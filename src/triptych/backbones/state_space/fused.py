"""Which implementation computes a scan: ours, or a package's fused kernel that agrees with it.

A package that is installed may be broken, of another version than its kernel, or wrong on this device. So its
operation is tried on a small problem first, values and gradients, once per process and device; whatever it
does there, the scan is computed. Nothing is imported before a CUDA device asks.

Letters: B batch, L tokens, D channels, N numbers of the state per channel.
"""
# ruff: noqa: N803, N806 -- the letters A, B, C are the papers'

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from triptych.backbones.state_space.selective_scan import selective_scan
from triptych.backbones.state_space.ssd import ssd

Scan = Callable[..., Tensor]
"""A function of the scan's tensors and of `reverse`: one direction, or of Mamba-2 one for each group."""

OURS = "triptych"

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
    """Whether it leaves float32 to ours."""

    def computes(self, precision: str) -> str:
        """Return the name of what computes where the network has this precision."""
        return OURS if self.half_only and precision == "float32" else self.name


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


def selective_scan_path(device: torch.device) -> Implementation:
    """Return what computes the selective scan on `device`; its function is called as `selective_scan` is."""
    return _path(SELECTIVE_SCAN, device)


def ssd_path(device: torch.device) -> Implementation:
    """Return what computes the scan of Mamba-2 on `device`; its function is called as `ssd` is."""
    return _path(SSD, device)


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
        differing = _difference(operation, theirs, device)
    except Exception as error:  # whatever a kernel does when it is called
        return Implementation(OURS, operation.ours, _failure(operation, "does not run", error))
    if differing:
        return Implementation(OURS, operation.ours, f"{_version(operation)} does not agree: {differing}")
    return Implementation(_version(operation), theirs, half_only=operation.half_only)


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


def _difference(operation: Operation, theirs: Scan, device: torch.device) -> str:
    """Return where the two implementations differ in values or gradients, in either direction; or nothing."""
    # Asked inside a forward pass, whatever context that runs in.
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device.type, enabled=False):
        inputs = operation.problem(device)
        for reverse in operation.directions:
            pairs = zip(
                _results(operation.ours, inputs, reverse), _results(theirs, inputs, reverse), strict=True
            )
            for k, (expected, found) in enumerate(pairs):
                what = f"gradient {k} of {len(inputs)}" if k else "the result"
                if found.shape != expected.shape:
                    return f"{what} has the shape {tuple(found.shape)}, not {tuple(expected.shape)}"
                difference = float((found - expected).float().abs().max() / expected.float().abs().max())
                if not difference <= operation.tolerance:  # a NaN is no agreement
                    return f"{what} differs by {difference:.1g} of its largest entry"
    return ""


def _results(scan: Scan, inputs: tuple[Tensor, ...], reverse: object) -> list[Tensor]:
    """Return the scan of the inputs, and their gradients for a fixed gradient of the scan."""
    leaves = [tensor.clone().requires_grad_() for tensor in inputs]
    y = scan(*leaves, reverse=reverse)
    return [y.detach(), *torch.autograd.grad(y, leaves, _waves(y.shape, 0.9, y.device).to(y.dtype))]


def _waves(shape: tuple[int, ...], frequency: float, device: torch.device) -> Tensor:
    """Return numbers in [-1, 1] that are alike on every device and disturb no generator."""
    numbers = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
    return (numbers * frequency).sin().to(torch.float32).reshape(shape).to(device)


def _selective_scan_problem(device: torch.device) -> tuple[Tensor, ...]:
    """Return x, dt, A, B, C of a small selective scan: B 2, L 37, D 8, N 16; decays from weak to strong."""
    x = _waves((2, 37, 8), 1.3, device)
    dt = (3 * _waves((2, 37, 8), 0.7, device) - 2).exp()
    A = -(2 * _waves((8, 16), 1.7, device)).exp()
    return x, dt, A, _waves((2, 37, 16), 2.1, device), _waves((2, 37, 16), 0.3, device)


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
    problem=_selective_scan_problem,
    package="mamba_ssm",
    distribution="mamba-ssm",
)


def _ssd_problem(device: torch.device) -> tuple[Tensor, ...]:
    """Return x, dt, A, B, C, D of a small scan: 150 tokens, 2 groups of 2 heads, weak to strong decays.

    Heads and states are as wide as usual, and the tensors of products bf16.
    """
    x = _waves((2, 150, 4, 64), 1.3, device).bfloat16()
    dt = (3 * _waves((2, 150, 4), 0.7, device) - 2).exp()
    A = -(2 * _waves((4,), 1.7, device)).exp()
    write, read = (_waves((2, 150, 2, 64), frequency, device).bfloat16() for frequency in (2.1, 0.3))
    return x, dt, A, write, read, _waves((4,), 0.9, device)


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
    problem=_ssd_problem,
    package="mamba_ssm",
    distribution="mamba-ssm",
    directions=((False, True), (True, False)),
    tolerance=HALF_TOLERANCE,
    half_only=True,
)
