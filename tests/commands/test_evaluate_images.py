"""Pictures of any program against real ones: figures that need no model, and mistakes told in one line."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from commands.command_line import say, the_line
from PIL import Image
from scipy.linalg import sqrtm
from torch import Tensor

from triptych.data import digits
from triptych.data.dataset import Dataset, ImageSet
from triptych.metrics import METRICS
from triptych.metrics.extractors import EXTRACTORS, Available, inception
from triptych.metrics.extractors.classifier_cache import cached_classifier
from triptych.metrics.features import FeatureSet
from triptych.record.codec import decode
from triptych.record.events import Evaluated


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return digits.load()


@dataclass
class Brightness:
    """Stands in for a network: mean intensities of four parts of an image, scores that follow the first."""

    name: str
    sha256: str = "0" * 64
    given: list[int] = field(default_factory=list)

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        self.given.append(len(images))
        parts = torch.nn.functional.adaptive_avg_pool2d(images.double() / 255, 2).mean(1).flatten(1).float()
        scores = -(parts[:, :1] * 20 - torch.arange(10.0)).square()
        return {"features": parts, "log_probs": scores.log_softmax(1)}


@pytest.fixture
def stand_ins(monkeypatch) -> dict[str, Brightness]:
    """Networks that cost nothing in place of those that are fetched or trained."""
    made = {name: Brightness(name) for name in ("inception", "classifier")}
    for name, extractor in made.items():
        widths = {"features": 4, "log_probs": 10}
        available = Available(
            lambda train, device, *, watch=None, extractor=extractor: extractor,
            lambda train, widths=widths: widths,
        )
        monkeypatch.setitem(EXTRACTORS, name, available)
    return made


def lay(folder: Path, images: ImageSet, *, by_class: bool = True) -> Path:
    """Write images to PNG files, in an order that `ordered` knows."""
    for number, (pixels, label) in enumerate(zip(images.images, images.labels.tolist(), strict=True)):
        place = folder / images.class_names[label] if by_class else folder
        place.mkdir(parents=True, exist_ok=True)
        array = pixels[0].numpy() if len(pixels) == 1 else pixels.permute(1, 2, 0).numpy()
        Image.fromarray(array).save(place / f"{number:05d}.png")
    return folder


def ordered(images: ImageSet) -> ImageSet:
    """Return images in the order of the folders of their classes."""
    return images.take(images.labels.argsort(stable=True))


def batch(path: Path, images: ImageSet, *, labelled: bool = True) -> Path:
    arrays = [images.images.permute(0, 2, 3, 1).numpy(), images.labels.numpy()]
    np.savez(path, *arrays[: 1 + labelled])
    return path


def colours(count: int, seed: int = 0) -> ImageSet:
    """Return pictures of 9 x 6 pixels in colour, of three classes in turn."""
    random = np.random.default_rng(seed)
    pixels = torch.from_numpy(random.integers(0, 256, (count, 3, 6, 9), np.uint8))
    return ImageSet("colours", pixels, torch.arange(count) % 3, ("ant", "bee", "cat"))


def measured(capsys, images: Path, reference: str | Path, *tokens: str) -> dict:
    """Return the row that is printed as JSON."""
    capsys.readouterr()
    assert say("evaluate", "--images", images, "--reference", reference, *tokens, "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    return row


def estimates(row: dict) -> dict[str, float]:
    return {found["metric"]: found["estimate"] for found in row["figures"]}


def without_model(images: ImageSet, train: ImageSet) -> dict[str, float]:
    """Return figures by textbook formulas, from nothing but the classifier's outputs."""
    classifier = cached_classifier(train)
    mine, theirs = (classifier(some.images)["features"].double().numpy() for some in (images, train))
    mean, other_mean = mine.mean(0), theirs.mean(0)
    covariance, other = np.cov(mine.T), np.cov(theirs.T)
    root = np.trace(sqrtm(covariance @ other)).real
    across = np.linalg.norm(mine[:, None] - theirs[None], axis=2)

    def reach(rows: np.ndarray) -> np.ndarray:  # to the third nearest other
        return np.sort(np.linalg.norm(rows[:, None] - rows[None], axis=2), axis=1)[:, 3]

    right = classifier(images.images)["log_probs"].argmax(1) == images.labels
    return {
        "fd_classifier": ((mean - other_mean) ** 2).sum() + np.trace(covariance + other) - 2 * root,
        "classifier_accuracy": float(right.double().mean()),
        "precision_classifier": (across <= reach(theirs)[None]).any(1).mean(),
        "recall_classifier": (across <= reach(mine)[:, None]).any(0).mean(),
        "nearest_classifier": across.min(1).mean(),
    }


def test_pictures_of_the_test_images_have_the_figures_of_the_test_images(dataset, tmp_path, capsys):
    row = measured(capsys, lay(tmp_path / "drawn", dataset.held_out), "digits", "--metrics", "classifier")
    images = ordered(dataset.held_out)
    found, expected = estimates(row), without_model(images, dataset.train)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-4), name
    classifier = cached_classifier(dataset.train)
    features = FeatureSet.of(classifier(images.images), images.labels)
    for name in ("diversity_classifier", "diversity_classifier_all"):
        assert found[name] == pytest.approx(METRICS[name](features, features).estimate, rel=1e-6)
    for figure in row["figures"]:
        assert figure["n"] == figure["real_n"] == len(images)
        assert figure["spread"] > 0
        if not figure["metric"].startswith("diversity"):  # whose random pairs depend on the order
            assert figure["estimate"] == pytest.approx(figure["real"], rel=1e-6)
    per_class = next(f for f in row["figures"] if f["metric"] == "classifier_accuracy")
    assert len(per_class["per_class"]) == 10 and sum(per_class["per_class_n"]) == len(images)


def test_the_row_says_what_was_compared_with_what(dataset, tmp_path, capsys):
    path = batch(tmp_path / "drawn.npz", dataset.held_out)
    row = measured(capsys, path, "digits", "--metrics", "fd_classifier", "--batch-size", "50")
    assert row.pop("images") == {"name": "drawn", "digest": dataset.held_out.digest, "labelled": True}
    passport = decode(row, Evaluated).passport
    assert (passport.checkpoint, passport.weights, passport.sampler, passport.count) == ("", "", "", 355)
    assert (passport.reference, passport.reference_digest) == ("digits/train", dataset.train.digest)
    assert (passport.reference_count, passport.beside) == (1442, "digits/held-out")
    assert passport.held_out_digest == dataset.held_out.digest
    assert passport.extractors == {"classifier": cached_classifier(dataset.train).sha256}
    assert (row["batch_size"], row["network_calls"], row["generation_took"]) == (50, 0, 0)


@pytest.mark.parametrize("form", ["folder", "batch"])
def test_images_against_themselves(form, dataset, tmp_path, capsys, stand_ins):
    images = dataset.held_out
    path = lay(tmp_path / "a", images) if form == "folder" else batch(tmp_path / "a.npz", images)
    row = measured(capsys, path, path, "--metrics", "classifier")
    found = estimates(row)
    assert found["fd_classifier"] == pytest.approx(0, abs=1e-8)
    assert (found["precision_classifier"], found["recall_classifier"]) == (1, 1)
    assert found["nearest_classifier"] == 0
    assert row["passport"]["reference_digest"] == row["images"]["digest"]
    assert (row["passport"]["beside"], row["passport"]["held_out_digest"]) == ("", "")
    assert {figure["real"] for figure in row["figures"]} == {None}


def test_a_batch_and_a_folder_have_the_same_figures(dataset, tmp_path, capsys, stand_ins):
    images = ordered(dataset.held_out)
    paths = lay(tmp_path / "a", images), batch(tmp_path / "b.npz", images)
    first, second = (measured(capsys, path, "digits", "--metrics", "classifier") for path in paths)
    assert first["figures"] == second["figures"]
    assert first["images"] == second["images"] | {"name": "a"}


def test_batches_of_the_network_change_nothing(dataset, tmp_path, capsys, stand_ins, monkeypatch):
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path / "cache"))
    path = batch(tmp_path / "a.npz", dataset.held_out)
    ask = (path, "digits", "--metrics", "classifier")
    usual = measured(capsys, *ask)
    stand_ins["classifier"].given.clear()
    small = measured(capsys, *ask, "--batch-size", "7")
    assert max(stand_ins["classifier"].given) == 7
    monkeypatch.setattr("triptych.evaluation.reference.KEPT_FROM", 100)
    kept = measured(capsys, *ask, "--batch-size", "7")
    assert usual["figures"] == small["figures"] == kept["figures"]


def test_batches_of_the_classifier_change_next_to_nothing(dataset, tmp_path, capsys):
    path = batch(tmp_path / "a.npz", dataset.held_out)
    usual = estimates(measured(capsys, path, "digits", "--metrics", "classifier"))
    small = estimates(measured(capsys, path, "digits", "--metrics", "classifier", "--batch-size", "13"))
    assert small == pytest.approx(usual, rel=1e-5)


def test_features_of_many_are_kept_and_go_on_after_a_kill(dataset, tmp_path, capsys, stand_ins, monkeypatch):
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("triptych.evaluation.reference.KEPT_FROM", 100)
    extractor = stand_ins["classifier"]
    ask = (
        batch(tmp_path / "a.npz", dataset.train),
        "digits",
        "--metrics",
        "fd_classifier",
        "nearest_classifier",
    )

    class Dies(Brightness):
        def __call__(self, images):
            if sum(self.given) >= 1000:
                raise KeyboardInterrupt
            return super().__call__(images)

    dying = replace(EXTRACTORS["classifier"], make=lambda *_, **__: Dies("classifier"))
    with monkeypatch.context() as context:
        context.setitem(EXTRACTORS, "classifier", dying)
        assert say("evaluate", "--images", ask[0], "--reference", *ask[1:]) == 130
    first = measured(capsys, *ask)
    assert sum(extractor.given) == len(dataset.train) - 1000 + len(dataset.held_out)
    extractor.given.clear()
    assert measured(capsys, *ask)["figures"] == first["figures"]
    assert extractor.given == []


def test_what_is_usually_told_of_pictures(tmp_path, capsys, stand_ins):
    """In colour, without classes, by Inception's features, beside nothing."""
    images, real = lay(tmp_path / "drawn", colours(120), by_class=False), colours(150, seed=1)
    reference = batch(tmp_path / "real.npz", real, labelled=False)
    row = measured(capsys, images, reference)
    assert list(estimates(row)) == ["fid", "inception_score", "kid", "precision", "recall"]
    extractor = Brightness("inception")
    sets = [FeatureSet.of(extractor(some.images), None) for some in (colours(120), real)]
    for figure in row["figures"]:
        expected = METRICS[figure["metric"]](*sets)
        assert (figure["estimate"], figure["spread"]) == (expected.estimate, expected.spread)
        assert (figure["split_std"], figure["real"]) == (expected.split_std, None)
    assert row["images"]["labelled"] is False
    assert say("evaluate", "--images", images, "--reference", reference) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("drawn, 120 images, sha256 ") and lines[0].endswith(": 9x6 RGB, no classes")
    assert lines[1].startswith("against real, 150 images, sha256 ")
    assert lines[2:4] == ["no real images beside them", f"in the features of inception {'0' * 12}"]
    assert [line.split()[0] for line in lines[4:]] == [*estimates(row), "measured"]
    assert " split deviation " in lines[5] and " ± " in lines[5]


def test_a_folder_with_two_splits_gives_real_figures_beside(tmp_path, capsys, stand_ins):
    lay(tmp_path / "real" / "train", colours(90, seed=1))
    lay(tmp_path / "real" / "test", colours(60, seed=2))
    images = lay(tmp_path / "drawn", colours(60, seed=2))
    usual = measured(capsys, images, tmp_path / "real", "--metrics", "fd_classifier")
    assert (usual["passport"]["reference"], usual["passport"]["beside"]) == ("real/train", "real/held-out")
    (figure,) = usual["figures"]
    assert figure["estimate"] == figure["real"]  # the test images, in their order
    turned = measured(
        capsys, images, tmp_path / "real", "--metrics", "fd_classifier", "--protocol", "60/test"
    )
    assert (turned["passport"]["reference"], turned["passport"]["reference_count"]) == ("real/held-out", 60)
    assert estimates(turned)["fd_classifier"] == pytest.approx(0, abs=1e-10)
    capsys.readouterr()
    assert (
        say("evaluate", "--images", images, "--reference", tmp_path / "real", "--metrics", "classifier") == 0
    )
    said = capsys.readouterr().out
    assert "\nbeside real/held-out, 60 images, sha256 " in said
    assert "  real " in said


def test_a_protocol_takes_the_first_pictures(dataset, tmp_path, capsys, stand_ins):
    images = dataset.held_out
    path = batch(tmp_path / "a.npz", images)
    row = measured(capsys, path, "digits", "--metrics", "classifier", "--protocol", "100/test")
    assert row["images"]["digest"] == images.take(torch.arange(100)).digest
    assert (row["passport"]["count"], row["passport"]["reference"]) == (100, "digits/held-out")
    assert row == measured(capsys, path, "digits", "--metrics", "classifier", "--protocol", "100/test") | {
        "measuring_took": row["measuring_took"]
    }
    counted = measured(capsys, path, "digits", "--metrics", "classifier", "--count", "100")
    assert (counted["passport"]["count"], counted["passport"]["reference"]) == (100, "digits/train")


def test_pictures_of_some_classes_are_set_beside_real_ones_of_these(dataset, tmp_path, capsys, stand_ins):
    some = dataset.held_out.take((dataset.held_out.labels >= 7).nonzero().flatten())
    row = measured(capsys, lay(tmp_path / "a", some), "digits", "--metrics", "classifier_accuracy")
    (figure,) = row["figures"]
    assert (figure["n"], figure["real_n"], figure["per_class"]) == (len(some), len(some), None)
    assert figure["estimate"] == figure["real"]


@pytest.mark.parametrize("form", ["other names", "no folders"])
def test_labels_that_are_not_the_reference_s_are_left_aside(form, dataset, tmp_path, capsys, stand_ins):
    images = replace(dataset.held_out, class_names=tuple("abcdefghij"))
    path = lay(tmp_path / "a", images, by_class=form == "other names")
    ask = ("evaluate", "--images", path, "--reference", "digits", "--metrics")
    assert say(*ask, "classifier") == 0
    said = capsys.readouterr().out
    assert ("labels of the pictures, which are not classes of digits/train" in said) == (
        form == "other names"
    )
    assert "left out, for lack of labels: classifier_accuracy, diversity_classifier\n" in said
    assert "\ndiversity_classifier_all " in said and "\nclassifier_accuracy" not in said
    told = the_line(capsys, *ask, "classifier_accuracy")
    assert "these have none that are classes of digits/train; put them into folders named after" in told


def test_nothing_is_left_behind(dataset, tmp_path, capsys, stand_ins, monkeypatch):
    monkeypatch.chdir(lay(tmp_path / "here", dataset.held_out))
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path / "cache"))
    before = sorted(tmp_path.rglob("*"))
    Path("3", "notes.txt").write_text("mine")
    assert (
        say("evaluate", "--images", ".", "--reference", "digits", "--metrics", "classifier", "--quiet") == 0
    )
    assert capsys.readouterr() == ("", "")
    Path("3", "notes.txt").unlink()
    assert sorted(tmp_path.rglob("*")) == before


@pytest.fixture
def drawn(tmp_path) -> Path:
    return lay(tmp_path / "drawn", colours(30))


@pytest.mark.parametrize(
    ("tokens", "told"),
    [
        (["--images", "{drawn}"], "nothing to compare them with; add --reference"),
        (["--reference", "digits"], "no pictures to compare with it; name them with --images"),
        (["--images", "{drawn}", "--reference", ""], "nothing to compare them with"),
        (["{both}", "runs/tiny"], "a run is named beside it, runs/tiny"),
        (["{both}", "--checkpoint", "last"], "--checkpoint is about models"),
        (["{both}", "--guidance", "1"], "--guidance is about models"),
        (["{both}", "--sampler", "ddim:50"], "--sampler is about models"),
        (["{both}", "--ema", "none"], "--ema is about models"),
        (["{both}", "--seed", "1"], "--seed is about models"),
        (["{both}", "--screen", "10"], "--screen is about models"),
        (["{both}", "--confirm", "3"], "--confirm is about models"),
        (["{both}", "--again"], "--again is about models"),
        (["{both}", "--precision", "bf16"], "--precision is about models"),
        (["{both}", "--steps", "10"], "--steps is about models"),
        (["{both}", "--no-clip"], "--clip is about models"),
        (["{both}", "--data.path", "elsewhere"], "--data.path is about runs, and pictures"),
        (["{both}", "--count", "0"], "--count 0: less than 1"),
        (["{both}", "--batch-size", "0"], "--batch-size 0: less than 1"),
        (["{both}", "--count", "5", "--protocol", "5/test"], "both say how many images"),
        (["{both}", "--protocol", "many"], "it is not of that form"),
        (["{both}", "--protocol", "10/test"], "it has no test split"),
        (["{both}", "--metrics", "beauty"], "there is no such metric"),
        (["{both}", "--device", "meta"], "choose auto, cpu, cuda, mps"),
        (["{both}", "--count", "31"], "there are 30"),
        (["--images", "{nowhere}", "--reference", "{drawn}"], "there is nothing"),
        (
            ["--images", "{drawn}", "--reference", "{nowhere}"],
            "neither a data set nor anything that lies there",
        ),
        (
            ["--images", "{drawn}", "--reference", "digits"],
            "the pictures are 9x6 RGB, the reference 8x8 grey",
        ),
        (
            ["--images", "{grey}", "--reference", "cifar10"],
            "the pictures are 9x6 grey, the reference 32x32 RGB",
        ),
        (
            ["--images", "{grey}", "--reference", "{drawn}"],
            "the pictures are 9x6 grey, the reference 9x6 RGB",
        ),
        (
            ["{both}"],
            "inception_score of 30 images: it takes at least 100; give more, or measure these with --force",
        ),
        (["{both}", "--metrics", "kid", "--count", "1", "--force"], "it takes at least 2; give more"),
        (["--images", "{more}", "--reference", "{drawn}"], "precision against 30 images of drawn: it takes"),
    ],
)
def test_mistakes_are_told_in_one_line(tokens, told, drawn, tmp_path, capsys, stand_ins):
    grey = replace(colours(50), images=colours(50).images[:, :1])
    places = {
        "drawn": drawn,
        "grey": batch(tmp_path / "grey.npz", grey),
        "more": batch(tmp_path / "more.npz", colours(150)),
        "nowhere": tmp_path / "nowhere",
    }
    both = ["--images", str(drawn), "--reference", str(drawn)]
    tokens = [*both, *tokens[1:]] if tokens[0] == "{both}" else tokens
    line = the_line(capsys, "evaluate", *(token.format(**places) for token in tokens))
    assert told in line


def test_few_pictures_are_measured_where_that_is_forced(drawn, capsys, stand_ins):
    row = measured(capsys, drawn, drawn, "--force")
    assert len(row["figures"]) == 5


def test_one_process_measures_pictures(drawn, capsys, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    told = the_line(capsys, "evaluate", "--images", drawn, "--reference", drawn)
    assert "pictures are measured by one process; leave torchrun out" in told


@pytest.mark.parametrize("labelled", [True, False])
def test_without_its_file_a_network_is_told_of_and_another_way(labelled, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    file = replace(inception.WEIGHTS, url="http://127.0.0.1:9/pt_inception.pth")  # where nobody listens
    monkeypatch.setattr("triptych.metrics.extractors.inception.WEIGHTS", file)
    path = batch(tmp_path / "a.npz", colours(150), labelled=labelled)
    told = the_line(capsys, "evaluate", "--images", path, "--reference", path, "--force")
    assert str(file.path) in told
    assert ("or say --metrics classifier, which needs no file" in told) == labelled


def test_grey_pictures_are_no_inception_s(dataset, tmp_path, capsys):
    path = batch(tmp_path / "a.npz", dataset.held_out)
    told = the_line(capsys, "evaluate", "--images", path, "--reference", "digits")
    assert "it takes colour images" in told and "or say --metrics classifier" in told


def test_a_reference_of_one_class_trains_no_classifier(tmp_path, capsys):
    path = batch(tmp_path / "a.npz", colours(150), labelled=False)
    told = the_line(capsys, "evaluate", "--images", path, "--reference", path, "--metrics", "fd_classifier")
    assert "they have 1 class; give labelled images of at least two classes" in told
