"""The demonstration types commands that exist, stops where one fails, and shows what it made."""

import json

import demo
import pytest
from training.tiny import SIZES, TINY

from triptych.cli import main
from triptych.commands import VERBS
from triptych.recipe_files import packaged_recipes

THREE = ("digits-unet", "digits-dit", "digits-dim")


class Recorder:
    """An environment that runs nothing."""

    def __init__(self, failing=None):
        self.commands, self.failing = [], failing

    def run(self, *arguments):
        assert arguments[:2] == ("-m", "triptych")
        self.commands.append(arguments[2:])
        return 3 if arguments[2] == self.failing else 0


@pytest.mark.parametrize("recipes", [("digits-unet",), THREE])
def test_every_step_is_a_command(recipes):
    verbs = [step.split()[0] for step in demo.steps(recipes)]
    assert verbs == ["train", "sample", *["evaluate"] * len(recipes), "report", "info"]
    assert set(verbs) <= set(VERBS)


def test_its_recipes_come_along():
    assert set(demo.RECIPES) <= set(packaged_recipes())


def test_it_runs_all_steps_and_stops_at_the_first_that_fails(capsys):
    environment = Recorder()
    assert demo.main(environment) == 0
    assert [" ".join(command) for command in environment.commands] == demo.steps(demo.RECIPES)
    assert "EXPERIMENTS.md  the experiment record" in capsys.readouterr().out
    environment = Recorder(failing="evaluate")
    assert demo.main(environment) == 3
    assert environment.commands[-1][0] == "evaluate"
    assert "goes on from there" in capsys.readouterr().out


def test_it_shows_what_the_commands_made(tmp_path, monkeypatch, capsys):
    """The steps as they are typed, of two tiny runs in place of the recipes'."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("triptych.report.assets.Assets.draw", lambda self, run, name, draw: None)
    short = (*SIZES["unet"], *TINY, "--training.max-steps", "2", "--training.preview-every", "0", "--quiet")
    for name in ("a", "b"):
        assert main(["train", "digits-unet", "--name", name, *short]) == 0
    for step in demo.steps(("a", "b"))[1:]:
        assert main(step.replace("ddim:50", "ddim:2").split()) == 0
    shown = [(what, path.relative_to(tmp_path).parts) for what, path in demo.results(tmp_path, ("a", "b"))]
    assert all(tmp_path.joinpath(*parts).is_file() for _, parts in shown)
    assert [(parts[0], parts[1:2], parts[-1]) for _, parts in shown] == [
        ("EXPERIMENTS.md", (), "EXPERIMENTS.md"),
        ("EXPERIMENTS.html", (), "EXPERIMENTS.html"),
        ("runs", ("bout-a-b",), "side-by-side.png"),
        ("runs", ("a",), "grid.png"),
        ("runs", ("a",), "denoising.gif"),
        ("runs", ("b",), "grid.png"),
        ("runs", ("b",), "denoising.gif"),
    ]
    capsys.readouterr()
    assert main(["info", "runs/a", "runs/b", "--json"]) == 0
    assert [facts["done"]["steps"] for facts in json.loads(capsys.readouterr().out)] == [2, 2]
