"""Hold every sampler against the exact path of a mixture whose best denoiser has a closed form.

    python scripts/samplers_on_mixture.py --calls 6 10 20 36 --guidance 1 2

The mixture is one normal distribution around each of 1,442 handwritten digits, so that it is shaped as real
images are, and no network's error is in the way. Every sampler starts from the same noise, on the grid that
suits it best; what is told is how far its images end from those of the path itself (the same one walked by
Heun in a thousand steps): the root mean square over pixels, in grey levels of 255, of the median image, since
a few lie where the path forks. A Markdown table is printed for each guidance scale. What stochastic samplers
do cannot be told that way; they are left out.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from triptych.data import digits
from triptych.diffusion.noise_level import NoiseLevel
from triptych.diffusion.schedules import SCHEDULES
from triptych.guidance import PLAIN
from triptych.images import to_network
from triptych.random import Stream, normal
from triptych.sampling import SAMPLERS, named_sampler
from triptych.sampling.sampler import sample

DEVIATION = 0.2
"""Of each component, of pixels from -1 to 1."""
FINE = {"trailing": "heun:1000,spacing=trailing", "log-snr": "heun:1000,spacing=karras"}
FINE["karras"] = FINE["log-snr"]
"""What walks the path itself: from where a grid begins, pure noise or rho = 80."""
SPACINGS = "trailing", "log-snr", "karras"
STOCHASTIC = {"ddpm"}
ORDERS = {"dpm++": (2, 3)}
"""Orders that are set beside each other."""


@dataclass(frozen=True)
class Mixture:
    """One normal distribution around each image, with the class of the image.

    Attributes:
        centres: float64 [N, D].
        labels: int64 [N].
    """

    centres: Tensor
    labels: Tensor

    @classmethod
    def of_digits(cls) -> Mixture:
        """Return that of the training split of the digits."""
        images = digits.load().train
        return cls(to_network(images.images).double().flatten(1), images.labels)

    def posterior_mean(self, x: Tensor, level: NoiseLevel, label: Tensor | None) -> Tensor:
        """Return E[x_0 | x_t], float64 [B, D], of all components or of those of a class each, int64 [B]."""
        alpha, sigma = float(level.alpha), float(level.sigma)
        variance = (alpha * DEVIATION) ** 2 + sigma**2
        logits = -torch.cdist(x, alpha * self.centres).square() / (2 * variance)
        if label is not None:
            logits = logits.masked_fill(self.labels != label[:, None], -math.inf)
        mean = logits.softmax(1) @ self.centres
        return mean + alpha * DEVIATION**2 / variance * (x - alpha * mean)

    def endpoints(self, spec: str, scale: float, count: int, schedule: str) -> tuple[Tensor, int]:
        """Return where a sampler ends, float64 [count, D], and how often it asked for a prediction an image.

        A guided step asks twice, as it does of a network.
        """
        config, own = named_sampler(spec, clip=False), SCHEDULES[schedule]()
        index = torch.arange(count)
        label = index % (int(self.labels.max()) + 1)
        calls = 0

        def denoise(x: Tensor, level: NoiseLevel) -> Tensor:
            nonlocal calls
            calls += 1 if scale in (0, 1) else 2
            if scale in (0, 1):
                return self.posterior_mean(x, level, label if scale else None)
            both = (self.posterior_mean(x, level, told) for told in (label, None))
            return PLAIN.led(*both, scale, None)[0]

        levels = config.levels(own)
        eps = normal(0, Stream.INITIAL_NOISE, 0, index, self.centres.shape[1:]).double()
        x = eps * math.hypot(float(levels[0].alpha), float(levels[0].sigma))
        for step in sample(config.build(), denoise, levels, x, lambda i: torch.zeros_like(eps)):
            x = step.x
        return x, calls


def grey_levels(x: Tensor, truth: Tensor) -> float:
    """Return how far apart images [N, D] of values from -1 to 1 are: in grey levels, of the median one."""
    return 127.5 * float((x - truth).square().mean(1).sqrt().median())


def specs(calls: int, per_step: int) -> Iterable[tuple[str, str, str]]:
    """Return samplers that take so many calls an image: their names, what they are, their grid."""
    for name in SAMPLERS:
        if name in STOCHASTIC or name == "euler":  # which is DDIM
            continue
        further = SAMPLERS[name].calls_per_step - 1
        steps = max(1, (calls // per_step + further) // (1 + further))  # the last step has one call
        for order in ORDERS.get(name, (None,)):
            for spacing in SPACINGS:
                option = "" if order is None else f",order={order}"
                yield f"{name}{option}", f"{name}:{steps}{option},spacing={spacing}", spacing


def errors(
    mixture: Mixture, calls: Sequence[int], scale: float, count: int, schedule: str
) -> dict[str, dict[int, tuple[float, str]]]:
    """Return each sampler's error by its calls, in grey levels, on the grid where it is least, and which."""
    truths = {fine: mixture.endpoints(fine, scale, count, schedule)[0] for fine in set(FINE.values())}
    found: dict[str, dict[int, tuple[float, str]]] = {}
    for asked in calls:
        for name, spec, spacing in specs(asked, 1 if scale in (0, 1) else 2):
            x, _ = mixture.endpoints(spec, scale, count, schedule)
            error = grey_levels(x, truths[FINE[spacing]])
            best = found.setdefault(name, {}).get(asked)
            if best is None or error < best[0]:
                found[name][asked] = error, spacing
    return found


def table(found: dict[str, dict[int, tuple[float, str]]], calls: Sequence[int]) -> str:
    """Return errors as a Markdown table, the least of each column in bold."""
    lines = [f"| calls | {' | '.join(map(str, calls))} |", f"|---{'|---' * len(calls)}|"]
    least = {asked: min(row[asked][0] for row in found.values()) for asked in calls}
    for name, row in found.items():
        cells = []
        for asked in calls:
            error, spacing = row[asked]
            text = f"**{error:.2f}**" if error == least[asked] else f"{error:.2f}"
            cells.append(f"{text} {spacing}")
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, nargs="+", default=[6, 10, 20, 36])
    parser.add_argument("--guidance", type=float, nargs="+", default=[1.0, 2.0])
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--schedule", choices=SCHEDULES, default="flow")
    options = parser.parse_args()
    mixture = Mixture.of_digits()
    for scale in options.guidance:
        print(f"\nguidance {scale:g}, {options.count} images, schedule {options.schedule}:\n")
        found = errors(mixture, options.calls, scale, options.count, options.schedule)
        print(table(found, options.calls), flush=True)


if __name__ == "__main__":
    main()
