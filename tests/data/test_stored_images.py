"""Images as they are stored: every pixel of every format, the first so many, and the first that is unlike."""

from io import BytesIO
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

import numpy as np
import pytest
import torch
from data.cifar10_files import CLASSES, contents, unpacked
from data.test_parquet import write as write_parquet
from PIL import Image
from test_decoding import deep_png, png

from triptych.data import parallel_decoding, sample_batch
from triptych.data.stored_images import read_images, read_reference
from triptych.errors import UserError

WIDTH, HEIGHT = 9, 6


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path_factory.mktemp("cache")))


def pixels_of(number: int, channels: int = 3) -> np.ndarray:
    shape = (HEIGHT, WIDTH, 3) if channels == 3 else (HEIGHT, WIDTH)
    return np.random.default_rng(number).integers(0, 256, shape, np.uint8)


def lay(folder: Path, numbers, channels: int = 3) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        Image.fromarray(pixels_of(number, channels)).save(folder / f"{number:03d}.png")
    return folder


def numbers_of(images: torch.Tensor) -> list[int]:
    known = {pixels_of(number).transpose(2, 0, 1).tobytes(): number for number in range(100)}
    return [known[image.numpy().tobytes()] for image in images]


def stack(numbers) -> np.ndarray:
    """Return pictures as an .npz holds them."""
    return np.stack([pixels_of(number) for number in numbers])


def the_line(path: Path, *, of=read_images, **options) -> str:
    """Return the one line that is said of images that are refused."""
    with pytest.raises(UserError) as refused:
        of(path, **options)
    (line,) = str(refused.value).splitlines()
    return line


LOSSLESS = [(form, channels) for form in ("png", "bmp", "tiff", "ppm") for channels in (1, 3)] + [("webp", 3)]


@pytest.mark.parametrize(("form", "channels"), LOSSLESS)
def test_pixels_are_those_that_are_stored(form, channels, tmp_path):
    pixels = pixels_of(0, channels)
    Image.fromarray(pixels).save(tmp_path / f"a.{form}", **({"lossless": True} if form == "webp" else {}))
    stored = read_images(tmp_path)
    assert stored.images.shape == (1, channels, HEIGHT, WIDTH) and stored.images.dtype == torch.uint8
    expected = pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)
    np.testing.assert_array_equal(stored.images[0], expected)


def test_pictures_in_one_folder_are_of_no_class(tmp_path):
    lay(tmp_path / "drawn", range(7))
    (tmp_path / "drawn" / "notes.txt").write_text("mine")
    (tmp_path / "drawn" / ".hidden.png").write_bytes(b"x")
    stored = read_images(tmp_path / "drawn")
    assert numbers_of(stored.images) == list(range(7))
    assert (stored.name, stored.labels, stored.left_aside) == ("drawn", None, 2)
    assert numbers_of(read_images(tmp_path / "drawn", 3).images) == [0, 1, 2]


def test_the_first_so_many_are_of_each_class_in_turn(tmp_path):
    lay(tmp_path / "ant", range(2))
    lay(tmp_path / "bee", range(10, 15))
    lay(tmp_path / "cat", range(20, 25))
    stored = read_images(tmp_path)
    assert numbers_of(stored.images) == [0, 1, *range(10, 15), *range(20, 25)]
    assert stored.labels.tolist() == [0] * 2 + [1] * 5 + [2] * 5
    assert stored.class_names == ("ant", "bee", "cat")
    some = read_images(tmp_path, 8)
    assert numbers_of(some.images) == [0, 1, 10, 11, 12, 20, 21, 22]
    assert some.labels.tolist() == [0, 0, 1, 1, 1, 2, 2, 2]


def test_labels_are_those_of_classes_of_the_same_names(tmp_path):
    lay(tmp_path / "bee", range(1))
    lay(tmp_path / "dog", range(1, 3))
    stored = read_images(tmp_path)
    assert stored.labels_among(("ant", "dog", "bee")).tolist() == [2, 1, 1]
    assert stored.labels_among(("ant", "bee")) is None
    assert stored.labels_among(("bee",)) is None
    lay(tmp_path / "flat", range(3))
    assert read_images(tmp_path / "flat").labels_among(("images", "dog")) is None


def test_numbers_are_those_of_whoever_names_the_classes(tmp_path):
    np.savez(tmp_path / "a.npz", stack(range(3)), np.array([0, 2, 1]))
    stored = read_images(tmp_path / "a.npz")
    assert stored.labels_among(("ant", "bee", "cat")).tolist() == [0, 2, 1]
    assert stored.labels_among(("ant", "bee")) is None
    assert read_images(tmp_path / "a.npz", 1).labels_among(("ant", "bee")).tolist() == [0]


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("chunk", [1, 400, 2**24])
def test_a_batch_of_samples_is_its_array(save, chunk, tmp_path, monkeypatch):
    monkeypatch.setattr(sample_batch, "CHUNK_BYTES", chunk)
    save(tmp_path / "drawn.npz", stack(range(9)))
    stored = read_images(tmp_path / "drawn.npz")
    assert (stored.name, stored.labels, numbers_of(stored.images)) == ("drawn", None, list(range(9)))
    assert stored.images.is_contiguous()
    assert numbers_of(read_images(tmp_path / "drawn.npz", 4).images) == [0, 1, 2, 3]
    (tmp_path / "drawn.npz").rename(tmp_path / "drawn.bin")
    assert numbers_of(read_images(tmp_path / "drawn.bin").images) == list(range(9))


def test_a_batch_of_grey_samples_has_one_channel(tmp_path):
    np.savez(tmp_path / "a.npz", pixels_of(0, 1)[None, ..., None])
    np.testing.assert_array_equal(read_images(tmp_path / "a.npz").images[0, 0], pixels_of(0, 1))


def test_several_processes_read_the_same(tmp_path, monkeypatch):
    lay(tmp_path, range(40))
    monkeypatch.setattr(parallel_decoding, "LARGEST_BATCH", 8)
    monkeypatch.setattr(parallel_decoding, "_processes", lambda count: 2)
    seen = []
    assert numbers_of(read_images(tmp_path, watch=seen.append).images) == list(range(40))
    assert [(work.done, work.total) for work in seen] == [(done, 40) for done in range(0, 41, 8)]


def test_a_reference_is_not_divided_unless_it_is(tmp_path):
    lay(tmp_path / "whole" / "ant", range(12))
    lay(tmp_path / "whole" / "bee", range(20, 22))
    whole = read_reference(tmp_path / "whole")
    assert (whole.train.name, len(whole.train), whole.held_out) == ("whole", 14, None)
    assert whole.train.labels.tolist() == [0] * 12 + [1] * 2
    for split, first in (("train", 0), ("test", 50)):
        lay(tmp_path / "two" / split / "bee", range(first, first + 3))
        lay(tmp_path / "two" / split / "ant", range(first + 3, first + 5))
    two = read_reference(tmp_path / "two")
    assert (two.train.name, two.held_out.name) == ("two/train", "two/held-out")
    assert numbers_of(two.train.images) == [3, 4, 0, 1, 2]
    assert numbers_of(two.held_out.images) == [53, 54, 50, 51, 52]
    assert two.held_out.labels.tolist() == [0, 0, 1, 1, 1]


def test_parquet_files_are_read_as_they_are_stored(tmp_path):
    def rows(numbers):
        files = [BytesIO() for _ in numbers]
        for number, file in zip(numbers, files, strict=True):
            Image.fromarray(pixels_of(number)).save(file, "PNG")
        return [{"bytes": file.getvalue(), "path": None} for file in files]

    write_parquet(tmp_path / "train-0.parquet", range(5), rows=rows(range(5)))
    whole = read_reference(tmp_path / "train-0.parquet")
    assert numbers_of(whole.train.images) == list(range(5)) and whole.held_out is None
    write_parquet(tmp_path / "test-0.parquet", range(8, 11), rows=rows(range(8, 11)))
    splits = read_reference(tmp_path)
    assert numbers_of(splits.train.images) == list(range(5))
    assert numbers_of(splits.held_out.images) == [8, 9, 10]
    assert splits.train.class_names == ("cat", "dog")
    write_parquet(tmp_path / "test-0.parquet", range(3))
    assert "row 0 of" in (line := the_line(tmp_path, of=read_reference))
    assert "it is 8x8 RGB, and those before it are 9x6 RGB" in line
    write_parquet(tmp_path / "test-0.parquet", [], rows=[])
    assert "its held-out split has no images" in the_line(tmp_path, of=read_reference)
    write_parquet(tmp_path / "none.parquet", [], rows=[])
    assert "no images in it" in the_line(tmp_path / "none.parquet", of=read_reference)


def test_cifar_10_s_own_files_are_a_reference(tmp_path):
    splits = read_reference(unpacked(tmp_path / "mine", contents()))
    assert (len(splits.train), len(splits.held_out)) == (15, 3)
    assert splits.train.class_names == tuple(CLASSES)


def test_a_batch_of_samples_is_a_reference(tmp_path):
    np.savez(tmp_path / "cifar10.npz", stack(range(3)), np.array([0, 2, 0], np.int32))
    train, held_out = read_reference(tmp_path / "cifar10.npz")
    assert (train.name, train.class_names, held_out) == ("cifar10-unchecked", ("0", "1", "2"), None)
    assert train.labels.tolist() == [0, 2, 0]
    np.savez(tmp_path / "bare.npz", stack(range(3)))
    assert read_reference(tmp_path / "bare.npz").train.class_names == ("images",)


def turned() -> BytesIO:
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(Image.fromarray(pixels_of(1)), exif=exif)


def saved(image: Image.Image, form: str = "PNG", **options) -> BytesIO:
    file = BytesIO()
    image.save(file, form, **options)
    return file


def animation() -> BytesIO:
    frames = [Image.new("L", (WIDTH, HEIGHT), shade) for shade in (0, 99)]
    return saved(frames[0], "GIF", save_all=True, append_images=frames[1:])


RGB = Image.fromarray(pixels_of(1))
UNLIKE = {
    "another size": (saved(RGB.resize((WIDTH + 1, HEIGHT))), "it is 10x6 RGB"),
    "turned on its side": (saved(RGB.resize((HEIGHT, WIDTH))), "it is 6x9 RGB"),
    "grey": (saved(RGB.convert("L")), "it is 9x6 grey"),
    "alpha": (saved(RGB.convert("RGBA")), "it has transparent pixels"),
    "grey with alpha": (saved(RGB.convert("LA")), "it has transparent pixels"),
    "a transparent colour": (saved(RGB, transparency=(0, 0, 0)), "it has transparent pixels"),
    "a palette": (saved(RGB.quantize(8)), "it has a palette"),
    "bits": (saved(RGB.convert("1")), "its pixels are 1"),
    "inks": (saved(RGB.convert("CMYK"), "JPEG"), "its pixels are CMYK"),
    "16 bits of grey": (saved(Image.new("I;16", RGB.size)), "another depth than 8 bits"),
    "16 bits of colour": (BytesIO(deep_png()), "another depth than 8 bits"),
    "numbers": (saved(Image.new("F", RGB.size), "TIFF"), "another depth than 8 bits"),
    "EXIF": (turned(), "it is turned by its EXIF orientation"),
    "EXIF of a TIFF": (saved(RGB, "TIFF", tiffinfo={0x0112: 6}), "it is turned by its EXIF orientation"),
    "several frames": (animation(), "it has several frames"),
}


@pytest.mark.parametrize("kind", UNLIKE)
def test_the_first_picture_that_is_unlike_is_named(kind, tmp_path):
    file, told = UNLIKE[kind]
    lay(tmp_path, (0, 2))
    (tmp_path / "001.png").write_bytes(file.getvalue())
    line = the_line(tmp_path)
    assert line.startswith(f"{tmp_path / '001.png'}: ")
    assert told in line and "and those before it are 9x6 RGB" in line
    for path in tmp_path.glob("00[02].png"):
        path.unlink()
    if told.startswith("it is") and "EXIF" not in told:  # alone it is unlike nothing
        assert len(read_images(tmp_path).images) == 1
    else:
        assert "only upright grey or RGB of 8 bits is measured as it is" in the_line(tmp_path)


DAMAGED = {
    "nothing": (b"", "it is empty, damaged, or no picture"),
    "text": (b"%!PS-Adobe-3.0 EPSF-3.0\n", "no picture in a format that is read"),
    "half of it": (saved(RGB).getvalue()[:120], "it is damaged"),
    "a giant": (png(100_001, 1), "100,001 x 1 pixels"),
    "a large giant": (png(12_000, 12_000), "12,000 x 12,000 pixels"),
}


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_pictures_are_named(kind, first, tmp_path):
    data, told = DAMAGED[kind]
    lay(tmp_path, (0, 2))
    damaged = tmp_path / ("000.png" if first else "001.png")
    damaged.write_bytes(data)
    line = the_line(tmp_path)
    assert line.startswith(f"{damaged}: ") and told in line
    assert "mend, convert or remove it" in line


def no_pictures(folder: Path) -> Path:
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    return folder


def a_file(path: Path, data: bytes = b"mine") -> Path:
    path.write_bytes(data)
    return path


def loose(folder: Path) -> Path:
    lay(folder, range(3))
    lay(folder / "grids", range(2))
    return folder


def two_splits(folder: Path) -> Path:
    lay(folder / "train" / "ant", range(2))
    lay(folder / "test" / "ant", range(2))
    return folder


def deeper(folder: Path) -> Path:
    lay(folder / "all" / "of" / "them", range(2))
    return folder


def dangling(folder: Path) -> Path:
    lay(folder, range(2))
    (folder / "gone.png").symlink_to(folder / "nowhere")
    return folder


def no_text(folder: Path) -> Path:
    lay(folder, range(2))
    (folder / "000.png").rename(folder / "0\n0.png")
    return folder


@pytest.mark.parametrize(
    ("laid", "told"),
    [
        (lambda path: path, "there is nothing; name a folder of pictures, or an .npz"),
        (lambda path: lay(path, ()), "an empty folder"),
        (no_pictures, "no pictures in it"),
        (lambda path: a_file(path.with_suffix(".png")), "a single picture; give the folder in which it lies"),
        (lambda path: a_file(path.with_suffix(".tar")), "neither a folder nor an .npz"),
        (loose, "3 pictures beside folders with pictures (grids); put all of them into folders, or none"),
        (two_splits, "two splits of a data set; name the folder of one of them"),
        (deeper, "a class's folder without pictures of its own"),
        (dangling, "gone.png: a link that leads nowhere"),
        (no_text, "a name that is no UTF-8 text of one line"),
    ],
)
def test_what_is_no_folder_of_pictures(laid, told, tmp_path):
    line = the_line(laid(tmp_path / "mine"))
    assert told in line
    assert "--data.path" not in line


@pytest.mark.parametrize(("of", "option"), [(read_images, "--images"), (read_reference, "--reference")])
def test_a_folder_that_may_not_be_read(of, option, tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    lay(tmp_path / "drawn", range(2))
    monkeypatch.setattr("triptych.data.image_folder.os.scandir", refuse)
    told = the_line(tmp_path / "drawn", of=of)
    assert told == f"{option} {tmp_path / 'drawn'}: permission denied; give files that can be read"


def test_pictures_that_would_be_passed_over_are_no_reference(tmp_path):
    assert "3 pictures beside folders" in the_line(loose(tmp_path / "a"), of=read_reference)
    lay(two_splits(tmp_path / "b"), range(2))
    assert "2 pictures beside folders" in the_line(tmp_path / "b", of=read_reference)
    assert the_line(tmp_path / "c", of=read_reference).startswith(
        f"--reference {tmp_path / 'c'}: there is nothing"
    )


@pytest.mark.parametrize("of", ["folder", "batch"])
def test_more_than_there_are(of, tmp_path):
    path = lay(tmp_path / "drawn", range(3)) if of == "folder" else tmp_path / "drawn.npz"
    if of == "batch":
        np.savez(path, stack(range(3)))
    assert the_line(path, count=4) == (
        f"the first 4 images of {path}: there are 3; ask for no more than that, or for all"
    )


def of_arrays(*arrays: np.ndarray, **named: np.ndarray) -> bytes:
    file = BytesIO()
    np.savez(file, *arrays, allow_pickle=True, **named)
    return file.getvalue()


def lying(said: tuple[int, ...], *, pixels: int = 162, kind: str = "|u1", method: int = ZIP_STORED) -> bytes:
    """Return an .npz whose header tells of an array that is not what follows."""
    array, file = BytesIO(), BytesIO()
    np.lib.format.write_array_header_1_0(array, {"shape": said, "fortran_order": False, "descr": kind})
    with ZipFile(file, "w", method) as archive:
        archive.writestr("arr_0.npy", array.getvalue() + bytes(pixels))
    return file.getvalue()


class Bomb:
    """Ends the test where it is unpickled."""

    def __reduce__(self):
        return pytest.exit, ("unpickled",)


def encrypted() -> bytes:
    data = bytearray(of_arrays(stack(range(1))))
    data[6] |= 1  # of the local header, and of the directory
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


def changed() -> bytes:
    data = bytearray(of_arrays(stack(range(3))))
    data[len(data) // 2] ^= 255
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "it cannot be read as .npz"),
        (b"not an archive", "it cannot be read as .npz"),
        (of_arrays(stack(range(3)))[:-100], "it cannot be read as .npz"),
        (changed(), "it cannot be read as .npz (Bad CRC-32"),
        (encrypted(), "it cannot be read as .npz"),
        (of_arrays(images=stack(range(3))), "no arr_0 in it (there is 'images.npy')"),
        (of_arrays(), "no arr_0 in it (there is nothing)"),
        (of_arrays(np.array([Bomb()])), "its arr_0 is object [1]"),
        (
            of_arrays(stack(range(3)), np.array([Bomb()] * 3)),
            "its arr_1 is object [3], and there are 3 images",
        ),
        (of_arrays(stack(range(3)) / 255), "its arr_0 is float64 [3, 6, 9, 3]"),
        (of_arrays(stack(range(3))[0]), "its arr_0 is uint8 [6, 9, 3]"),
        (of_arrays(stack(range(3)).transpose(0, 3, 1, 2)), "its arr_0 is uint8 [3, 3, 6, 9]"),
        (of_arrays(np.asfortranarray(stack(range(3)))), "stored column by column"),
        (of_arrays(stack(range(3))[:0]), "there are no images in it"),
        (of_arrays(stack(range(3)), np.arange(4)), "its arr_1 is int64 [4], and there are 3 images"),
        (of_arrays(stack(range(3)), np.arange(3.0)), "its arr_1 is float64 [3]"),
        (of_arrays(stack(range(3)), np.arange(-1, 2)), "its arr_1 has numbers from -1 to 1"),
        (
            of_arrays(stack(range(3)), np.array([0, 1, 2**40])),
            "its arr_1 has numbers from 0 to 1099511627776",
        ),
        (lying((2, HEIGHT, WIDTH, 3)), "arr_0 has not as many bytes as it says"),
        (lying((10**9, HEIGHT, WIDTH, 3), method=ZIP_DEFLATED), "arr_0 has not as many bytes as it says"),
        (lying((-1, -HEIGHT, WIDTH, 3)), "there are no images in it"),
        (lying((1, 1, 200_000, 3), pixels=600_000), "it has 200,000 x 1 pixels"),
    ],
)
def test_batches_of_samples_that_are_none(data, told, tmp_path):
    path = a_file(tmp_path / "mine.npz", data)
    line = the_line(path)
    assert line.startswith(f"{path}: ") and told in line
    assert the_line(path, of=read_reference) == line


def test_images_that_no_memory_holds(tmp_path, monkeypatch):
    def full(*args, **options):
        raise MemoryError

    lay(tmp_path / "drawn", range(2))
    np.savez(tmp_path / "drawn.npz", stack(range(2)))
    monkeypatch.setattr("triptych.data.parallel_decoding.np.empty", full)
    for path in (tmp_path / "drawn", tmp_path / "drawn.npz"):
        assert f"{path}: 2 images of 9x6 take 0.0 GiB" in the_line(path)
