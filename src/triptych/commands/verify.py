"""`triptych verify`: check every checkpoint of runs by its bytes, and prove that training can go on."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from triptych.checkpoints.examine import Examined, examine
from triptych.checkpoints.find import FOLDER, GONE, RESUMED_FROM, all_checkpoints, lost
from triptych.checkpoints.lock import holder
from triptych.checkpoints.prune import leftovers
from triptych.commands.evaluate_options import DataPlace
from triptych.commands.recorded_checkpoints import kept, recorded
from triptych.commands.run_folders import without_bouts
from triptych.errors import UserError
from triptych.parsing import parse
from triptych.recipe_files import parse_recipe
from triptych.record.history import History
from triptych.record.record import Record

if TYPE_CHECKING:
    from triptych.commands.resume_proof import Proof

CONFIG = "config.yaml"


@dataclass(frozen=True)
class VerifyOptions:
    """Check every checkpoint of runs by its bytes, and say whether and from where training can go on.

    Nothing is written into a run's folder. With --resume, the newest whole checkpoint of each run is taken
    into a fresh training on a copy: it must come back from there bit by bit, and two steps from it, taken
    twice, must end the same.
    """

    runs: Annotated[Positional[tuple[Path, ...]], arg(metavar="RUN...")]
    """Folders of runs, such as runs/digits-unet."""
    resume: bool = False
    """Prove the resume as well."""
    device: str | None = None
    """Where to prove it; by default where the recipe trains."""
    data: DataPlace = field(default_factory=DataPlace)
    quiet: bool = False
    """Print nothing but errors."""
    json: bool = False
    """Print what was found as JSON on standard output."""


@dataclass
class Verified:
    """What was found of one run.

    Attributes:
        folder: of the run.
        checkpoints: every one of them, the oldest first, and newer ones that are gone.
        gone: names of older ones that are, though the record tells of no removal; nobody needs them.
        unfinished: saves that were never finished, by their names in the folder of checkpoints.
        writer: who writes there at this moment, in words; None: nobody.
        history: its record; None: that cannot be read.
        point: the checkpoint that training would go on from; None: there is none.
        proof: of the resume, where that was asked for and is possible.
        errors: what is wrong, for one line each.
    """

    folder: Path
    checkpoints: list[Examined] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)
    writer: str | None = None
    history: History | None = None
    point: Examined | None = None
    proof: Proof | None = None
    errors: list[UserError] = field(default_factory=list)

    @property
    def model_alone(self) -> bool:
        """Whether no training goes on in it: a model that was imported, or a small copy of a run."""
        history = self.history
        return bool(history and history.events and (history.imported or history.exported))

    @property
    def plain(self) -> dict[str, Any]:
        """All of it as plain values."""
        return {
            "run": str(self.folder),
            "checkpoints": [asdict(checkpoint) for checkpoint in self.checkpoints],
            "gone": self.gone,
            "unfinished": self.unfinished,
            "writer": self.writer,
            "resumes_from": self.point.name if self.point else None,
            "step": self.point.step if self.point else None,
            "outlook": outlook(self),
            "proof": self.proof and asdict(self.proof),
            "errors": [str(error) for error in self.errors],
        }


def run(tokens: Sequence[str]) -> int:
    """Verify what the tokens name; return the exit code."""
    options = parse(VerifyOptions, tokens, "triptych verify")
    folders = without_bouts(options.runs)
    if not folders:
        raise UserError("triptych verify", "no run given", "name the folder of one, such as runs/digits-unet")
    for folder in folders:  # a mistyped name is told before gigabytes are read
        if not (folder / FOLDER).is_dir():
            Record.of_run(folder)
    found = [verified(folder, options) for folder in folders]
    if options.json:
        json.dump([one.plain for one in found], sys.stdout, indent=1)
        print()
    errors = [error for one in found for error in one.errors]
    if len(errors) == 1:
        raise errors[0]
    if errors:
        told = "; ".join(f"{error.asked}: {error.found}" for error in errors)
        raise UserError(f"{len(errors)} faults", told, "restore what is broken from a copy")
    return 0


def verified(folder: Path, options: VerifyOptions) -> Verified:
    """Look at one run, say line by line what is found, and return it."""
    tell = partial(say, options)
    root = folder / FOLDER
    found = Verified(folder, writer=holder(folder))
    tell(str(folder))
    try:
        found.history = Record.of_run(folder).history()
        if found.history.events:
            found.history.refuse_written()
        parse_recipe(str(folder / CONFIG), (folder / CONFIG).read_text(encoding="utf-8"))
    except UserError as error:
        found.errors.append(error)
    except (OSError, UnicodeDecodeError):
        error = UserError(f"run {folder}", f"its {CONFIG} cannot be read", "restore it from a copy")
        found.errors.append(error)
    width = max((len(path.name) for path in all_checkpoints(root)), default=0)
    for checkpoint in examine(root):
        found.checkpoints.append(checkpoint)
        tell(line_of(checkpoint, width, found.model_alone))
    resumable = [one for one in found.checkpoints if set(RESUMED_FROM) <= set(one.parts)]
    found.point = resumable[-1] if resumable else None
    if found.history and not found.model_alone:
        newest = root / found.point.name if found.point else None
        for name in reversed(lost(root, recorded(found.history), newest)):
            found.checkpoints.append(Examined(name, "broken", GONE))
            tell(line_of(found.checkpoints[-1], width))
        there = {one.name for one in found.checkpoints}
        found.gone = sorted(kept(found.history) - there)
    if found.history and found.model_alone:  # of such a run every checkpoint that it had counts
        for name in sorted(kept(found.history) - {one.name for one in found.checkpoints}):
            found.checkpoints.append(Examined(name, "broken", GONE))
            tell(line_of(found.checkpoints[-1], width))
    if found.gone:
        tell(f"  gone: {some(found.gone)}; training does not need what is older than the newest")
    found.unfinished = leftovers(root)
    for name in found.unfinished:
        fate = f"{found.writer} is at it" if found.writer else "the next start clears it away"
        tell(f"  unfinished: {name}; {fate}")
    note_broken(found)
    tell(f"  {outlook(found)}")
    if options.resume:
        prove(found, options)
    return found


def line_of(checkpoint: Examined, width: int, model_alone: bool = False) -> str:
    """Return a checkpoint as one line to read; of a model alone it has all that it ever had."""
    name = f"  {checkpoint.name:<{width}}"
    if checkpoint.condition == "broken":
        return f"{name}  broken   {checkpoint.reason}"
    condition = "whole" if model_alone else checkpoint.condition
    pinned = ", pinned" if checkpoint.pinned else ""
    held = ", ".join(checkpoint.parts) or "its state alone"
    return f"{name}  {condition:<7}  {size_of(checkpoint.size)}  {held}{pinned}"


def size_of(count: int) -> str:
    """Return a number of bytes as one reads it."""
    return f"{count / 1e6:,.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def note_broken(found: Verified) -> None:
    """Add an error for the checkpoints of a run that are broken, if any are."""
    broken = [one for one in found.checkpoints if one.condition == "broken"]
    if not broken:
        return
    told = some([f"{one.name}: {one.reason}" for one in broken], "; ")
    number = f"{len(broken)} of {len(found.checkpoints)} checkpoints"
    remedy = "restore what is broken from a copy"
    if found.point:
        remedy += f"; until then training goes on from {found.point.name}"
    elif not found.model_alone:
        remedy += ", or train under another --name"
    found.errors.append(UserError(f"verify {found.folder}", f"broken: {number} ({told})", remedy))


def some(items: Sequence[str], between: str = ", ") -> str:
    """Return the first three of the items, and how many more there are."""
    more = [f"and {len(items) - 3:,} more"] if len(items) > 3 else []
    return between.join([*items[:3], *more])


def outlook(found: Verified) -> str:
    """Return in words whether training can go on, and from where."""
    if found.history is None or not found.history.events:
        return "training cannot go on: its record cannot be read, or is empty"
    if found.model_alone:
        copied = found.history.exported
        told = f"a copy of the run {copied.run} with its model alone" if copied else "imported"
        return f"{told}: there is no training to go on with"
    if found.point is None:
        if found.checkpoints:
            return "training cannot go on: no checkpoint holds all that it takes"
        return "no checkpoint yet: training begins at its start"
    step, total = found.point.step, found.history.total_steps
    place = f"{found.point.name}, step {step:,}" if step is not None else found.point.name
    if found.history.finished and step is not None and step >= total:
        return f"trained to its end; more epochs would go on from {place}"
    return f"training goes on from {place} of {total:,}"


def prove(found: Verified, options: VerifyOptions) -> None:
    """Prove the resume of a run, where there is one, and say what came of it."""
    tell = partial(say, options)
    if found.point is None or found.model_alone or found.history is None:
        tell("  no resume to prove")
        return

    from triptych.commands.resume_proof import prove_resume, sentence  # loads torch
    from triptych.commands.work_console import WorkConsole

    watch = WorkConsole(tell, quiet=options.quiet)
    try:
        found.proof = prove_resume(found.folder, found.point.name, options.device, options.data.path, watch)
    except UserError as error:
        found.errors.append(error)
        tell(f"  not proved: {error}")
    else:
        tell(f"  {sentence(found.proof)}")


def say(options: VerifyOptions, line: str) -> None:
    """Print a line: to standard output, or to standard error where that is kept for JSON."""
    if not options.quiet:
        print(line, file=sys.stderr if options.json else sys.stdout, flush=True)
