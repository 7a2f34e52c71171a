"""Every backbone trains, resumes bit by bit, samples, and is told from the others."""

import signal

import pytest
import torch
from training.test_resume import LAST, assert_same, stop_at
from training.tiny import SIZES, checkpoint, figures, train

from triptych.backbones import BACKBONES
from triptych.cli import main
from triptych.experiment import load_experiment
from triptych.runs import CONFIG
from triptych.training.state import TrainState

OTHERS = [kind for kind in BACKBONES if kind != "unet"]  # whose resumes have their own file


def test_every_backbone_is_tried():
    assert set(SIZES) == set(BACKBONES)


@pytest.fixture(scope="module", params=OTHERS)
def run(request, tmp_path_factory):
    """A run left alone."""
    runs = tmp_path_factory.mktemp(request.param)
    assert train(runs, kind=request.param) == 0
    return request.param, runs


def test_stop_and_resume(run, tmp_path, monkeypatch):
    kind, whole = run
    with monkeypatch.context() as patched:
        stop_at(patched, 7, lambda training: signal.raise_signal(signal.SIGTERM))
        assert train(tmp_path, kind=kind) == 75
    assert train(tmp_path, kind=kind) == 0
    assert_same(checkpoint(tmp_path, LAST), checkpoint(whole, LAST))
    assert figures(tmp_path) == figures(whole)


def test_it_is_sampled(run, capsys):
    _, runs = run
    assert (
        main(["sample", str(runs / "tiny"), "--sampler", "ddim:2", "--guidance", "2", "--per-class", "1"])
        == 0
    )


def test_a_checkpoint_of_another_backbone_is_told_in_one_line(run, tmp_path, capsys):
    kind, runs = run
    other = next(name for name in OTHERS if name != kind)
    assert train(tmp_path, kind=other) == 0
    config = tmp_path / "tiny" / CONFIG
    config.write_text((runs / "tiny" / CONFIG).read_text())
    capsys.readouterr()
    assert main(["sample", str(tmp_path / "tiny")]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "its weights are of another network" in line


def test_a_run_does_not_go_on_with_another_backbone(run, capsys):
    kind, runs = run
    other = next(name for name in OTHERS if name != kind)
    capsys.readouterr()
    assert train(runs, kind=other) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "start another run with --name" in line


def test_decays_of_scans_are_spared_by_weight_decay():
    experiment = load_experiment("digits-dim", ["--training.weight-decay", "0.1"])
    network = experiment.build(1, 8, 10).backbone
    state = TrainState.fresh(network, experiment.training)
    decay = {id(p): group["weight_decay"] for group in state.optimizer.param_groups for p in group["params"]}
    spared = {name.rpartition(".")[2] for name, p in network.named_parameters() if decay[id(p)] == 0}
    assert spared == {"log_decay", "step_bias", "direct"}
    assert set(decay) == {id(p) for p in network.parameters()}
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    state.optimizer.step()
    for name, parameter in network.named_parameters():
        moved = not torch.equal(parameter, before[name])
        assert moved == (name.rpartition(".")[2] not in spared and bool(before[name].any())), name
