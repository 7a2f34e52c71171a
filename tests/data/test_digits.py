"""The embedded digits: all there, split evenly, unchanged."""

import torch

from triptych.data.digits import load


def test_all_images_are_there_and_split_by_class():
    digits = load()
    assert len(digits.train) + len(digits.held_out) == 1797
    assert digits.train.images.dtype == torch.uint8
    assert digits.train.images.shape[1:] == (1, 8, 8)
    for digit in range(10):
        train, held_out = (int((s.labels == digit).sum()) for s in (digits.train, digits.held_out))
        assert held_out == (train + held_out) // 5
    assert (digits.channels, digits.image_size, digits.class_names[7]) == (1, 8, "7")


def test_no_image_is_in_both_splits():
    digits = load()
    train = {bytes(image.numpy().tobytes()) for image in digits.train.images}
    held_out = {bytes(image.numpy().tobytes()) for image in digits.held_out.images}
    assert not train & held_out


def test_pixels_are_sixteenths_of_white():
    levels = load().train.images.unique()
    assert levels.tolist() == [round(v * 255 / 16) for v in range(17)]


def test_first_images_are_the_published_ones():
    """The first image of the original file is a zero with this row; the checksum pins the rest."""
    digits = load()
    first = digits.train.images[0, 0, 0].tolist()
    assert first == [round(v * 255 / 16) for v in (0, 0, 5, 13, 9, 1, 0, 0)]
    assert int(digits.train.labels[0]) == 0
    assert digits.train.digest == "3711e337279e9bedeb4485efe2b6f666e8866ac495babcf63159dd4a91ad1274"
