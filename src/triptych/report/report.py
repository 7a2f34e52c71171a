"""From run folders to a file: read the records, compose the document, write it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from triptych.errors import UserError
from triptych.report.assets import Assets
from triptych.report.language import Language
from triptych.report.markdown import markdown
from triptych.report.run import Run
from triptych.report.sections import compose

FILE_NAMES = {"en": "EXPERIMENTS.md", "zh": "EXPERIMENTS.zh.md"}


def report(run_folders: Sequence[Path], out: Path, language: str = "en", *, unlike: bool = False) -> Path:
    """Write the report on some runs and return the path of its file.

    `out` is the file to write if it ends in `.md`, else the folder to write `EXPERIMENTS.md` (or
    `EXPERIMENTS.zh.md`) into. Pictures that it draws itself go into a folder `...-assets` beside it. The
    same records give the same bytes. With `unlike`, rows that were not measured alike are set side by side
    too, and said to be. UserError: a folder is no run, its record is empty or broken, or there
    is no such language. OSError: the file cannot be written.
    """
    words = Language(language)
    if not run_folders:
        raise UserError("writing a report", "no run was named", "give the folders of one or more runs")
    path = out if out.suffix == ".md" else out / FILE_NAMES[language]
    if path.is_file() and not is_report(path):
        raise UserError(f"report --out {path}", "a file of another kind is there", "name another file")
    folders = dict.fromkeys(Path(folder) for folder in run_folders)
    runs = [Run.read(folder, path.parent) for folder in folders]
    text = markdown(compose(runs, words, Assets(path, runs), unlike=unlike))
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.writing")
    try:
        aside.write_text(text, encoding="utf-8")
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
    return path


def is_report(path: Path) -> bool:
    """Whether a file begins as reports do, so that writing a new one over it loses nothing of the user's."""
    with path.open("rb") as file:
        return file.read(10) in (b"---\ndate: ", b"")
