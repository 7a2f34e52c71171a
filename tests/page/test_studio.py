"""The studio draws what `triptych sample` draws, within limits, and stops when it is told to."""

import json
import shlex
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from commands.command_line import say
from PIL import Image

from triptych.errors import UserError
from triptych.page.studio import KEPT_MODELS, LARGEST_SEED, MOST_IMAGES, MOST_STEPS, Order, Studio


@pytest.fixture
def studio(shelf):
    return Studio(shelf, "cpu")


def last(moments):
    *_, moment = moments
    return moment


def order(**more) -> Order:
    return Order("tiny", **({"steps": 3, "count": 4} | more))


def test_it_draws_what_the_command_beside_it_draws(studio, runs, tmp_path, capsys):
    asked = order(scale=2.0, classes=("3", "5"), seed=7, above=0.1, below=500.0, checkpoint="epoch-00004")
    moment = last(studio.draw(asked))
    command = studio.command(asked, runs)
    assert command == (
        f"triptych sample {shlex.quote(str(runs / 'tiny'))} --checkpoint epoch-00004 --sampler ddim:3 "
        "--guidance 2 --guide cfg,above=0.1,below=500 --classes 3 5 --seed 7 --per-class 2 --gif"
    )
    capsys.readouterr()
    assert say(*shlex.split(command)[1:], "--json", "--device", "cpu") == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert told["network_calls"] == moment.calls == 5  # of three steps one lies outside of the interval
    theirs = np.array(Image.open(told["grid"]).convert("L"), dtype=int)
    mine = np.array(moment.picture.convert("L"), dtype=int)
    assert theirs.shape == mine.shape and np.abs(theirs - mine).max() <= 1


@pytest.mark.parametrize(
    ("more", "ending"),
    [
        ({"count": 4}, "--guidance 1 --seed 0 --count 4 --gif"),
        ({"count": 20}, "--guidance 1 --seed 0 --per-class 2 --gif"),
        ({"count": 20, "scale": 0.0, "classes": ("3",)}, "--guidance 0 --seed 0 --count 20 --gif"),
        ({"scale": 1.2345678, "count": 4}, "--guidance 1.2345678 --seed 0 --count 4 --gif"),
    ],
)
def test_the_command_says_what_is_drawn(studio, more, ending):
    assert studio.command(order(**more), Path("runs")).endswith(f"--sampler ddim:3 {ending}")


def test_of_a_model_without_classes_it_says_nothing_of_them():
    command = order(scale=2.0, classes=("3",), above=1.0).command(Path("runs"), 0)
    assert command == "triptych sample runs/tiny --checkpoint last --sampler ddim:3 --seed 0 --count 4 --gif"


def test_two_never_draw_at_once(studio):
    first, second = studio.draw(order(steps=1000)), studio.draw(order())
    next(first)
    waits = threading.Thread(target=lambda: next(second))
    waits.start()
    waits.join(0.3)
    assert waits.is_alive()
    first.close()
    waits.join(10)
    assert not waits.is_alive()


@pytest.mark.parametrize("sampler", ["ddpm", "heun", "dpm++"])
def test_every_moment_comes_in_order_and_the_last_has_it_all(studio, sampler, monkeypatch):
    monkeypatch.setattr("triptych.page.studio.PAUSE", 0.0)
    moments = list(studio.draw(order(sampler=sampler, steps=4)))
    assert [moment.step for moment in moments] == [0, 1, 2, 3, 4]
    assert all(moment.picture is not None for moment in moments)
    assert [moment.film is not None for moment in moments] == [False] * 4 + [True]
    assert moments[-1].calls == (7 if sampler == "heun" else 4)


def test_whoever_closes_it_stops_the_network(studio, monkeypatch):
    monkeypatch.setattr("triptych.page.studio.PAUSE", 0.0)
    _, model, _ = studio._opened(order())
    calls = []
    forward = model.denoiser.backbone.forward
    monkeypatch.setattr(
        model.denoiser.backbone, "forward", lambda *a, **k: calls.append(1) or forward(*a, **k)
    )
    drawing = studio.draw(order(steps=1000))
    next(drawing), next(drawing)
    drawing.close()
    assert 1 <= len(calls) <= 3


def test_checkpoints_side_by_side_are_those_images(studio):
    orders = [order(checkpoint=name) for name in ("epoch-00002", "epoch-00006")]
    found = list(studio.side_by_side(orders))
    assert [done for done, _ in found] == [0] * 4 + [1] * 4 + [2]
    assert [moment.picture is not None for _, moment in found] == [False] * 8 + [True]
    one = last(studio.side_by_side(orders[:1]))[1].picture
    assert found[-1][1].picture.width > 1.5 * one.width


def test_models_are_kept_and_opened_again_when_the_record_has_changed(studio, runs):
    _, first, _ = studio._opened(order())
    assert studio._opened(order(seed=3))[1] is first
    with (runs / "tiny" / "record.jsonl").open("a") as file:
        file.write("")
    for name in studio.shelf.checkpoints("tiny"):
        studio._opened(order(checkpoint=name))
    assert len(studio._models) == KEPT_MODELS
    line = (runs / "tiny" / "record.jsonl").read_bytes().splitlines(keepends=True)[-1]
    with (runs / "tiny" / "record.jsonl").open("ab") as file:
        file.write(line)
    assert studio._opened(order())[1] is not first


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"count": 0}, "images 0: out of range; choose 1 to 64"),
        ({"count": MOST_IMAGES + 1}, "images 65"),
        ({"steps": 0}, "steps 0"),
        ({"steps": MOST_STEPS + 1}, "steps 1001: out of range; choose 1 to 1,000"),
        ({"scale": -1.0}, "guidance scale -1"),
        ({"scale": 21.0}, "guidance scale 21"),
        ({"scale": float("nan")}, "guidance scale nan"),
        ({"seed": -1}, "seed -1"),
        ({"seed": LARGEST_SEED + 1}, "seed 4294967296: out of range; choose 0 to 4,294,967,295"),
        ({"above": "x"}, "guided above x: out of range"),
        ({"below": -1.0}, "guided up to -1.0"),
        ({"checkpoint": ["last"]}, "what was filled in: it is of another kind"),
        ({"classes": ("3",) * 2000}, "what was filled in"),
    ],
)
def test_numbers_beyond_what_the_page_draws_are_refused(more, told):
    with pytest.raises(UserError) as error:
        order(**more)
    assert str(error.value).startswith(told)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"run": "../tiny"}, "there is none of this name"),
        ({"run": ""}, "drawing: no run is chosen; choose one that has checkpoints"),
        ({"run": "log"}, "no checkpoint 'last'"),
        ({"checkpoint": "../../tiny"}, "no checkpoint '../../tiny'"),
        ({"checkpoint": ""}, "no checkpoint chosen"),
        ({"classes": ("11",)}, "class '11': there is none of this name"),
        ({"sampler": "euler2"}, "no such sampler"),
        ({"sampler": "ddim:3,eta=9"}, "ddim"),
        ({"scale": 2.0, "above": 5.0, "below": 1.0}, "leave no room"),
        ({"scale": 2.0, "above": 1e9}, "shows the model noise of"),
    ],
)
def test_orders_that_cannot_be_met_are_told(studio, more, told):
    with pytest.raises(UserError) as error:
        next(studio.draw(Order(**({"run": "tiny", "steps": 3, "count": 4} | more))))
    assert told in str(error.value)


def test_runs_of_unlike_images_are_not_drawn_side_by_side(studio, runs):
    shutil.copytree(runs / "tiny", runs / "other")
    record = runs / "other" / "record.jsonl"
    digest = studio.shelf.run("tiny").origin.data.digest
    record.write_text(
        record.read_text().replace(digest, "0" * 64).replace('"name": "digits"', '"name": "mine"')
    )
    with pytest.raises(UserError, match="tiny beside other: the one was trained on digits"):
        next(studio.side_by_side([order(), Order("other", steps=3, count=4)]))


@pytest.mark.parametrize("number", [0, 7])
def test_too_many_or_none_side_by_side_are_refused(studio, number):
    with pytest.raises(UserError, match="choose 1 to 6"):
        next(studio.side_by_side([order()] * number))
