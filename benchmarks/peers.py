"""Other people's code, loaded file by file from checkouts of their repositories.

Nothing of theirs is installed where a program would find it, and no other file of theirs is run: what a file
imports, and what is measured does not need, is replaced by a stand-in for as long as it is being loaded.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from benchmarks import timm_stand_in
from benchmarks.comparison import Absent

TIMM = "timm.models.vision_transformer"

PACKAGE = "benchmarks"
"""That a peer's file takes itself to be in."""

APART_FOLDER = "parity"
"""In the environment's folder: where the set-up puts torch-fidelity, apart from torchmetrics."""

TORCH_FIDELITY = (
    *("defaults", "deprecations", "helpers", "feature_extractor_base", "interpolate_compat_tensorflow"),
    "feature_extractor_inceptionv3",
)
"""Files of torch-fidelity, each of which imports from those before it alone; the last is wanted."""


class Peer(NamedTuple):
    """A file of theirs."""

    module: ModuleType
    note: str
    """Which file it is, and what stands in for what."""


class Unneeded(ModuleType):
    """A module that a file imports names from without calling them where it is measured."""

    def __getattr__(self, name: str) -> Any:
        """Return a function that gives back what it gets, which will do for a decorator."""
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda decorated: decorated


def dit(peers: Path | None) -> Peer | Absent:
    """Return facebookresearch/DiT's models, on timm's layers where timm can be imported."""
    try:
        importlib.import_module(TIMM)
    except Exception as error:  # it imports torchvision, which may be broken in any way
        why = str(error).strip().partition("\n")[0]
        said = f"{timm_stand_in.NOTE}, as timm cannot be imported ({why})"
        return load(peers, "DiT", "models.py", {TIMM: timm_stand_in}, said)
    return load(peers, "DiT", "models.py", {}, f"layers of timm {importlib.metadata.version('timm')}")


def diffusers() -> ModuleType | Absent:
    """Return diffusers, which is installed, and not loaded from a checkout."""
    try:
        return importlib.import_module("diffusers")
    except Exception as error:  # it imports much, which may be broken in any way
        why = str(error).strip().partition("\n")[0]
        return Absent(f"diffusers cannot be imported ({why}): pip install diffusers")


def release(package: str) -> str:
    """Return which release of an installed package is measured."""
    try:
        return f"release {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        return "no release"


def improved_diffusion(peers: Path | None) -> Peer | Absent:
    """Return the file of openai/improved-diffusion that has `UNetModel`."""
    layers = load(peers, "improved-diffusion", "improved_diffusion/nn.py")
    if isinstance(layers, Absent):
        return layers
    # What the file imports from beside itself is looked for beside the name that `load` gives it.
    beside = {f"{PACKAGE}.nn": layers.module, f"{PACKAGE}.fp16_util": Unneeded(f"{PACKAGE}.fp16_util")}
    return load(peers, "improved-diffusion", "improved_diffusion/unet.py", beside)


def mamba_py(peers: Path | None) -> Peer | Absent:
    """Return alxndrTL/mamba.py's Mamba, whose `MambaBlock.selective_scan` is a parallel scan."""
    scan = load(peers, "mamba.py", "mambapy/pscan.py")
    if isinstance(scan, Absent):
        return scan
    return load(peers, "mamba.py", "mambapy/mamba.py", {"mambapy.pscan": scan.module})


def selective_scan_ref(peers: Path | None) -> Peer | Absent:
    """Return the file of state-spaces/mamba that has `selective_scan_ref`."""
    # Of these, only decorators are called, and only by what is not measured.
    names = ("mamba_ssm.utils.torch", "mamba_ssm.ops.triton.layer_norm")
    unneeded = {name: Unneeded(name) for name in names}
    return load(peers, "mamba", "mamba_ssm/ops/selective_scan_interface.py", unneeded)


def ssd_minimal(peers: Path | None) -> Peer | Absent:
    """Return the file of state-spaces/mamba that has `ssd_minimal_discrete`."""
    name = "mamba_ssm.ops.triton.ssd_combined"  # what its own test compares with
    return load(peers, "mamba", "mamba_ssm/modules/ssd_minimal.py", {name: Unneeded(name)})


def torch_fidelity(peers: Path | None) -> Peer | Absent:
    """Return the file of toshas/torch-fidelity that has `FeatureExtractorInceptionV3`.

    From a checkout where there is one, and otherwise from the release that the set-up keeps apart.
    """
    folder, repository, said = peers, "torch-fidelity", ""
    if peers is None or not (peers / repository).is_dir():
        folder, repository = Path(sys.prefix), APART_FOLDER
        apart = folder / repository
        if not (apart / "torch_fidelity").is_dir():
            return Absent(f"no torch-fidelity in --peers, and none in {apart}: run make setup")
        releases = importlib.metadata.distributions(name="torch-fidelity", path=[str(apart)])
        said = f"release {next((one.version for one in releases), 'unknown')}"
    package = ModuleType("torch_fidelity")
    package.__path__ = []  # whatever is not in `loaded` is missing, and said to be
    loaded: dict[str, ModuleType] = {"torch_fidelity": package}
    found: Peer | Absent = Absent("nothing to load")
    for name in TORCH_FIDELITY:
        found = load(folder, repository, f"torch_fidelity/{name}.py", loaded, said)
        if isinstance(found, Absent):
            return found
        loaded[f"torch_fidelity.{name}"] = found.module
    return found


def load(
    peers: Path | None,
    repository: str,
    file: str,
    stand_ins: Mapping[str, ModuleType] | None = None,
    said: str = "",
) -> Peer | Absent:
    """Return a file as a module, or why it cannot be had.

    Args:
        peers: folder with checkouts; None: there is none.
        repository: name of the repository, and of its folder in `peers`.
        file: path in the repository.
        stand_ins: what imports of these names are to find.
        said: what is to be known of the stand-ins.
    """
    if peers is None:
        return Absent("no folder of peers given: --peers")
    path = peers / repository / file
    if not path.is_file():
        return Absent(f"no {repository}/{file} in {peers}")
    name = f"{PACKAGE}.peer_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        with standing_in({name: module, **(stand_ins or {})}):  # a file's dataclasses look their module up
            spec.loader.exec_module(module)
    except ModuleNotFoundError as error:
        return Absent(f"{repository}/{file} needs {error.name}, which is not installed")
    except Exception as error:  # whatever a file does when it is loaded
        return Absent(f"{repository}/{file} cannot be loaded: {type(error).__name__}: {error}")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    return Peer(module, "; ".join(filter(None, [f"{repository}/{file}, sha256 {digest}", said])))


@contextmanager
def standing_in(modules: Mapping[str, ModuleType]) -> Iterator[None]:
    """Have imports of these names find these modules."""
    before = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
