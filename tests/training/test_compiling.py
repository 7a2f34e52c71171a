"""torch.compile by option: used where it works, left out aloud where it does not."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from backbones.small import SMALL
from training.tiny import checkpoint, train

from triptych.backbones.dropout import DropoutKey, key_dropout
from triptych.denoiser import Denoiser
from triptych.diffusion.predictions import PREDICTIONS
from triptych.diffusion.schedules import SCHEDULES
from triptych.training import compiling
from triptych.training.compiling import KEPT, compile_network


def without_a_compiler(call, *args, **kwargs):
    """Stand for torch.compile on a machine that lacks what it needs."""

    def compiled(*inputs):
        raise RuntimeError("InvalidCxxCompiler: No working C++ compiler found\nSet TORCHDYNAMO_VERBOSE=1")

    return compiled


@pytest.fixture(autouse=True)
def kept(tmp_path, monkeypatch):
    """A place of its own for what is compiled."""
    monkeypatch.setenv(KEPT, str(tmp_path / "kept"))


def model(config, classes):
    return Denoiser(config.build(1, 8, classes), SCHEDULES["cosine"](), PREDICTIONS["v"])


@pytest.mark.parametrize("kind", SMALL)
def test_what_cannot_be_compiled_stays_as_it_is(kind, monkeypatch):
    monkeypatch.setattr(torch, "compile", without_a_compiler)
    denoiser = model(SMALL[kind], 3).train()
    network = denoiser.backbone
    told = compile_network(denoiser, 2)
    assert "torch.compile failed, and training goes on without it" in told
    assert "No working C++ compiler" in told
    assert "\n" not in told
    assert network.training
    x, labels = torch.zeros(1, 1, 8, 8), torch.zeros(1, dtype=torch.int64)
    assert network.eval()(x, torch.zeros(1), labels).shape == x.shape


@pytest.mark.parametrize("classes", [0, 3])
def test_what_can_be_compiled_is_called_compiled(classes, monkeypatch):
    calls = []

    def compiling(call, *args, **kwargs):
        return lambda *inputs: calls.append(inputs) or call(*inputs)

    monkeypatch.setattr(torch, "compile", compiling)
    denoiser = model(SMALL["dit"], classes)
    network = denoiser.backbone
    names = list(network.state_dict())
    assert compile_network(denoiser, 2) == "the network is compiled"
    assert len(calls) == 1
    assert list(network.state_dict()) == names
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("named", ["", "elsewhere"])
def test_compiled_code_is_kept_among_the_caches_unless_a_place_is_named(named, tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "compile", without_a_compiler)
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path))
    monkeypatch.setenv(KEPT, named)
    if not named:
        monkeypatch.delenv(KEPT)
    compile_network(model(SMALL["dit"], 3), 2)
    assert os.environ[KEPT] == named if named else Path(os.environ[KEPT]).parent == tmp_path / "compiled"


def test_code_is_made_for_a_processor_and_its_threads(tmp_path, monkeypatch):
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path))
    places = set()
    for name in ("one (2 threads)", "one (4 threads)", "other (2 threads)", "one (2 threads)"):
        monkeypatch.setattr(compiling, "device_name", lambda device, name=name: name)
        places.add(compiling.kept_code(torch.device("cpu")))
    assert len(places) == 3
    monkeypatch.setenv("TRIPTYCH_CACHE", "/proc/none")
    assert compiling.kept_code(torch.device("cpu")) is None


def test_a_run_without_a_compiler_is_the_run_that_asked_for_none(tmp_path, monkeypatch):
    assert train(tmp_path / "plain", "--training.max-steps", "3") == 0
    with monkeypatch.context() as patched:
        patched.setattr(torch, "compile", without_a_compiler)
        assert train(tmp_path / "asked", "--training.max-steps", "3", "--training.compile", "True") == 0
    plain, asked = (checkpoint(tmp_path / name, "epoch-00001") for name in ("plain", "asked"))
    assert asked.state["compiled"] is False  # whatever was asked for
    for part, tensors in plain.tensors.items():
        for name, tensor in tensors.items():
            assert torch.equal(tensor, asked.tensors[part][name])


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # dynamo's own
def test_a_network_with_dropout_is_compiled_once_and_not_at_every_step(monkeypatch):
    """By a compiler that only counts the graphs that it is given, and runs them as they are."""
    graphs = []

    def counting(graph, inputs):
        graphs.append(graph)
        return graph.forward

    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda call, *a, **k: real(call, backend=counting))
    denoiser = model(replace(SMALL["unet"], dropout=0.3), 3)
    assert compile_network(denoiser, 2) == "the network is compiled"
    network, counts, outputs = denoiser.backbone.train(), [], []
    x, index = torch.randn(2, 1, 8, 8), torch.arange(2)
    for step in range(12):
        key_dropout(network, DropoutKey(0, 0, step, index))
        outputs.append(denoiser.output(x, torch.full((2,), 0.3, dtype=torch.float64), index))
        counts.append(len(graphs))
    assert counts[-1] == counts[1], counts
    assert graphs
