"""What is out of range is told with the bound that it crosses, in numbers that can be typed again."""

import pytest
from training.tiny import SIZES

from triptych.cli import main
from triptych.commands.ready import for_ranks
from triptych.commands.train import refuse_two_batches
from triptych.distributed import Ranks
from triptych.errors import UserError
from triptych.experiment import load_experiment
from triptych.training.config import RANGES, TrainingConfig


def refused(**fields) -> str:
    with pytest.raises(UserError) as error:
        TrainingConfig(**fields)
    return str(error.value)


@pytest.mark.parametrize("name", RANGES)
def test_every_number_is_taken_up_to_its_bounds_and_no_further(name):
    allowed = RANGES[name]
    for bound, excluded, beyond in (
        (allowed.low, allowed.above, allowed.low - 1),
        (allowed.high, allowed.below, allowed.high + 1),
    ):
        if excluded:
            refused(**{name: bound})
        else:
            TrainingConfig(**{name: bound})
        if not (allowed.off and beyond == 0):
            refused(**{name: beyond})
    flag = f"--training.{name.replace('_', '-')}"
    assert refused(**{name: float("nan")}).startswith(f"{flag} nan: not a number; choose ")
    assert refused(**{name: float("inf")}).startswith(f"{flag} inf: out of range; choose ")


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"beta1": 1.0}, "--training.beta1 1: out of range; choose less than 1"),
        ({"beta2": -0.5}, "--training.beta2 -0.5: out of range; choose 0 or more"),
        ({"learning_rate": 0.0}, "--training.learning-rate 0: out of range; choose more than 0"),
        ({"batch_size": 2**21}, "--training.batch-size 2097152: out of range; choose 1,048,576 or less"),
        ({"max_steps": 2**32}, "--training.max-steps 4294967296: out of range; choose 4,294,967,295 or less"),
        ({"ema_warmup": 1.5}, "--training.ema-warmup 1.5: out of range; choose 1 or less"),
        ({"ema_long": 1.0}, "--training.ema-long 1: out of range; choose 0, or more than 1"),
        ({"ema_long": -4.0}, "--training.ema-long -4: out of range; choose 0, or more than 1"),
        ({"spike": 0.5}, "--training.spike 0.5: out of range; choose 0, or 1 or more"),
        (
            {"preview_sampler": "oiler:5"},
            "--training.preview-sampler oiler:5, sampler oiler: no such sampler; choose from ",
        ),
    ],
)
def test_what_is_told(fields, told):
    assert refused(**fields).startswith(told)


@pytest.mark.parametrize("fields", [{"ema_long": 0.0}, {"spike": 0.0}, {"max_steps": None}])
def test_what_is_switched_off_is_in_no_range(fields):
    TrainingConfig(**fields)


@pytest.mark.parametrize(
    ("extra", "told"),
    [
        (("11", "3"), "--training.preview-classes 11 3: the model has 10 classes; choose from 0 to 9"),
        (("3", "--conditional", "False"), "--training.preview-classes 3: the model is unconditional; leave"),
    ],
)
def test_classes_that_there_are_not_are_told_with_their_field(extra, told, tmp_path, capsys):
    own = ["--runs", str(tmp_path), *SIZES["unet"], "--training.preview-classes", *extra]
    assert main(["train", "digits-unet", *own]) == 2
    assert told in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


WHOLE, EACH = "--training.batch-size", "--training.batch-size-per-rank"


@pytest.mark.parametrize(
    ("recipe", "typed", "clash"),
    [
        ({}, [WHOLE, "8", EACH, "4"], True),
        ({}, [f"{WHOLE}=8", "--training.batch_size_per_rank=4"], True),
        ({}, [WHOLE, "8", f"{WHOLE}s", "4"], False),
        ({"batch_size": 8}, [EACH, "4"], False),
        ({"batch_size": 8, "batch_size_per_rank": 4}, [], True),
        ({"batch_size": 8, "batch-size-per-rank": 4}, [], True),
        ({"batch_size": 8, "batch_size_per_rank": None}, [], False),  # as in the `config.yaml` of a run
        ({"batch_size": 8, "batch_size_per_rank": None}, [WHOLE, "8"], False),
        ({"batch_size_per_rank": 4}, [WHOLE, "8"], True),
        ({"batch_size": 8, "batch_size_per_rank": 4}, [EACH, "2"], False),
    ],
)
def test_a_batch_is_given_in_one_way(recipe, typed, clash):
    if clash:
        with pytest.raises(UserError, match=f"{WHOLE} and {EACH}: both say how many"):
            refuse_two_batches({"training": recipe}, typed)
    else:
        refuse_two_batches({"training": recipe}, typed)


def test_a_batch_for_each_process_is_refused_by_its_own_name(tmp_path, capsys):
    experiment = load_experiment("digits-unet", [EACH, str(2**20)])
    assert for_ranks(experiment, Ranks()).training.batch_size == 2**20
    with pytest.raises(UserError, match=f"{EACH} 1048576 on 3 processes, {WHOLE} 3145728: out of range"):
        for_ranks(experiment, Ranks(0, 3))
    assert main(["train", "digits-unet", "--runs", str(tmp_path), WHOLE, "8", EACH, "4"]) == 2
    assert "give one of them" in capsys.readouterr().err
    own = ["train", "digits-unet", "--runs", str(tmp_path), "--quiet", *SIZES["unet"]]
    own += ["--training.max-steps", "1", "--training.held-out-count", "8"]
    assert main([*own, WHOLE, "500"]) == 0
    assert main([*own, EACH, "250"]) == 2
    told = f"with {EACH} 250, which is {WHOLE} 250: it was trained with 500; train it as it was"
    assert told in capsys.readouterr().err
