"""What the events of a run add up to: which of them still hold, how far it came, what it took.

Events that a later attempt resumed before are void: their steps were taken again. They stay in the file, and
the time they took stays in the totals, since it was spent.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from triptych.errors import UserError
from triptych.record.events import (
    DIVERGED,
    Device,
    Evaluated,
    Event,
    Exported,
    Finished,
    HeldOut,
    Imported,
    P,
    Progress,
    Resumed,
    Sampled,
    Saved,
    Started,
    Stopped,
    Times,
)


def valid_events(events: Sequence[Event]) -> tuple[Event, ...]:
    """Drop what was voided: a resume at step s of attempt a voids steps above s of the attempts before a."""
    resumes = [(event.attempt, event.step) for event in events if isinstance(event.data, Resumed)]
    limits = {
        attempt: min((step for later, step in resumes if later > attempt), default=None)
        for attempt in {event.attempt for event in events}
    }
    return tuple(e for e in events if (limit := limits[e.attempt]) is None or e.step <= limit)


def lowest_error(held_out: HeldOut) -> tuple[float, str]:
    """Return the lower of the held-out errors of a checkpoint's averages, and which of them has it.

    The first of equals, `ema`, goes before the second, `ema_long`; NaN only where there is nothing else.
    """
    errors = {"ema": held_out.mse, "ema_long": held_out.long}
    known = [(error, name) for name, error in errors.items() if error is not None and not math.isnan(error)]
    return min(known, key=lambda entry: entry[0], default=(math.nan, "ema"))


@dataclass(frozen=True)
class Attempt:
    """One stretch of training, from a start or a resume to its end."""

    number: int
    device: Device
    checkpoint: str
    """Folder name of the checkpoint it went on from; empty where it began at step 0."""
    skipped: tuple[str, ...]
    """Newer checkpoints that were found broken and passed over, each `folder: reason`."""
    changes: dict[str, tuple]
    """Configuration fields that it changed: name -> (old, new)."""
    first_step: int
    last_step: int
    """The last step that it recorded, whether kept or not."""
    kept_step: int
    """The last step that no later attempt took again; `first_step` where nothing was kept."""
    end: Literal["finished", "stopped", "open"]
    """`open`: still running, or killed: nothing in a record tells these apart."""
    reason: str
    """Why it stopped (`SIGTERM`, `max-minutes`, ...); empty unless it did."""
    seconds: float
    approximate: bool
    """True when it did not live to write its times, and `seconds` is from its first event to its last; or
    when they were written down as such."""
    times: Times | None
    ranks: int = 1
    """Processes that trained."""
    fault: str = ""
    """Why training went back by itself to where this attempt begins; empty where it was started."""
    fault_step: int | None = None
    """Steps taken when that was found."""


@dataclass(frozen=True)
class History:
    """The events of one run in the order written, and the questions that training and reports ask of them."""

    events: tuple[Event, ...]
    path: Path
    """Where they were read, for messages."""

    @cached_property
    def valid(self) -> tuple[Event, ...]:
        """The events that still hold."""
        return valid_events(self.events)

    def of_kind(self, payload: type[P]) -> tuple[Event[P], ...]:
        """The events with this payload that still hold."""
        return tuple(event for event in self.valid if isinstance(event.data, payload))

    @cached_property
    def origin(self) -> Started | Imported:
        """The run's first event, a start or an import; UserError where the record has none."""
        for event in self.events:
            if isinstance(event.data, Started | Imported):
                return event.data
        raise UserError(f"reading {self.path}", "it holds no start of a run", "train the run first")

    @property
    def started(self) -> Started:
        """The start of a run that was trained here; UserError where there is none."""
        if isinstance(self.origin, Started):
            return self.origin
        found = f"it was trained elsewhere, and imported ({self.origin.source})"
        raise UserError(f"training of {self.path.parent}", found, "sample, evaluate or export it")

    @property
    def imported(self) -> Imported | None:
        """The import of a model that was trained elsewhere; None for a run that was trained here."""
        return self.origin if isinstance(self.origin, Imported) else None

    @property
    def exported(self) -> Exported | None:
        """What became of the run where this is a small copy of it; None: it is the run itself."""
        return next((e.data for e in reversed(self.events) if isinstance(e.data, Exported)), None)

    def refuse_written(self) -> None:
        """Raise `UserError` where a person wrote the run's figures down, so that there is no model in it."""
        if isinstance(self.origin, Started) and self.origin.written_in:
            found = f"it holds figures from {self.origin.written_in}, and no model"
            raise UserError(f"run {self.path.parent}", found, "report it beside others")

    @property
    def faults(self) -> int:
        """How often training went astray, whether those steps still hold or not."""
        stops = [event.data for event in self.events if isinstance(event.data, Stopped)]
        return sum(stopped.reason == DIVERGED for stopped in stops)

    @property
    def returned_to(self) -> str | None:
        """The checkpoint that training went back to by itself, if nothing was saved since."""
        place = None
        for event in self.events:
            if isinstance(event.data, Resumed) and event.data.fault:
                place = event.data.checkpoint
            elif isinstance(event.data, Saved) and event.data.took is not None:  # None: noted afterwards
                place = None
        return place

    @property
    def attempt(self) -> int:
        """Number of the current attempt; -1 before the first start."""
        return max((event.attempt for event in self.events), default=-1)

    @property
    def total_steps(self) -> int:
        """Steps that the run is to take in all, as of the last start or resume."""
        resumes = [event.data for event in self.events if isinstance(event.data, Resumed)]
        return resumes[-1].total_steps if resumes else self.started.total_steps

    @cached_property
    def config(self) -> dict:
        """The resolved configuration with the changes of every resume applied (fields named `part.field`)."""
        config = copy.deepcopy(self.origin.config)
        for event in self.events:
            if isinstance(event.data, Resumed):
                for name, (_, new) in event.data.changes.items():
                    *parts, field = name.replace("-", "_").split(".")
                    branch = config
                    for part in parts:
                        branch = branch.setdefault(part, {})
                    branch[field] = new
        return config

    @property
    def last_progress(self) -> Event[Progress] | None:
        """The newest training figures that still hold."""
        return next(iter(reversed(self.of_kind(Progress))), None)

    @property
    def best_held_out(self) -> Event[HeldOut] | None:
        """The lowest held-out mean squared error that still holds, of either average of the weights.

        The earliest of equals; NaN never wins.
        """
        measured = [e for e in self.of_kind(HeldOut) if not math.isnan(lowest_error(e.data)[0])]
        return min(measured, key=lambda event: lowest_error(event.data)[0], default=None)

    @cached_property
    def attempts(self) -> tuple[Attempt, ...]:
        """Every attempt in order, with its time, whether its steps still hold or not."""
        beside = Imported | Sampled | Evaluated | Exported
        training = [event for event in self.events if not isinstance(event.data, beside)]
        numbers = sorted({event.attempt for event in training})
        stretches = [[event for event in training if event.attempt == number] for number in numbers]
        return tuple(
            _attempt(stretch, [later[0].step for later in stretches[i + 1 :]])
            for i, stretch in enumerate(stretches)
        )

    @property
    def finished(self) -> bool:
        """Whether the run took its last step, and was not extended since."""
        return bool(self.attempts) and self.attempts[-1].end == "finished"

    @property
    def last_step(self) -> int:
        """The last step recorded that still holds."""
        return self.attempts[-1].last_step if self.attempts else 0


def _attempt(events: list[Event], later_starts: list[int]) -> Attempt:
    """Sum up the training events of one attempt, given the first steps of the attempts after it."""
    first, last = events[0], events[-1]
    if not isinstance(first.data, Started | Resumed):
        raise UserError(
            f"attempt {first.attempt} of the record",
            f"it begins with {first.kind!r}, not with a start or a resume",
            "restore the record from a copy",
        )
    resumed = first.data if isinstance(first.data, Resumed) else None
    ending = last.data if isinstance(last.data, Stopped | Finished) else None
    last_step = max(event.step for event in events)
    return Attempt(
        number=first.attempt,
        device=first.data.device,
        checkpoint=resumed.checkpoint if resumed else "",
        skipped=resumed.skipped if resumed else (),
        changes=resumed.changes if resumed else {},
        first_step=first.step,
        last_step=last_step,
        kept_step=max(first.step, min([last_step, *later_starts])),
        end="open" if ending is None else "finished" if isinstance(ending, Finished) else "stopped",
        reason=ending.reason if isinstance(ending, Stopped) else "",
        seconds=ending.times.total if ending else last.seconds - first.seconds,
        approximate=ending is None or ending.times.approximate,
        times=ending.times if ending else None,
        ranks=first.data.ranks,
        fault=resumed.fault if resumed else "",
        fault_step=resumed.fault_step if resumed else None,
    )
