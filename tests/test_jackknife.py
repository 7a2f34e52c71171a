import math

import pytest
import torch

from triptych.jackknife import jackknife_spread, paired_spread


def means_without_each_group(x: torch.Tensor, groups: int) -> list[float]:
    group = torch.arange(len(x)) % groups
    return [float(x[group != g].mean()) for g in range(groups)]


def test_single_image_groups_give_the_standard_error_of_a_mean():
    x = torch.randn(40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    spread = jackknife_spread(means_without_each_group(x, 40))
    assert spread == pytest.approx(float(x.std()) / math.sqrt(40), rel=1e-12)


def test_ten_groups_give_the_standard_error_of_a_mean_on_average():
    x = torch.randn(400, 200, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    variance = sum(jackknife_spread(means_without_each_group(row, 10)) ** 2 for row in x) / len(x)
    assert variance == pytest.approx(1 / 200, rel=0.1)


def test_fewer_than_two_groups_have_no_spread():
    assert jackknife_spread([]) is None
    assert jackknife_spread([1.0]) is None


def test_common_noise_cancels_in_a_paired_difference():
    noise = [0.3, -0.2, 0.5, 0.1]
    assert paired_spread(noise, [n + 2 for n in noise]) == pytest.approx(0, abs=1e-15)
    assert paired_spread(noise, noise[:2]) is None
