"""What does not fit is refused before anything of it is taken over, though its manifest vouches for it."""

from collections.abc import Callable

import pytest
import torch

from triptych.checkpoints.contents import Contents
from triptych.checkpoints.fit import misfit


def fresh() -> Contents:
    """What a state holds before its first step."""
    tensors = {"w": torch.zeros(2, 3), "b": torch.zeros(3)}
    state = {
        "checkpoint": "epoch-00000",
        "epoch": 0.0,
        "step": 0,
        "best": [],
        "held_out": [],
        "running": {"loss": 0.0, "steps": 0},
        "guard": {"norms": [], "streaks": [0, 0], "on": True},
        "scaler": {},
        "threads": 1,
        "note": None,
    }
    return Contents({"ema": dict(tensors), "weights": dict(tensors), "optimizer": {}}, state)


def found() -> Contents:
    """What a checkpoint of it holds."""
    entry = {"epoch": 2.0, "checkpoint": "epoch-00002", "mse": 0.5}
    state = {
        "epoch": 2.5,
        "step": 7,
        "best": [entry],
        "held_out": [entry | {"weights": "ema"}],
        "running": {"loss": 1, "steps": 3, "spikes": 1},
        "guard": {"norms": [1.5, 2.0], "streaks": [0, 1, 2], "on": False},
        "scaler": {"scale": 65536.0},
        "threads": 48,
        "note": "anything",
    }
    optimizer = {"w/step": torch.tensor(7.0), "w/exp_avg": torch.zeros(2, 3), "b/step": torch.tensor(7.0)}
    tensors = fresh().tensors
    return Contents(tensors | {"optimizer": optimizer, "later": {"x": torch.ones(1)}}, state)


def test_what_fits():
    assert misfit(found(), fresh()) is None
    assert misfit(found(), found()) is None
    assert misfit(fresh(), fresh()) is None
    less = Contents({"ema": found().tensors["ema"]}, {"step": 1})
    assert misfit(less, fresh()) is None  # what must be there is another question


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda parts: parts["weights"].update(w=torch.zeros(3, 2)), "w is float32 [3, 2], not float32 [2"),
        (lambda parts: parts["weights"].update(w=torch.zeros(2, 3).double()), "w is float64 [2, 3]"),
        (lambda parts: parts["ema"].pop("b"), "ema: b is missing"),
        (lambda parts: parts["ema"].update(evil=torch.zeros(1)), "ema: evil is not part of it"),
        (lambda parts: parts["optimizer"].update({"w/exp_avg": torch.zeros(2)}), "w/exp_avg is float32 [2]"),
        (lambda parts: parts["optimizer"].update({"x/step": torch.zeros(())}), "x/step belongs to none"),
        (lambda parts: parts["optimizer"].update({"step": torch.zeros(())}), "step belongs to none"),
        (lambda parts: parts["optimizer"].update({"w/step": torch.tensor(7)}), "w/step is int64 []"),
    ],
)  # fmt: skip
def test_tensors_that_do_not(change: Callable, told: str):
    contents = found()
    change(contents.tensors)
    wrong = misfit(contents, fresh())
    assert wrong is not None
    assert wrong.startswith("its tensors are of another network (") and told in wrong


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"step": "__import__('os').system('true')"}, "state.step is no counter"),
        ({"step": 7.0}, "state.step is no counter"),
        ({"step": True}, "state.step is no counter"),
        ({"step": -1}, "state.step is no counter"),
        ({"step": 10**30}, "state.step is no counter"),
        ({"step": None}, "state.step is no counter"),
        ({"epoch": "2"}, "state.epoch is no number"),
        ({"epoch": [2.0]}, "state.epoch is no number"),
        ({"checkpoint": 5}, "state.checkpoint is no text"),
        ({"running": []}, "state.running is no object"),
        ({"running": {"steps": "os:system"}}, "state.running.steps is no counter"),
        ({"guard": {"streaks": [0, "x"]}}, "state.guard.streaks[1] is no counter"),
        ({"guard": {"norms": {}}}, "state.guard.norms is no list"),
        ({"guard": {"on": 1}}, "state.guard.on is neither true nor false"),
        ({"best": {}}, "state.best is no list"),
        ({"best": [{"checkpoint": "../x", "mse": 0.5}]}, "state.best[0] is no measured checkpoint"),
        ({"best": [{"checkpoint": "epoch-1", "mse": "0.5"}]}, "state.best[0] is no measured checkpoint"),
        (
            {"best": [{"checkpoint": "epoch-1", "mse": 1, "weights": "../ema"}]},
            "state.best[0] is no measured checkpoint",
        ),
        ({"held_out": [1]}, "state.held_out[0] is no measured checkpoint"),
        ({"threads": 0}, "state.threads is no number of threads"),
        ({"threads": 100_000}, "state.threads is no number of threads"),
        ({"threads": "8"}, "state.threads is no counter"),
        ({"held_out": "os.system"}, "state.held_out is no list"),
    ],
)
def test_states_that_do_not(change: dict, told: str):
    contents = found()
    assert (
        misfit(Contents(contents.tensors, contents.state | change), fresh())
        == f"its state is malformed ({told})"
    )


def test_histories_are_looked_at_even_where_they_are_new():
    older = fresh()
    del older.state["held_out"]
    contents = Contents({}, {"held_out": 7})
    assert misfit(contents, older) == "its state is malformed (state.held_out is no list)"
