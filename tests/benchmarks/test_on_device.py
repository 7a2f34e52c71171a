"""Cases of the device: what could not be compiled or recorded is told, and never passed off as if it were."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from test_cuda_graphs import StandIn

from benchmarks import on_device
from benchmarks.cases import device_evaluation, device_sampling, device_training
from benchmarks.ceilings import ceilings
from benchmarks.comparison import CPU, PRODUCT, Absent, Comparison, Noted, Variant
from benchmarks.measure import measured
from benchmarks.on_device import all_operations, chosen, model, tried, tried_recorded
from benchmarks.table import of_result
from benchmarks.work import our_network, step_operations
from triptych.backbones.dit import DiTConfig
from triptych.commands.bench import BenchOptions
from triptych.errors import UserError
from triptych.generation import Request
from triptych.sampling import named_sampler

TINY = DiTConfig(width=32, depth=1, heads=2)
REQUEST = Request(2, 3.0, named_sampler("ddim:3"), batch_size=2)
CUDA = torch.device("cuda")


def row_of(variant, base=None):
    """Return what a session tells of a variant, measured beside a base."""
    variants = {"base": base or Variant(lambda: lambda: ()), "tried": variant}
    comparison = Comparison("a title", 0, 2, "base", variants, images=6)
    result = measured("no-case", 0, comparison, BenchOptions(quick=True, memory=False))
    return dict(zip(variants, result.rows, strict=True)), of_result(result)


def without_a_compiler(call, *args, **kwargs):
    """Stand in for torch.compile, which finds out at the first call."""

    def compiled(*given):
        raise RuntimeError("no compiler was found")

    return compiled


def test_what_does_not_compile_is_absent(monkeypatch):
    monkeypatch.setattr(torch, "compile", without_a_compiler)
    made = device_training.training(TINY, 2, 8, 1, CPU, "nchw", compiled=True)
    assert isinstance(made, Absent)
    assert "no compiler was found" in made.why


def test_what_compiles_is_called_compiled_and_says_so(monkeypatch):
    called = []

    def compiling(call, *args, **kwargs):
        return lambda *given: called.append(given) or call(*given)

    monkeypatch.setattr(torch, "compile", compiling)
    made = device_training.training(TINY, 2, 8, 3, CPU, "nhwc", compiled=True)
    assert made.note.startswith("the network is compiled, which took ")
    called.clear()
    made.call()
    assert len(called) == 3  # steps of a call


def refusing(function, inputs):
    raise RuntimeError("a kernel waits for the host")


def test_a_network_is_replayed_where_it_is_called_recorded():
    record = StandIn()
    made = device_sampling.drawing(TINY, 8, REQUEST, CPU, replay=True, record=record)
    assert made.note == on_device.RECORDED
    before = record.replayed
    made.call()
    assert (record.recorded, record.replayed - before) == (1, 3)


def test_a_graph_that_was_refused_is_not_told_as_one():
    made = device_sampling.drawing(TINY, 8, REQUEST, CPU, replay=True, record=refusing)
    assert isinstance(made, Absent)
    assert "a kernel waits for the host" in made.why
    denoiser = model(TINY, 8, CPU)
    denoiser.replay(refusing)
    made = tried_recorded(denoiser, device_evaluation.measuring(denoiser, REQUEST, CPU, 0), CPU)
    assert "no CUDA graph (a kernel waits for the host)" in made.note  # measured as it is, and told


def test_what_calls_no_network_is_not_told_as_recorded():
    denoiser = model(TINY, 8, CPU)
    denoiser.replay(StandIn())
    assert "the network was not called" in tried_recorded(denoiser, lambda: (), CPU).note


def no_room():
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 90 GiB")


def test_what_finds_no_room_keeps_no_other_from_being_measured():
    rows, text = row_of(Variant(lambda: tried(no_room, CPU)))
    assert "Tried to allocate 90 GiB" in rows["tried"].absent
    assert rows["base"].times
    assert "tried: absent (OutOfMemoryError: CUDA out of memory" in text
    rows, _ = row_of(Variant(lambda: lambda: ()), base=Variant(lambda: tried(no_room, CPU)))
    assert rows["tried"].times
    assert rows["tried"].ratio is None


def test_what_was_found_when_a_variant_was_made_is_told_beside_what_was_known():
    rows, text = row_of(Variant(lambda: Noted(lambda: (), "found"), note="known"))
    assert rows["tried"].note == "known; found"
    assert "tried: known; found" in text


def test_images_per_second_are_those_of_the_median_time():
    rows, text = row_of(Variant(lambda: lambda: ()))
    for row in rows.values():
        assert row.facts["images/s"] == pytest.approx(6000 / row.milliseconds.median)
    assert "images/s" in text.splitlines()[1]


def test_operations_are_products_and_convolutions_of_every_image_and_pass():
    config = device_training.networks(quick=True)["unet"]
    per_image = sum(step_operations(our_network(config, 8), 1, 8, training=False).values())
    assert all_operations(config, 5, 8, training=False) == {PRODUCT: 5 * per_image}
    assert all_operations(config, 5, 8, training=True) == {PRODUCT: 15 * per_image}


@pytest.mark.parametrize(("there", "place"), [(True, "cuda"), (False, "cpu")])
def test_the_gpu_is_taken_where_there_is_one(there, place, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert chosen(BenchOptions()).type == place
    assert chosen(BenchOptions(device="cpu")) == CPU


def test_a_gpu_that_is_not_there_is_not_replaced(monkeypatch):
    def refused(*size, **options):  # as a build without CUDA does
        raise AssertionError("Torch not compiled with CUDA enabled")

    monkeypatch.setattr(torch, "zeros", refused)
    with pytest.raises(UserError, match="finds no such device"):
        chosen(BenchOptions(device="cuda"))


@pytest.fixture
def hopper(monkeypatch):
    """Let there be a GPU, as far as one is asked for its name: nothing can be computed on it."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))


def test_the_ceiling_of_a_gpu_is_of_large_products_in_half_precision(hopper):
    (bound,) = ceilings(quick=False, device=CUDA).values()
    assert bound.what == "8192 x 8192 matrices in bf16"
    assert bound.amount == 3 * 2 * 8192**3
    assert list(ceilings(quick=False, device=CUDA)) == [PRODUCT]


@pytest.mark.parametrize("module", [device_training, device_sampling, device_evaluation])
def test_on_a_gpu_everything_is_measured_in_full_size(module, hopper):
    found = module.comparisons(BenchOptions())
    for comparison in found:
        assert (comparison.device, comparison.dtype) == (CUDA, "bf16")
        assert not any(isinstance(one.make, Absent) for one in comparison.variants.values())
        assert "32x32 pixels" in comparison.title
        assert "on cuda" in of_result(measured_nothing(comparison))
    batches = {comparison.batch for comparison in found}
    assert batches == {device_training: {128, 512}, device_sampling: {80}, device_evaluation: {500}}[module]


def measured_nothing(comparison):
    """Return the result of a comparison whose variants are all absent."""
    absent = dict.fromkeys(comparison.variants, Variant(Absent("not here")))
    without = Comparison(**(vars(comparison) | {"variants": absent}))
    return measured("no-case", 0, without, BenchOptions(memory=False))


def test_every_backbone_is_trained_and_drawn_from(hopper):
    for module in (device_training, device_sampling):
        titles = [comparison.title.partition(",")[0] for comparison in module.comparisons(BenchOptions())]
        assert set(titles) == {"unet", "dit", "dim"}


def test_images_are_measured_alike_in_turn_and_overlapped(monkeypatch):
    """By a stand-in for the features, which tells what it was shown, batch by batch."""
    seen = []
    several = replace(REQUEST, count=5)  # in three batches
    make = partial(device_evaluation.measuring, model(TINY, 8, CPU), several, CPU)

    def stand_in(pixels):
        seen.append(pixels.clone())
        rows = {name.partition(".")[2]: width for name, width in device_evaluation.WIDTHS.items()}
        return {name: torch.zeros(len(pixels), width) for name, width in rows.items()}

    monkeypatch.setattr(device_evaluation, "random_inception", lambda device: stand_in)
    make(0)()
    make(1)()
    assert len(seen) == 6
    assert torch.equal(torch.cat(seen[:3]), torch.cat(seen[3:]))
