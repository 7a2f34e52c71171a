"""Which of PyTorch's builds fits this machine, and where pip may find it."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from setup_error import SetupError

VERSION = "2.13.0"
"""The release of torch that the project is tested with (any from 2.11 on will do)."""

PYTORCH_INDEX = "https://download.pytorch.org/whl/"
"""PyTorch's own index: one folder of wheels per build."""

OLDEST_CAPABILITY = (7, 5)
"""Compute capability of the oldest GPUs (Turing) that the CUDA 13 builds have kernels for."""

OLDEST_DRIVER = 580
"""The oldest driver series that runs CUDA 13."""


@dataclass(frozen=True)
class Gpu:
    """What matters here of one NVIDIA GPU; 0 where its driver is too old to say."""

    capability: tuple[int, int] = (0, 0)
    driver: int = 0

    @property
    def runs_cuda13(self) -> bool:
        """True when the standard CUDA build has kernels for it and its driver can load them."""
        return self.capability >= OLDEST_CAPABILITY and self.driver >= OLDEST_DRIVER


@dataclass(frozen=True)
class TorchBuild:
    """One of the builds of the pinned release.

    Attributes:
        tag: `cpu`, `cu126`, ...: PyTorch's name for the build; empty for the one that package indexes carry.
        cuda: True when it must be able to use an NVIDIA GPU.
    """

    tag: str
    cuda: bool

    @property
    def requirement(self) -> str:
        """The build as pip is asked for it. A `+tag` keeps pip from taking any other build."""
        return f"torch=={VERSION}+{self.tag}" if self.tag else f"torch=={VERSION}"

    def sources(self, mirror: str = "") -> list[list[str]]:
        """Return the pip options to try one after another until the build is found.

        First where pip looks by itself, since a mirror or a folder of wheels may have been set up there; then
        PyTorch's index. A named `mirror` (an index, a page of links or a folder) takes the latter's place.
        """
        if mirror and Path(mirror).is_dir():
            return [["--find-links", mirror]]
        if mirror:
            return [["--extra-index-url", mirror, "--find-links", mirror]]
        if self.tag:
            return [[], ["--extra-index-url", PYTORCH_INDEX + self.tag]]
        return [[]]


def choose(wish: str, system: str, gpus: Sequence[Gpu]) -> TorchBuild:
    """Choose the build for `system` (as `platform.system()` names it) with these GPUs.

    `wish` is what TORCH asks for: auto, cpu, cuda, or a CUDA build by name, such as cu126.
    """
    if wish not in ("auto", "cpu", "cuda") and not re.fullmatch(r"cu\d{3}", wish):
        raise SetupError(
            f"TORCH={wish}", "no such build", "choose auto, cpu, cuda or a CUDA build such as cu126"
        )
    if system == "Darwin":
        if wish not in ("auto", "cpu"):
            raise SetupError(
                f"TORCH={wish}", "there is no CUDA on macOS", "leave TORCH out: Metal is used by itself"
            )
        return TorchBuild("", cuda=False)
    if wish == "cpu" or (wish == "auto" and not gpus):
        return TorchBuild("cpu", cuda=False)
    if wish not in ("auto", "cuda"):
        return TorchBuild(wish, cuda=True)
    if not all(gpu.runs_cuda13 for gpu in gpus):
        return TorchBuild("cu126", cuda=True)
    # Package indexes carry the CUDA build for Linux, but for Windows the one without CUDA.
    return TorchBuild("cu130" if system == "Windows" else "", cuda=True)


def visible_gpus() -> list[Gpu]:
    """Ask `nvidia-smi` for the GPUs of this machine; none where it is absent or does not work."""
    listing = _nvidia_smi("-L")
    count = sum(line.startswith("GPU ") for line in listing.splitlines())
    if count == 0:
        return []
    answer = _nvidia_smi("--query-gpu=compute_cap,driver_version", "--format=csv,noheader")
    gpus = [
        Gpu((int(major), int(minor)), int(driver))
        for major, minor, driver in re.findall(r"^(\d+)\.(\d+), *(\d+)", answer, re.MULTILINE)
    ]
    return gpus if len(gpus) == count else [Gpu()] * count


def _nvidia_smi(*arguments: str) -> str:
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    try:
        result = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout if result.returncode == 0 else ""
