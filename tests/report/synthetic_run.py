"""Synthetic runs: records as training, sampling and evaluation write them, with chosen figures."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from pathlib import Path

from triptych.jackknife import jackknife_spread
from triptych.record.events import (
    DataSummary,
    Device,
    Evaluated,
    Figure,
    Finished,
    HeldOut,
    Passport,
    Previewed,
    Progress,
    Resumed,
    Sampled,
    Saved,
    Started,
    Stopped,
    Times,
)
from triptych.record.record import Record

V100 = Device("V100 32G", 5, 8)
ONE_V100 = Device("V100 32G", 1, 8)
VERSIONS = {"triptych": "0.1.0", "python": "3.11.7", "torch": "2.13.0", "commit": "0123456789abcdef"}
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR10 = DataSummary("cifar10", "c" * 64, 3, 32, 50_000, 10_000, CLASSES)
START = 1_766_399_700.0  # 2025-12-22 10:35:00 UTC
STEPS_PER_EPOCH = 50_000 / 128


DIFFUSION = {"schedule": "linear", "prediction": "eps"}


def config(name: str, backbone: str, seed: int = 0, **training: object) -> dict:
    """Return a resolved configuration like the experiment log's."""
    return {
        "name": name,
        "seed": seed,
        "device": "cuda",
        "data": {"name": "cifar10", "path": None},
        "backbone": {"kind": backbone},
        "diffusion": dict(DIFFUSION),
        "training": {
            "epochs": 4000,
            "batch_size": 128,
            "learning_rate": 1e-4,
            "learning_rate_schedule": "cosine",
            "warmup_epochs": 20,
            "checkpoint_every": 50,
            "preview_from": 500,
            "preview_every": 50,
            "preview_count": 16,
            "preview_guidance": 1.3,
            "preview_sampler": "ddim:50",
        }
        | training,
        "sampling": {"guidance": 3.0},
    }


class RunWriter:
    """Writes the record of one synthetic run, event by event, as time goes by."""

    def __init__(
        self,
        folder: Path,
        *,
        conditional: bool = True,
        backbone: str = "dim",
        flops: float = 12_443_713_536,
        ranks: int = 1,
        seed: int = 0,
        **training: object,
    ):
        folder.mkdir(parents=True)
        self.folder, self.record = folder, Record(folder / "record.jsonl")
        self.now, self.attempt, self.conditional = START, 0, conditional
        self.config = config(folder.name, backbone, seed, **training)
        self.total_steps = round(self.config["training"]["epochs"] * STEPS_PER_EPOCH)
        self.append(
            Started(
                name=folder.name,
                config=self.config,
                data=CIFAR10,
                parameters=35_746_307,
                conditional=conditional,
                device=V100,
                versions=VERSIONS,
                steps_per_epoch=STEPS_PER_EPOCH,
                total_steps=self.total_steps,
                flops=flops,
                ranks=ranks,
            ),
            0,
        )

    def append(self, payload: object, epoch: float) -> None:
        """Write an event that happened at `epoch`."""
        self.record.append(payload, round(epoch * STEPS_PER_EPOCH), self.attempt, self.now)

    def train(self, epochs: range, *, lowest: float = 0.03) -> None:
        """Write epochs of 45 seconds, `epochs.step` to an event; the held-out error is lowest at 3350."""
        for epoch in epochs:
            self.now += 45.0 * epochs.step
            self.append(Progress(epoch, 0.03 + 0.1 / epoch, 1.0, 1e-4, 1111.0), epoch)
            if epoch % 50 == 0:
                mse = lowest + abs(epoch - 3350) * 1e-6
                self.append(HeldOut(epoch, mse, best=epoch <= 3350, took=2.0), epoch)
                self.append(Saved(epoch, f"epoch-{epoch:05d}", 143_000_000, 1.5, ()), epoch)
                if epoch >= 500:
                    self.now += 51.0
                    picture = f"previews/epoch-{epoch:05d}.png"
                    self.append(Previewed(epoch, picture, "ddim:50", 1.3, 16, 51.0), epoch)

    def resume(self, epoch: float, **changes: tuple) -> None:
        """Begin another attempt at `epoch`."""
        self.attempt += 1
        self.now += 86_400.0
        changed = {f"training.{name}": pair for name, pair in changes.items()}
        if "epochs" in changes:
            self.total_steps = round(changes["epochs"][1] * STEPS_PER_EPOCH)
        resumed = Resumed(f"epoch-{epoch:05d}", (), changed, V100, VERSIONS, self.total_steps)
        self.append(resumed, epoch)

    def finish(self, epoch: float, total: float) -> None:
        """End the attempt at its last step after `total` seconds."""
        self.append(Finished(epoch, self.times(total)), epoch)

    def stop(self, epoch: float, total: float, reason: str = "SIGTERM") -> None:
        """End the attempt before its last step."""
        self.append(Stopped(epoch, reason, self.times(total)), epoch)

    @staticmethod
    def times(total: float) -> Times:
        return Times(total * 0.9, total * 0.02, total * 0.05, total * 0.01, total)

    def sample(
        self,
        epoch: int,
        sampler: str,
        took: float,
        *,
        gif: bool = False,
        guidance: float = 3.0,
        precision: str = "float32",
        weights: str = "ema",
        side_by_side: str | None = None,
    ) -> None:
        """Draw eight images per class, or 1,024 of an unconditional run."""
        name = f"samples/epoch-{epoch:05d} {sampler.replace(':', '-')}{weights.removeprefix('ema')}"
        self.append(
            Sampled(
                epoch=epoch,
                checkpoint=f"epoch-{epoch:05d}",
                weights=weights,
                sampler=sampler,
                guidance=guidance if self.conditional else 0.0,
                clip=True,
                seed=0,
                count=80 if self.conditional else 1024,
                per_class=8 if self.conditional else None,
                grid=f"{name}.png",
                gif=f"{name}.gif" if gif else None,
                network_calls=50,
                took=took,
                device=ONE_V100,
                precision=precision,
                side_by_side=side_by_side,
            ),
            epoch,
        )

    def passport(self, epoch: int, sampler: str = "ddim:50", guidance: float | None = None) -> Passport:
        """Return where a figure of this run comes from."""
        usual = 3.0 if self.conditional else 0.0
        return Passport(
            checkpoint=f"epoch-{epoch:05d}",
            epoch=epoch,
            weights="ema",
            sampler=sampler,
            guidance=usual if guidance is None else guidance,
            clip=True,
            seed=0,
            count=10_000,
            reference="cifar10/test",
            reference_digest="a" * 64,
            reference_count=10_000,
            extractors={"inception-2015-12-05": "b" * 64},
            versions=VERSIONS,
            device=ONE_V100,
        )

    def evaluate(
        self, epoch: int, figures: tuple[Figure, ...], took: float = 3600.0, **passport: object
    ) -> None:
        """Measure a checkpoint; `passport` replaces fields of the usual one."""
        chosen = {name: passport.pop(name) for name in ("sampler", "guidance") if name in passport}
        row = {name: passport.pop(name) for name in ("network_calls", "nearest") if name in passport}
        self.append(
            Evaluated(
                passport=replace(self.passport(epoch, **chosen), **passport),
                figures=figures,
                batch_size=512,
                generation_took=took,
                measuring_took=took / 60,
                **({"network_calls": 50} | row),
            ),
            epoch,
        )


def fid(estimate: float, spread: float | None = 0.05) -> Figure:
    """Return a Fréchet Inception distance."""
    return Figure("fid", estimate, spread, 3.105)


def inception_score(estimate: float, split_std: float) -> Figure:
    """Return an Inception Score with its deviation over splits."""
    return Figure("inception_score", estimate, None, 11.237, split_std=split_std)


def jackknifed(metric: str, estimate: float, real: float, *, noise: float, own: float, seed: int) -> Figure:
    """Return a figure with ten groups, scattered by `noise` that all rows share and by what is its own."""
    shared, alone = random.Random(f"all rows of {metric}"), random.Random(f"{metric} {seed}")
    groups = [noise * shared.gauss(0, 1) + own * alone.gauss(0, 1) for _ in range(10)]
    mean = math.fsum(groups) / 10
    left_out = tuple(estimate + (mean - group) / 9 for group in groups)
    return Figure(
        metric, estimate, jackknife_spread(left_out), real, groups=left_out, n=10_000, real_n=10_000
    )


def sweep(run: RunWriter) -> None:
    """Evaluate 3 checkpoints x 4 guidance scales x 2 samplers with 2 numbers of steps of a trained run.

    The best scale is 1.5; fewer steps are a little worse, later checkpoints better.
    """
    draws = random.Random(0)
    for epoch in (2000, 3350, 4000):
        for scale in (1.0, 1.5, 2.0, 3.0):
            for sampler, calls, loss in (
                ("ddim:20", 20, 1.6),
                ("ddim:50", 50, 0.5),
                ("heun:10", 20, 0.7),
                ("heun:25", 50, 0.45),
            ):
                seed = draws.randrange(10**6)
                late = {2000: 2.0, 3350: 0.02, 4000: 0.0}[epoch]
                distance = 6.0 + late + loss + 3 * abs(math.log(scale / 1.5)) ** 1.5 + draws.gauss(0, 0.03)
                score = 9.5 + math.log(scale) - 0.2 * late - 0.1 * loss + draws.gauss(0, 0.02)
                by_class = tuple(0.9 + 0.08 * draws.random() for _ in CLASSES)
                spread = tuple(3.0 + draws.random() - 0.3 * scale for _ in CLASSES)
                figures = (
                    jackknifed("fid", distance, 3.105, noise=0.5, own=0.1, seed=seed),
                    jackknifed("inception_score", score, 11.237, noise=0.3, own=0.1, seed=seed),
                    replace(
                        jackknifed(
                            "classifier_accuracy", sum(by_class) / 10, 0.95, noise=0.01, own=0.01, seed=seed
                        ),
                        per_class=by_class,
                        real_per_class=tuple(0.95 + 0.04 * draws.random() for _ in CLASSES),
                    ),
                    replace(
                        jackknifed(
                            "diversity_classifier", sum(spread) / 10, 3.4, noise=0.1, own=0.03, seed=seed
                        ),
                        per_class=spread,
                        real_per_class=tuple(3.2 + 0.4 * draws.random() for _ in CLASSES),
                    ),
                )
                calls *= 1 if scale == 1 else 2
                run.evaluate(
                    epoch,
                    figures,
                    sampler=sampler,
                    guidance=scale,
                    network_calls=calls,
                    took=calls * 7.2 * (1 + 0.02 * draws.random()),
                )
