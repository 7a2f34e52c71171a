"""Side by side: image j in the same place of every block, under a name that always fits."""

import numpy as np
import pytest
from PIL import Image

from triptych.record.lettering import width, wrap
from triptych.record.pictures import GROUND, LABEL_SIZE, MARGIN, TITLE_SIZE, WIDEST, save_png
from triptych.record.side_by_side import HEADER_WIDTH, Block, side_by_side

LONG = "a-run-of-many-words-" * 20


def noise(seed, count=6, channels=3, side=64):
    return np.random.default_rng(seed).integers(0, 256, (count, channels, side, side), np.uint8)


def places(picture, image):
    """Return the corners at which an image of 64 pixels, which is drawn in its own size, stands."""
    shown, wanted = np.asarray(picture), image.transpose(1, 2, 0)
    found = np.argwhere((shown[:-63, :-63] == wanted[0, 0]).all(-1))
    return [(x, y) for y, x in found.tolist() if (shown[y : y + 64, x : x + 64] == wanted).all()]


@pytest.mark.parametrize("names", [("a", "b", "c"), (LONG, "b", "c"), ("数字", "b", "")])
def test_every_image_stands_at_the_same_place_of_its_block(names):
    sets = [noise(seed) for seed in range(3)]
    blocks = [Block(images, name, "UNet") for images, name in zip(sets, names, strict=True)]
    picture = side_by_side(blocks, 2, row_labels=("cat", "dog", "frog"), caption="ddim:50, seed 0")
    assert picture.mode == "RGB"
    corners = np.array([[place for (place,) in (places(picture, image) for image in each)] for each in sets])
    shift = corners - corners[0]
    assert (shift[:, :, 1] == 0).all()
    assert (shift[:, :, 0] == shift[:, :1, 0]).all()
    first, second, third = corners[:, 0, 0]
    assert second - first == third - second > 2 * 64
    assert corners[0, 2, 1] > corners[0, 1, 1] == corners[0, 0, 1]  # two columns
    assert third + 2 * 64 < picture.width


def test_a_long_name_widens_its_block_no_more_than_it_may():
    short, long = (side_by_side([Block(noise(s), name) for s in (0, 1)], 1) for name in ("a", LONG))
    assert short.width < long.width <= short.width + 2 * HEADER_WIDTH
    assert width(LONG, TITLE_SIZE) > long.width


def test_what_is_known_of_a_model_is_told_whole_above_a_narrow_block():
    """The ink of all its letters is there: as much as that of its lines, each above a block by itself."""
    remark = "Diffusion Transformer, epoch-00000-step-00000003"
    assert width(remark, LABEL_SIZE) > HEADER_WIDTH

    def ink(remark):
        picture = side_by_side([Block(np.full((4, 1, 8, 8), GROUND, np.uint8), "a", remark)], 1)
        return int((GROUND - np.asarray(picture).astype(int)).sum())

    lines = wrap(remark, LABEL_SIZE, HEADER_WIDTH)
    assert lines == ["Diffusion Transformer,", "epoch-00000-step-00000003"]
    assert ink(remark) - ink("") == sum(ink(line) - ink("") for line in lines)


def test_names_that_cannot_be_written_are_numbers():
    def named(*names):
        return side_by_side([Block(noise(seed), name) for seed, name in enumerate(names)])

    assert named("数字", "图像").tobytes() == named("model 1", "model 2").tobytes()
    assert named("a", "图像").tobytes() == named("a", "model 2").tobytes()


def test_tiny_grey_images_are_enlarged_smoothly():
    images = np.zeros((4, 1, 8, 8), np.uint8)
    images[:, :, :, 4:] = 255
    picture = side_by_side([Block(images, "a"), Block(images, "b")])
    assert picture.mode == "L"
    shades = np.asarray(picture)[MARGIN + TITLE_SIZE + 10 + 20]
    assert len(np.unique(shades)) > 4


def test_many_images_stay_within_bounds():
    blocks = [Block(noise(0, count=1024, side=8), name) for name in "abc"]
    assert max(side_by_side(blocks).size) <= WIDEST + 200


def test_a_row_of_one_block_is_nearly_square_by_itself():
    picture = side_by_side([Block(noise(seed, count=20), "x") for seed in (0, 1)], caption="seed 0")
    assert len({places(picture, image)[0][1] for image in noise(0, count=20)}) == 4


def test_unlike_blocks_are_refused():
    with pytest.raises(ValueError, match="unlike"):
        side_by_side([Block(noise(0), "a"), Block(noise(0, count=5), "b")])


def test_the_same_images_give_the_same_file(tmp_path):
    for name in ("a", "b"):
        save_png(side_by_side([Block(noise(0), "x"), Block(noise(1), "y")]), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with Image.open(tmp_path / "a") as picture:
        assert picture.format == "PNG"
