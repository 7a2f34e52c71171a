"""The options of `triptych evaluate`. Imports no torch."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import OmitArgPrefixes, Positional, arg

from triptych.commands.sampler_options import SamplerOptions
from triptych.errors import UserError
from triptych.parsing import refuse_below_one


@dataclass(frozen=True)
class DataPlace:
    """The run's images."""

    path: str = ""
    """Where they lie now; by default where the run's configuration says. Other images are refused."""


@dataclass(frozen=True)
class EvaluateOptions:
    """Measure images of runs against real ones: one row for every combination of what is listed.

    Every row has the same noise, so that rows differ by what they name and not by chance. Each figure stands
    beside that of equally many real images. Rows that the record already holds are not drawn again, and what
    was cut off goes on where it was. Started by torchrun, the processes share out the images of every row.

    With --images and --reference, pictures of any program are measured, without a run and without a model.
    """

    runs: Annotated[Positional[tuple[Path, ...]], arg(metavar="RUN...")]
    """Folders of runs, such as runs/digits-unet."""
    images: Path | None = None
    """In place of runs: a folder of pictures, which lie in it or in a folder for each class, or an .npz with
    uint8 images in arr_0 [N, H, W, C], and in arr_1 labels if any. They are measured as they are stored."""
    reference: str | None = None
    """What the pictures of --images are compared with: digits, cifar10, or a folder of pictures, an .npz,
    parquet files, CIFAR-10's archive. Labels of pictures count where their classes are those of these."""
    checkpoint: tuple[str, ...] = ()
    """Checkpoints: last, best-mse, epoch-350 or 350, best-fid or best- and another metric that was measured;
    by default the recipe's."""
    guidance: tuple[float, ...] = ()
    """Guidance scales; by default the recipe's. Beside scales above 1 the row without guidance is measured
    too, whether named or not."""
    guide: tuple[str, ...] = ()
    """How scales above 1 guide: cfg (everywhere alike), with options such as cfg,above=0.2,below=3 (only
    there), cfg,shape=linear, cfg,rescale=0.7, cfg,against=epoch-10 (another checkpoint); or apg. By default
    the recipe's."""
    unguided: bool = True
    """Whether that row is measured where nobody named it."""
    sampler: tuple[str, ...] = ()
    """Samplers with their steps and options, such as ddim:50 ddpm:1000, or presets: parity (these two),
    quality, fast, guided; by default the recipe's."""
    count: int | None = None
    """Images of each row; by default the recipe's, or as many as the held-out split has, in equal classes.
    Of --images the first so many, of each class's folder in turn; by default all."""
    protocol: str | None = None
    """Images of each row and the split of real ones that they are compared with: 10k/test, 50k/train."""
    metrics: tuple[str, ...] = ()
    """What is measured: metrics, or names of networks for all that is read from them: inception, lpips,
    lpips_vgg, dinov2, classifier. The first metric ranks the rows. By default the recipe's; for --images
    fid, inception_score, kid, precision and recall."""
    screen: int | None = None
    """Images of each row of a first, cheap round, after which the rows to confirm are chosen."""
    confirm: int | None = None
    """The best rows, so many of them, are measured again with fresh noise and all images: a row that is best
    of many by chance is found out."""
    ema: tuple[str, ...] = ()
    """Averages of the weights: ema, ema_long (slower), best (of these the one with the lower held-out error
    at the checkpoint), or none for the raw weights. By default ema; of best-fid and the like, what was
    best."""
    seed: tuple[int, ...] = (0,)
    """Of all noise; several give a row each, which tell how far a figure scatters by chance."""
    batch_size: int | None = None
    """Images drawn at a time, or of --images measured; by default the recipe's. Changes no noise."""
    device: str | None = None
    """Where to compute; by default the recipe's, and for --images what there is."""
    precision: Literal["auto", "float32", "bf16", "fp16"] | None = None
    """Of the network; by default what suits the device."""
    data: DataPlace = field(default_factory=DataPlace)
    again: bool = False
    """Measure rows anew that the record already holds."""
    force: bool = False
    """Measure even fewer images than a metric needs; read such figures with care."""
    quiet: bool = False
    """Print nothing but errors."""
    json: bool = False
    """Print the rows as JSON on standard output."""
    details: OmitArgPrefixes[SamplerOptions] = field(default_factory=SamplerOptions)


OF_PICTURES = {
    "images",
    "reference",
    "count",
    "protocol",
    "metrics",
    "batch_size",
    "device",
    "force",
    "quiet",
    "json",
}
"""Options that mean something without a run; any other is refused beside --images."""


def check(options: EvaluateOptions) -> None:
    """Raise `UserError` for options that do not go together, or are out of range."""
    refuse_below_one(
        count=options.count, batch_size=options.batch_size, screen=options.screen, confirm=options.confirm
    )
    if options.count is not None and options.protocol is not None:
        asked = f"--count {options.count} --protocol {options.protocol}"
        raise UserError(asked, "both say how many images", "give one of them")
    if options.images is not None or options.reference is not None:
        _check_images(options)
        return
    if not options.runs:
        raise UserError(
            "triptych evaluate", "no run is named", "name one: triptych evaluate runs/digits-unet"
        )
    if options.screen is not None and options.confirm is None:
        remedy = "add --confirm 3, or give the number with --count"
        raise UserError(f"--screen {options.screen}", "nothing says how many rows to confirm", remedy)


def _check_images(options: EvaluateOptions) -> None:
    """Raise `UserError` for what does not go together with --images and --reference."""
    if options.images is None:
        remedy = "name them with --images; a run is measured against its own data set, or --data.path"
        raise UserError(f"--reference {options.reference}", "no pictures to compare with it", remedy)
    asked = f"--images {options.images}"
    if options.runs:
        found = f"a run is named beside it, {options.runs[0]}"
        raise UserError(asked, found, "measure the one or the other")
    if not options.reference:
        remedy = "add --reference: digits, cifar10, a folder, an .npz"
        raise UserError(asked, "nothing to compare them with", remedy)
    if options.data != DataPlace():
        found = "--data.path is about runs, and pictures are compared with a reference"
        raise UserError(asked, found, f"say --reference {options.data.path}")
    given, usual = (vars(each) | vars(each.details) for each in (options, EvaluateOptions(runs=())))
    for name in sorted(given.keys() - OF_PICTURES - {"details"}):
        if given[name] != usual[name]:
            found = f"--{name.replace('_', '-')} is about models, and pictures are measured without one"
            raise UserError(asked, found, "leave it out")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError(asked, "pictures are measured by one process", "leave torchrun out")
