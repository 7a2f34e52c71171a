"""What `triptych info` tells of a run or a recipe, found without an image read or a weight made."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from triptych.backbones.costs import Costs, costs, outline
from triptych.commands.memory import training_bytes
from triptych.data.dataset import ImageSizes
from triptych.experiment import ExperimentConfig, load_experiment
from triptych.record.events import Progress
from triptych.record.history import History
from triptych.report import numbers
from triptych.runs import Run
from triptych.training.clock import Clock
from triptych.training.disk import DiskNeed, disk_need, size

UNKNOWN = "not known yet"
"""What is said of images in a path before they are read."""


@dataclass(frozen=True)
class Plan:
    """What training takes as it is configured."""

    steps: int
    disk: DiskNeed


@dataclass(frozen=True)
class Done:
    """How far the training of a run came, and what it took."""

    state: str
    steps: int
    epochs: float
    seconds: float
    approximate: bool
    """Whether an attempt did not live to tell its time."""
    images_per_second: float | None
    """Median of the last attempt that recorded any."""
    seconds_left: float | None
    """Of training alone, at that rate; None where no rate is known."""
    copy: str = ""
    """Of what run, and of which of its models, it is a small copy; empty: it is the run itself."""


@dataclass(frozen=True)
class Facts:
    """All that is told of one run or recipe; None: not known, or there is no such thing."""

    name: str
    """As it was typed."""
    kind: str
    experiment: ExperimentConfig
    data: str
    images: ImageSizes
    costs: Costs
    memory: int
    """Bytes of what trains the network: weights, their average, AdamW's two averages."""
    plan: Plan | None
    done: Done | None = None

    @property
    def config(self) -> dict:
        """The resolved configuration, as plain values."""
        return self.experiment.fields()

    @property
    def plain(self) -> dict:
        """Everything but the configuration as plain values, durations in seconds and sizes in bytes."""
        return {
            "name": self.name,
            "kind": self.kind,
            "conditional": self.experiment.conditional,
            "backbone": self.config["backbone"],
            "diffusion": self.config["diffusion"],
            "data": {"name": self.data} | asdict(self.images),
            **asdict(self.costs),
            "memory_bytes": self.memory,
            "training": self._plan(),
            "done": None if self.done is None else asdict(self.done),
        }

    @property
    def groups(self) -> tuple[dict[str, str], ...]:
        """What a table shows, title by title, in groups that every run and recipe has in the same order."""
        return self._backbone(), self._network(), self._images(), self._training(), self._done()

    def _backbone(self) -> dict[str, str]:
        sizes: dict[str, Any] = asdict(self.experiment.backbone)
        kind = {"backbone": sizes.pop("kind")}
        return kind | {f"  {name.replace('_', '-')}": _text(value) for name, value in sizes.items()}

    def _network(self) -> dict[str, str]:
        classes = UNKNOWN if self.images.classes is None else str(self.images.classes)
        return {
            "parameters": numbers.millions(self.costs.parameters),
            "GFLOP per image": numbers.giga(self.costs.flops),
            "memory to train": size(self.memory),
            "classes": classes if self.experiment.conditional else "none, unconditional",
            "diffusion": " / ".join(_text(self.config["diffusion"][k]) for k in ("schedule", "prediction")),
        }

    def _images(self) -> dict[str, str]:
        images = self.images
        counts = {"images": images.train, "held out": images.held_out}
        return {
            "data": f"{self.data}, {images.channels} x {images.image_size} x {images.image_size}",
            **{title: UNKNOWN if count is None else numbers.count(count) for title, count in counts.items()},
        }

    def _plan(self) -> dict[str, int | None] | None:
        """Return what training takes; None for a model that was trained elsewhere."""
        if self.kind == "run" and self.done is None:
            return None
        training, plan = self.experiment.training, self.plan
        return {
            "epochs": training.epochs,
            "batch_size": training.batch_size,
            "steps": plan.steps if plan else None,
            "checkpoint_bytes": plan.disk.total if plan else None,
        }

    def _training(self) -> dict[str, str]:
        if (plan := self._plan()) is None:
            return {}
        steps, disk = plan["steps"], plan["checkpoint_bytes"]
        return {
            "epochs": str(plan["epochs"]),
            "batch size": str(plan["batch_size"]),
            "steps": UNKNOWN if steps is None else numbers.count(steps),
        } | self._disk(disk)

    def _disk(self, disk: int | None) -> dict[str, str]:
        """Return what checkpoints will take: of a copy there is one, and no other comes."""
        if self.done is not None and self.done.copy:
            return {}
        return {"checkpoints": UNKNOWN if disk is None else size(disk)}

    def _done(self) -> dict[str, str]:
        done = self.done
        if done is None:
            return {"state": "imported, trained elsewhere"} if self.kind == "run" else {}
        rows = {
            "state": done.state,
            "epochs done": numbers.plain(done.epochs),
            "time spent": f"{'about ' * done.approximate}{numbers.duration(done.seconds)}",
        }
        if done.images_per_second is not None:
            rows["images per second"] = f"{done.images_per_second:,.0f}"
        if done.copy:
            rows = {"state": done.copy} | {title: text for title, text in rows.items() if title != "state"}
        elif done.seconds_left:
            rows["time left"] = f"about {numbers.duration(done.seconds_left)}"
        return rows


def facts_of_recipe(recipe: str, overrides: Sequence[str]) -> Facts:
    """Return the facts of a recipe with fields overridden; `UserError` where it could not be trained so."""
    experiment = load_experiment(recipe, overrides, verb="info")
    return _facts(recipe, "recipe", experiment, experiment.data.name, experiment.data.sizes())


def facts_of_run(folder: str) -> Facts:
    """Return the facts of a run, as its record and its configuration tell them; `UserError` for no run."""
    run = Run(folder)
    history = run.record.history()
    summary = history.origin.data
    images = ImageSizes(
        summary.channels,
        summary.image_size,
        summary.train_images or None,  # of an imported model's images nobody knows the number
        summary.held_out_images or None,
        len(summary.class_names),
    )
    done = None if history.imported else _done(history, Clock(run.experiment.training, summary.train_images))
    return _facts(folder, "run", run.experiment, summary.name, images, done)


def _facts(
    name: str,
    kind: str,
    experiment: ExperimentConfig,
    data: str,
    images: ImageSizes,
    done: Done | None = None,
) -> Facts:
    # Where nobody knows how many classes there are, the network counted is that of none: it lacks the
    # embeddings of classes alone.
    classes = images.classes or 0 if experiment.conditional else 0
    network = outline(experiment.backbone, images.channels, images.image_size, classes)
    plan = None
    if images.train is not None:
        clock = Clock(experiment.training, images.train)
        plan = Plan(clock.total_steps, disk_need(clock, network))
    memory = training_bytes(network, experiment.training.averages)
    return Facts(name, kind, experiment, data, images, costs(network), memory, plan, done)


def _done(history: History, clock: Clock) -> Done:
    """Return how far a run came that was trained here."""
    last = history.attempts[-1]
    state = {"finished": "finished", "open": "unfinished, or still running"}.get(
        last.end, f"stopped ({last.reason})"
    )
    progress = history.of_kind(Progress)
    rates = [event.data.images_per_second for event in progress if event.attempt == progress[-1].attempt]
    rate = statistics.median(rates) if rates else None
    step = history.last_step
    images_left = max(0, clock.total_steps - step) * clock.config.batch_size
    return Done(
        state=state,
        steps=step,
        epochs=clock.epoch(step),
        seconds=sum(attempt.seconds for attempt in history.attempts),
        approximate=any(attempt.approximate for attempt in history.attempts),
        images_per_second=rate,
        seconds_left=images_left / rate if rate else None if images_left else 0.0,
        copy=_copy(history),
    )


def _copy(history: History) -> str:
    """Return what to tell of a small copy; nothing of a run itself."""
    if (copy := history.exported) is None:
        return ""
    return f"a copy of the run {copy.run}: {copy.checkpoint}, {copy.weights}, {copy.dtype}"


def _text(value: object) -> str:
    """Return a field as it would be typed."""
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
