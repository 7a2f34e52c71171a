"""Make the Python environment that the project runs in: once, and again only when something has changed."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import platform
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import requirements
import torch_build
from setup_error import SetupError
from torch_build import TorchBuild

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / "constraints.txt"
STAMP = "triptych-setup.json"
ERRORS = "pip-errors.txt"
APART = {"test": ("torch-fidelity",)}
"""Packages of an extra that may not lie beside the others. torchmetrics takes torch-fidelity, where it is
installed, for a sign that torchvision is there too, and then cannot be imported."""
APART_FOLDER = "parity"
"""Where they go, in the environment's folder, without what they need: it is on nobody's path."""
PIP_OPTIONS = {
    # Compiling 20,000 files beforehand takes a minute that the first start does not need.
    "install": ["--disable-pip-version-check", "--no-input", "--no-compile"],
    "uninstall": ["--yes"],
}
_PYTHON = "{}.{}".format(*sys.version_info)


@dataclass(frozen=True)
class Environment:
    """A Python that has what was asked for, and the variables to start it with."""

    python: Path
    variables: dict[str, str]

    @classmethod
    def of_folder(cls, folder: Path) -> Environment:
        """Return the environment that is, or is to be, in `folder`."""
        programs = folder / ("Scripts" if os.name == "nt" else "bin")
        path = os.pathsep.join([str(programs), os.environ.get("PATH", "")])
        python = programs / ("python.exe" if os.name == "nt" else "python")
        return cls(python, {"VIRTUAL_ENV": str(folder), "PATH": path})

    def has_pip(self) -> bool:
        """Say whether it starts and can install: one whose making was broken off cannot."""
        return (
            subprocess.run([str(self.python), "-m", "pip", "--version"], capture_output=True).returncode == 0
        )

    def run(self, *arguments: str) -> int:
        """Run this Python in the project's folder and return its exit code."""
        return subprocess.call([str(self.python), *arguments], cwd=ROOT, env=os.environ | self.variables)


@dataclass(frozen=True)
class Stamp:
    """What was installed in an environment: nothing has to be done while it equals what is wanted."""

    torch: TorchBuild
    extras: tuple[str, ...]
    project: str
    """sha256 of the project's folder, its requirements and the pinned releases."""

    @classmethod
    def read(cls, folder: Path) -> Stamp | None:
        """Read the stamp of an environment; None where there is none that can be read."""
        try:
            fields = json.loads((folder / STAMP).read_text())
            return cls(
                torch=TorchBuild(**fields["torch"]),
                extras=tuple(fields["extras"]),
                project=fields["project"],
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, folder: Path) -> None:
        """Leave the stamp in an environment, as the last act of installing."""
        (folder / STAMP).write_text(json.dumps(asdict(self), indent=2) + "\n")


def prepare(extras: Iterable[str]) -> Environment:
    """Return an environment with the project's `extras`, as VENV, TORCH and TORCH_INDEX ask for it."""
    place = os.environ.get("VENV") or ".venv"
    if place == "none":
        return borrow(extras)
    return install(ROOT / Path(place).expanduser(), extras)


def borrow(extras: Iterable[str]) -> Environment:
    """Use the packages of the Python that runs this; install nothing."""
    lacking = requirements.lacking(requirements.of_project(ROOT, extras))
    if lacking:
        raise SetupError(
            "VENV=none",
            f"{sys.executable} lacks {', '.join(lacking)}",
            "install them there, or leave VENV out to have everything installed in .venv",
        )
    path = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))
    return Environment(Path(sys.executable), {"PYTHONPATH": path})


def install(folder: Path, extras: Iterable[str]) -> Environment:
    """Bring the environment in `folder` up to date, and return it."""
    environment = Environment.of_folder(folder)
    found = Stamp.read(folder)
    wanted = Stamp(
        torch=_wanted_torch(found),
        extras=tuple(sorted({*extras, *(found.extras if found else ())})),
        project=_project_digest(),
    )
    python_fits = environment.python.exists() and _python_fits(folder)
    if found == wanted and python_fits:
        return environment
    if not (python_fits and environment.has_pip()):
        _create(folder)
    # An installation that is broken off must not pass for a whole one.
    (folder / STAMP).unlink(missing_ok=True)
    if wanted.torch.tag == "" and (found is None or found.torch != wanted.torch):
        # pip takes 2.13.0+cpu for an answer to `torch==2.13.0` and would leave that build in place.
        _pip(environment, "uninstall", "torch")
    _install_torch(environment, wanted.torch)
    _install_project(environment, wanted)
    _install_apart(environment, folder, wanted)
    wanted.write(folder)
    return environment


def _python_fits(folder: Path) -> bool:
    """Say whether an environment has the Python that was asked for by name, if one was."""
    if not os.environ.get("PYTHON"):
        return True
    settings = (folder / "pyvenv.cfg").read_text(encoding="utf-8") if (folder / "pyvenv.cfg").exists() else ""
    return re.search(rf"^version\S* = {re.escape(_PYTHON)}\b", settings, re.MULTILINE) is not None


def _wanted_torch(found: Stamp | None) -> TorchBuild:
    wish = os.environ.get("TORCH") or "auto"
    build = torch_build.choose(wish, platform.system(), torch_build.visible_gpus())
    if wish == "auto" and found is not None and found.torch.cuda and not build.cuda:
        # The same folder on a cluster's login node: its GPUs are out of sight, and their build runs here too.
        return found.torch
    return build


def _project_digest() -> str:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    parts = [
        str(ROOT),
        json.dumps([project["build-system"], project["project"], project["tool"]["setuptools"]]),
        CONSTRAINTS.read_text(encoding="utf-8"),
    ]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _create(folder: Path) -> None:
    asked = f"an environment in {folder}"
    if folder.exists() and not (folder / "pyvenv.cfg").exists() and any(folder.iterdir()):
        raise SetupError(asked, "that folder holds other things", "name a new or an empty one: VENV=folder")
    missing = [name for name in ("venv", "ensurepip") if importlib.util.find_spec(name) is None]
    if missing:
        raise SetupError(
            asked,
            f"{sys.executable} has no {' and no '.join(missing)}",
            f"install it (Debian, Ubuntu: apt install python{_PYTHON}-venv) or name another PYTHON",
        )
    print(f"setup: making {folder} with Python {_PYTHON}", flush=True)
    made = subprocess.run(
        [sys.executable, "-m", "venv", "--clear", str(folder)], capture_output=True, text=True
    )
    if made.returncode != 0:
        words = (made.stderr.strip() or made.stdout.strip()).splitlines()
        raise SetupError(
            asked, words[-1] if words else "no word from venv", "mend that, or name another VENV=folder"
        )


def _install_torch(environment: Environment, build: TorchBuild) -> None:
    print(f"setup: installing {build.requirement}", flush=True)
    for source in build.sources(os.environ.get("TORCH_INDEX", "")):
        trouble = _pip(environment, "install", *source, "-c", str(CONSTRAINTS), build.requirement)
        if trouble is None:
            break
    else:
        raise SetupError(
            f"installing {build.requirement} for Python {_PYTHON}",
            trouble,
            "see to the network, or name a mirror (TORCH_INDEX=URL), a build (TORCH=cpu) or a PYTHON",
        )
    if build.cuda:
        _check_cuda(environment, build)


def _check_cuda(environment: Environment, build: TorchBuild) -> None:
    # An index or a folder of wheels that knows only CPU builds satisfies `torch==2.13.0` with one of those.
    asking = [str(environment.python), "-c", "import torch; print(torch.version.cuda or '')"]
    answer = subprocess.run(asking, capture_output=True, text=True)
    if answer.returncode != 0 or not answer.stdout.strip():
        raise SetupError(
            f"installing {build.requirement} for the GPU",
            "the build that was found has no CUDA" if answer.returncode == 0 else "it does not start",
            "name the build and where it lies (TORCH=cu130 TORCH_INDEX=URL), or do without (TORCH=cpu)",
        )


def _install_project(environment: Environment, wanted: Stamp) -> None:
    project = f"{ROOT}[{','.join(wanted.extras)}]" if wanted.extras else str(ROOT)
    print("setup: installing the project and what it needs (constraints.txt)", flush=True)
    # torch is named once more, so that nothing that depends on it can exchange it for another build.
    _install(environment, "the project's requirements", wanted.torch.requirement, "-e", project)


def _install_apart(environment: Environment, folder: Path, wanted: Stamp) -> None:
    place = ["--no-deps", "--upgrade", "--target", str(folder / APART_FOLDER)]
    for package in [package for extra in wanted.extras for package in APART.get(extra, ())]:
        _install(environment, f"{package} beside the others", *place, package)


def _install(environment: Environment, what: str, *arguments: str) -> None:
    trouble = _pip(environment, "install", "-c", str(CONSTRAINTS), *arguments)
    if trouble is not None:
        raise SetupError(
            f"installing {what}", trouble, "see to the network or to pip's index, then try again"
        )


def _pip(environment: Environment, action: str, *arguments: str) -> str | None:
    """Run pip; return None when it went well, else in a few words what went wrong."""
    command = [str(environment.python), "-m", "pip", action, *PIP_OPTIONS[action], *arguments]
    # Progress is for eyes alone.
    shown = None if sys.stdout.isatty() else subprocess.DEVNULL
    variables = os.environ | environment.variables
    result = subprocess.run(
        command, stdout=shown, stderr=subprocess.PIPE, text=True, errors="replace", env=variables
    )
    if result.returncode == 0:
        return None
    errors = environment.python.parent.parent / ERRORS
    errors.write_text(result.stderr, encoding="utf-8")
    return f"{_trouble(result.stderr)} (all of it: {errors})"


def _trouble(stderr: str) -> str:
    """Say in a few words what pip's error output comes down to."""
    if "after connection broken" in stderr:
        return "a package index cannot be reached"
    errors = [line.removeprefix("ERROR: ") for line in stderr.splitlines() if line.startswith("ERROR: ")]
    return f"pip says: {errors[-1]}" if errors else "pip failed"
