"""What docs/evaluation.md says of metrics, networks and the literature is what the program has."""

import re
from pathlib import Path

import published_figures
import pytest
import torch

from triptych.downloads import PublishedFile
from triptych.evaluation.config import USUAL_METRICS
from triptych.metrics import METRICS
from triptych.metrics.extractors import EXTRACTORS, dinov2, inception
from triptych.metrics.extractors.lpips import NETWORKS

PAGE = (Path(__file__).parent.parent / "docs" / "evaluation.md").read_text(encoding="utf-8")
CLASSES = 10


class Colours:
    """What widths are asked of: images of 32x32 in ten classes."""

    images = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    labels = torch.zeros(1, dtype=torch.int64)
    class_names = tuple("0123456789")
    digest = ""


def tables() -> list[list[str]]:
    """The cells of every line of a table, without quotes of code."""
    lines = [line for line in PAGE.splitlines() if line.startswith("| ")]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines]


def files() -> list[tuple[str, PublishedFile]]:
    of_lpips = [(name, file) for name, of in NETWORKS.items() for file in (of.trunk, of.heads)]
    return [("inception", inception.WEIGHTS), *of_lpips, ("dinov2", dinov2.WEIGHTS)]


def test_every_metric_has_its_line():
    told = {row[0]: row for row in tables() if row[0] in METRICS and len(row) == 6}
    assert told.keys() == METRICS.keys()
    for name, metric in METRICS.items():
        widths = EXTRACTORS[metric.extractor].widths(Colours())
        least = metric.least(widths.__getitem__, CLASSES)
        fewest = told[name][5].replace(",", "").replace("K + 1", str(CLASSES + 1))
        assert (told[name][1], told[name][3], int(fewest)) == (metric.extractor, metric.better, least), name


def test_what_is_usual_is_listed():
    listed = PAGE.partition("Where nobody says otherwise, five")[2].partition("The **classifier**")[0]
    assert tuple(re.findall(r"`(\w+)`", listed)) == USUAL_METRICS


@pytest.mark.parametrize(("network", "file"), files(), ids=[file.name for _, file in files()])
def test_every_file_of_weights_has_its_line(network: str, file: PublishedFile):
    (row,) = [row for row in tables() if f"[`{file.name}`]({file.url})" in row]
    assert row[3] == file.checksum
    assert float(row[2].replace(",", "")) == pytest.approx(file.size / 1e6, rel=1e-3, abs=1e-3)
    if row[0]:
        assert row[0] == network


def test_published_figures_are_those_of_the_calibration():
    known = [
        published_figures.TEST_SET,
        published_figures.TRAINING_SET,
        *published_figures.RAW,
        *published_figures.AVERAGED,
    ]
    told = [row[1] for row in tables() if re.fullmatch(r"[\d.]+ ± [\d.]+", row[1])]
    assert told == [f"{figure.value:g} ± {figure.tolerance:g}" for figure in known]
