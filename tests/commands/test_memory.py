"""Training that no memory could hold is refused before anything is made for it."""

import os
import platform

import pytest
import torch
from training.tiny import SIZES

from triptych.backbones import BACKBONES
from triptych.backbones.costs import outline
from triptych.commands import memory
from triptych.commands.memory import check_memory, free_bytes, training_bytes
from triptych.errors import UserError
from triptych.experiment import load_experiment
from triptych.training.disk import full_size
from triptych.training.state import TrainState

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


@pytest.mark.parametrize("kind", BACKBONES)
def test_it_is_what_the_state_that_trains_takes(kind):
    experiment = load_experiment(f"digits-{kind}", SIZES[kind])
    state = TrainState.fresh(experiment.build(1, 8, 10).backbone, experiment.training)
    for parameter in state.network.parameters():
        parameter.grad = parameter.detach().clone()
    state.optimizer.step()
    parts = state.contents("x", 0.0).tensors
    held = sum(tensor.nbytes for part in parts.values() for tensor in part.values())
    held += sum(parameter.nbytes for parameter in state.network.parameters())  # of their gradients
    held -= 4 * len(list(state.network.parameters()))  # AdamW counts the steps of each parameter
    averages = len(parts) - len(("weights", "optimizer"))
    assert training_bytes(outline(experiment.backbone, 1, 8, 10), averages) == held


@pytest.mark.parametrize(
    ("recipe", "sizes"),
    [
        ("digits-unet", ("--backbone.width", "65536")),
        ("digits-dit", ("--backbone.width", "16384", "--backbone.heads", "1", "--backbone.depth", "100")),
        ("digits-dim", ("--backbone.width", "16384", "--backbone.depth", "100")),
    ],
)
def test_what_no_machine_could_hold_is_refused_before_it_is_made(recipe, sizes, monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda device: 10**12)
    experiment = load_experiment(recipe, sizes)
    dataset = experiment.data.load()
    with pytest.raises(
        UserError, match=r"AdamW and 2 of the weights, and a copy .*\), and 1000.0 GB are free on"
    ) as refused:
        check_memory(experiment, dataset, CPU, averages=2)
    assert str(refused.value).startswith(f"train {recipe}: its ")
    assert "choose smaller sizes" in refused.value.remedy


def test_the_line_is_drawn_at_what_is_free(monkeypatch):
    experiment = load_experiment("digits-unet")
    dataset = experiment.data.load()
    network = outline(experiment.backbone, 1, 8, 10)
    need = training_bytes(network) + full_size(network, 1)
    assert need == (20 + 16) * sum(p.numel() for p in experiment.build(1, 8, 10).backbone.parameters())
    monkeypatch.setattr(memory, "free_bytes", lambda device: need)
    check_memory(experiment, dataset, CPU)
    with pytest.raises(UserError):
        check_memory(experiment, dataset, CPU, averages=2)
    monkeypatch.setattr(memory, "free_bytes", lambda device: None)
    check_memory(experiment, dataset, CPU, averages=2)


def test_a_gpu_holds_what_trains_and_the_host_a_copy_for_checkpoints(monkeypatch):
    experiment = load_experiment("digits-unet")
    dataset = experiment.data.load()
    network = outline(experiment.backbone, 1, 8, 10)
    room = {GPU: training_bytes(network), CPU: full_size(network, 1)}
    monkeypatch.setattr(memory, "free_bytes", room.get)
    monkeypatch.setattr(memory, "device_name", str)
    check_memory(experiment, dataset, GPU)
    for device in (GPU, CPU):
        room[device] -= 1
        with pytest.raises(UserError, match=f"are free on {device}"):
            check_memory(experiment, dataset, GPU)
        room[device] += 1


@pytest.mark.parametrize("device", [GPU, CPU], ids=str)
def test_a_copy_is_only_made_where_checkpoints_are_written(device, monkeypatch):
    """By the first of several processes of a machine: the others need no room for it."""
    experiment = load_experiment("digits-unet")
    dataset = experiment.data.load()
    room = {GPU: 10**12, CPU: 0} | {device: training_bytes(outline(experiment.backbone, 1, 8, 10))}
    monkeypatch.setattr(memory, "free_bytes", room.get)
    monkeypatch.setattr(memory, "device_name", str)
    check_memory(experiment, dataset, device, saves=False)
    with pytest.raises(UserError, match="are free on cpu"):
        check_memory(experiment, dataset, device)
    room[device] -= 1
    with pytest.raises(UserError, match=f"are free on {device}"):
        check_memory(experiment, dataset, device, saves=False)


def test_what_a_gpu_has_free_includes_what_this_process_keeps(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (5_000, 80_000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 300)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 100)
    assert free_bytes(GPU) == 5_200


@pytest.mark.parametrize(("limit", "free"), [("max", None), ("10000", 10_000 - 4_000 + 700)])
def test_a_container_has_what_its_limit_leaves(limit, free, tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "GROUP", tmp_path)
    assert memory.free_of_group() is None
    for name, text in (("max", limit), ("current", "4000"), ("stat", "anon 3000\ninactive_file 700\nx 1")):
        (tmp_path / f"memory.{name}").write_text(f"{text}\n")
    assert memory.free_of_group() == free
    monkeypatch.setattr(memory, "freed_memory", lambda: 50)
    monkeypatch.setattr(memory, "free_of_machine", lambda: 8_000)
    assert free_bytes(CPU) == (8_050 if free is None else free + 50)


def test_where_nothing_is_told_nothing_is_known(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "absent")
    monkeypatch.setattr(memory, "GROUP", tmp_path)
    assert free_bytes(CPU) is None
    assert free_bytes(torch.device("mps")) is None


def test_this_machine_has_some_memory_and_no_more_than_it_has():
    free = free_bytes(CPU)
    if platform.system() == "Linux":
        whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        assert free is not None and 2**20 < free < 1.1 * whole
