"""What a GPU computes is what a processor computes; recorded or overlapped, it is what it was plainly."""

import gc
import math
import statistics

import pytest
import torch
from backbones.small import ALL, SMALL, arguments, awake
from evaluation.stand_in import WIDTHS, Counted
from training import worker
from training.tiny import SIZES, TINY

from triptych.cli import main
from triptych.cuda_graphs import Replayed
from triptych.denoiser import Denoiser
from triptych.diffusion.predictions import PREDICTIONS
from triptych.diffusion.schedules import SCHEDULES
from triptych.distributed import ALONE
from triptych.evaluation.drawing import SEPARATOR, draw_features
from triptych.generation import Request, generate, steps_of
from triptych.guidance import named_guide
from triptych.metrics.feature_store import FeatureStore
from triptych.precision import best_precision
from triptych.random import Stream, bernoulli, integers, normal, uniform, words
from triptych.record.events import HeldOut, Progress
from triptych.record.record import Record
from triptych.sampling import SAMPLERS, named_sampler
from triptych.training.compiling import KEPT, compile_network

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that CUDA knows")
CPU, GPU = torch.device("cpu"), torch.device("cuda")


def model(kind, device, seed=0):
    torch.manual_seed(seed)
    return Denoiser(awake(ALL[kind].build(1, 8, 3)), SCHEDULES["cosine"](), PREDICTIONS["v"]).to(device)


@pytest.fixture(autouse=True)
def full_precision():
    """float32 as it is: what is compared is arithmetic, not how much of it tensor cores leave out."""
    allowed = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = allowed


def test_draws_are_the_same():
    """Integers to the bit; what logarithms and cosines are made of, to their rounding."""
    index, shape = torch.arange(4096) * 1009, (3, 8, 8)
    for draw in (integers, uniform, lambda *given: bernoulli(0.3, *given)):
        assert torch.equal(
            draw(3, Stream.NOISE, 5, index.to(GPU), shape).cpu(), draw(3, Stream.NOISE, 5, index, shape)
        )
    assert torch.equal(words(7, 1, 0, index.to(GPU), 4).cpu(), words(7, 1, 0, index, 4))
    ours, theirs = (normal(3, Stream.NOISE, 5, index.to(device), shape).cpu() for device in (CPU, GPU))
    torch.testing.assert_close(theirs, ours, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", ALL)
def test_networks_and_their_gradients_agree(kind):
    found = []
    for device in (CPU, GPU):
        network = model(kind, device).backbone
        output = network(*(x.to(device) for x in arguments(network)))
        output.square().mean().backward()
        found.append(
            [output.detach().cpu(), *(p.grad.cpu() for p in network.parameters() if p.grad is not None)]
        )
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-3, atol=1e-4 * float(one.abs().max()))


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("kind", SMALL)
def test_images_agree(kind, name):
    request = Request(4, 2.0, named_sampler(f"{name}:4", clip=False))
    ends = []
    for device in (CPU, GPU):
        *_, last = steps_of(model(kind, device), request, torch.arange(4, device=device))[1]
        ends.append(last.x.cpu())
    torch.testing.assert_close(ends[1], ends[0], rtol=1e-3, atol=1e-3)


HALF = best_precision(GPU) if torch.cuda.is_available() else "bf16"


def pixels_of(denoiser, guide="cfg", weak=None):
    request = Request(
        7, 2.5, named_sampler("ddim:8"), batch_size=4, guide=named_guide(guide), weak=weak, weak_digest="w"
    )
    return torch.cat([batch.pixels for batch in generate(denoiser, request)])


@pytest.mark.parametrize("precision", ["float32", HALF])
@pytest.mark.parametrize("guide", ["cfg", "apg", "cfg,below=1", "cfg,against=1"])
@pytest.mark.parametrize("kind", SMALL)
def test_recorded_images_are_those_of_plain_calls(kind, precision, guide, recwarn):
    denoiser = model(kind, GPU)
    weak = model(kind, GPU, seed=1) if "against" in guide else None
    denoiser.precision = precision
    plain = pixels_of(denoiser, guide, weak)
    denoiser.replay()
    recorded = [pixels_of(denoiser, guide, weak) for _ in range(2)]
    assert torch.equal(*recorded)
    assert (recorded[0].int() - plain.int()).abs().max() <= 1
    assert denoiser.recorded and not denoiser._replayed.refused
    assert not [warning for warning in recwarn if "CUDA graph" in str(warning.message)]


def test_a_recorded_model_frees_the_memory_that_it_held():
    def drawn():
        denoiser = model("unet", GPU)
        denoiser.replay()
        return pixels_of(denoiser).cpu()

    drawn()
    before = torch.cuda.memory_allocated()
    gc.disable()
    try:
        for _ in range(3):
            drawn()
    finally:
        gc.enable()
    assert torch.cuda.memory_allocated() == before


@torch.no_grad()
def test_a_recording_that_fails_leaves_all_as_it_was():
    def asking(x):
        return x * (1 + (x.sum().item() > 1e9))

    x, here = torch.ones(3, device=GPU), torch.cuda.current_stream()
    replayed = Replayed(asking, "it")
    with pytest.warns(UserWarning, match="it is called kernel by kernel: no CUDA graph"):
        assert torch.equal(replayed(x), x)
    assert torch.cuda.current_stream() == here
    assert torch.equal(replayed(2 * x), 2 * x)


@pytest.mark.parametrize("recorded", [False, True])
def test_features_that_are_overlapped_are_those_in_turn(tmp_path, recorded):
    denoiser = model("unet", GPU)
    if recorded:
        denoiser.replay()
    request = Request(10, 1.0, named_sampler("ddim:4"), batch_size=3)
    widths = {f"classifier{SEPARATOR}{name}": width for name, width in WIDTHS.items()}
    found = []
    for ahead in (0, 1):
        store = FeatureStore(tmp_path / str(ahead), widths, 10, 3, "of a test")
        draw_features(denoiser, request, {"classifier": Counted()}, store, ALONE, ahead=ahead)
        assert all(spent.drawing > 0 and spent.measuring > 0 for spent in store.spent.values())
        found.append(store.rows())
    for name, rows in found[0].items():
        assert torch.equal(rows, found[1][name])


def on_gpu(kind, steps):
    """Return the losses of a tiny run's steps on each device."""
    found = []
    for device in (CPU, GPU):
        takes = worker.stepper(ALONE, torch.float32, backbone=SMALL[kind], device=device)
        losses = []
        for _ in range(steps):
            takes.take()
            losses.append(takes.read().loss)
            takes.reset()
        found.append(torch.tensor(losses))
    return found


@pytest.mark.parametrize("kind", SMALL)
def test_training_begins_alike(kind):
    ours, theirs = on_gpu(kind, 5)
    torch.testing.assert_close(theirs, ours, rtol=1e-3, atol=1e-4)


@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
@pytest.mark.parametrize("kind", SMALL)
def test_a_step_never_waits_for_the_device(kind):
    takes = worker.stepper(ALONE, torch.float32, backbone=SMALL[kind], device=GPU)
    for _ in range(3):  # what is made ready once may wait
        takes.take()
    try:
        torch.cuda.set_sync_debug_mode("error")
        for _ in range(5):
            takes.take()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("kind", SMALL)
def test_half_precision_learns_as_well(kind, tmp_path):
    """500 steps of the digits: loss and held-out error in half precision are those of float32 to 5 %."""
    ends = {}
    for precision in ("float32", HALF):
        own = ["--name", precision, "--runs", str(tmp_path), "--quiet"]
        own += ["--device", "cuda", "--precision", precision]
        longer = ["--training.max-steps", "500", "--training.epochs", "1000", "--training.preview-every", "0"]
        assert main(["train", f"digits-{kind}", *own, *SIZES[kind], *TINY, *longer]) == 0
        history = Record.of_run(tmp_path / precision).history()
        losses = [event.data.loss for event in history.of_kind(Progress)]
        ends[precision] = statistics.mean(losses[-10:]), history.of_kind(HeldOut)[-1].data.mse
        assert all(map(math.isfinite, losses))
    for half, full in zip(ends[HALF], ends["float32"], strict=True):
        assert half == pytest.approx(full, rel=0.05)


@pytest.mark.filterwarnings("ignore:TensorFloat32")
def test_a_compiled_network_is_the_plain_one(tmp_path, monkeypatch):
    monkeypatch.setenv(KEPT, str(tmp_path))
    plain, compiled = model("dit", GPU), model("dit", GPU)
    assert compile_network(compiled, 3) == "the network is compiled"
    inputs = [x.to(GPU) for x in arguments(plain.backbone)]
    torch.testing.assert_close(compiled.backbone(*inputs), plain.backbone(*inputs), rtol=1e-4, atol=1e-5)
