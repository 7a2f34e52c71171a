"""What `triptych train` shows: a progress bar, and a line for everything worth keeping."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from triptych.commands.forecast import Forecast
from triptych.record.events import Event, HeldOut, Previewed, Progress, Resumed, Saved, Started
from triptych.training.loop import Training


class TrainingConsole:
    """Prints the progress of one run to standard error, or nothing when `quiet`.

    Args:
        name: of the run.
        quiet: whether nothing is printed.
        price: of an hour of the machine, in any currency, for the cost to the end; None: it is not told.
    """

    def __init__(self, name: str, *, quiet: bool, price: float | None = None):
        self.name = name
        self.quiet = quiet
        self.price = price
        self._bar: tqdm | None = None
        self._forecast: Forecast | None = None
        self._held_out: dict[int, HeldOut] = {}
        """By step: a checkpoint may be safe only after the next one was measured."""

    def say(self, line: str) -> None:
        """Print a line, above the bar while there is one."""
        if not self.quiet:
            tqdm.write(line, file=sys.stderr)

    @contextmanager
    def bar(self, training: Training) -> Iterator[None]:
        """Show a bar of optimiser steps, with the time left, while this context lasts."""
        self._forecast = Forecast(training, self.price)
        self._bar = tqdm(
            total=training.clock.total_steps,
            initial=training.state.step,
            desc=self.name,
            unit="step",
            disable=self.quiet,
            dynamic_ncols=True,
            # A terminal shows a moving bar; a log file gets a line now and then.
            mininterval=0.5 if sys.stderr.isatty() else 15.0,
        )
        try:
            yield
        finally:
            self._bar.close()
            self._bar = None

    def on_step(self, step: int) -> None:
        """Move the bar, and tell once what is to be expected."""
        if self._bar is not None:
            self._bar.update(step - self._bar.n)
        if self._forecast is not None and not self.quiet and (line := self._forecast.on_step(step)):
            self.say(line)

    def hear(self, event: Event) -> None:
        """Show an event of the record."""
        match event.data:
            case Started() as started:
                parameters = (
                    f"{started.parameters / 1e6:.1f}M parameters, {started.flops / 1e9:.3g} GFLOP an image"
                )
                data = f"{started.data.train_images:,} images of {started.data.name}"
                self.say(f"{started.name}: {parameters}, {data}, {event.data.device.name}")
            case Resumed() as resumed:
                for skipped in resumed.skipped:
                    self.say(f"passed over a broken checkpoint, {skipped}")
                for name, (old, new) in resumed.changes.items():
                    self.say(f"{name}: {old} before, {new} from here on")
                place = resumed.checkpoint or "the start"
                if resumed.fault:
                    self.say(
                        f"step {resumed.fault_step:,}: {resumed.fault}; back to {place}, with other draws"
                    )
                else:
                    self.say(f"{self.name}: resumed at step {event.step} from {place}")
            case Progress() as progress if self._bar is not None:
                if progress.not_finite or progress.spikes:
                    self.say(left_out(progress))
                self._bar.set_postfix_str(
                    f"loss {progress.loss:.4f}, {progress.images_per_second:.0f} images/s", refresh=False
                )
            case HeldOut() as held_out:
                self._held_out[event.step] = held_out
            case Saved() as saved:
                mse = self._held_out.pop(event.step, None)
                self.say(f"saved {saved.checkpoint}{told_error(mse) if mse else ''}")
            case Previewed() as previewed:
                self.say(f"drew {previewed.picture} ({previewed.took:.1f} s)")

    def closing(self, folder: Path, stopped: str | None, step: int) -> None:
        """Say how it ended and what can be done next."""
        if stopped is not None and step == 0:
            self.say(f"stopped ({stopped}) before the first step; nothing was to be saved")
        elif stopped is not None:
            self.say(f"stopped ({stopped}) and saved; the same command goes on from here")
        else:
            self.say(f"trained: {folder}; next: triptych sample {folder}")


def told_error(held_out: HeldOut) -> str:
    """Return what to tell of the errors of the averages: the lower one."""
    mse = held_out.mse if held_out.long is None else min(held_out.mse, held_out.long)
    return f", held-out MSE {mse:.5f}{' (lowest so far)' if held_out.best else ''}"


def left_out(progress: Progress) -> str:
    """Return what to tell of steps that the guard left out."""
    kinds = {"loss or gradient not finite": progress.not_finite, "gradient far too large": progress.spikes}
    told = ", ".join(f"{number:,} ({kind})" for kind, number in kinds.items() if number)
    return f"steps left out: {told}"
