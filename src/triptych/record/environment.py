"""What a figure was made with: versions, commit and hardware, as the record holds them."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from triptych.devices import device_count, device_name
from triptych.record.events import Device

UNKNOWN = "unknown"


def describe_device(device: torch.device, used: int = 1) -> Device:
    """Return the record's entry for `used` devices of this kind."""
    return Device(device_name(device), used, device_count(device))


def versions() -> dict[str, str]:
    """Return the versions of all that can change a figure, and the commit where there is one."""
    found = {
        "triptych": _installed("triptych"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
        "threads": str(torch.get_num_threads()),
    }
    if (kernels := _installed("mamba-ssm")) != UNKNOWN:  # whose scans may be the ones that compute
        found["mamba-ssm"] = kernels
    commit = _commit()
    return found | ({"commit": commit} if commit else {})


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # run from a checkout through PYTHONPATH
        return UNKNOWN


def _commit() -> str | None:
    """Return the commit of the checkout that the program runs from, `+changes` if it was edited since."""
    checkout = Path(__file__).parents[3]
    if not (checkout / ".git").exists():
        return None
    try:
        git = ["git", "-C", str(checkout)]
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
        changes = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):  # no git here: the version has to do
        return None
    return head.stdout.strip() + ("+changes" if changes.stdout.strip() else "")
