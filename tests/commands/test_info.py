"""`triptych info` tells what training and the record tell, before anything is trained or read."""

import json
import re
from dataclasses import fields

import pytest
import yaml
from commands.command_line import say, the_line
from report.synthetic_run import STEPS_PER_EPOCH, RunWriter
from training.tiny import TINY, train

from triptych.backbones import BACKBONES
from triptych.backbones.costs import costs
from triptych.checkpoints.find import FOLDER
from triptych.commands.info import columns
from triptych.data import DATASETS
from triptych.experiment import load_experiment
from triptych.recipe_files import packaged_recipes
from triptych.record.events import Progress
from triptych.runs import Run
from triptych.training.state import TrainState


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    assert train(folder, "--training.keep-full", "2", kind="unet") == 0
    assert train(folder, "--training.max-steps", "7", "--conditional", "False", name="free", kind="unet") == 0
    return folder


@pytest.fixture(autouse=True)
def nothing_is_read(monkeypatch):
    """Fail where images are loaded after all."""

    def refuse(config):
        raise AssertionError("images were loaded")

    for name, listed in DATASETS.items():
        monkeypatch.setitem(DATASETS, name, listed._replace(load=refuse))


def told(capsys, *tokens):
    """Return what --json says of the one run or recipe among the tokens."""
    (facts,) = all_told(capsys, *tokens)
    return facts


def all_told(capsys, *tokens):
    capsys.readouterr()
    assert say("info", *tokens, "--json") == 0
    return json.loads(capsys.readouterr().out)


def table(capsys, *tokens):
    """Return the table as {title: [cell of each column]}."""
    capsys.readouterr()
    assert say("info", *tokens) == 0
    lines = capsys.readouterr().out.splitlines()
    starts = [match.start() for match in re.finditer(r"\S+", lines[0])]
    cells = [
        [line[a:b].strip() for a, b in zip([0, *starts], [*starts, None], strict=True)] for line in lines
    ]
    return {title: values for title, *values in cells}


@pytest.mark.parametrize("recipe", packaged_recipes())
def test_every_recipe(recipe, capsys):
    facts = told(capsys, recipe)
    assert (facts["kind"], facts["done"]) == ("recipe", None)
    assert facts["flops"] > facts["parameters"] > 0
    assert facts["memory_bytes"] == 24 * facts["parameters"]  # weights, gradients, two averages, AdamW's two
    assert facts["training"]["steps"] > 0
    assert facts["training"]["checkpoint_bytes"] >= 20 * facts["parameters"]


def test_ddpm_s_unet(capsys):
    facts = told(capsys, "cifar10-unet-cfg")
    assert facts["parameters"] == 35_746_307 + 11 * 512
    assert 12.4e9 < facts["flops"] < 12.5e9
    assert facts["training"] == {
        "epochs": 3000,
        "batch_size": 128,
        "steps": 1_171_875,
        "checkpoint_bytes": (5 * 2 + 2 * 58) * 4 * facts["parameters"],
    }
    sizes = {"channels": 3, "image_size": 32, "train": 50_000, "held_out": 10_000, "classes": 10}
    assert facts["data"] == {"name": "cifar10"} | sizes


@pytest.mark.parametrize(("name", "classes"), [("tiny", 10), ("free", 0)])
def test_a_run_is_told_as_it_was_recorded(runs, name, classes, capsys):
    run = Run(runs / name)
    started, backbone = run.record.history().started, run.model().denoiser.backbone
    facts = told(capsys, runs / name)
    assert backbone.classes == classes
    assert (facts["parameters"], facts["flops"]) == (started.parameters, started.flops)
    assert facts["flops"] == costs(backbone).flops
    assert facts["training"]["steps"] == started.total_steps
    assert facts["data"]["train"] == started.data.train_images
    assert (facts["done"]["state"], facts["done"]["seconds_left"]) == ("finished", 0)
    assert facts["done"]["steps"] == started.total_steps
    assert facts["done"]["seconds"] == run.record.history().attempts[-1].times.total


def test_checkpoints_take_about_what_was_said(runs, capsys):
    facts = told(capsys, runs / "tiny")
    files = list((runs / "tiny" / FOLDER).rglob("*.safetensors"))
    size = sum(path.stat().st_size for path in files)
    assert (
        facts["training"]["checkpoint_bytes"]
        <= size
        <= facts["training"]["checkpoint_bytes"] + 20_000 * len(files)
    )


def test_memory_is_that_of_the_state_that_trains(capsys):
    experiment = load_experiment("digits-unet", TINY)
    state = TrainState.fresh(experiment.build(1, 8, 10).backbone, experiment.training)
    for parameter in state.network.parameters():
        parameter.grad = parameter.detach().clone()
    state.optimizer.step()
    tensors = [tensor for part in state.contents("x", 0.0).tensors.values() for tensor in part.values()]
    tensors += [parameter.grad for parameter in state.network.parameters()]
    scalars = len(list(state.network.parameters()))  # AdamW counts the steps of each parameter
    assert told(capsys, "digits-unet", *TINY)["memory_bytes"] == sum(t.nbytes for t in tensors) - 4 * scalars


def test_time_left_follows_from_the_recorded_rate(tmp_path, capsys):
    run = RunWriter(tmp_path / "slow", backbone="unet", epochs=200, workers=0)
    del run.config["training"]["workers"]
    experiment = load_experiment("cifar10-unet-cfg", ["--training.epochs", "200"])
    (run.folder / "config.yaml").write_text(yaml.safe_dump(experiment.fields()))
    assert told(capsys, run.folder)["done"]["seconds_left"] is None
    run.append(Progress(10, 1.0, 1.0, 1e-4, 9_999.0), 10)
    run.stop(10, 500.0)
    run.resume(10)
    for epoch, rate in ((20, 900.0), (30, 1_000.0), (40, 1_100.0)):
        run.now += 500
        run.append(Progress(epoch, 1.0, 1.0, 1e-4, rate), epoch)
    done = told(capsys, run.folder)["done"]
    steps = round(40 * STEPS_PER_EPOCH)
    assert (done["steps"], done["epochs"]) == (steps, 40)
    assert (done["seconds"], done["approximate"]) == (500 + 1500, True)
    assert done["images_per_second"] == 1_000
    assert done["seconds_left"] == (200 * STEPS_PER_EPOCH - steps) * 128 / 1_000
    rows = table(capsys, run.folder)
    assert rows["time left"] == ["about 2h 13m 20.0s"]
    assert rows["time spent"] == ["about 33m 20.0s"]


def test_fields_are_overridden_as_for_training(capsys):
    wide = ("--backbone.width", "48", "--training.max-steps", "5")
    before, after = told(capsys, "digits-unet"), told(capsys, "digits-unet", *wide)
    assert after["backbone"] == before["backbone"] | {"width": 48}
    assert after["parameters"] > 3 * before["parameters"]
    assert after["training"]["steps"] == 5


def test_several_stand_side_by_side(runs, capsys):
    rows = table(capsys, "digits-unet", runs / "tiny", runs / "free", "cifar10-unet-cfg")
    assert rows["  width".strip()] == ["24", "4", "4", "128"]
    assert rows["multipliers"] == ["1 2", "1 1", "1 1", "1 2 2 2"]
    assert rows["classes"] == ["10", "10", "none, unconditional", "10"]
    assert rows["images"] == ["1,442", "1,442", "1,442", "50,000"]
    assert rows["state"] == ["–", "finished", "finished", "–"]
    assert rows["GFLOP per image"][3] == "12.4"


@pytest.mark.parametrize("kind", BACKBONES)
def test_sizes_of_one_kind_stand_together(kind, tmp_path, capsys):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(f"{{backbone: {{kind: {kind}}}, data: {{name: cifar10}}}}")
    titles = list(table(capsys, "digits-unet", recipe))
    sizes = {field.name.replace("_", "-") for each in (kind, "unet") for field in fields(BACKBONES[each])}
    assert titles.index("backbone") == 1
    assert set(titles[2 : titles.index("parameters")]) == sizes - {"kind"}


def test_images_in_a_path_are_not_known_before_they_are_read(tmp_path, capsys):
    ask = ("cifar10-unet-small", "--data.path", tmp_path / "absent", "--data.image-size", "64")
    ask = (*ask, "--backbone.attention", "16")
    facts = told(capsys, *ask)
    assert facts["data"] == {
        "name": "cifar10",
        "channels": 3,
        "image_size": 64,
        "train": None,
        "held_out": None,
        "classes": None,
    }
    assert facts["training"] == {"epochs": 4, "batch_size": 64, "steps": None, "checkpoint_bytes": None}
    rows = table(capsys, *ask)
    assert rows["images"] == rows["steps"] == rows["classes"] == ["not known yet"]


def test_the_resolved_configuration(runs, capsys):
    capsys.readouterr()
    assert say("info", runs / "tiny", "digits-unet", "--config") == 0
    _, tiny, usual = capsys.readouterr().out.split("\n\n")
    assert yaml.safe_load(tiny) == Run(runs / "tiny").experiment.fields()
    assert yaml.safe_load(usual) == load_experiment("digits-unet").fields()
    assert told(capsys, "digits-unet", "--config")["config"] == load_experiment("digits-unet").fields()


@pytest.mark.parametrize(
    ("tokens", "line"),
    [
        ((), "nothing to tell of"),
        (("digits-unett",), "neither a run nor a recipe"),
        (("{tmp}/runs/x",), "neither a run nor a recipe"),
        (("{tmp}",), "no record.jsonl in it"),
        (("{tmp}/x.yaml",), "no such file"),
        (("digits-unet", "--backbone.width", "30"), "not a multiple"),
        (("digits-unet", "--backbone.wdth", "30"), "perhaps you meant --backbone.width"),
        (("digits-unet", "--backbone.wdth", "30"), "triptych info digits-unet: unrecognized"),
        (
            ("digits-unet", "--backbone.width", "x"),
            "triptych info digits-unet --backbone.width x: not a whole number; see",
        ),
        (("digits-unet", "--backbone.width", "x"), "see `triptych train digits-unet --help`"),
        (
            ("digits-dit", "--backbone.groups", "4"),
            "triptych info digits-dit: --backbone.groups is a field of unet",
        ),
        (("digits-unet", "--data.name", "cifar11"), "no such data set"),
        (("digits-unet", "{run}", "--training.epochs", "3"), "a run is what it was trained as"),
    ],
)
def test_mistakes_are_one_line(tokens, line, runs, tmp_path, capsys):
    tokens = [token.format(tmp=tmp_path, run=runs / "tiny") for token in tokens]
    assert line in the_line(capsys, "info", *tokens)


def test_chinese_letters_take_two_columns():
    assert columns("数字 ab") == 7
