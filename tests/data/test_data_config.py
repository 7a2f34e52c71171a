"""A data set is loaded as its configuration says, and called by a name that its images have a right to."""

import hashlib
import re
import shutil
from fnmatch import fnmatch
from pathlib import Path

import pytest
from data.cifar10_files import archive, contents, unpacked

from triptych.cli import main
from triptych.data import DATASETS, NAME, DataConfig, Listed, cifar10, digits
from triptych.data.dataset import ImageSizes
from triptych.data.digits import load
from triptych.data.source import WELL_KNOWN, is_well_known, name_after
from triptych.downloads import PublishedFile
from triptych.errors import UserError
from triptych.experiment import load_experiment, may_change
from triptych.recipe_files import packaged_recipes


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a small archive that stands for the published one, where it is kept once it is fetched."""
    made = archive(tmp_path / "made.tar.gz", contents())
    content = made.read_bytes()
    url = "http://127.0.0.1:9/cifar-10-python.tar.gz"
    file = PublishedFile(url, len(content), "md5", hashlib.md5(content).hexdigest())
    monkeypatch.setattr(cifar10, "ARCHIVE", file)
    file.path.parent.mkdir(parents=True)
    return made.rename(file.path)


def test_a_data_set_sees_its_configuration(monkeypatch):
    seen = []
    mine = Listed(lambda config: seen.append(config) or load(), digits.SIZES)
    monkeypatch.setitem(DATASETS, "mine", mine)
    config = DataConfig("mine", flip=True)
    assert config.load().name == "digits"
    assert seen == [config]


@pytest.mark.parametrize("name", DATASETS)
def test_every_listed_data_set_loads_without_a_path(name, published):
    dataset = DataConfig(name).load()
    assert dataset.name == name
    assert (dataset.train.name, dataset.held_out.name) == (f"{name}/train", f"{name}/held-out")


def test_what_is_at_hand_is_known_before_anything_is_fetched(published, tmp_path):
    assert DataConfig("digits").at_hand()
    assert DataConfig("cifar10").at_hand()
    DataConfig("cifar10").load()
    published.unlink()
    assert DataConfig("cifar10").at_hand()  # decoded
    shutil.rmtree(tmp_path / "cache")
    assert not DataConfig("cifar10").at_hand()
    assert DataConfig("mine", path=str(tmp_path)).at_hand()
    for nowhere in (str(tmp_path / "nothing"), "~nobody-of-that-name/images", ""):
        assert not DataConfig("mine", path=nowhere).at_hand()


def test_sizes_are_known_before_anything_is_read(published, tmp_path):
    published.unlink()
    assert DataConfig("cifar10").sizes() == ImageSizes(3, 32, 50_000, 10_000, 10)
    dataset = DataConfig("digits").load()
    counts = len(dataset.train), len(dataset.held_out), len(dataset.class_names)
    assert DataConfig("digits").sizes() == ImageSizes(dataset.channels, dataset.image_size, *counts)
    assert DataConfig("mine", str(tmp_path / "absent")).sizes() == ImageSizes(3, 32)
    assert DataConfig("cifar10", str(tmp_path / "absent"), 64).sizes() == ImageSizes(3, 64)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (DataConfig("cifar11"), "no such data set"),
        (DataConfig("cifar10", image_size=64), "leave it out"),
        (DataConfig("digits", "somewhere"), "embedded"),
    ],
)
def test_sizes_of_what_could_not_be_loaded_are_refused_alike(config, told):
    for ask in (config.sizes, config.load):
        with pytest.raises(UserError, match=told):
            ask()


def test_every_listed_name_is_kept_for_its_own_images():
    assert set(DATASETS) == set(WELL_KNOWN)
    assert all(map(is_well_known, ["cifar10", "CIFAR-10", "cifar_10", "Cifar 10", "digits", "Digits"]))
    assert all(map(is_well_known, ["cifar-10-python", "cifar-10-batches-py"]))
    assert not any(map(is_well_known, ["cifar10-jpeg", "cifar100", "my-digits", ""]))


def test_decoded_images_need_no_archive(published):
    first = DataConfig("cifar10").load()
    published.unlink()
    assert DataConfig("cifar10").load().train.digest == first.train.digest


def test_images_in_a_path_are_named_by_what_they_are_or_by_the_user(published, tmp_path: Path):
    copy = str(shutil.copy(published, tmp_path / "copy.tar.gz"))
    other = str(archive(tmp_path / "other.tar.gz", contents(protocol=3)))
    for name, path, called in (
        ("cifar10", copy, "cifar10"),
        ("cifar10", other, "other"),
        ("mine", copy, "mine"),
        ("mine", other, "mine"),
    ):
        for _ in range(2):  # the second time from the cache
            dataset = DataConfig(name, path).load()
            assert dataset.name == called
            assert [s.name for s in (dataset.train, dataset.held_out)] == [
                f"{called}/train",
                f"{called}/held-out",
            ]


def test_a_path_may_begin_at_home(published, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    shutil.copy(published, tmp_path / "copy.tar.gz")
    assert DataConfig("cifar10", "~/copy.tar.gz").load().name == "cifar10"


@pytest.mark.parametrize(
    ("name", "path", "own"),
    [("digits", "", 8), ("cifar10", "", 32), ("mine", "x.tar.gz", 32), ("mine", "x", 32)],
)
def test_images_of_one_size_are_given_in_no_other(
    name, path, own, published, tmp_path: Path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    archive(tmp_path / "x.tar.gz", contents())
    unpacked(tmp_path / "x", contents())
    assert DataConfig(name, path).load().image_size == own
    assert DataConfig(name, path, own).load().image_size == own
    tokens = ["--data.name", name, "--data.path", path, "--data.image-size", "64", "--runs", "runs"]
    assert main(["train", "digits-unet", *tokens]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert f"--data.image-size 64 for {path or name}: its images have {own} pixels a side" in line
    assert not (tmp_path / "runs").exists()


def test_a_run_of_when_every_configuration_named_a_size_goes_on():
    assert DataConfig("digits", image_size=32).load().image_size == 8
    assert may_change("data.image_size")  # since the digest of the images decides


@pytest.mark.parametrize(
    ("name", "path", "told"),
    [
        ("cifar100", "", f"choose from {', '.join(DATASETS)}, or say where it lies with --data.path"),
        (
            "digits",
            "x.tar.gz",
            "lie in no file; leave it out, or give another data.name",
        ),
        ("CIFAR-10", "x.tar.gz", "readers would take it for the published set"),
        ("Digits", "x.tar.gz", "readers would take it for the published set"),
        ("a/b", "x.tar.gz", "no name for a data set"),
        ("..", "x.tar.gz", "no name for a data set"),
        ("a\nb", "x.tar.gz", "no name for a data set"),
        ("mine", "none", "there is nothing"),
        ("mine", "~nobody-of-this-name/x", "nobody of that name has a home; write the folder out"),
        ("mine", "empty", "--data.path empty: an empty folder; give one of: cifar-10-python.tar.gz, "),
        ("mine", "file", "--data.path file: an empty file; give one of: "),
        ("mine", "notes", "--data.path notes: no images in a format that is known; give one of: "),
        ("mine", "notes/a.txt", "a.txt: no images in a format that is known; give one of: "),
        ("mine", "x/0.PNG", "--data.path x/0.PNG: a single picture; give the folder in which it lies"),
        (
            "mine",
            "x/data_batch_1",
            "one of the files that an archive of CIFAR-10 unpacks to; give the folder",
        ),
    ],
)
def test_what_cannot_be_loaded_is_told_in_one_line(name, path, told, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("no picture")
    unpacked(tmp_path / "x", contents())
    (tmp_path / "x" / "0.PNG").write_bytes(b"\x89PNG")
    archive(tmp_path / "x.tar.gz", contents())
    assert main(["train", "digits-unet", "--data.name", name, "--data.path", path, "--runs", "runs"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert told in line
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("pictures.tar.gz", "pictures"),
        ("v1.2/pictures.TGZ", "pictures"),
        ("my pictures (old)/", "my-pictures-old"),
        ("v1.2", "v1.2"),
        (".tar.gz", "images"),
        ("/", "images"),
        ("图像.tar", "图像"),
        ("a" * 200, "a" * 100),
        ("CIFAR 10", "CIFAR-10-unchecked"),
        ("digits.tar", "digits-unchecked"),
        ("cifar-10-python.tar", "cifar-10-python-unchecked"),
        ("cifar-10-batches-py", "cifar-10-batches-py-unchecked"),
    ],
)
def test_unchecked_images_are_named_after_their_file(path, name):
    assert name_after(Path(path)) == name
    assert NAME.fullmatch(name)


def test_the_manual_says_which_recipes_take_images_in_a_path():
    manual = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    (pattern,) = re.findall(r"^`--data\.path` goes with the recipes `(.+?)`", manual, re.MULTILINE)
    for recipe in packaged_recipes():
        assert fnmatch(recipe, pattern) == (load_experiment(recipe).data.name != "digits"), recipe
