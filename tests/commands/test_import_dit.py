"""Importing checkpoints of facebookresearch/DiT: runs that draw what their network draws."""

import json
import os
import pickle
from argparse import Namespace
from dataclasses import replace

import pytest
import torch
from backbones.peer_dit import Peer, forward, random_weights
from commands.command_line import say, the_line
from commands.test_import import Code
from safetensors.torch import save_file

from triptych.runs import Run

DIGITS = Peer(8, 2, 1, 16, 2, 4, num_classes=10, learn_sigma=False)
"""A network for images like the digits."""


def trained(weights, ema=None, options=True):
    """Return what their training saves: weights, their moving average, the optimiser and the options."""
    moments = {
        "state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.zeros(4)}},
        "param_groups": [{"lr": 1e-4}],
    }
    saved = {"model": weights, "opt": moments}
    saved |= {"ema": ema} if ema else {}
    return saved | ({"args": Namespace(model="DiT-S/2", num_classes=10)} if options else {})


@pytest.fixture
def weights():
    return random_weights(DIGITS)


@torch.no_grad()
def agrees(run, weights, peer=DIGITS):
    """Return whether the run's network does what theirs does with these weights."""
    network = Run(run).model(device="cpu").denoiser.backbone
    x, t, y = torch.randn(2, peer.in_channels, 8, 8), torch.tensor([3.0, 980.0]), torch.tensor([1, 0])
    y = y if network.classes else torch.zeros_like(y)
    expected = forward(weights, peer, x, t, y)[:, : peer.in_channels]
    return torch.allclose(network(x, t, y if network.classes else None), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["one.pt", "one.pth", "one.bin", "one.safetensors"])
def test_a_state_dict_becomes_a_run(name, weights, tmp_path, capsys):
    if name.endswith("safetensors"):
        save_file(weights, tmp_path / name)
    else:
        torch.save(weights, tmp_path / name)
    chosen = ("--heads", "4", "--data.name", "digits")
    assert say("import", tmp_path / name, "--runs", tmp_path / "runs", *chosen) == 0
    told = capsys.readouterr().out.splitlines()
    parameters = sum(tensor.numel() for tensor in weights.values()) - weights["pos_embed"].numel()
    assert told == [
        str(tmp_path / "runs" / "one"),
        f"{parameters:,} parameters, 10 classes, linear schedule, predicts eps",
        "schedule and prediction were taken for those of DiT's own training",
        "the last of its 11 class embeddings was taken for that of no class",
    ]
    assert agrees(tmp_path / "runs" / "one", weights)


def test_an_imported_run_is_sampled_evaluated_and_reported(weights, tmp_path, capsys):
    torch.save(weights, tmp_path / "one.pt")
    run = tmp_path / "runs" / "one"
    assert (
        say("import", tmp_path / "one.pt", "--heads", "4", "--runs", run.parent, "--data.name", "digits") == 0
    )
    assert say("sample", run, "--per-class", "1", "--guidance", "2", "--sampler", "ddim:2", "--quiet") == 0
    assert say("evaluate", run, "--count", "70", "--sampler", "ddim:2", "--quiet") == 0
    assert say("info", run) == 0
    assert "imported, trained elsewhere" in capsys.readouterr().out
    assert say("report", run, "--out", tmp_path, "--quiet") == 0
    assert f"dit, {tmp_path / 'one.pt'} (sha256 " in (tmp_path / "EXPERIMENTS.md").read_text()


@pytest.mark.parametrize("options", [True, False])
def test_of_a_training_s_checkpoint_the_moving_average_is_taken(options, weights, tmp_path, capsys):
    torch.save(trained(random_weights(DIGITS, seed=1), weights, options), tmp_path / "0050000.pt")
    assert say("import", tmp_path / "0050000.pt", "--heads", "4", "--runs", tmp_path / "runs") == 0
    assert "the moving average of the weights was taken" in capsys.readouterr().out
    assert agrees(tmp_path / "runs" / "0050000", weights)


def test_weights_without_a_moving_average_are_taken_as_they_are(weights, tmp_path, capsys):
    torch.save(trained(weights), tmp_path / "raw.pt")
    assert say("import", tmp_path / "raw.pt", "--heads", "4", "--runs", tmp_path / "runs") == 0
    assert "no moving average of the weights is in it" in capsys.readouterr().out
    assert agrees(tmp_path / "runs" / "raw", weights)


def test_variances_are_left_out_and_this_is_said(tmp_path, capsys):
    peer = replace(DIGITS, in_channels=3, learn_sigma=True)
    weights = random_weights(peer)
    torch.save(weights, tmp_path / "wide.pt")
    assert say("import", tmp_path / "wide.pt", "--heads", "4", "--runs", tmp_path / "runs") == 0
    assert "it predicts variances too (learn_sigma), which were left out" in capsys.readouterr().out
    assert agrees(tmp_path / "runs" / "wide", weights, peer)


def test_other_positions_are_kept_and_this_is_said(weights, tmp_path, capsys):
    weights["pos_embed"] += 0.5
    torch.save(weights, tmp_path / "moved.pt")
    assert say("import", tmp_path / "moved.pt", "--heads", "4", "--runs", tmp_path / "runs") == 0
    assert "its positions are not DiT's sines and cosines" in capsys.readouterr().out
    assert Run(tmp_path / "runs" / "moved").experiment.backbone.positions == "learned"
    assert agrees(tmp_path / "runs" / "moved", weights)


def test_a_width_of_the_paper_s_needs_no_heads(tmp_path, capsys):
    weights = random_weights(replace(DIGITS, hidden_size=384, mlp_ratio=1 / 32))
    torch.save(weights, tmp_path / "small.pt")
    assert say("import", tmp_path / "small.pt", "--runs", tmp_path / "runs") == 0
    assert "6 heads, as the paper's network of width 384 has" in capsys.readouterr().out
    assert Run(tmp_path / "runs" / "small").experiment.backbone.heads == 6


@pytest.mark.parametrize(
    ("classes", "dropped", "ours", "told"),
    [
        (1, 0.0, 0, "its one class embedding, which all images share, was added to that of the noise"),
        (1, 0.1, 1, "the last of its 2 class embeddings was taken for that of no class"),
        (7, 0.1, 7, "the last of its 8 class embeddings was taken for that of no class"),
    ],
)
def test_how_many_classes_a_table_of_embeddings_has(classes, dropped, ours, told, tmp_path, capsys):
    peer = replace(DIGITS, num_classes=classes, class_dropout_prob=dropped)
    weights = random_weights(peer)
    torch.save(weights, tmp_path / "few.pt")
    assert say("import", tmp_path / "few.pt", "--heads", "4", "--runs", tmp_path / "runs") == 0
    assert told in capsys.readouterr().out
    run = Run(tmp_path / "runs" / "few")
    assert run.model(device="cpu").denoiser.backbone.classes == ours
    assert run.experiment.conditional == (ours > 0)
    assert agrees(run.folder, weights, peer)
    assert say("sample", run.folder, "--count", "2", "--sampler", "ddim:2", "--quiet") == 0


def test_a_triptych_json_of_other_weights_is_passed_over(weights, tmp_path, capsys):
    torch.save(weights, tmp_path / "one.pt")
    (tmp_path / "triptych.json").write_text('{"sha256": "0", "schedule": "cosine"}')
    assert say("import", tmp_path / "one.pt", "--heads", "4", "--runs", tmp_path / "runs") == 0
    out = capsys.readouterr().out
    assert "triptych.json beside it is of other weights, and was passed over" in out
    assert "linear schedule" in out


def test_json_on_request(weights, tmp_path, capsys):
    torch.save(weights, tmp_path / "one.pt")
    command = ("import", tmp_path / "one.pt", "--heads", "4", "--runs", tmp_path / "runs", "--name", "mine")
    assert say(*command, "--json", "--quiet") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["run"], told["classes"]) == (str(tmp_path / "runs" / "mine"), 10)
    assert len(told["remarks"]) == 2


QKV = "blocks.1.attn.qkv.bias"


def broken(how, weights, folder):
    """Write a file with one of the mistakes that it can hold, and return its path."""
    path = folder / ("bad.safetensors" if "safetensors" in how else "bad.pt")
    match how:
        case "wrong shape":
            torch.save(weights | {QKV: torch.zeros(7)}, path)
        case "missing":
            torch.save({name: tensor for name, tensor in weights.items() if name != QKV}, path)
        case "unknown":
            torch.save(trained(weights, weights | {"blocks.1.attn.q_norm.weight": torch.ones(4)}), path)
        case "code":
            path.write_bytes(pickle.dumps(weights | {"y": Code(folder / "executed")}))
        case "code in a zip":
            torch.save(trained(weights) | {"args": Code(folder / "executed")}, path)
        case "code among options":
            torch.save(trained(weights) | {"args": Namespace(model=Code(folder / "executed"))}, path)
        case "truncated":
            torch.save(weights, path)
            path.write_bytes(path.read_bytes()[:-1000])
        case "truncated safetensors":
            save_file(weights, path)
            path.write_bytes(path.read_bytes()[:-100])
        case "empty":
            path.write_bytes(b"")
        case "another network":
            torch.save({"conv_in.weight": torch.zeros(3), "a\nb": torch.zeros(1)}, path)
        case "no tensors":
            torch.save(trained(None), path)
        case "average of no tensors":
            torch.save(trained(weights, {"pos_embed": 1}), path)
        case "not finite":
            weights["pos_embed"][0, 3, 3] = float("nan")
            torch.save(weights, path)
        case "a number for a thousand":
            torch.save(weights | {"pos_embed": torch.zeros(()).expand(1, 2**20, 2**20)}, path)
        case "latents":
            torch.save(random_weights(replace(DIGITS, in_channels=4, learn_sigma=True)), path)
        case "a broken triptych.json":
            torch.save(weights, path)
            (folder / "triptych.json").write_text("{")
    return path


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("wrong shape", f"{QKV} is float32 [7], not float [48] (1 of "),
        ("missing", f"missing tensor '{QKV}' (1 of "),
        ("unknown", "unknown tensor 'blocks.1.attn.q_norm.weight' (1 of "),
        ("code", "nothing of it was run"),
        ("code in a zip", "nothing of it was run"),
        ("code among options", "nothing of it was run"),
        ("truncated", "damaged"),
        ("truncated safetensors", "damaged"),
        ("empty", "damaged"),
        ("another network", "among its 2 tensors is no 'x_embedder.proj.weight', as a DiT has it"),
        ("no tensors", "'model' in it is no tensor"),
        ("average of no tensors", "'pos_embed' in it is no tensor"),
        ("not finite", "positions is not finite"),
        ("a number for a thousand", "more than the"),
        ("latents", "its images have 4 channels: latents of an autoencoder, no pixels"),
        ("a broken triptych.json", "no JSON object"),
    ],
)
def test_broken_files_are_one_line_and_leave_nothing(how, told, weights, tmp_path, capsys):
    path = broken(how, weights, tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert told in the_line(capsys, "import", path, "--heads", "4", "--runs", tmp_path / "runs")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("tokens", "told"),
    [
        (["{tmp}/one.pt"], "say how many with --heads"),
        (["{tmp}/one.pt", "--heads", "3"], "--heads 3: its width 16 is not a multiple of it"),
        (["{tmp}/one.pt", "--heads", "0"], "--heads 0"),
        (["{tmp}/one.pt", "--heads", "four"], "--heads"),
        (["{tmp}/none.pt", "--heads", "4"], "no such file"),
        (["{tmp}/none.safetensors"], "no such file"),
        (["{tmp}", "--heads", "4"], "leave --heads out"),
        (["{tmp}/one.pt", "--heads", "4", "--name", ""], "no name for a run's folder"),
    ],
)
def test_mistakes_on_the_command_line(tokens, told, weights, tmp_path, capsys):
    torch.save(weights, tmp_path / "one.pt")
    chosen = [token.format(tmp=tmp_path) for token in tokens]
    assert told in the_line(capsys, "import", "--runs", tmp_path / "runs", *chosen)
    assert os.listdir(tmp_path) == ["one.pt"]
