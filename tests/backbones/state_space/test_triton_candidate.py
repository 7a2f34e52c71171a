"""Our own kernels compute where they agree with the plain scan and are faster. Stand-ins play them."""

import dataclasses
import time

import pytest
import torch

from triptych.backbones.state_space import fused
from triptych.backbones.state_space.mixer import MixerSizes, SSDMixer
from triptych.backbones.state_space.ssd import ssd
from triptych.backbones.state_space.trial import difference, narrowed, slowness, ssd_single_problem

CPU, GPU = torch.device("cpu"), torch.device("cuda:0")
NAME = "triptych triton"
TINY = narrowed([t[:1, :3] if t.dim() > 1 else t for t in ssd_single_problem(CPU)], torch.float32)
ONE_WAY = (False, True)


def slowed(*tensors, reverse=(False,)):
    time.sleep(0.02)
    return ssd(*tensors, reverse=reverse)


def other(*tensors, reverse=(False,)):
    """Compute as `ssd` does; another function."""
    return ssd(*tensors, reverse=reverse)


def set_up(monkeypatch, kernel=other, plain=slowed, package=None):
    """Have a "GPU" whose tensors lie on the CPU, our kernels played by `kernel`, and perhaps mamba-ssm."""

    def load():
        if package is None:
            raise ModuleNotFoundError("No module named 'mamba_ssm'", name="mamba_ssm")
        return package

    problem, half = fused.SSD_TRITON.problem, fused.SSD.problem
    for name in ("SSD_TRITON", "SSD_TRITON_SINGLE"):
        operation = dataclasses.replace(
            getattr(fused, name),
            ours=plain,
            load=lambda: kernel,
            problem=lambda device: problem(CPU),
            batch=lambda device: TINY,
            directions=(ONE_WAY,),
        )
        monkeypatch.setattr(fused, name, operation)
    monkeypatch.setattr(
        fused, "SSD", dataclasses.replace(fused.SSD, load=load, problem=lambda device: half(CPU))
    )
    monkeypatch.setattr(fused, "slowness", lambda a, b, inputs, reverse: slowness(a, b, inputs, ONE_WAY))
    fused.tried.cache_clear()


def test_kernels_that_agree_and_are_faster_compute(monkeypatch):
    set_up(monkeypatch)
    path = fused.ssd_path(GPU)
    assert (path.name, path.function, path.passed_over) == (NAME, other, "")
    assert [path.computes(precision) for precision in ("bf16", "fp16", "float32")] == [NAME] * 3
    assert fused.ssd_path(GPU) is path


def test_slower_ones_are_passed_over(monkeypatch):
    set_up(monkeypatch, kernel=slowed, plain=ssd)
    path = fused.ssd_path(GPU)
    assert (path.name, path.function) == ("triptych", ssd)
    assert path.passed_over.count(f"{NAME} is not faster in bfloat16: ") == 1
    assert path.passed_over.count(f"; {NAME} is not faster in float32: ") == 1


def test_a_precision_in_which_they_are_slower_is_left_to_the_plain_scan(monkeypatch):
    def plain(x, *tensors, reverse=(False,)):
        time.sleep(0.01)
        return ssd(x, *tensors, reverse=reverse)

    single, half = TINY, narrowed(TINY, torch.bfloat16)
    for slow, names in ((torch.float32, (NAME, "triptych")), (torch.bfloat16, ("triptych", NAME))):

        def kernel(x, *tensors, reverse=(False,), slow=slow):
            return (slowed if x.dtype == slow else other)(x, *tensors, reverse=reverse)

        set_up(monkeypatch, kernel, plain)
        path = fused.ssd_path(GPU)
        assert (path.computes("bf16"), path.computes("float32")) == names
        for tensors in (single, half):
            assert torch.equal(path.function(*tensors, reverse=ONE_WAY), ssd(*tensors, reverse=ONE_WAY))


def disagrees(*tensors, reverse=(False,)):
    return 1.1 * ssd(*tensors, reverse=reverse)


def wrong_in_fp16(x, *tensors, reverse=(False,)):
    return (2 if x.dtype == torch.float16 else 1) * ssd(x, *tensors, reverse=reverse)


def fails(*tensors, reverse=(False,)):
    raise RuntimeError("out of resource: shared memory\nof a core")


@pytest.mark.parametrize(
    ("kernel", "reason"),
    [
        (disagrees, "does not agree: the result differs by 0.1 of its largest entry"),
        (wrong_in_fp16, "does not agree: the result differs by 1 of its largest entry"),
        (fails, "does not run: RuntimeError: out of resource: shared memory"),
    ],
)
def test_what_is_wrong_is_passed_over(monkeypatch, kernel, reason):
    set_up(monkeypatch, kernel)
    path = fused.ssd_path(GPU)
    assert path.computes("bf16") == "triptych"
    assert f"{NAME} {reason}" in path.passed_over
    half = narrowed(TINY, torch.bfloat16)
    assert torch.equal(path.function(*half, reverse=ONE_WAY), ssd(*half, reverse=ONE_WAY))


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ModuleNotFoundError("No module named 'triton'", name="triton"), ""),
        (ImportError("libcuda.so.1"), f"{NAME} does not import: ImportError: libcuda.so.1"),
        (
            ModuleNotFoundError("No module named 'x'", name="x"),
            f"{NAME} does not import: ModuleNotFoundError",
        ),
    ],
)
def test_what_does_not_import_is_passed_over(monkeypatch, error, told):
    def load():
        raise error

    set_up(monkeypatch, plain=ssd)
    for name in ("SSD_TRITON", "SSD_TRITON_SINGLE"):
        monkeypatch.setattr(fused, name, dataclasses.replace(getattr(fused, name), load=load))
    path = fused.ssd_path(GPU)
    assert (path.name, path.function) == ("triptych", ssd)
    assert path.passed_over.startswith(told) and bool(path.passed_over) == bool(told)
    assert ";" not in path.passed_over  # said once


def test_a_package_comes_first_in_half_precision(monkeypatch):
    def package(*tensors, reverse=(False,)):
        return ssd(*tensors, reverse=reverse)

    set_up(monkeypatch, package=package)
    path = fused.ssd_path(GPU)
    assert path.name.startswith("mamba-ssm") and path.half_only
    assert path.computes("float32") == NAME
    layer = SSDMixer(MixerSizes(16, 32, 8, 8, 1, "split"), 0)
    monkeypatch.setattr(layer, "scanner", lambda device: path)
    assert layer.implementation(GPU).endswith(f"computed by {path.name}, float32 by {NAME}")
    assert layer.computed_by(GPU, "float32") == {"scan": NAME}


def test_nothing_is_tried_on_another_device(monkeypatch):
    set_up(monkeypatch, kernel=fails)
    for device in (CPU, torch.device("meta"), torch.device("mps")):
        assert fused.ssd_path(device) == fused.Implementation("triptych", ssd)


def test_a_race_is_won_by_the_faster_one():
    assert slowness(slowed, other, TINY, ONE_WAY) == ""
    assert " ms for " in slowness(other, slowed, TINY, ONE_WAY)


def test_agreement_is_of_gradients_too():
    def without_gradient_of_x(x, *tensors, reverse=(False,)):
        return ssd(x.detach() + 0 * x, *tensors, reverse=reverse)

    found = difference(ssd, without_gradient_of_x, TINY, [ONE_WAY], 1e-4)
    assert found == "gradient 1 of 6 differs by 1 of its largest entry"
