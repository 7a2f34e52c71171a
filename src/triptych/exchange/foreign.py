"""A model from another program's files, in our terms, and the run that it becomes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from torch import Tensor

from triptych.backbones.backbone import BackboneConfig
from triptych.backbones.costs import costs, outline
from triptych.checkpoints.contents import Contents
from triptych.checkpoints.durable import write_file
from triptych.checkpoints.find import FOLDER
from triptych.checkpoints.names import name_of
from triptych.checkpoints.write import NonFiniteWeights, write
from triptych.data import DataConfig
from triptych.data.dataset import Dataset
from triptych.diffusion import DiffusionConfig
from triptych.errors import UserError
from triptych.exchange.publish import published, refuse_taken
from triptych.experiment import ExperimentConfig
from triptych.recipe_files import NAME
from triptych.record.environment import versions
from triptych.record.events import DataSummary, Imported
from triptych.record.record import FILE_NAME, Record
from triptych.runs import CONFIG
from triptych.work import Watch, unwatched

USUAL_DATA = {(3, 32): "cifar10", (1, 8): "digits"}
"""What images of so many channels and pixels a side are taken for, where nothing else is said."""

UNKNOWN = "unknown"
"""What images are called of which nothing is known."""

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
"""The classes of CIFAR-10, in label order."""


@dataclass(frozen=True)
class Foreign:
    """A model that was trained elsewhere, read and checked.

    Attributes:
        layout: whose files it came in.
        source: the file of its weights.
        digest: sha256 of that file.
        backbone: sizes of its network.
        diffusion: its schedule, and what it predicts.
        channels: colour channels of its images.
        image_size: their height and width, in pixels.
        classes: number of classes, the null class not counted; 0: unconditional.
        class_names: one per class, in label order; empty where the files do not tell.
        tensors: weights under our names, float32 on the CPU.
        remarks: what was left out or taken for granted, each in a line.
    """

    layout: str
    source: str
    digest: str
    backbone: BackboneConfig
    diffusion: DiffusionConfig
    channels: int
    image_size: int
    classes: int
    class_names: tuple[str, ...]
    tensors: dict[str, Tensor]
    remarks: tuple[str, ...] = ()

    @property
    def parameters(self) -> int:
        """Number of its weights."""
        return sum(tensor.numel() for tensor in self.tensors.values())

    def guessed_data(self, name: str, path: str) -> str:
        """Return the data set with images of its size where neither is said, else an empty name."""
        return "" if name or path else USUAL_DATA.get((self.channels, self.image_size), "")

    def names_in(self, data: str) -> tuple[str, ...]:
        """Return one name per class, in label order, given the name of the data set; empty: nobody said."""
        if self.class_names:
            return self.class_names
        if data == "cifar10" and self.classes in (0, len(CIFAR10)):
            return CIFAR10
        return tuple(str(label) for label in range(self.classes or 1))

    def images(self, data_name: str, data_path: str, watch: Watch = unwatched) -> Dataset | None:
        """Return the images in `data_path`, once they have been found to be of the model's kind.

        Args:
            data_name: what they are to be called; empty: after their file or folder.
            data_path: where they lie; empty: nobody said, and there are none to look at.
            watch: sees how far their decoding has come.

        Raises:
            UserError: they cannot be read, have other channels, pixels or classes than the model, or the name
                is none for a data set.
        """
        if not data_path:
            if data_name and not NAME.fullmatch(data_name):
                remedy = "use up to 100 letters, digits, dots, - and _"
                raise UserError(f"--data.name {data_name[:40]!r}", "no name for a data set", remedy)
            return None
        # The name of a listed set leaves the choice to the files: theirs it is only if they are its own.
        config = DataConfig(data_name or "cifar10", data_path, self.image_size)
        dataset = config.load(watch)
        found, wanted = (
            f"{images.channels} channels, {images.image_size} pixels a side"
            + (f", {classes} classes" if self.classes else "")
            for images, classes in ((dataset, len(dataset.class_names)), (self, self.classes))
        )
        if found != wanted:
            raise UserError(
                f"import with --data.path {data_path}",
                f"its images have {found}, the model {wanted}",
                "give images like those that it was trained on",
            )
        return dataset

    def experiment(self, name: str, data_name: str = "", data_path: str = "") -> ExperimentConfig[Any]:
        """Return the configuration of the run that the model becomes.

        Args:
            name: of the run.
            data_name: of the data set to evaluate it on; empty: what such images usually are.
            data_path: where the data set lies; empty: in its own place.

        Raises:
            UserError: the name is none for a run's folder.
        """
        usual = USUAL_DATA.get((self.channels, self.image_size), UNKNOWN)
        return ExperimentConfig(
            backbone=self.backbone,
            name=name,
            conditional=self.classes > 0,
            data=DataConfig(name=data_name or usual, path=data_path, image_size=self.image_size),
            diffusion=self.diffusion,
        )


def write_run(
    foreign: Foreign,
    experiment: ExperimentConfig[Any],
    runs: Path,
    *,
    data_name: str = "",
    class_names: tuple[str, ...] = (),
) -> Path:
    """Write the run of an imported model, with one checkpoint that holds its weights, and return its folder.

    Args:
        foreign: the model.
        experiment: its configuration, from `Foreign.experiment`.
        runs: the folder in which runs are kept.
        data_name: what its images are said to be; empty: nobody said, and classes are called by numbers.
        class_names: of the images that it is evaluated on, for where its own files name none; empty: unseen.

    Raises:
        UserError: there is a run of that name, or the disk refuses; nothing is left behind.
    """
    folder = runs / experiment.name
    names = foreign.class_names or class_names or foreign.names_in(data_name)
    guessed = bool(foreign.guessed_data(data_name, experiment.data.path))
    event = _event(foreign, experiment, names, guessed=guessed)
    refuse_taken(folder, "import into", "choose another --name or --runs")
    try:
        with published(folder) as staged:
            write_file(staged / CONFIG, [yaml.safe_dump(experiment.fields(), sort_keys=False).encode()])
            state = {"step": 0, "epoch": 0.0, "attempt": 0, "best": []}
            write(staged / FOLDER, name_of(0), Contents({"ema": foreign.tensors}, state))
            Record(staged / FILE_NAME).append(event, step=0, attempt=0)
    except NonFiniteWeights as error:
        found = f"{error.name} is not finite everywhere"
        raise UserError(f"import {foreign.source}", found, "restore the file from where it came") from error
    except OSError as error:
        found = (error.strerror or str(error)).lower()
        raise UserError(f"import into {folder}", found, "choose another place with --runs") from error
    except UserError as error:  # of the checkpoint, which speaks of a run in training
        raise UserError(f"import into {folder}", error.found, "choose another place with --runs") from error
    return folder


def _event(
    foreign: Foreign, experiment: ExperimentConfig[Any], class_names: tuple[str, ...], *, guessed: bool
) -> Imported:
    network = outline(foreign.backbone, foreign.channels, foreign.image_size, foreign.classes)
    return Imported(
        name=experiment.name,
        config=experiment.fields(),
        data=DataSummary(
            name=experiment.data.name,
            digest="",
            channels=foreign.channels,
            image_size=foreign.image_size,
            train_images=0,
            held_out_images=0,
            class_names=class_names,
        ),
        parameters=foreign.parameters,
        conditional=experiment.conditional,
        versions=versions(),
        layout=foreign.layout,
        source=foreign.source,
        digest=foreign.digest,
        data_guessed=guessed,
        flops=costs(network).flops,
    )
