"""From run folders to files: read the records, compose the document, write it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from triptych.errors import UserError
from triptych.report.assets import Assets, replace_file
from triptych.report.html import BEGINNING as PAGE
from triptych.report.html import html
from triptych.report.language import Language
from triptych.report.markdown import BEGINNING as TEXT
from triptych.report.markdown import markdown
from triptych.report.run import Run
from triptych.report.sections import compose
from triptych.work import Watch, unwatched

FILE_NAMES = {"en": "EXPERIMENTS", "zh": "EXPERIMENTS.zh"}
ENDINGS = (".md", ".html")
OLDER = re.compile(r"---\ndate: [\d: -]{19}\ntags:\n(  - .*\n)*  - diffusion\n  - experiments\n---\n")
"""How reports of older versions begin."""
OTHERS = (".pdf", ".txt", ".htm", ".doc", ".docx", ".tex", ".rst", ".json", ".csv")
"""Endings of files that a report cannot be, and no folder has."""


def report(
    run_folders: Sequence[Path],
    out: Path,
    language: str = "en",
    *,
    unlike: bool = False,
    refresh: int = 0,
    watch: Watch = unwatched,
) -> list[Path]:
    """Write the report on some runs and return the paths of its files.

    The same records give the same bytes.

    Args:
        run_folders: of the runs, in the order in which they are to appear.
        out: the file to write if it ends in `.md` or `.html`, else the folder to write both into, as
            `EXPERIMENTS.md` (or `EXPERIMENTS.zh.md`) and `EXPERIMENTS.html`. Pictures that are drawn for
            Markdown go into a folder `...-assets` beside it; HTML has all pictures inside.
        language: `en` or `zh`.
        unlike: whether rows that were not measured alike are set side by side too, and said to be.
        refresh: seconds after which a browser is to load the HTML again; 0: never.
        watch: sees how far it has come, run by run: pictures take half a second each.

    Raises:
        UserError: a folder is no run, its record is empty or broken, there is no such language, or a file of
            another kind is in the way.
        OSError: a file cannot be written.
    """
    words = Language(language)
    if not run_folders:
        raise UserError("writing a report", "no run was named", "give the folders of one or more runs")
    if out.suffix.lower() in OTHERS:
        raise UserError(
            f"report --out {out}", f"it cannot be written as {out.suffix}", "end it in .md or .html"
        )
    paths = [out] if out.suffix in ENDINGS else [out / f"{FILE_NAMES[language]}{end}" for end in ENDINGS]
    for path in paths:
        if path.is_file() and not is_report(path):
            raise UserError(f"report --out {path}", "a file of another kind is there", "name another file")
    folders = dict.fromkeys(Path(folder) for folder in run_folders)
    runs = [Run.read(folder, paths[0].parent) for folder in folders]
    assets = Assets(paths[0], runs, on_disk=paths[0].suffix == ".md")
    document = compose(runs, words, assets, unlike=unlike, watch=watch)
    for path in paths:
        page = path.suffix == ".html"
        text = html(document, words, assets.read, refresh) if page else markdown(document)
        replace_file(path, text.encode("utf-8"))
    return paths


def is_report(path: Path) -> bool:
    """Whether a file begins as reports do, so that writing a new one over it loses nothing of the user's."""
    with path.open("rb") as file:
        start = file.read(1024).decode("utf-8", "replace")
    return start.startswith((PAGE, TEXT)) or not start or OLDER.match(start) is not None
