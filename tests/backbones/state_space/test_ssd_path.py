"""What computes the scan of Mamba-2: mamba-ssm, or our own kernels. Stand-ins play them."""
# ruff: noqa: N803 -- the letters A, B, C, D are the paper's

import dataclasses
import importlib.metadata
import sys
import time
from types import ModuleType

import pytest
import torch

from triptych.backbones.state_space import fused
from triptych.backbones.state_space.mixer import MixerSizes, SSDMixer
from triptych.backbones.state_space.ssd import ssd, ssd_reference
from triptych.backbones.state_space.trial import difference, slowness, ssd_problem

CPU, GPU = torch.device("cpu"), torch.device("cuda:0")
NAME = "triptych by triton 3.4.0"
SINGLE, HALF = torch.float32, torch.bfloat16
SIZES = (8, 6)
"""Width of a head, and of the state."""
ONE_WAY = (False, True)


def tiny(dtype=SINGLE):
    """Return tensors of one image of three tokens."""
    return [t[:1, :3] if t.dim() > 1 else t for t in ssd_problem(CPU, dtype, *SIZES)]


def chosen(dtype=SINGLE):
    return fused.ssd_path(GPU, dtype, *SIZES)


def slowed(*tensors, reverse=(False,)):
    time.sleep(0.02)
    return ssd(*tensors, reverse=reverse)


def other(*tensors, reverse=(False,)):
    """Compute as `ssd` does; another function."""
    return ssd(*tensors, reverse=reverse)


@pytest.fixture(autouse=True)
def nothing_tried_yet(monkeypatch):
    monkeypatch.setattr(fused, "CHOSEN", {})
    versions = {"triton": "3.4.0", "mamba-ssm": "2.3.2"}
    monkeypatch.setattr(importlib.metadata, "version", versions.__getitem__)


def set_up(monkeypatch, kernel=other, plain=slowed, package=None, asked=None):
    """Have a "GPU" whose tensors lie on the CPU, our kernels played by `kernel`, and perhaps mamba-ssm."""

    def load():
        if package is None:
            raise ModuleNotFoundError("No module named 'mamba_ssm'", name="mamba_ssm")
        return package

    def problem(device, dtype, *sizes):
        if asked is not None:
            asked.append((dtype, sizes))
        return ssd_problem(CPU, dtype, *sizes)

    fused.CHOSEN.clear()
    here = {"ours": plain, "problem": problem, "directions": (ONE_WAY,)}
    batch = lambda device, dtype, *sizes: tiny(dtype)  # noqa: E731 -- one of five that are set in one go
    ours = dataclasses.replace(fused.SSD_TRITON, load=lambda: kernel, batch=batch, **here)
    monkeypatch.setattr(fused, "SSD_TRITON", ours)
    monkeypatch.setattr(fused, "SSD", dataclasses.replace(fused.SSD, load=load, **here))
    monkeypatch.setattr(fused, "slowness", lambda a, b, inputs, reverse: slowness(a, b, inputs, ONE_WAY))


def test_kernels_that_agree_and_are_faster_compute(monkeypatch):
    set_up(monkeypatch)
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        path = chosen(dtype)
        assert (path.name, path.function, path.passed_over) == (NAME, other, "")
        assert chosen(dtype) is path


def test_they_are_tried_in_the_sizes_and_the_precision_that_are_asked_for(monkeypatch):
    asked = []
    set_up(monkeypatch, asked=asked)
    chosen(HALF)
    assert asked == [(HALF, SIZES)]
    fused.ssd_path(GPU, SINGLE, 16, 20)
    assert asked[1:] == [(SINGLE, (16, 20))]


def test_sizes_that_they_are_not_made_for_are_not_tried(monkeypatch):
    asked = []
    set_up(monkeypatch, asked=asked, plain=ssd)
    for sizes in ((128, 64), (64, 65)):
        assert fused.ssd_path(GPU, HALF, *sizes) == fused.Implementation("triptych", ssd)
    assert not asked


def test_slower_ones_are_passed_over(monkeypatch):
    set_up(monkeypatch, kernel=slowed, plain=ssd)
    path = chosen(HALF)
    assert (path.name, path.function) == ("triptych", ssd)
    assert path.passed_over.startswith(f"{NAME} is not clearly faster in bfloat16: ")


def test_a_precision_in_which_they_are_slower_is_left_to_the_plain_scan(monkeypatch):
    def plain(x, *tensors, reverse=(False,)):
        time.sleep(0.01)
        return ssd(x, *tensors, reverse=reverse)

    for slow, names in ((SINGLE, (NAME, "triptych")), (HALF, ("triptych", NAME))):

        def kernel(x, *tensors, reverse=(False,), slow=slow):
            return (slowed if x.dtype == slow else other)(x, *tensors, reverse=reverse)

        set_up(monkeypatch, kernel, plain)
        assert (chosen(HALF).name, chosen(SINGLE).name) == names


def disagrees(*tensors, reverse=(False,)):
    return 1.1 * ssd(*tensors, reverse=reverse)


def wrong_in_fp16(x, *tensors, reverse=(False,)):
    return (1.01 if x.dtype == torch.float16 else 1) * ssd(x, *tensors, reverse=reverse)


def fails(*tensors, reverse=(False,)):
    raise RuntimeError("out of resource: shared memory\nof a core")


@pytest.mark.parametrize(
    ("kernel", "reason"),
    [
        (disagrees, "does not agree in float16: the result differs by 0.1 of its largest entry"),
        (wrong_in_fp16, "does not agree in float16: the result differs by 0.01 of its largest entry"),
        (fails, "does not run: RuntimeError: out of resource: shared memory"),
    ],
)
def test_what_is_wrong_is_passed_over(monkeypatch, kernel, reason):
    set_up(monkeypatch, kernel)
    path = chosen(torch.float16)
    assert (path.name, path.function) == ("triptych", slowed)
    assert path.passed_over == f"{NAME} {reason}"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ModuleNotFoundError("No module named 'triton'", name="triton"), ""),
        (ImportError("libcuda.so.1"), f"{NAME} does not import: ImportError: libcuda.so.1"),
        (
            ModuleNotFoundError("No module named 'x'", name="x"),
            f"{NAME} does not import: ModuleNotFoundError: No module named 'x'",
        ),
    ],
)
def test_what_does_not_import_is_passed_over(monkeypatch, error, told):
    def load():
        raise error

    set_up(monkeypatch, plain=ssd)
    monkeypatch.setattr(fused, "SSD_TRITON", dataclasses.replace(fused.SSD_TRITON, load=load))
    assert chosen() == fused.Implementation("triptych", ssd, told)


def test_a_package_comes_first_in_half_precision(monkeypatch):
    def package(*tensors, reverse=(False,)):
        return ssd(*tensors, reverse=reverse)

    set_up(monkeypatch, package=package)
    layer = SSDMixer(MixerSizes(16, 32, SIZES[1], SIZES[0], 1, "split"), 0)
    assert layer.implementation(GPU, HALF).endswith("computed by mamba-ssm 2.3.2")
    assert layer.computed_by(GPU, SINGLE) == {"scan": NAME}


def test_the_package_takes_a_group_at_a_time_in_one_direction(monkeypatch):
    def kernel(x, dt, A, B, C, chunk_size, D=None):
        assert {t.dtype for t in (x, B, C)} == {HALF} and chunk_size == fused.SSD_CHUNK
        assert {t.dtype for t in (dt, A, D)} == {SINGLE}
        return wrong * ssd_reference(x.float(), dt, A, B.float(), C.float(), D).to(x.dtype)

    module = "mamba_ssm.ops.triton.ssd_combined"
    for name in ("mamba_ssm", "mamba_ssm.ops", "mamba_ssm.ops.triton", module):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setattr(sys.modules[module], "mamba_chunk_scan_combined", kernel, raising=False)
    set_up(monkeypatch, kernel=fails, plain=ssd, package=fused.SSD.load())
    wrong = 1.0
    path = chosen(HALF)
    assert path.name == "mamba-ssm 2.3.2" and path.passed_over == ""
    half = ssd_problem(CPU, HALF, *SIZES)
    expected = ssd_reference(*[t.double() for t in half], reverse=(True, False))
    found = path.function(*half, reverse=(True, False))
    assert found.dtype == HALF
    assert (found.double() - expected).abs().max() < 1e-2 * expected.abs().max()
    for dtype in (SINGLE, torch.float64):  # of which ours is the more exact one
        assert chosen(dtype).function is ssd
    fused.CHOSEN.clear()
    wrong = 1.1
    assert chosen(HALF).function is ssd
    assert "mamba-ssm 2.3.2 does not agree in bfloat16: the result differs by 0.1" in chosen(HALF).passed_over


def test_what_failed_before_the_one_that_computes_is_told(monkeypatch):
    set_up(monkeypatch, package=fails)
    path = chosen(HALF)
    assert path.name == NAME
    assert path.passed_over == "mamba-ssm 2.3.2 does not run: RuntimeError: out of resource: shared memory"


def test_nothing_is_tried_on_another_device(monkeypatch):
    set_up(monkeypatch, kernel=fails, plain=ssd)
    for device in (CPU, torch.device("meta"), torch.device("mps")):
        assert fused.ssd_path(device, HALF, *SIZES) == fused.Implementation("triptych", ssd)


def test_a_race_is_won_by_the_clearly_faster_one():
    assert slowness(slowed, other, tiny(), ONE_WAY) == ""
    assert " ms for " in slowness(other, slowed, tiny(), ONE_WAY)
    assert " ms for " in slowness(slowed, slowed, tiny(), ONE_WAY)


def test_agreement_is_of_gradients_too():
    def without_gradient_of_x(x, *tensors, reverse=(False,)):
        return ssd(x.detach() + 0 * x, *tensors, reverse=reverse)

    found = difference(ssd, without_gradient_of_x, tiny(), [ONE_WAY], 1e-4)
    assert found == "gradient 1 of 6 differs by 1 of its largest entry"
