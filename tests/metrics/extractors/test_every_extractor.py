"""What holds for every extractor of the list, before any of them is there."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from triptych.data.dataset import ImageSet
from triptych.metrics import METRICS
from triptych.metrics.extractors import EXTRACTORS

COUNTED = """
import sys
from torch import nn
built, make = [], nn.Module.__init__
def counted(self, *arguments, **named):
    built.append(type(self).__name__)
    make(self, *arguments, **named)
nn.Module.__init__ = counted
from triptych.metrics import METRICS
from triptych.metrics.extractors import EXTRACTORS
print(len(EXTRACTORS), built, sorted({"scipy", "torchvision", "torchmetrics"} & set(sys.modules)))
"""


def test_to_list_them_builds_no_network():
    out = subprocess.run([sys.executable, "-c", COUNTED], capture_output=True, text=True, check=True)
    assert out.stdout.splitlines()[-1] == f"{len(EXTRACTORS)} [] []"


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ImageSet]:
    """Black images in colour, for which nothing may be fetched."""
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path))
    images = torch.zeros(20, 3, 32, 32, dtype=torch.uint8)
    yield ImageSet("black", images, torch.arange(20) % 2, ("one", "other"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", EXTRACTORS)
def test_what_it_gives_is_known_before_it_is_there(name: str, train: ImageSet):
    widths = EXTRACTORS[name].widths(train)
    assert widths
    assert all(width > 0 for width in widths.values())


@pytest.mark.parametrize("name", METRICS)
def test_it_gives_what_metrics_read(name: str, train: ImageSet):
    metric = METRICS[name]
    assert metric.feature in EXTRACTORS[metric.extractor].widths(train)
