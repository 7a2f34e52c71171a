"""One rule from a picture file to pixels: each step of it, and what is refused."""

import struct
import subprocess
import sys
import warnings
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageFile, PngImagePlugin

from triptych.decoding import UndecodableError, decode_batch, decode_image

SIDE = 8


def noise(height: int = SIDE, width: int = SIDE) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def stored(pixels: np.ndarray | Image.Image, form: str = "PNG", **options) -> bytes:
    file = BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(file, form, **options)
    return file.getvalue()


def decoded(data: bytes, side: int = SIDE) -> np.ndarray:
    """Return the pixels as [H, W, 3]."""
    return decode_image(data, side).pixels.transpose(1, 2, 0)


def png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """Return the start of a PNG file, as its header says of these many pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    written = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in ((b"IHDR", header), *chunks, (b"IDAT", zlib.compress(b"")))
    )
    return b"\x89PNG\r\n\x1a\n" + written


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "PPM", "WEBP"])
def test_what_already_fits_comes_out_as_it_was(form):
    options = {"lossless": True} if form == "WEBP" else {}
    result = decode_image(stored(noise(), form, **options), SIDE)
    np.testing.assert_array_equal(result.pixels.transpose(1, 2, 0), noise())
    assert result.pixels.dtype == np.uint8 and not result.changed


def test_the_largest_centred_square_is_taken():
    wide, high = noise(SIDE, SIDE + 5), noise(SIDE + 4, SIDE)
    np.testing.assert_array_equal(decoded(stored(wide)), wide[:, 2 : 2 + SIDE])
    np.testing.assert_array_equal(decoded(stored(high)), high[2 : 2 + SIDE])
    assert decode_image(stored(wide), SIDE).changed


def test_pixels_outside_the_square_do_not_bleed_in():
    red_between_green = np.zeros((32, 64, 3), np.uint8)
    red_between_green[..., 1] = 255
    red_between_green[:, 16:48] = (255, 0, 0)
    np.testing.assert_array_equal(decoded(stored(red_between_green)), np.full((SIDE, SIDE, 3), (255, 0, 0)))


def test_resizing_is_antialiased():
    # Of a checkerboard of single pixels, an interpolation that skips pixels would keep black or white.
    board = np.indices((64, 64)).sum(0) % 2 * np.uint8(255)
    inner = decoded(stored(board.astype(np.uint8)))[1:-1, 1:-1]
    assert np.abs(inner.astype(int) - 128).max() <= 2


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright(orientation):
    upright = np.zeros((SIDE, SIDE, 3), np.uint8)
    upright[: SIDE // 2, : SIDE // 2], upright[: SIDE // 2, SIDE // 2 :] = (250, 0, 0), (0, 250, 0)
    # EXIF 2.32, table 6: which side of the scene the stored first row and first column are.
    as_stored = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a),
        7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
        8: lambda a: np.rot90(a, -1),
    }[orientation](upright)
    exif = Image.Exif()
    exif[0x0112] = orientation
    result = decode_image(stored(np.ascontiguousarray(as_stored), exif=exif), SIDE)
    np.testing.assert_array_equal(result.pixels.transpose(1, 2, 0), upright)
    assert result.changed == (orientation != 1)


def test_transparent_parts_lie_over_white():
    alpha = np.dstack([noise(), np.full((SIDE, SIDE), 255, np.uint8)])
    alpha[0, 0, 3], alpha[0, 1] = 0, (0, 0, 0, 51)
    pixels = decoded(stored(alpha))
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert pixels[0, 1].tolist() == [204, 204, 204]
    np.testing.assert_array_equal(pixels[1:], noise()[1:])


def test_a_plain_ppm_of_bytes_is_taken_as_it_is():
    result = decode_image(b"P3 8 8 255\n" + b"100 " * 192, SIDE)
    assert (result.pixels == 100).all() and not result.changed


def test_a_transparent_colour_lies_over_white():
    pixels = noise()
    pixels[pixels == 7] = 8
    pixels[0, 0] = (7, 7, 7)
    assert decoded(stored(pixels, transparency=(7, 7, 7)))[0, 0].tolist() == [255, 255, 255]


def test_grey_is_repeated():
    grey = noise()[..., 0]
    np.testing.assert_array_equal(decoded(stored(grey)), grey[..., None].repeat(3, -1))


def test_sixteen_bits_keep_black_and_white():
    grey = np.zeros((SIDE, SIDE), np.uint16)
    grey[0, :3] = 65535, 257 * 100, 257 * 100 + 128
    for form in ("PNG", "TIFF", "PPM"):
        assert decoded(stored(Image.fromarray(grey), form))[0, :4, 1].tolist() == [255, 100, 100, 0]


def deep_png() -> bytes:
    """Return a PNG of 16-bit colours, each channel of each pixel 511, which Pillow reads and cannot write."""
    rows = b"".join(b"\0" + struct.pack(">H", 511) * 3 * SIDE for _ in range(SIDE))
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    )


DEEP = {
    "PNG": (deep_png(), 1),
    "PPM": (b"P6 8 8 65535\n" + struct.pack(">H", 511) * 192, 2),
    "PPM of few levels": (b"P6 8 8 100\n" + bytes([100]) * 192, 255),
    "plain PPM of few levels": (b"P3 8 8 100\n" + b"100 " * 192, 255),
}


@pytest.mark.parametrize("form", DEEP)
def test_colours_of_another_depth_are_no_stored_pixels(form):
    data, level = DEEP[form]
    result = decode_image(data, SIDE)
    assert (result.pixels == level).all() and result.changed


def test_a_transparent_colour_becomes_white_and_is_counted():
    black = Image.new("RGB", (SIDE, SIDE))
    result = decode_image(stored(black, transparency=(0, 0, 0)), SIDE)
    assert (result.pixels == 255).all() and result.changed


def test_an_animation_gives_its_first_frame():
    first, second = Image.new("RGB", (SIDE, SIDE), "red"), Image.new("RGB", (SIDE, SIDE), "blue")
    data = stored(first, "GIF", save_all=True, append_images=[second])
    assert decoded(data)[3, 3].tolist() == [255, 0, 0]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "empty"),
        (b"not a picture", "no picture in a format"),
        (stored(noise(64, 64), "JPEG")[:-200], "truncated"),
        (stored(noise(64, 64))[:-2000], "truncated"),
        (png(100_001, 1), "100,001 x 1 pixels"),
        (png(12_000, 12_000), "12,000 x 12,000 pixels"),
        (png(16_000, 16_000), "more than 100,000,000 pixels"),
        (png(8, 8, (b"zTXt", b"k\0\0" + zlib.compress(b"a" * 2**22))), "too large"),
        (stored(Image.new("F", (8, 8)), "TIFF"), "32 bits"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n", "no picture in a format"),
    ],
)
def test_what_is_refused(data, told):
    # Any warning would be an error here: pyproject.toml says so of all tests.
    with pytest.raises(UndecodableError) as refused:
        decode_image(data, SIDE)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


def test_truncated_pictures_are_refused_even_where_pillow_was_told_to_accept_them(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(UndecodableError):
        decode_image(stored(noise(64, 64), "JPEG")[:-200], SIDE)
    assert ImageFile.LOAD_TRUNCATED_IMAGES


def test_pillows_settings_are_left_as_they_were():
    before = Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK, list(warnings.filters)
    decode_image(stored(noise()), SIDE)
    with pytest.raises(UndecodableError):
        decode_image(png(12_000, 12_000), SIDE)
    assert (Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK, list(warnings.filters)) == before


def test_a_batch_ends_at_the_first_fault(tmp_path):
    good = tmp_path / "good.png"
    good.write_bytes(stored(noise()))
    batch = decode_batch([good, stored(noise()), tmp_path / "absent.png", good], SIDE)
    assert (
        batch.pixels.shape == (2, 3, SIDE, SIDE)
        and batch.fault == "it cannot be read (no such file or directory)"
    )


def test_decoding_does_not_load_torch():
    code = "import sys, triptych.decoding; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
