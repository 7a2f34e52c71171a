"""Triton's kernels where there may be no GPU: compiled on one, and otherwise run by Triton's interpreter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

SOURCE = Path(__file__).parents[1] / "src"


def skip_without_triton() -> None:
    """Skip the module that asks; an import, as by pytest.importorskip, would settle how triton runs."""
    if find_spec("triton") is None:
        pytest.skip("triton comes with torch's CUDA builds", allow_module_level=True)


def told_by(script: Path) -> Any:
    """Return what a script prints as JSON, run by a process of its own: a triton that interprets stays so."""
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join([str(SOURCE), *sys.path]))
    if not torch.cuda.is_available():
        environment["TRITON_INTERPRET"] = "1"
    command = [sys.executable, "-W", "ignore", str(script)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
