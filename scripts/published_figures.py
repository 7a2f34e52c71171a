"""Figures that others published, which `calibrate.py` holds this program against."""

from __future__ import annotations

from dataclasses import dataclass

MODEL = "ddpm-cifar10-32"
"""On the hub, and the folder that it is kept in."""

COUNT = 50_000
"""Images of the model's figures."""


@dataclass(frozen=True)
class Published:
    """A figure of the literature.

    Attributes:
        metric: its name.
        of: which images, and what they are compared with.
        count: how many images.
        value: what was published.
        tolerance: how far from it a figure may be that was measured alike.
        because: why so far.
        sources: where it stands.
    """

    metric: str
    of: str
    count: int
    value: float
    tolerance: float
    because: str
    sources: tuple[str, ...]


TEST_SET = Published(
    "fid",
    "the test set, against the training set",
    10_000,
    value=3.15,
    tolerance=0.1,
    because="nothing in it is random, but those who measured it print one digit, 3.1 and 3.2: 3.05 to 3.25",
    sources=(
        "https://github.com/NVlabs/stylegan2-ada/issues/53",
        "https://github.com/watsonyanghx/gan_lib_tensorflow",
    ),
)
TRAINING_SET = Published(
    "inception_score",
    "the training set",
    50_000,
    value=11.237,
    tolerance=0.1,
    because="splits are drawn: ten of them deviate by 0.095, their mean by a third of it: three times that",
    sources=("https://github.com/toshas/torch-fidelity", "arXiv 1606.03498, table 3 (11.24)"),
)
RAW = (
    Published(
        "fid",
        "DDPM's raw weights, against the training set",
        COUNT,
        value=12.30,
        tolerance=0.3,
        because="the authors' program gives 12.30, a copy of it in PyTorch 12.14, diffusers 12.44",
        sources=(
            "https://github.com/pesser/pytorch_diffusion",
            f"https://huggingface.co/google/{MODEL}/discussions/10",
        ),
    ),
)
AVERAGED = (
    Published(
        "fid",
        "DDPM's averaged weights, against the training set",
        COUNT,
        value=3.17,
        tolerance=0.15,
        because="with other noise the same weights give 3.21 and 3.25: twice the distance between these",
        sources=("arXiv 2006.11239, table 1", "https://github.com/pesser/pytorch_diffusion"),
    ),
    Published(
        "inception_score",
        "DDPM's averaged weights",
        COUNT,
        value=9.46,
        tolerance=0.15,
        because="ten splits deviate by 0.11, their mean by a third of it, here and there: three times that",
        sources=("arXiv 2006.11239, table 1",),
    ),
)
