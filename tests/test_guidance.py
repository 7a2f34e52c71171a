"""Guidance: each option does what its paper says, and nothing where it has nothing to do."""

import math

import pytest
import torch
from test_denoiser import denoiser

from triptych.diffusion.noise_level import NoiseLevel
from triptych.diffusion.schedules import SCHEDULES
from triptych.errors import UserError
from triptych.generation import Request, generate
from triptych.guidance import APG, CFG, GUIDES, PLAIN, GuidedDenoiser, named_guide
from triptych.sampling import named_sampler

SCHEDULE = SCHEDULES["cosine"]()


def level_of(rho):
    """Return the level of this noise per signal, alpha^2 + sigma^2 = 1."""
    alpha = torch.tensor(1 / math.hypot(1, rho), dtype=torch.float64)
    return NoiseLevel(alpha, rho * alpha)


def pair(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 5, 3, 4, 4, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(("above", "below"), [(0.2, 3.0), (0.0, 1.0), (1.0, math.inf)])
def test_an_interval_guides_inside_and_nowhere_else(schedule, above, below):
    guide, own = CFG(above=above, below=below), SCHEDULES[schedule]()
    for rho in (0.05, above or 0.1, 0.2, 0.5, 1.0, 2.0, 3.0, 3.01, 40.0, math.inf):
        level = NoiseLevel(*(torch.tensor(v, dtype=torch.float64) for v in (0.0, 1.0)))
        if math.isfinite(rho):
            level = NoiseLevel(level.alpha + 1, level.sigma * rho)
        assert guide.scale_at(3.0, level, own) == (3.0 if above < rho <= below else 1.0), rho


def test_outside_its_interval_a_step_takes_one_call_and_draws_what_is_plain():
    x, labels = torch.linspace(-1, 1, 6).reshape(6, 1, 1, 1), torch.tensor([0, 1, 0, 1, 0, 1])
    inside, outside = level_of(0.5), level_of(5.0)
    guide = CFG(below=1.0)
    plain = GuidedDenoiser(denoiser(), labels, 1.0, clip=False)
    for level, calls in ((outside, 1), (inside, 2)):
        guided = GuidedDenoiser(denoiser(), labels, 3.0, clip=False, guide=guide)
        same = torch.equal(guided(x, level), plain(x, level))
        assert (guided.calls, same) == (calls, calls == 1)


def test_the_calls_of_a_walk_are_counted():
    """Of ten levels of a grid, those with rho in (0.3, 2] take two calls."""
    asked = Request(4, 2.0, named_sampler("ddim:10"), guide=CFG(above=0.3, below=2.0))
    levels = asked.sampler.levels(SCHEDULE)[:-1]
    inside = sum(0.3 < float(level.sigma / level.alpha) <= 2.0 for level in levels)
    assert 0 < inside < 10
    model = denoiser()
    model.backbone.channels = model.backbone.image_size = 1
    model.register_parameter("somewhere", torch.nn.Parameter(torch.zeros(())))
    (drawn,) = generate(model, asked)
    assert drawn.calls == 10 + inside


@pytest.mark.parametrize("shape", ["linear", "cosine"])
def test_shapes_rise_from_nothing_to_twice_the_excess_and_have_its_mean(shape):
    guide, t = CFG(shape=shape), torch.linspace(0.0005, 0.9995, 1000, dtype=torch.float64)
    scales = [guide.scale_at(4.0, SCHEDULE.level(each), SCHEDULE) for each in t]
    assert scales == sorted(scales, reverse=True)
    assert scales[0] == pytest.approx(7.0, abs=0.01)
    assert scales[-1] == pytest.approx(1.0, abs=0.01)
    assert sum(scales) / len(scales) == pytest.approx(4.0, rel=1e-6)


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("spec", ["cfg,shape=linear", "cfg,below=1", "apg", "cfg,rescale=0.5"])
def test_without_guidance_no_option_does_anything(scale, spec):
    x, labels = torch.linspace(-1, 1, 6).reshape(6, 1, 1, 1), torch.tensor([0, 1, 0, 1, 0, 1])
    for rho in (0.1, 0.9, 7.0):
        asked = Request(6, scale, named_sampler("ddim:2"), guide=named_guide(spec))
        plain = GuidedDenoiser(denoiser(), labels, scale, clip=False)
        other = GuidedDenoiser(denoiser(), labels, asked.guidance, clip=False, guide=asked.guide)
        assert torch.equal(other(x, level_of(rho)), plain(x, level_of(rho)))
        assert other.calls == plain.calls


def test_rescaling_in_full_keeps_the_deviation_of_every_image():
    strong, weak = pair()
    guided, _ = CFG(rescale=1.0).led(strong, weak, 4.0, None)
    torch.testing.assert_close(guided.std(dim=(1, 2, 3)), strong.std(dim=(1, 2, 3)))
    free, _ = CFG().led(strong, weak, 4.0, None)
    half, _ = CFG(rescale=0.5).led(strong, weak, 4.0, None)
    torch.testing.assert_close(half, (free + guided) / 2)


def test_projected_guidance_without_its_three_parts_is_plain():
    guide = APG(parallel=1.0, momentum=0.0, norm=math.inf)
    memory = None
    for seed in range(3):
        strong, weak = pair(seed)
        guided, memory = guide.led(strong, weak, 3.5, memory)
        torch.testing.assert_close(guided, CFG().led(strong, weak, 3.5, None)[0])


def test_projected_guidance_goes_across_the_prediction_and_no_further_than_its_norm():
    strong, weak = pair()
    guided, _ = APG(norm=0.5).led(strong, weak, 3.0, None)
    step = (guided - strong).flatten(1)
    torch.testing.assert_close((step * strong.flatten(1)).sum(1), torch.zeros(5, dtype=torch.float64))
    assert (step.norm(dim=1) <= 2 * 0.5 + 1e-12).all()
    assert (step.norm(dim=1) > 0).all()


def test_momentum_adds_up_earlier_differences():
    """Algorithm 1 of the paper, stated over its running average."""
    guide, memory, average = APG(parallel=1.0, momentum=-0.5, norm=math.inf), None, 0.0
    for seed in range(4):
        strong, weak = pair(seed)
        average = strong - weak - 0.5 * average
        guided, memory = guide.led(strong, weak, 2.0, memory)
        torch.testing.assert_close(guided, strong + average)


def restated(strong, weak, scale, average, parallel, momentum, norm):
    """Algorithm 1 of arXiv 2410.02416, image by image: average, bound, project, in this order."""
    difference = strong - weak + momentum * average
    found = torch.empty_like(strong)
    for i, (d, p) in enumerate(zip(difference, strong, strict=True)):
        d = d * min(1.0, norm / float(d.norm()))
        unit = p / p.norm()
        along = (d * unit).sum() * unit
        found[i] = p + (scale - 1) * (d - along + parallel * along)
    return found, difference


@pytest.mark.parametrize(("parallel", "norm"), [(0.3, 2.0), (0.0, 4.0), (1.0, 1.0)])
def test_projected_guidance_is_its_algorithm_over_several_calls(parallel, norm):
    guide, memory, average = APG(parallel=parallel, momentum=-0.5, norm=norm), None, torch.zeros(())
    for seed in range(4):
        strong, weak = pair(seed)
        guided, memory = guide.led(strong, weak, 3.0, memory)
        truth, average = restated(strong, weak, 3.0, average, parallel, -0.5, norm)
        torch.testing.assert_close(guided, truth)


class Linear:
    """Predicts its gain times the image, plus the class where it is told one."""

    schedule = SCHEDULE

    def __init__(self, gain):
        self.gain = gain

    def __call__(self, x, level, label=None):
        return self.gain * x + (0 if label is None else label.reshape(-1, 1, 1, 1))


@pytest.mark.parametrize("labels", [None, torch.tensor([0, 1, 0, 1, 0, 1])])
def test_autoguidance_leads_away_from_the_weaker_model_told_the_same_class(labels):
    x, level = torch.linspace(-1, 1, 6).reshape(6, 1, 1, 1), level_of(0.8)
    guide = CFG(against="epoch-1")
    guided = GuidedDenoiser(Linear(1.0), labels, 2.5, clip=False, guide=guide, weak=Linear(0.25))
    strong, weak = (Linear(gain)(x, level, labels) for gain in (1.0, 0.25))
    torch.testing.assert_close(guided(x, level), weak + 2.5 * (strong - weak))
    assert guided.calls == 2


def test_a_model_led_away_from_itself_stays_where_it_is():
    x, level = torch.linspace(-1, 1, 6).reshape(6, 1, 1, 1), level_of(0.8)
    for name in GUIDES:
        guide = named_guide(f"{name},against=last")
        guided = GuidedDenoiser(Linear(0.7), None, 3.0, clip=False, guide=guide, weak=Linear(0.7))
        torch.testing.assert_close(guided(x, level), 0.7 * x)


@pytest.mark.parametrize(
    "label",
    ["cfg", "cfg,above=0.2,below=3", "cfg,shape=cosine,rescale=0.7", "apg,norm=5", "cfg,against=last"],
)
def test_a_label_is_read_as_what_it_was_written_from(label):
    assert named_guide(label).label == named_guide(label.replace(",", ", ")).label == label
    assert named_guide("cfg") == PLAIN


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("cgf", "choose from cfg, apg"),
        ("above=0.2", "write it like cfg,above=0.2"),
        ("cfg,abve=1", "choose from above, below"),
        ("cfg,above=high", "'high' is no float"),
        ("cfg,above=3,below=2", "leave no room"),
        ("cfg,above=nan", "leave no room"),
        ("cfg,above=1,above=2", "two values of above"),
        ("cfg,shape=sine", "choose from constant, linear, cosine"),
        ("cfg,rescale=1.5", "choose 0 to 1"),
        ("cfg,norm=1", "choose from above"),
        ("apg,momentum=-1", "choose more than -1"),
        ("apg,norm=0", "choose more than 0"),
        ("apg,parallel=nan", "choose a number"),
    ],
)
def test_what_is_none_is_refused(spec, message):
    with pytest.raises(UserError, match=message) as refused:
        named_guide(spec)
    assert "guide" in str(refused.value)
