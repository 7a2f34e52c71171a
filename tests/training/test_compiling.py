"""torch.compile by option: used where it works, left out aloud where it does not."""

import pytest
import torch
from backbones.small import SMALL
from training.tiny import checkpoint, train

from triptych.training.compiling import compile_network


def without_a_compiler(call, *args, **kwargs):
    """Stand for torch.compile on a machine that lacks what it needs."""

    def compiled(*inputs):
        raise RuntimeError("InvalidCxxCompiler: No working C++ compiler found\nSet TORCHDYNAMO_VERBOSE=1")

    return compiled


@pytest.mark.parametrize("kind", SMALL)
def test_what_cannot_be_compiled_stays_as_it_is(kind, monkeypatch):
    monkeypatch.setattr(torch, "compile", without_a_compiler)
    network = SMALL[kind].build(1, 8, 3).train()
    told = compile_network(network)
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
    network = SMALL["dit"].build(1, 8, classes)
    names = list(network.state_dict())
    assert compile_network(network) == "the network is compiled"
    assert len(calls) == 1
    assert list(network.state_dict()) == names
    assert all(parameter.grad is None for parameter in network.parameters())


def test_a_run_without_a_compiler_is_the_run_that_asked_for_none(tmp_path, monkeypatch):
    assert train(tmp_path / "plain", "--training.max-steps", "3") == 0
    with monkeypatch.context() as patched:
        patched.setattr(torch, "compile", without_a_compiler)
        assert train(tmp_path / "asked", "--training.max-steps", "3", "--training.compile", "True") == 0
    plain, asked = (checkpoint(tmp_path / name, "epoch-00001") for name in ("plain", "asked"))
    for part, tensors in plain.tensors.items():
        for name, tensor in tensors.items():
            assert torch.equal(tensor, asked.tensors[part][name])
