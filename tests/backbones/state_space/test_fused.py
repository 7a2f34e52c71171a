"""A kernel computes where it agrees with ours, and nowhere else. Stand-ins play it and its package."""
# ruff: noqa: N803 -- the letters A, B, C are the paper's

import dataclasses
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import ModuleType

import pytest
import torch

from triptych.backbones.state_space import fused
from triptych.backbones.state_space.selective_scan import selective_scan, selective_scan_reference

CPU, GPU = torch.device("cpu"), torch.device("cuda:0")
MODULE = "mamba_ssm.ops.selective_scan_interface"
SINGLE, HALF = torch.float32, torch.bfloat16
STATE = 16


def chosen(device=GPU, dtype=SINGLE):
    """Return what computes the selective scan."""
    return fused.selective_scan_path(device, dtype, STATE)


def problem(dtype=SINGLE, state=STATE):
    """Return the tensors on which it is tried."""
    return fused.SELECTIVE_SCAN.problem(CPU, dtype, state)


@pytest.fixture(autouse=True)
def nothing_tried_yet(monkeypatch):
    """Forget what was tried, before and after; and have a "GPU" whose tensors lie on the CPU."""
    made = fused.SELECTIVE_SCAN.problem
    operation = dataclasses.replace(fused.SELECTIVE_SCAN, problem=lambda device, *asked: made(CPU, *asked))
    monkeypatch.setattr(fused, "SELECTIVE_SCAN", operation)
    monkeypatch.setattr(fused.importlib.metadata, "version", {"mamba-ssm": "2.3.2"}.__getitem__)
    for name in [name for name in sys.modules if name.partition(".")[0] == "mamba_ssm"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(fused, "CHOSEN", {})


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
    assert chosen() == fused.Implementation("triptych", selective_scan, "")


def test_nothing_is_imported_for_another_device(monkeypatch):
    calls = install(monkeypatch, kernel)
    monkeypatch.setattr(fused.importlib, "import_module", None)
    for device in (CPU, torch.device("meta"), torch.device("mps")):
        assert chosen(device) == fused.Implementation("triptych", selective_scan, "")
    assert not calls


def test_a_package_that_agrees_computes(monkeypatch):
    install(monkeypatch, kernel)
    path = chosen()
    assert path.name == "mamba-ssm 2.3.2" and path.passed_over == ""
    assert chosen(dtype=HALF).name == path.name
    assert path.function is not selective_scan


def test_a_package_may_have_no_version(monkeypatch):
    def unknown(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(fused.importlib.metadata, "version", unknown)
    install(monkeypatch, kernel)
    assert chosen().name == "mamba-ssm"


def test_it_is_tried_once_per_device_and_precision(monkeypatch):
    calls = install(monkeypatch, kernel)
    first = chosen()
    count = len(calls)
    assert count == 4  # in each direction, with and without gradients
    assert chosen() is first
    assert len(calls) == count
    chosen(torch.device("cuda:1"))
    assert len(calls) == 2 * count
    chosen(dtype=HALF)
    assert len(calls) == 3 * count


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_its_function_is_called_as_ours_is(monkeypatch, reverse, dtype):
    install(monkeypatch, kernel)
    function = chosen(dtype=dtype).function
    inputs = problem(dtype)
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
    def narrow(u, delta, A, B, C):
        if A.shape[1] > 256:
            raise RuntimeError("selective_scan only supports state dimension <= 256")
        return kernel(u, delta, A, B, C)

    calls = install(monkeypatch, narrow)
    assert chosen(dtype=torch.float64) == fused.Implementation("triptych", selective_scan)
    assert not calls
    wide = fused.selective_scan_path(GPU, SINGLE, 272)
    assert wide.function is selective_scan and "state dimension <= 256" in wide.passed_over
    assert chosen().name == "mamba-ssm 2.3.2"


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


def wrong_in_drawing(u, delta, A, B, C):
    return kernel(u, delta, A, B, C) * (1 if u.requires_grad else 1.5)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (without_decay, "does not agree in float32: the result differs by"),
        (with_nan, "does not agree in float32: the result differs by nan"),
        (transposed, "does not agree in float32: the result has the shape (2, 8, 37), not (2, 37, 8)"),
        (
            wrong_in_drawing,
            "does not agree in float32: the result without gradients differs by 0.5 of its largest entry",
        ),
        (wrong_gradient, "does not agree in float32: gradient 3 of 5 differs by 0.5 of its largest entry"),
    ],
)
def test_a_package_that_does_not_agree_is_passed_over(monkeypatch, function, reason):
    install(monkeypatch, function)
    path = chosen()
    assert (path.name, path.function) == ("triptych", selective_scan)
    assert path.passed_over.startswith(f"mamba-ssm 2.3.2 {reason}")


def test_a_package_that_fails_when_called_is_passed_over(monkeypatch):
    def fails(*tensors):
        raise RuntimeError("no kernel image is available\nfor execution on the device")

    install(monkeypatch, fails)
    path = chosen()
    assert (path.name, path.function) == ("triptych", selective_scan)
    assert path.passed_over == "mamba-ssm 2.3.2 does not run: RuntimeError: no kernel image is available"


def test_a_package_without_gradients_is_passed_over(monkeypatch):
    install(monkeypatch, lambda *tensors: kernel(*tensors).detach())
    path = chosen()
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
    path = chosen()
    assert (path.name, path.function) == ("triptych", selective_scan)
    assert path.passed_over.startswith(f"mamba-ssm 2.3.2 does not import: {reason}")


def test_it_can_be_asked_from_within_any_context(monkeypatch):
    for context in (torch.no_grad(), torch.inference_mode(), torch.autocast("cpu", torch.bfloat16)):
        fused.CHOSEN.clear()
        install(monkeypatch, kernel)
        with context:
            assert chosen().passed_over == ""


def test_no_generator_is_disturbed(monkeypatch):
    install(monkeypatch, kernel)
    before = torch.get_rng_state()
    chosen()
    assert torch.equal(torch.get_rng_state(), before)


def test_another_operation_is_another_entry(monkeypatch):
    """Two operations are tried apart, each against its own."""

    def doubled(x, reverse=False):
        return 2 * x

    operation = fused.Operation(
        ours=doubled,
        load=lambda: lambda x, reverse=False: x + x,
        problem=lambda device, dtype: (torch.ones(3),),
        package="somewhere",
        distribution="somewhere",
    )
    monkeypatch.setattr(fused.importlib.metadata, "version", {"somewhere": "1.0"}.__getitem__)
    assert fused.tried(operation, GPU, SINGLE, ()).name == "somewhere 1.0"
    wrong = dataclasses.replace(operation, load=lambda: lambda x, reverse=False: x * 3)
    assert "does not agree" in fused.tried(wrong, GPU, SINGLE, ()).passed_over


def scaled(x, dt, A, B, C):
    return 2 * x


def test_a_compiled_network_looks_up_what_was_chosen(monkeypatch):
    """In one graph: were the trial traced, there would be a break in every layer, and here an error."""
    key = ("selective scan", 0, SINGLE, (STATE,))
    monkeypatch.setitem(fused.CHOSEN, key, fused.Implementation("x", scaled))

    def scan(x, *others):
        return chosen(dtype=x.dtype).function(x, *others)

    compiled = torch.compile(scan, fullgraph=True, backend="eager")  # traced, which is all that is asked
    tensors = problem()
    torch.testing.assert_close(compiled(*tensors), scaled(*tensors))
