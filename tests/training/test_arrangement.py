"""Layout and compilation: chosen by measuring, for long runs, and kept from then on."""

import pytest
import torch
from backbones.small import SMALL
from ranks import forked
from training.tiny import SIZES, TINY, checkpoint, train

from triptych.checkpoints import fit
from triptych.cli import main
from triptych.denoiser import Denoiser
from triptych.diffusion.predictions import PREDICTIONS
from triptych.diffusion.schedules import SCHEDULES
from triptych.record.record import Record
from triptych.training import arrangement
from triptych.training.arrangement import LAYOUTS, LEAST_GAIN, LONG, MOST_IMAGES, arranged, as_laid, lay_out
from triptych.training.config import TrainingConfig
from triptych.training.loop import Training
from triptych.training.state import TrainState


@pytest.fixture
def denoiser():
    return Denoiser(SMALL["unet"].build(1, 8, 3), SCHEDULES["cosine"](), PREDICTIONS["v"])


def pixel_by_pixel(network):
    kernels = [p for p in network.parameters() if p.ndim == 4 and min(p.shape[:2]) > 1 and p.shape[2] > 1]
    assert kernels
    laid = {p.is_contiguous(memory_format=torch.channels_last) for p in kernels}
    assert len(laid) == 1
    return laid.pop()


@pytest.fixture
def machine(monkeypatch):
    """A machine whose trials take as long as it is told, in seconds by (layout, compiled)."""

    class Machine:
        seconds = {}  # noqa: RUF012
        now = 0.0
        trials = 0
        images = set()  # noqa: RUF012
        uneven = 0.0

        def forward_and_back(self, denoiser, images):
            layout = "nhwc" if pixel_by_pixel(denoiser.backbone) else "nchw"
            compiled = denoiser.backbone._compiled_call_impl is not None
            self.trials += 1
            self.images.add(images)
            late = self.uneven if self.trials == 9 else 0.0
            self.now += self.seconds[layout, compiled] + late

        def compile_network(self, denoiser, images):
            if ("nchw", True) not in self.seconds:
                return "torch.compile failed, and training goes on without it (none here)"
            denoiser.backbone._compiled_call_impl = object()
            return "the network is compiled"

    found = Machine()
    found.images = set()
    monkeypatch.setattr(arrangement, "forward_and_back", found.forward_and_back)
    monkeypatch.setattr(arrangement, "compile_network", found.compile_network)
    monkeypatch.setattr(arrangement.time, "perf_counter", lambda: found.now)
    return found


def test_nothing_is_measured_for_a_short_run(denoiser, machine):
    assert arranged(denoiser, 8, LONG - 1, layout="auto", compiled="auto") == ("nchw", False, ())
    assert machine.trials == 0


def test_nothing_is_measured_where_nothing_is_open(denoiser, machine):
    assert arranged(denoiser, 8, LONG, layout="nhwc", compiled=True) == ("nhwc", True, ())
    assert machine.trials == 0


@pytest.mark.parametrize(
    ("nhwc", "chosen"), [(0.9, "nhwc"), (1 - LEAST_GAIN / 2, "nchw"), (1.1, "nchw"), (1.0, "nchw")]
)
def test_the_faster_layout_is_chosen_where_it_gains_enough(nhwc, chosen, denoiser, machine):
    machine.seconds = {("nchw", False): 1.0, ("nhwc", False): nhwc}
    found = arranged(denoiser, 8, LONG, layout="auto", compiled="auto")
    assert (found.layout, found.compiled) == (chosen, False)
    (line,) = found.said
    assert line.startswith(f"layout nhwc takes {nhwc:.2f} times as long as layout nchw: ")
    assert line.endswith("not used") == (chosen == "nchw")
    assert not pixel_by_pixel(denoiser.backbone)  # what was tried are copies


def test_one_slower_round_is_one_too_many(denoiser, machine):
    machine.seconds, machine.uneven = {("nchw", False): 1.0, ("nhwc", False): 0.9}, 0.0
    assert arranged(denoiser, 8, LONG, layout="auto", compiled=False).layout == "nhwc"
    late = {}
    for position in (9, 10):  # one of the two is a turn of nhwc
        machine.trials, machine.uneven = 9 - position, 0.2
        late[position] = arranged(denoiser, 8, LONG, layout="auto", compiled=False).layout
    assert sorted(late.values()) == ["nchw", "nhwc"]


def test_layouts_are_not_measured_for_code_that_will_be_compiled(denoiser, machine):
    assert arranged(denoiser, 8, LONG, layout="auto", compiled=True) == ("nchw", True, ())
    assert machine.trials == 0


def test_a_long_run_is_judged_by_all_images_of_a_step(denoiser, machine):
    machine.seconds = {("nchw", False): 1.0, ("nhwc", False): 1.0, ("nchw", True): 0.5}
    few = arranged(denoiser, MOST_IMAGES, LONG, layout="auto", compiled="auto")
    many = arranged(denoiser, 8 * MOST_IMAGES, LONG, layout="auto", compiled="auto")
    assert (few.compiled, many.compiled) == (False, True)


def test_without_the_memory_for_trials_nothing_is_chosen(denoiser, machine, monkeypatch):
    def full(denoiser, images):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(arrangement, "forward_and_back", full)
    found = arranged(denoiser, 8, LONG, layout="auto", compiled="auto")
    assert (found.layout, found.compiled) == ("nchw", False)
    assert "no memory to measure" in found.said[0]


def test_a_processor_tries_few_images(denoiser, machine):
    machine.seconds = {("nchw", False): 1.0, ("nhwc", False): 1.0}
    arranged(denoiser, 1000, LONG, layout="auto", compiled=False)
    assert machine.images == {MOST_IMAGES}


@pytest.mark.parametrize(("compiled", "chosen"), [(4.0, True), (4.99, False), (6.0, False)])
def test_compiled_code_is_tried_where_the_run_is_long_enough(compiled, chosen, denoiser, machine):
    machine.seconds = {("nchw", False): 5.0, ("nhwc", False): 5.0, ("nchw", True): compiled}
    found = arranged(denoiser, 8, LONG, layout="auto", compiled="auto")
    assert (found.layout, found.compiled) == ("nchw", chosen)
    assert "compiled code takes" in found.said[-1]
    machine.seconds[("nchw", False)] = machine.seconds[("nhwc", False)] = 1.0
    assert len(arranged(denoiser, 8, LONG, layout="auto", compiled="auto").said) == 1


def test_a_compiler_that_fails_is_told_and_not_used(denoiser, machine):
    machine.seconds = {("nchw", False): 5.0, ("nhwc", False): 5.0}
    found = arranged(denoiser, 8, LONG, layout="auto", compiled="auto")
    assert not found.compiled
    assert "torch.compile failed" in found.said[-1]


def test_a_layout_changes_no_value(denoiser):
    x, t, labels = torch.randn(2, 1, 8, 8), torch.full((2,), 0.3, dtype=torch.float64), torch.arange(2)
    before = denoiser.eval().output(x, t, labels)
    names = list(denoiser.state_dict())
    lay_out(denoiser.backbone, "nhwc")
    assert pixel_by_pixel(denoiser.backbone)
    torch.testing.assert_close(denoiser.output(x, t, labels), before)
    assert list(denoiser.state_dict()) == names
    lay_out(denoiser.backbone, "nchw")
    assert torch.equal(denoiser.output(x, t, labels), before)


def test_an_entry_of_the_optimiser_lies_as_its_parameter():
    parameter = torch.zeros(4, 6, 3, 3).contiguous(memory_format=torch.channels_last)
    value = torch.randn(4, 6, 3, 3)
    found = as_laid(value, parameter)
    assert found.stride() == parameter.stride()
    assert torch.equal(found, value)
    counter = torch.tensor(3.0)
    assert as_laid(counter, parameter) is counter


def run(folder, layout, *more):
    return train(folder, "--training.layout", layout, "--training.max-steps", "6", *more, kind="unet")


def test_a_run_pixel_by_pixel_is_the_run_channel_by_channel(tmp_path):
    assert run(tmp_path / "plain", "nchw") == run(tmp_path / "other", "nhwc") == 0
    plain, other = (checkpoint(tmp_path / name, "epoch-00002") for name in ("plain", "other"))
    assert (plain.state["layout"], other.state["layout"]) == ("nchw", "nhwc")
    for part, tensors in plain.tensors.items():
        for name, tensor in tensors.items():
            torch.testing.assert_close(other.tensors[part][name], tensor, rtol=1e-3, atol=1e-4)


def test_a_resume_keeps_the_layout_and_is_the_same_bit_by_bit(tmp_path):
    assert run(tmp_path / "once", "nhwc") == 0
    assert (
        train(tmp_path / "twice", "--training.layout", "nhwc", "--training.max-steps", "3", kind="unet") == 0
    )
    assert (
        train(tmp_path / "twice", "--training.layout", "auto", "--training.max-steps", "6", kind="unet") == 0
    )
    once, twice = (checkpoint(tmp_path / name, "epoch-00002") for name in ("once", "twice"))
    assert twice.state["layout"] == "nhwc"
    for part, tensors in once.tensors.items():
        for name, tensor in tensors.items():
            assert torch.equal(twice.tensors[part][name], tensor)


def test_two_processes_train_pixel_by_pixel_as_one_does(tmp_path):
    own = ["--name", "tiny", "--runs", tmp_path / "two", "--quiet", "--training.layout", "nhwc"]
    for steps in ("3", "6"):  # and resume
        command = ["-m", "triptych", "train", "digits-unet", *own, *SIZES["unet"], *TINY]
        code, said = forked(2, *command, "--training.max-steps", steps)
        assert code == 0, said
    assert run(tmp_path / "one", "nhwc") == 0
    one, two = (checkpoint(tmp_path / name, "epoch-00002") for name in ("one", "two"))
    assert two.state["layout"] == "nhwc"
    for name, tensor in one.tensors["weights"].items():
        torch.testing.assert_close(two.tensors["weights"][name], tensor, rtol=1e-3, atol=1e-4)


def test_a_checkpoint_of_no_layout_is_refused(tmp_path):
    assert run(tmp_path, "nhwc") == 0
    found = checkpoint(tmp_path, "epoch-00002")
    assert fit.misfit(found, found) is None
    found.state["layout"] = "chwn"
    assert "state.layout is no layout" in fit.misfit(found, found)
    assert set(fit.LAYOUTS) == set(LAYOUTS)


def test_a_checkpoint_from_before_there_were_layouts_lies_channel_by_channel(denoiser):
    state = TrainState.fresh(denoiser.backbone, TrainingConfig())
    contents = state.contents("epoch-00001", 1.0)
    assert (contents.state.pop("layout"), contents.state.pop("compiled")) == ("nchw", False)
    assert fit.misfit(contents, state.contents("epoch-00001", 1.0)) is None
    state.layout, state.compiled = "nhwc", True
    state.restore(contents)
    assert (state.layout, state.compiled) == ("nchw", False)


def test_a_long_run_says_what_it_measured_and_keeps_it(tmp_path, capsys, monkeypatch):
    """Here pixel by pixel is the faster, which would not be chosen without a trial."""
    monkeypatch.setattr(arrangement, "LONG", 3)
    seconds = {"nchw": [1.0] * 7, "nhwc": [0.5] * 7}
    monkeypatch.setattr(arrangement, "_seconds", lambda calls: {name: seconds[name] for name in calls})
    loud = ["train", "digits-unet", "--name", "tiny", "--runs", str(tmp_path), *SIZES["unet"], *TINY]
    assert main([*loud, "--training.max-steps", "3"]) == 0
    assert capsys.readouterr().err.count("layout nhwc takes") == 1
    assert Record.of_run(tmp_path / "tiny").history().started.versions["layout"] == "nhwc"
    assert main([*loud, "--training.max-steps", "6"]) == 0
    assert "layout nhwc takes" not in capsys.readouterr().err
    assert checkpoint(tmp_path, "epoch-00002").state["layout"] == "nhwc"


def test_what_died_before_its_first_checkpoint_goes_on_as_it_began(tmp_path, monkeypatch):
    monkeypatch.setattr(arrangement, "LONG", 3)
    seconds = {"nchw": [1.0] * 7, "nhwc": [0.5] * 7}
    monkeypatch.setattr(arrangement, "_seconds", lambda calls: {name: seconds[name] for name in calls})
    with monkeypatch.context() as died:
        died.setattr(Training, "run", lambda self, stop: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train(tmp_path, "--training.max-steps", "6", kind="unet")
    seconds["nhwc"] = [2.0] * 7  # would be chosen otherwise now
    assert train(tmp_path, "--training.max-steps", "6", kind="unet") == 0
    assert checkpoint(tmp_path, "epoch-00002").state["layout"] == "nhwc"
