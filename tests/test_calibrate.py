"""Calibration, offline: a small model on a server of our own, a network that costs nothing, random images."""

import hashlib
import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import calibrate
import numpy as np
import pytest
import torch
from commands.test_import import save
from data.cifar10_files import contents, unpacked
from scipy.linalg import sqrtm
from torch import Tensor

from triptych.backbones.costs import outline
from triptych.backbones.diffusers_options import from_options
from triptych.data import DATASETS, Listed
from triptych.data.dataset import Dataset, ImageSet, ImageSizes
from triptych.diffusion.diffusers_scheduler import from_scheduler
from triptych.downloads import PublishedFile
from triptych.metrics.extractors import EXTRACTORS, Available
from triptych.record.events import Evaluated
from triptych.record.record import Record

TRAIN, TEST, DRAWN = 160, 120, 100
WIDTHS = {"features": 4, "log_probs": 10}


@dataclass
class Brightness:
    """Stands in for the FID's network: four mean intensities, scores that follow the first; counts images."""

    name: str = "inception"
    sha256: str = "0" * 64
    images: int = 0

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        self.images += len(images)
        parts = torch.nn.functional.adaptive_avg_pool2d(images.double() / 255, 2).mean(1).flatten(1).float()
        scores = -(parts[:, :1] * 20 - torch.arange(10.0)).square()
        return {"features": parts, "log_probs": scores.log_softmax(1)}


class Silent(SimpleHTTPRequestHandler):
    """Serves a folder without a word."""

    def log_message(self, format: str, *args: object) -> None:
        pass


def colours(name: str, count: int, seed: int) -> ImageSet:
    pixels = torch.randint(
        256, (count, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )
    return ImageSet(name, pixels // (1 + seed), torch.arange(count) % 10, tuple("abcdefghij"))


@pytest.fixture
def dataset() -> Dataset:
    return Dataset("cifar10", colours("cifar10/train", TRAIN, 0), colours("cifar10/held-out", TEST, 1))


@pytest.fixture
def network(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Brightness:
    """Everything small, in a folder of its own; where the model is to be had, nobody answers."""
    made = Brightness()
    monkeypatch.setitem(
        EXTRACTORS, "inception", Available(lambda train, device, *, watch=None: made, lambda train: WIDTHS)
    )
    sizes = ImageSizes(3, 8, TRAIN, TEST, 10)
    monkeypatch.setitem(DATASETS, "cifar10", Listed(lambda config: dataset, sizes))
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(calibrate, "COUNT", DRAWN)
    monkeypatch.setattr(calibrate, "SAMPLER", "ddpm:4,variance=large")
    monkeypatch.setattr(calibrate, "QUICK_SAMPLER", "ddim:2")
    monkeypatch.setattr(calibrate, "QUICK_COUNT", 12)
    monkeypatch.setattr(calibrate, "QUICK_REAL", 50)
    nowhere = PublishedFile("http://127.0.0.1:9/config.json", 0, "sha256", "", calibrate.MODEL)
    monkeypatch.setattr(calibrate, "FILES", (nowhere,))
    monkeypatch.chdir(tmp_path)
    return made


@pytest.fixture
def hub(network: Brightness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a server that has a model's files side by side, as the first ones lie on the hub."""
    save(tmp_path / "theirs", channels=3)
    folder = tmp_path / "hub"
    folder.mkdir()
    for name in (
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "scheduler/scheduler_config.json",
    ):
        shutil.copy(tmp_path / "theirs" / name, folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        files = [
            PublishedFile(f"{url}/{path.name}", 0, "sha256", digest(path), calibrate.MODEL)
            for path in sorted(folder.iterdir())
        ]
        monkeypatch.setattr(calibrate, "FILES", tuple(files))
        yield folder
        server.shutdown()
        thread.join()


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def rows(output: str) -> list[list[str]]:
    """The cells of the table that is printed, without its head."""
    lines = [line for line in output.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def found(row: list[str]) -> float:
    return float(row[2].partition(" ")[0])


def textbook(dataset: Dataset) -> tuple[float, float]:
    """FID of the test set, and the score of the training set in one split, by their definitions."""
    features = [
        Brightness()(some.images)["features"].double().numpy() for some in (dataset.held_out, dataset.train)
    ]
    (mean, covariance), (other_mean, other) = ((x.mean(0), np.cov(x.T)) for x in features)
    root = np.trace(sqrtm(covariance @ other)).real
    fid = ((mean - other_mean) ** 2).sum() + np.trace(covariance + other) - 2 * root
    p = Brightness()(dataset.train.images)["log_probs"].double().exp().numpy()
    return float(fid), float(np.exp((p * np.log(p / p.mean(0))).sum(1).mean()))


def as_found(monkeypatch: pytest.MonkeyPatch, table: list[list[str]]) -> None:
    """Publish what was found."""
    names = ["TEST_SET", "TRAINING_SET"]
    for name, row in zip(names, table, strict=False):
        known = replace(getattr(calibrate, name), value=found(row), tolerance=0.002)
        monkeypatch.setattr(calibrate, name, known)
    models = tuple(
        replace(known, value=found(row), tolerance=0.002)
        for known, row in zip(calibrate.RAW, table[2:], strict=True)
    )
    monkeypatch.setattr(calibrate, "RAW", models)


def test_what_is_found_is_held_against_what_was_published(hub, network, dataset, monkeypatch, capsys):
    assert calibrate.main([]) == 1
    output = capsys.readouterr().out
    table = rows(output)
    assert [row[0].partition(":")[0] for row in table] == [
        "fid of 10,000 images",
        "inception_score of 50,000 images",
        "fid of 50,000 images",
    ]
    assert {row[3] for row in table} == {"NO"} and "0 of 3 figures are those of the literature" in output
    fid, score = textbook(dataset)
    assert found(table[0]) == pytest.approx(fid, abs=6e-4)
    assert found(table[1]) == pytest.approx(
        score, rel=0.1
    )  # ten splits of sixteen images score somewhat more
    assert f"weights: sha256 {digest(hub / 'diffusion_pytorch_model.safetensors')}" in output
    (row,) = [event.data for event in Record.of_run("runs/ddpm-cifar10-32").history().of_kind(Evaluated)]
    p = row.passport
    assert (p.count, p.sampler, p.reference, p.seed) == (DRAWN, "ddpm:4,variance=large", "cifar10/train", 0)
    assert found(table[2]) == pytest.approx(row.figures[0].estimate, abs=6e-4)
    assert row.figures[0].real == pytest.approx(found(table[0]), abs=6e-4)  # the same test set, once more

    as_found(monkeypatch, table)
    assert calibrate.main([]) == 0
    output = capsys.readouterr().out
    assert "1 row, all in the record" in output and "3 of 3 figures are those of the literature" in output
    assert [row[2] for row in rows(output)] == [row[2] for row in table]
    monkeypatch.setattr(calibrate, "TEST_SET", replace(calibrate.TEST_SET, tolerance=0, value=99.0))
    assert calibrate.main(["--real"]) == 1
    assert [row[3] for row in rows(capsys.readouterr().out)] == ["NO", "yes"]


def test_the_cost_is_told_before_anything_is_measured(hub, network, capsys):
    calibrate.main([])
    lines = capsys.readouterr().out.splitlines()
    (cost,) = [number for number, line in enumerate(lines) if "less what an earlier start has done" in line]
    assert lines[cost].startswith("about ") and " to draw, " in lines[cost]
    (evaluate,) = [number for number, line in enumerate(lines) if line.startswith("$ triptych evaluate ")]
    assert cost < evaluate


def test_what_has_to_be_quick_is_not_compared(hub, capsys):
    assert calibrate.main(["--quick"]) == 0
    output = capsys.readouterr().out
    assert [row[3] for row in rows(output)] == [
        "not comparable: 50 images",
        "not comparable: 50 images",
        "not comparable: so few images",
    ]
    assert "nothing was compared with the literature" in output
    assert "$ triptych evaluate runs/ddpm-cifar10-32 --sampler ddim:2 --count 12" in output


def test_averaged_weights_have_figures_of_their_own(hub, tmp_path, capsys):
    assert calibrate.main(["--averaged", str(tmp_path / "theirs")]) == 1
    table = rows(capsys.readouterr().out)
    assert [(row[0], row[1]) for row in table[2:]] == [
        ("fid of 50,000 images: DDPM's averaged weights, against the training set", "3.17 ± 0.15"),
        ("inception_score of 50,000 images: DDPM's averaged weights", "9.46 ± 0.15"),
    ]
    assert not (tmp_path / "cache" / "downloads").exists()


def the_line(capsys: pytest.CaptureFixture[str], *tokens: str) -> str:
    assert calibrate.main(list(tokens)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_without_a_network_it_says_what_can_be_had_without(network, capsys):
    line = the_line(capsys)
    assert line.startswith(
        "calibrate: download http://127.0.0.1:9/config.json: Connection refused; try again"
    )
    assert line.endswith("or calibrate without a model: --real")
    assert calibrate.main(["--real"]) == 1
    assert len(rows(capsys.readouterr().out)) == 2


def test_what_cannot_be_held_against_it_is_one_line(hub, tmp_path, capsys, monkeypatch):
    other = unpacked(tmp_path / "other", contents())
    assert "published figures are of cifar10 alone" in the_line(capsys, "--data", str(other))
    assert "no such folder" in the_line(capsys, "--averaged", str(tmp_path / "nothing"))
    calibrate.main(["--quick"])
    save(tmp_path / "ddpm-cifar10-32", channels=3, prediction_type="v_prediction")
    weights = tmp_path / "ddpm-cifar10-32" / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\0")
    capsys.readouterr()
    assert "runs/ddpm-cifar10-32 is another model; say another --runs" in the_line(
        capsys, "--averaged", str(tmp_path / "ddpm-cifar10-32")
    )
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "real images are measured by one process" in the_line(capsys, "--real")


CONFIG = {
    "_class_name": "UNet2DModel",
    "_diffusers_version": "0.0.4",
    "act_fn": "silu",
    "attention_head_dim": None,
    "block_out_channels": [128, 256, 256, 256],
    "center_input_sample": False,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"],
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "in_channels": 3,
    "layers_per_block": 2,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-06,
    "norm_num_groups": 32,
    "out_channels": 3,
    "sample_size": 32,
    "time_embedding_type": "positional",
    "up_block_types": ["UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
}
SCHEDULER = {
    "_class_name": "DDPMScheduler",
    "_diffusers_version": "0.1.1",
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "beta_start": 0.0001,
    "clip_sample": True,
    "num_train_timesteps": 1000,
    "trained_betas": None,
    "variance_type": "fixed_large",
}


def test_the_published_model_is_ddpms_and_can_be_imported():
    """Its configuration, written out: these are the files whose sha256 is asked for."""
    for file, content in zip(calibrate.FILES, (CONFIG, SCHEDULER), strict=False):
        data = (json.dumps(content, indent=2) + "\n").encode()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (file.size, file.checksum)
    config, channels, image_size, embedded = from_options(CONFIG)
    assert (channels, image_size, embedded) == (3, 32, 0)
    backbone = outline(config, channels, image_size, 0)
    assert sum(parameter.numel() for parameter in backbone.parameters()) == 35_746_307
    diffusion = from_scheduler(SCHEDULER)
    assert (diffusion.schedule, diffusion.prediction) == ("linear", "eps")


@pytest.mark.parametrize(
    ("known", "reported", "others"),
    [
        (calibrate.TEST_SET, (3.06, 3.15, 3.24), (5.24,)),
        (calibrate.TRAINING_SET, (11.23678, 11.24), (9.67278, 12.0)),
        (calibrate.RAW[0], (12.13775, 12.30003, 12.4371), (11.05178, 13.45145, 14.30163)),
        (calibrate.AVERAGED[0], (3.17, 3.21213, 3.245872), (4.741088, 5.515337, 5.274105)),
        (calibrate.AVERAGED[1], (9.46,), (11.24,)),
    ],
)
def test_tolerances_hold_what_others_found_and_nothing_else(known, reported, others):
    """Others: of other weights of the networks, real images or samplers."""
    assert all(abs(value - known.value) <= known.tolerance for value in reported)
    assert all(abs(value - known.value) > known.tolerance for value in others)
