"""The GIF shows the right moments, the right images, for the right time."""

import numpy as np
import pytest
import torch
from PIL import Image

from triptych.record.animation import Film, gif


def denoising(
    frames: int, count: int = 4, channels: int = 1, size: int = 8
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Frame k: x_t all of one shade that grows with k, x0 of the opposite one."""
    shades = np.linspace(0, 248, frames).astype(np.uint8) // 8 * 8
    shape = (count, channels, size, size)
    return [(np.full(shape, shade, np.uint8), np.full(shape, 248 - shade, np.uint8)) for shade in shades]


def frames_of(path) -> tuple[list[np.ndarray], list[int], dict]:
    with Image.open(path) as picture:
        pictures, durations, info = [], [], dict(picture.info)
        for i in range(picture.n_frames):
            picture.seek(i)
            pictures.append(np.array(picture.convert("RGB")))
            durations.append(picture.info["duration"])
    return pictures, durations, info


@pytest.mark.parametrize(("total", "shown"), [(1, 1), (2, 2), (11, 11), (51, 32), (1001, 32)])
def test_frame_count_durations_and_endless_loop(tmp_path, total, shown):
    path = tmp_path / "denoising.gif"
    gif(denoising(total, count=1), path, hold=2.0)
    pictures, durations, info = frames_of(path)
    assert len(pictures) == shown
    assert durations[-1] == 2000
    assert len(set(durations[:-1])) <= 1
    assert all(50 <= duration <= 200 for duration in durations[:-1])
    assert info.get("loop", 0) == 0


def test_first_and_last_moment_are_shown_with_x_t_left_and_x0_right(tmp_path):
    path = tmp_path / "denoising.gif"
    gif(denoising(101, count=10), path)
    pictures, _, _ = frames_of(path)
    height, width, _ = pictures[0].shape
    for picture, x_t, x0 in ((pictures[0], 0, 248), (pictures[-1], 248, 0)):
        middle = picture[height // 3]
        assert abs(int(middle[width // 8, 0]) - x_t) <= 8
        assert abs(int(middle[-width // 8, 0]) - x0) <= 8


def test_colours_of_the_finished_images_survive_the_palette(tmp_path):
    generator = np.random.default_rng(0)
    final = np.repeat(np.repeat(generator.integers(0, 256, (4, 3, 4, 4), np.uint8), 8, axis=2), 8, axis=3)
    noise = [generator.integers(0, 256, final.shape, np.uint8) for _ in range(5)]
    path = tmp_path / "denoising.gif"
    gif([*((n, final) for n in noise), (final, final)], path, columns=4)
    picture = frames_of(path)[0][-1].astype(int)
    top = (picture.shape[0] - 64) // 2
    rows = [
        np.abs(picture[y : y + 64 : 2, 12:76:2] - final[0].transpose(1, 2, 0)).mean()
        for y in range(top - 20, top + 20)
    ]
    assert min(rows) < 6


def test_the_progress_bar_grows_from_nothing_to_full(tmp_path):
    path = tmp_path / "denoising.gif"
    gif(denoising(11), path)
    pictures, _, _ = frames_of(path)
    below = [picture[-24:, 120:, 0] for picture in pictures]
    dark = [int((strip < 130).any(axis=0).sum()) for strip in below]
    assert dark[0] == 0
    assert dark == sorted(dark)
    assert dark[-1] == max(dark) > 50


def test_a_film_keeps_only_what_it_shows():
    film = Film(total=1001, most=20, images=3)
    for x_t, x0 in denoising(1001, count=8, size=4):
        film.add(torch.from_numpy(x_t), torch.from_numpy(x0))
    kept = [i for i, _, _ in film._frames]
    assert len(kept) == 20
    assert (kept[0], kept[-1]) == (0, 1000)
    assert np.ptp(np.diff(kept)) <= 1
    assert all(len(x_t) == len(x0) == 3 for _, x_t, x0 in film._frames)


def test_a_generator_of_frames_will_do(tmp_path):
    path = tmp_path / "denoising.gif"
    gif((pair for pair in denoising(5)), path)
    assert len(frames_of(path)[0]) == 5


def test_no_frames_are_an_error_and_write_nothing(tmp_path):
    with pytest.raises(ValueError, match="at least one frame"):
        gif([], tmp_path / "denoising.gif")
    assert list(tmp_path.iterdir()) == []


def test_size_stays_moderate(tmp_path):
    generator = np.random.default_rng(0)
    frames = [tuple(generator.integers(0, 256, (2, 64, 1, 8, 8), np.uint8)) for _ in range(51)]
    path = tmp_path / "denoising.gif"
    gif(frames, path)
    assert path.stat().st_size < 900_000
