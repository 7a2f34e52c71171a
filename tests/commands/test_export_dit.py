"""Exporting a run for facebookresearch/DiT: its network, written once more, does what the run's does."""

import hashlib
import json

import pytest
import torch
from backbones.peer_dit import Peer, forward, shapes
from commands.command_line import say, the_line
from safetensors.torch import load_file, save_file
from training.tiny import train as train_unet

from triptych.exchange.dit_checkpoint import their_ratio
from triptych.runs import Run

PLAIN = [
    *("--backbone.patch", "2", "--backbone.width", "16", "--backbone.depth", "2", "--backbone.heads", "4"),
    *("--backbone.long-skips", "False", "--backbone.output-conv", "False", "--training.label-drop", "0.1"),
    *("--training.epochs", "1", "--training.batch-size", "500", "--training.preview-from", "9"),
    *("--training.held-out-count", "64", "--training.warmup-epochs", "0"),
]


def train(runs, name, schedule="linear", prediction="eps", *extra):
    """Train a small DiT on the digits."""
    diffusion = ("--diffusion.schedule", schedule, "--diffusion.prediction", prediction)
    own = ("--name", name, "--runs", runs, "--quiet")
    assert say("train", "digits-dit", *own, *PLAIN, *diffusion, *extra) == 0


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder of runs: one with classes, `tiny`, one without, `free`, with learned positions and cosine."""
    folder = tmp_path_factory.mktemp("runs")
    train(folder, "tiny")
    without = ("--conditional", "False", "--backbone.positions", "learned", "--backbone.mlp-ratio", "1.3")
    train(folder, "free", "cosine", "x0", *without)
    return folder


def written(folder):
    """Return the weights and the facts of an exported folder."""
    return load_file(folder / "model.safetensors"), json.loads((folder / "triptych.json").read_text())


@pytest.mark.parametrize("name", ["tiny", "free"])
@torch.no_grad()
def test_their_network_does_what_ours_does(name, runs, tmp_path):
    assert say("export", runs / name, "--format", "dit", "--out", tmp_path / "out", "--quiet") == 0
    weights, told = written(tmp_path / "out")
    peer = Peer(**told["sizes"])
    assert eval(told["network"], {"DiT": Peer}) == peer
    assert {name: tuple(tensor.shape) for name, tensor in weights.items()} == shapes(peer)
    network = Run(runs / name).model(device="cpu").denoiser.backbone
    x, t = torch.randn(3, 1, 8, 8), torch.tensor([0.0, 417.0, 999.0])
    y = torch.tensor([0, 3, 10]) if name == "tiny" else torch.zeros(3, dtype=torch.int64)
    ours = network(x, t, y if name == "tiny" else None)
    torch.testing.assert_close(forward(weights, peer, x, t, y), ours, rtol=0, atol=1e-5)


def test_what_is_said_beside_the_weights(runs, tmp_path):
    said = {}
    for name in ("tiny", "free"):
        assert say("export", runs / name, "--format", "dit", "--out", tmp_path / name, "--quiet") == 0
        said[name] = written(tmp_path / name)[1]
        assert (
            said[name]["sha256"]
            == hashlib.sha256((tmp_path / name / "model.safetensors").read_bytes()).hexdigest()
        )
        assert sorted(path.name for path in (tmp_path / name).iterdir()) == [
            "model.safetensors",
            "triptych.json",
        ]
    tiny, free = said["tiny"], said["free"]
    assert tiny["network"] == (
        "DiT(input_size=8, patch_size=2, in_channels=1, hidden_size=16, depth=2, num_heads=4, mlp_ratio=4.0, "
        "class_dropout_prob=0.1, num_classes=10, learn_sigma=False)"
    )
    assert tiny["diffusion"] == {"noise_schedule": "linear", "predict_xstart": False, "learn_sigma": False}
    assert (tiny["null_class"], tiny["class_names"]) == ("last", list("0123456789"))
    assert (free["null_class"], free["class_names"]) == (None, [])
    assert (free["sizes"]["num_classes"], free["sizes"]["class_dropout_prob"]) == (1, 0.0)
    assert free["diffusion"] == {
        "noise_schedule": "squaredcos_cap_v2",
        "predict_xstart": True,
        "learn_sigma": False,
    }
    assert (free["schedule"], free["prediction"]) == ("cosine", "x0")


def test_perceptrons_keep_their_width_though_theirs_rounds_down():
    pairs = [(hidden, width) for width in (44, 96, 196, 384) for hidden in range(1, 8 * width)]
    assert any(int(width * (hidden / width)) != hidden for hidden, width in pairs)
    assert all(int(width * their_ratio(hidden, width)) == hidden for hidden, width in pairs)


@pytest.mark.parametrize("given", ["{out}", "{out}/model.safetensors"])
@pytest.mark.parametrize("name", ["tiny", "free"])
def test_there_and_back_changes_no_bit(name, given, runs, tmp_path, capsys):
    out = tmp_path / "out"
    assert say("export", runs / name, "--format", "dit", "--out", out, "--quiet") == 0
    capsys.readouterr()
    assert (
        say("import", given.format(out=out), "--runs", tmp_path, "--name", "back", "--data.name", "digits")
        == 0
    )
    learned = "its positions are not DiT's sines and cosines, and were imported as learned ones"
    assert capsys.readouterr().out.splitlines()[2:] == ([learned] if name == "free" else [])
    assert say("export", tmp_path / "back", "--format", "dit", "--out", tmp_path / "again", "--quiet") == 0
    assert (out / "model.safetensors").read_bytes() == (tmp_path / "again" / "model.safetensors").read_bytes()
    before, back = Run(runs / name), Run(tmp_path / "back")
    weights = [run.model(device="cpu").denoiser.backbone.state_dict() for run in (before, back)]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    for field in ("schedule", "prediction"):
        assert getattr(back.experiment.diffusion, field) == getattr(before.experiment.diffusion, field)
    assert before.class_names == back.class_names or name == "free"
    drawn = []
    for run in (before, back):
        model = run.model(device="cpu")
        drawn.append(
            run.sample(model, run.request(model, count=4, guidance=2.0 * (name == "tiny"), sampler="ddim:3"))
        )
    assert torch.equal(drawn[0][0], drawn[1][0])


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"sizes": {"num_heads": "4"}}, "its num_heads is no whole number"),
        ({"sizes": 4}, "its num_heads is no whole number"),
        ({"schedule": ["linear"]}, "its schedule is ['linear'], not linear or cosine"),
        ({"prediction": "v"}, "its prediction is 'v', not eps or x0"),
        ({"class_names": ["a"]}, "it names 1 classes, and the network has 10"),
    ],
)
def test_what_is_said_beside_has_to_be_sound(changed, told, runs, tmp_path, capsys):
    out = tmp_path / "out"
    assert say("export", runs / "tiny", "--format", "dit", "--out", out, "--quiet") == 0
    (out / "triptych.json").write_text(json.dumps(written(out)[1] | changed))
    assert told in the_line(capsys, "import", out, "--runs", tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_what_the_caller_says_counts_more(runs, tmp_path):
    assert say("export", runs / "tiny", "--format", "dit", "--out", tmp_path / "out", "--quiet") == 0
    assert say("import", tmp_path / "out", "--heads", "2", "--runs", tmp_path / "runs", "--quiet") == 0
    assert Run(tmp_path / "runs" / "out").experiment.backbone.heads == 2


def test_weights_saved_anew_are_no_longer_told_of(runs, tmp_path, capsys):
    out = tmp_path / "out"
    assert say("export", runs / "free", "--format", "dit", "--out", out, "--quiet") == 0
    half = {name: tensor.half() for name, tensor in written(out)[0].items()}
    save_file(half, out / "model.safetensors")
    assert say("import", out, "--heads", "4", "--runs", tmp_path / "runs") == 0
    assert "triptych.json beside it is of other weights, and was passed over" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("option", "told"),
    [
        (("--backbone.long-skips", "True"), "export a DiT with backbone.long-skips True"),
        (("--backbone.output-conv", "True"), "backbone.output-conv True"),
        (("--backbone.norm", "rms"), "backbone.norm rms"),
        (("--backbone.mlp", "swiglu"), "backbone.mlp swiglu"),
        (("--backbone.qk-norm", "True"), "backbone.qk-norm True"),
        (("--diffusion.prediction", "v"), "diffusion.prediction v: DiT's diffusion has none such"),
    ],
)
def test_what_their_network_cannot_be_is_refused_by_name(option, told, tmp_path, capsys):
    train(tmp_path / "runs", "odd", "linear", "eps", *option)
    line = the_line(capsys, "export", tmp_path / "runs" / "odd", "--format", "dit", "--out", tmp_path / "out")
    assert told in line
    assert not (tmp_path / "out").exists()


def test_a_format_of_another_backbone_is_refused_and_the_right_one_named(runs, tmp_path, capsys):
    assert train_unet(tmp_path / "runs", "--training.epochs", "1", name="unet", kind="unet") == 0
    out = ("--out", tmp_path / "out")
    assert "only --format dit fits it" in the_line(capsys, "export", runs / "tiny", *out)
    line = the_line(capsys, "export", tmp_path / "runs" / "unet", "--format", "dit", *out)
    assert "its backbone is unet" in line and "say --format diffusers" in line
    assert not (tmp_path / "out").exists()
