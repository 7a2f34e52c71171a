"""Grids of noise levels: what they are even in, and where they end."""

import pytest
import torch

from triptych.diffusion.schedules import SCHEDULES
from triptych.sampling import named_sampler
from triptych.sampling.grids import GRIDS, NOISIEST


def rhos(spacing, schedule, steps):
    """Noise per signal at every level but data."""
    levels = named_sampler("ddim", steps=steps, spacing=spacing).levels(SCHEDULES[schedule]())
    assert levels[-1].is_data and len(levels) == steps + 1
    return torch.stack([level.sigma / level.alpha for level in levels[:-1]])


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(
    ("spacing", "quantity"), [("log-snr", torch.log), ("karras", lambda rho: rho ** (1 / 7))]
)
def test_grids_are_even_in_their_quantity(schedule, spacing, quantity):
    found = quantity(rhos(spacing, schedule, 12))
    steps = found.diff()
    torch.testing.assert_close(steps, steps.mean().expand(11), rtol=1e-6, atol=0)


@pytest.mark.parametrize("spacing", ["log-snr", "karras"])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_they_reach_from_pure_noise_to_the_schedule_s_first_step(schedule, spacing):
    rho, levels = rhos(spacing, schedule, 5), SCHEDULES[schedule]()
    ends = [levels.level(torch.tensor(t, dtype=torch.float64)) for t in (1.0, 1 / levels.steps)]
    most, least = (float(end.sigma / end.alpha) for end in ends)
    assert float(rho[0]) == pytest.approx(min(most, NOISIEST), rel=1e-6)
    assert float(rho[-1]) == pytest.approx(least, rel=1e-6)


def test_edm_s_grid():
    """Between 80 and 0.002, as its paper's equation 5 has it; the first and the last few by hand."""
    a, b = 80 ** (1 / 7), 0.002 ** (1 / 7)
    expected = [(a + i / 17 * (b - a)) ** 7 for i in range(18)]
    assert expected[:3] == pytest.approx([80.0, 57.5860, 40.7856], rel=1e-4)

    class Everything:
        steps = 1000

        def level(self, t):
            rho = torch.where(t < 0.5, 0.002, 80.0).double()
            return SCHEDULES["linear"]().level(t)._replace(alpha=torch.ones_like(rho), sigma=rho)

        def time(self, log_snr):
            return (-log_snr / 2).exp()

    assert GRIDS["karras"](18, Everything()).tolist() == pytest.approx([*expected, 0.0])


@pytest.mark.parametrize("spacing", GRIDS)
def test_a_single_step_goes_from_noise_to_data(spacing):
    assert len(GRIDS[spacing](1, SCHEDULES["cosine"]())) == 2
