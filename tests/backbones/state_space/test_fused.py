"""A kernel computes where it agrees with ours, and nowhere else. Stand-ins play it and its package."""
# ruff: noqa: N803, N806 -- the letters A, B, C are the paper's

import dataclasses
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import ModuleType

import pytest
import torch

from triptych.backbones.state_space import fused
from triptych.backbones.state_space.selective_scan import selective_scan, selective_scan_reference
from triptych.backbones.state_space.ssd import ssd, ssd_reference

CPU, GPU = torch.device("cpu"), torch.device("cuda:0")
MODULE = "mamba_ssm.ops.selective_scan_interface"


@pytest.fixture(autouse=True)
def nothing_tried_yet(monkeypatch):
    """Forget what was tried, before and after; and have a "GPU" whose tensors lie on the CPU."""
    problem = fused.SELECTIVE_SCAN.problem
    operation = dataclasses.replace(fused.SELECTIVE_SCAN, problem=lambda device: problem(CPU))
    monkeypatch.setattr(fused, "SELECTIVE_SCAN", operation)
    for name in ("SSD_TRITON", "SSD_TRITON_SINGLE"):
        monkeypatch.setattr(fused, name, dataclasses.replace(getattr(fused, name), load=absent))
    monkeypatch.setattr(fused.importlib.metadata, "version", {"mamba-ssm": "2.3.2"}.__getitem__)
    for name in [name for name in sys.modules if name.partition(".")[0] == "mamba_ssm"]:
        monkeypatch.delitem(sys.modules, name)
    fused.tried.cache_clear()
    yield
    fused.tried.cache_clear()


def absent():
    """Be a package that is not installed."""
    raise ModuleNotFoundError("No module named 'triton'", name="triton")


def kernel(u, delta, A, B, C):
    """Compute as the package does, in its layout: u, delta [B, D, L], B and C [B, N, L]."""
    assert {t.dtype for t in (u, delta, A, B, C)} == {torch.float32}
    assert all(t.stride(-1) == 1 for t in (u, delta, B, C))
    return selective_scan_reference(u.mT, delta.mT, A, B.mT, C.mT).mT


def install(monkeypatch, function):
    """Put a stand-in for mamba-ssm, whose scan is `function`, where an import finds it; return its calls."""
    calls = []

    def counted(*tensors):
        calls.append(tensors)
        return function(*tensors)

    for name in ("mamba_ssm", "mamba_ssm.ops", MODULE):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules[MODULE].selective_scan_fn = counted
    return calls


def test_an_absent_package_is_no_matter(monkeypatch):
    without = [entry for entry in sys.path if not Path(entry, "mamba_ssm").exists()]
    monkeypatch.setattr(sys, "path", without)
    assert fused.selective_scan_path(GPU) == fused.Implementation("triptych", selective_scan, "")


def test_nothing_is_imported_for_another_device(monkeypatch):
    calls = install(monkeypatch, kernel)
    monkeypatch.setattr(fused.importlib, "import_module", None)
    for device in (CPU, torch.device("meta"), torch.device("mps")):
        assert fused.selective_scan_path(device) == fused.Implementation("triptych", selective_scan, "")
    assert not calls


def test_a_package_that_agrees_computes(monkeypatch):
    install(monkeypatch, kernel)
    path = fused.selective_scan_path(GPU)
    assert path.name == "mamba-ssm 2.3.2" and path.passed_over == ""
    assert path.computes("bf16") == path.computes("float32") == path.name
    assert path.function is not selective_scan


def test_a_package_may_have_no_version(monkeypatch):
    def unknown(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(fused.importlib.metadata, "version", unknown)
    install(monkeypatch, kernel)
    assert fused.selective_scan_path(GPU).name == "mamba-ssm"


def test_it_is_tried_once_per_device(monkeypatch):
    calls = install(monkeypatch, kernel)
    first = fused.selective_scan_path(GPU)
    count = len(calls)
    assert count == 2  # once in each direction
    assert fused.selective_scan_path(GPU) is first
    assert len(calls) == count
    fused.selective_scan_path(torch.device("cuda:1"))
    assert len(calls) == 2 * count


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_its_function_is_called_as_ours_is(monkeypatch, reverse, dtype):
    install(monkeypatch, kernel)
    function = fused.selective_scan_path(GPU).function
    x, dt, A, B, C = fused.SELECTIVE_SCAN.problem(GPU)
    inputs = [x.to(dtype), dt, A, B.to(dtype), C.to(dtype)]
    found, expected = [], []
    for scan, results in ((function, found), (selective_scan, expected)):
        leaves = [t.clone().requires_grad_() for t in inputs]
        y = scan(*leaves, reverse=reverse)
        results += [y, *torch.autograd.grad(y.float().square().sum(), leaves)]
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        tolerance = 1e-2 if dtype == torch.bfloat16 else 1e-5
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance * b.abs().max().item())


def test_what_its_kernel_cannot_is_computed_by_ours(monkeypatch):
    calls = install(monkeypatch, kernel)
    function = fused.selective_scan_path(GPU).function
    tried = len(calls)
    exact = [t.double() for t in fused.SELECTIVE_SCAN.problem(GPU)]
    assert torch.equal(function(*exact), selective_scan(*exact))
    x, dt, _, B, C = fused.SELECTIVE_SCAN.problem(GPU)
    A, B, C = -torch.ones(x.shape[2], 272), B.repeat(1, 1, 17), C.repeat(1, 1, 17)
    assert torch.equal(function(x, dt, A, B, C, True), selective_scan(x, dt, A, B, C, True))
    assert len(calls) == tried


class HalfTheGradient(torch.autograd.Function):
    """The identity, with half its gradient."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, dy):
        return dy / 2


def without_decay(u, delta, A, B, C):
    return kernel(u, delta, A * 0, B, C)


def with_nan(u, delta, A, B, C):
    return kernel(u, delta, A, B, C) * float("nan")


def transposed(u, delta, A, B, C):
    return kernel(u, delta, A, B, C).mT


def wrong_gradient(u, delta, A, B, C):
    return kernel(u, delta, HalfTheGradient.apply(A), B, C)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (without_decay, "does not agree: the result differs by"),
        (with_nan, "does not agree: the result differs by nan"),
        (transposed, "does not agree: the result has the shape (2, 8, 37), not (2, 37, 8)"),
        (wrong_gradient, "does not agree: gradient 3 of 5 differs by 0.5 of its largest entry"),
    ],
)
def test_a_package_that_does_not_agree_is_passed_over(monkeypatch, function, reason):
    install(monkeypatch, function)
    path = fused.selective_scan_path(GPU)
    assert (path.name, path.function) == ("triptych", selective_scan)
    assert path.passed_over.startswith(f"mamba-ssm 2.3.2 {reason}")


def test_a_package_that_fails_when_called_is_passed_over(monkeypatch):
    def fails(*tensors):
        raise RuntimeError("no kernel image is available\nfor execution on the device")

    install(monkeypatch, fails)
    path = fused.selective_scan_path(GPU)
    assert (path.name, path.function) == ("triptych", selective_scan)
    assert path.passed_over == "mamba-ssm 2.3.2 does not run: RuntimeError: no kernel image is available"


def test_a_package_without_gradients_is_passed_over(monkeypatch):
    install(monkeypatch, lambda *tensors: kernel(*tensors).detach())
    path = fused.selective_scan_path(GPU)
    assert path.function is selective_scan and "does not run: RuntimeError" in path.passed_over


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("raise OSError('undefined symbol: _ZN3c10')", "OSError: undefined symbol: _ZN3c10"),
        (
            "import a_package_that_nobody_has",
            "ModuleNotFoundError: No module named 'a_package_that_nobody_has'",
        ),
        ("raise ValueError", "ValueError"),
        ("", "AttributeError: module 'mamba_ssm.ops.selective_scan_interface' has no attribute"),
        ("import warnings; warnings.warn('old', FutureWarning)", "FutureWarning: old"),
    ],
)
def test_a_package_that_does_not_import_is_passed_over(monkeypatch, tmp_path, source, reason):
    folder = tmp_path / "mamba_ssm" / "ops"
    folder.mkdir(parents=True)
    for path in (folder.parent / "__init__.py", folder / "__init__.py"):
        path.write_text("")
    (folder / "selective_scan_interface.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("mamba_ssm", "mamba_ssm.ops", MODULE):  # so that what is imported is forgotten afterwards
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
        del sys.modules[name]
    path = fused.selective_scan_path(GPU)
    assert (path.name, path.function) == ("triptych", selective_scan)
    assert path.passed_over.startswith(f"mamba-ssm 2.3.2 does not import: {reason}")


def test_it_can_be_asked_from_within_any_context(monkeypatch):
    for context in (torch.no_grad(), torch.inference_mode(), torch.autocast("cpu", torch.bfloat16)):
        fused.tried.cache_clear()
        install(monkeypatch, kernel)
        with context:
            assert fused.selective_scan_path(GPU).passed_over == ""


def test_no_generator_is_disturbed(monkeypatch):
    install(monkeypatch, kernel)
    before = torch.get_rng_state()
    fused.selective_scan_path(GPU)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_scan_of_mamba_2_is_another_operation(monkeypatch):
    """A stand-in that takes one group at a time, in one direction, as the package's kernel does."""

    def kernel(x, dt, A, B, C, chunk_size, D=None):
        assert {t.dtype for t in (x, B, C)} == {torch.bfloat16} and chunk_size == fused.SSD_CHUNK
        assert {t.dtype for t in (dt, A, D)} == {torch.float32}
        return wrong * ssd_reference(x.float(), dt, A, B.float(), C.float(), D).to(x.dtype)

    module = "mamba_ssm.ops.triton.ssd_combined"
    for name in ("mamba_ssm", "mamba_ssm.ops", "mamba_ssm.ops.triton", module):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setattr(sys.modules[module], "mamba_chunk_scan_combined", kernel, raising=False)
    problem = fused.SSD.problem
    monkeypatch.setattr(fused, "SSD", dataclasses.replace(fused.SSD, problem=lambda device: problem(CPU)))
    wrong = 1.0
    path = fused.ssd_path(GPU)
    assert path.name == "mamba-ssm 2.3.2" and path.passed_over == ""
    half = problem(CPU)
    assert (path.computes("bf16"), path.computes("float32")) == ("mamba-ssm 2.3.2", "triptych")
    double = [t.double() for t in half]
    expected = ssd_reference(*double, reverse=(True, False))
    found = path.function(*half, reverse=(True, False))
    assert found.dtype == torch.bfloat16
    assert (found.double() - expected).abs().max() < 1e-2 * expected.abs().max()
    # Of other precision ours is the more exact one.
    assert torch.equal(path.function(*double, reverse=(True, False)), ssd(*double, reverse=(True, False)))
    fused.tried.cache_clear()
    wrong = 1.1
    passed_over = fused.ssd_path(GPU).passed_over
    assert fused.ssd_path(GPU) == fused.Implementation("triptych", ssd, passed_over)
    assert "the result differs by 0.1" in passed_over


def test_another_operation_is_another_entry(monkeypatch):
    """Two operations are tried apart, each against its own."""

    def doubled(x, reverse=False):
        return 2 * x

    operation = fused.Operation(
        ours=doubled,
        load=lambda: lambda x, reverse=False: x + x,
        problem=lambda device: (torch.ones(3),),
        package="somewhere",
        distribution="somewhere",
    )
    monkeypatch.setattr(fused.importlib.metadata, "version", {"somewhere": "1.0"}.__getitem__)
    assert fused.tried(operation, GPU).name == "somewhere 1.0"
    wrong = dataclasses.replace(operation, load=lambda: lambda x, reverse=False: x * 3)
    assert "does not agree" in fused.tried(wrong, GPU).passed_over
