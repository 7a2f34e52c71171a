"""Pixels and network values."""

import torch

from triptych.images import to_network, to_pixels


def test_every_pixel_value_survives_the_round_trip():
    pixels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_pixels(to_network(pixels)), pixels)


def test_ends_and_clamping():
    assert to_network(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [-1.0, 1.0]
    assert to_pixels(torch.tensor([-7.0, -1.0, 0.0, 1.0, 7.0])).tolist() == [0, 0, 128, 255, 255]
