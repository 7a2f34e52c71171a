"""Grids put every pixel where the layout says, unchanged, whatever stands around it."""

import numpy as np
import pytest
import torch
from PIL import Image

from triptych.record.lettering import class_labels, drawable, shorten, width, wrap
from triptych.record.pictures import (
    GROUND,
    LONGEST_LABEL,
    MARGIN,
    NARROWEST,
    WIDEST,
    class_grid,
    grid,
    lay_out,
    nearly_square,
    save_png,
)

FULL = {
    "row_labels": ["zero", "one"],
    "column_labels": ["a", "b", "c"],
    "title": "Title",
    "caption": "Caption",
}


def images(count: int, channels: int = 1, size: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, channels, size, size), np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("lettering", [{}, FULL])
def test_every_pixel_of_every_image_becomes_a_square_of_its_colour(channels, lettering):
    drawn = images(5, channels)
    array = np.array(grid(drawn, 3, scale=4, **lettering))
    array = array[..., None] if channels == 1 else array
    layout = lay_out(drawn.shape, 3, scale=4, **{k: v for k, v in lettering.items() if k != "caption"})
    for i, image in enumerate(drawn):
        x, y = layout.corner(i)
        for row in range(8):
            for column in range(8):
                square = array[y + 4 * row : y + 4 * row + 4, x + 4 * column : x + 4 * column + 4]
                assert (square == image[:, row, column]).all()


def test_around_the_images_of_an_unlettered_grid_there_is_nothing_but_ground():
    drawn = images(5)
    array, layout = np.array(grid(drawn, 3, scale=4)), lay_out(drawn.shape, 3, scale=4)
    for i in range(5):
        x, y = layout.corner(i)
        array[y : y + 32, x : x + 32] = GROUND
    assert (array == GROUND).all()
    assert array.shape == (12 + 32 + 2 + 32 + 12, 12 + 3 * 32 + 2 * 2 + 12)


@pytest.mark.parametrize(
    ("size", "drawn"), [(8, 64), (16, 64), (28, 56), (32, 64), (48, 48), (64, 64), (96, 96)]
)
def test_images_are_enlarged_towards_64_pixels_by_whole_numbers(size, drawn):
    assert lay_out((4, 1, size, size)).width == drawn


def test_large_grids_are_enlarged_less_but_never_shrunk():
    assert lay_out((1024, 3, 32, 32)).width == 64
    many = lay_out((10_000, 3, 32, 32))
    assert many.width == 32
    assert many.right < WIDEST
    assert lay_out((100_000, 3, 32, 32)).width == 32


@pytest.mark.parametrize(
    ("count", "columns"), [(1, 1), (2, 2), (5, 3), (8, 4), (10, 5), (16, 4), (80, 10), (1024, 32)]
)
def test_grids_are_nearly_square(count, columns):
    assert nearly_square(count) == columns


def test_torch_and_numpy_draw_the_same():
    drawn = images(4, 3)
    assert grid(torch.from_numpy(drawn)).tobytes() == grid(drawn).tobytes()


@pytest.mark.parametrize(
    "bad", [np.zeros((2, 8, 8), np.uint8), np.zeros((2, 2, 8, 8), np.uint8), np.zeros((1, 1, 8, 8))]
)
def test_anything_but_uint8_images_is_refused(bad):
    with pytest.raises(ValueError, match="uint8"):
        grid(bad)


def test_class_grid_sorts_images_into_rows_of_their_class():
    drawn, labels = images(6), torch.tensor([2, 0, 2, 0, 2, 0])
    names = ["zero", "one", "two"]
    array = np.array(class_grid(drawn, labels, names))
    layout = lay_out((6, 1, 8, 8), 3, row_labels=["zero", "two"])
    for place, source in enumerate([1, 3, 5, 0, 2, 4]):
        x, y = layout.corner(place)
        # Small images are enlarged smoothly: the cell of the picture, shrunk again, is about the image.
        cell = Image.fromarray(array[y : y + 64, x : x + 64]).resize((8, 8), Image.Resampling.BOX)
        distances = [np.abs(np.asarray(cell).astype(int) - image[0]).mean() for image in drawn]
        assert int(np.argmin(distances)) == source


def test_class_grid_fills_short_rows_with_ground():
    array = np.array(class_grid(images(3), [0, 0, 1], ["zero", "one"]))
    layout = lay_out((4, 1, 8, 8), 2, row_labels=["zero", "one"])
    x, y = layout.corner(3)
    assert (array[y : y + 64, x : x + 64] == GROUND).all()


def test_labels_leave_ink_beside_their_row_and_above_their_column():
    drawn = images(6)
    array = np.array(grid(drawn, 3, row_labels=["zero", ""], column_labels=["", "b", ""]))
    layout = lay_out(drawn.shape, 3, row_labels=["zero", ""], column_labels=["", "b", ""])
    x, y = layout.corner(0)
    assert array[y : y + 64, :x].min() < 100
    assert array[y + 68 :, :x].min() == GROUND
    middle = layout.corner(1)[0]
    assert array[:y, middle : middle + 64].min() < 100
    assert array[:y, x : x + 64].min() == GROUND


def test_no_images_make_an_empty_picture_rather_than_an_error():
    assert np.array(grid(images(0))).min() == GROUND


def test_letters_that_the_font_lacks_are_replaced():
    assert drawable("Zürich, x₀ × 3 → ß\n") == "Zurich, x0 x 3 -> ss "
    assert drawable("猫") == "?"
    assert drawable("plain ASCII ~!") == "plain ASCII ~!"


def test_long_text_is_cut_to_fit():
    cut = shorten("a rather long title of a picture", 15, 100)
    assert cut.endswith("...")
    assert width(cut, 15) <= 100
    assert shorten("short", 15, 100) == "short"


def test_a_class_that_the_font_cannot_write_is_called_by_its_number():
    names = ["猫", "café", "🐈", "really?", "a", "\u0301"]
    assert class_labels(names) == ["class 0", "café", "class 2", "really?", "a", "class 5"]


def test_a_row_of_a_class_grid_has_the_number_of_its_class_not_of_its_row():
    drawn = images(2)
    assert (
        class_grid(drawn, [1, 2], ["a", "猫", "狗"]).tobytes()
        == class_grid(drawn, [1, 2], ["a", "class 1", "class 2"]).tobytes()
    )


@pytest.mark.parametrize("limit", [60, 200, 2000])
def test_wrapped_text_has_every_letter_once_and_fits(limit):
    text = "my-images, epoch-00003, 10 images, ddim:50, guidance 3"
    lines = wrap(text, 13, limit)
    assert max(width(line, 13) for line in lines) <= limit
    assert len(lines) == 1 if limit == 2000 else len(lines) > 1
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    if limit > 60:
        assert " ".join(lines) == text


@pytest.mark.parametrize(
    ("name", "sign"), [("digits-dit-of-many-blocks", "-"), ("(cfg,above=0.25,below=2.25,rescale=0.75)", ",")]
)
def test_a_word_that_is_too_long_is_broken_behind_a_sign_where_it_has_one(name, sign):
    limit = 110
    lines = wrap(name, 13, limit)
    assert "".join(lines) == name
    assert len(lines) > 1 and all(line.endswith(sign) for line in lines[:-1])
    assert "".join(wrap("m" * 30, 13, limit)) == "m" * 30
    assert wrap("mm", 13, 1) == ["m", "m"]


def test_a_caption_stands_whole_below_a_narrow_grid():
    """The lines of one caption are those of wider pictures: the ink of all its letters is there."""
    drawn, caption = images(2), "my-images, epoch-00003, ddim:50, guidance 3, seed 5"
    narrow = np.array(grid(drawn, 1, caption=caption))
    layout = lay_out(drawn.shape, 1)
    assert narrow.shape[1] == NARROWEST
    lines = wrap(caption, 13, NARROWEST - 2 * MARGIN)
    assert len(lines) > 1
    drawn_alone = [np.array(grid(drawn, 1, caption=line))[layout.bottom :] for line in lines]
    ink = [int((GROUND - part.astype(int)).sum()) for part in drawn_alone]
    assert int((GROUND - narrow[layout.bottom :].astype(int)).sum()) == sum(ink)


def test_a_long_name_of_a_class_takes_no_more_than_its_room():
    drawn = images(2)
    name = "apartment building, outdoor, with a name that does not end for a long time"
    layout = lay_out(drawn.shape, 1, row_labels=["a", name])
    assert layout.left <= MARGIN + LONGEST_LABEL + 10
    array = np.array(grid(drawn, 1, row_labels=["a", name]))
    ink = array[:, : layout.left] < GROUND
    assert not ink[:, :MARGIN].any()
    assert ink[layout.corner(1)[1] :].any()


def test_png_is_replaced_in_one_move_and_leaves_nothing_aside(tmp_path):
    path = tmp_path / "new folder" / "grid.png"
    first, second = grid(images(4, seed=1)), grid(images(4, seed=2))
    save_png(first, path)
    save_png(second, path)
    with Image.open(path) as written:
        assert written.tobytes() == second.tobytes()
    assert [entry.name for entry in path.parent.iterdir()] == ["grid.png"]


def test_a_failed_write_leaves_the_old_picture(tmp_path, monkeypatch):
    path = tmp_path / "grid.png"
    save_png(grid(images(4)), path)
    before = path.read_bytes()

    def fail(self, target, **options):
        target.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        save_png(grid(images(9)), path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["grid.png"]


def test_the_smallest_images_are_enlarged_smoothly_and_larger_ones_are_not():
    """Between the centres of a black and a white pixel there is grey; a constant image stays constant."""
    step = np.zeros((1, 1, 8, 8), np.uint8)
    step[..., 4:] = 255
    shades = np.unique(np.array(grid(step))[12:-12, 12:-12])
    assert len(shades) > 4
    assert (shades[0], shades[-1]) == (0, 255)
    flat = np.full((1, 3, 16, 16), 77, np.uint8)
    assert (np.array(grid(flat))[12:-12, 12:-12] == 77).all()
    large = np.zeros((1, 1, 32, 32), np.uint8)
    large[..., 16:] = 255
    assert set(np.unique(np.array(grid(large))[12:-12, 12:-12])) == {0, 255}
