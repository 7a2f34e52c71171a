"""Samplers as they are written in recipes, on the command line and in tables."""

from dataclasses import fields

import pytest

from triptych.errors import UserError
from triptych.experiment import load_experiment
from triptych.sampling import MOST_STEPS, SAMPLERS, SamplerConfig, named_sampler
from triptych.sampling.grids import GRIDS
from triptych.sampling.presets import PRESETS, expanded


def test_names_and_steps():
    assert named_sampler("ddim:50") == SamplerConfig("ddim", 50)
    assert named_sampler("ddpm") == SamplerConfig("ddpm", 1000)
    assert named_sampler("ddim:50", steps=20, clip=False) == SamplerConfig("ddim", 20, clip=False)


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_option_can_be_typed(name):
    """Options have a default, which is a number or a text, and building without any gives the defaults."""
    sampler = named_sampler(name).build()
    assert isinstance(sampler, SAMPLERS[name])
    for option in fields(sampler):
        assert isinstance(option.default, int | float | str)
        assert named_sampler(f"{name},{option.name}={option.default}").build() == sampler


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("spacing", GRIDS)
def test_a_label_is_a_name(name, spacing):
    config = named_sampler(name, spacing=spacing)
    assert named_sampler(config.label) == config
    assert config.label.startswith(f"{name}:{SAMPLERS[name].usual_steps}")


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_stands_for_samplers(preset):
    specs = expanded(["ddim:7", preset])
    assert specs[0] == "ddim:7"
    assert [named_sampler(spec).label for spec in specs] == list(specs)
    if len(specs) == 2:
        assert named_sampler(preset) == named_sampler(specs[1])
        assert named_sampler(preset, clip=False) == named_sampler(specs[1], clip=False)
    else:
        with pytest.raises(UserError, match="it stands for ddpm:1000 and ddim:50"):
            named_sampler(preset)


def test_configurations_hold_what_presets_stand_for():
    experiment = load_experiment(
        "digits-unet",
        [
            "--sampling.sampler",
            "parity",
            "fast",
            "--training.preview-sampler",
            "fast",
            "--evaluation.sampler",
            "quality",
        ],
    )
    assert experiment.sampling.sampler == (*PRESETS["parity"], *PRESETS["fast"])
    assert experiment.training.preview_sampler == PRESETS["fast"][0]
    assert experiment.evaluation.sampler == PRESETS["quality"]


@pytest.mark.parametrize(
    ("label", "config"),
    [
        ("ddim:50", named_sampler("ddim:50,eta=0,spacing=trailing")),
        ("ddim:10,eta=0.5", named_sampler("ddim:10", eta=0.5)),
        ("ddim:10,eta=1", named_sampler("ddim:10", eta=1.0)),
        ("ddim:10,eta=0.12345678", named_sampler("ddim:10", eta=0.12345678)),
        ("ddpm:7,variance=large,spacing=leading", named_sampler("ddpm:7,spacing=leading", variance="large")),
    ],
)
def test_a_label_says_what_differs_from_the_default(label, config):
    assert config.label == label


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("oiler", "choose from ddpm, ddim"),
        ("fast:20", "fast has its own steps and options: deis:10"),
        ("guided,order=2", "guided has its own steps and options: deis:20"),
        ("", "no such sampler"),
        ("ddim:x", "no number of steps"),
        ("ddim:-3", "no number of steps"),
        ("ddim:0", "choose 1 to 100,000"),
        (f"ddim:{MOST_STEPS + 1}", "choose 1 to 100,000"),
        ("ddim:99999999999", "at most 100,000"),
        ("ddim:" + "9" * 5000, "at most 100,000"),
        ("ddim:50,eta", "no float"),
        ("ddim:50,eta=much", "no float"),
        ("ddim:50,eta=nan", "0 <= eta <= 1"),
        ("ddim:50,eta=2", "0 <= eta <= 1"),
        ("ddim:50,", "no option"),
        ("ddim:50,variance=large", "it has no option 'variance'; choose from eta, spacing"),
        ("ddpm:50,variance=huge", "small or large"),
        ("ddim:50,spacing=random", "choose from trailing, leading"),
        ("dpm++:20,order=4", "choose 1 to 3"),
        ("dpm++:20,order=two", "no int"),
        ("dpm++:20,eta=-1", "0 <= eta <= 1"),
        ("unipc:10,order=0", "choose 1 to 3"),
        ("unipc:10,function=bh3", "choose bh1 or bh2"),
        ("deis:10,order=5", "choose 1 to 4"),
        ("deis:10,variable=t", "choose log-rho or rho"),
        ("ipndm:10,order=5", "choose 1 to 4"),
        ("heun:18,churn=-1", "choose 0 or more"),
        ("euler:18,churn_noise=nan", "choose 0 or more"),
    ],
)
def test_bad_names_say_what_to_write(spec, told):
    with pytest.raises(UserError, match=told) as raised:
        named_sampler(spec)
    assert len(str(raised.value)) < 200


def test_options_of_another_sampler_are_refused():
    with pytest.raises(UserError, match="it has no option 'eta'"):
        named_sampler("ddpm", eta=0.5)
    with pytest.raises(UserError, match="no such sampler"):
        SamplerConfig("oiler", 5)


def test_tables_have_a_name_for_every_sampler():
    from triptych.report.names import SAMPLERS as DISPLAYED

    assert DISPLAYED.keys() == SAMPLERS.keys()
