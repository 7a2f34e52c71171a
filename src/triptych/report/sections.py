"""A whole report, section by section, in the layout of an experiment log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import count

from triptych.report import numbers
from triptych.report.assets import Assets
from triptych.report.bouts import shared_pictures
from triptych.report.budget import draw_races, races
from triptych.report.comparison import comparison
from triptych.report.curves import draw_curves
from triptych.report.document import Block, Document, Heading, Items, Note, Paragraph, Picture, Pictures
from triptych.report.evaluation import evaluation
from triptych.report.language import Language
from triptych.report.provenance import provenance
from triptych.report.run import Run, display_names, distinct
from triptych.report.sampling import previews, sampling_facts, sampling_gifs, sampling_pictures
from triptych.report.training import devices
from triptych.report.training_tables import import_table, overview, training_table
from triptych.work import Watch, Work, unwatched

CURVES_WIDTH = 780
WHAT = "writing the report"


def compose(
    runs: Sequence[Run],
    words: Language,
    assets: Assets,
    *,
    unlike: bool = False,
    watch: Watch = unwatched,
) -> Document:
    """Return the report on `runs`: unconditional models first, then conditional ones.

    With `unlike`, rows that were not measured alike are set side by side, and said to be. `watch` sees how
    many runs are done.
    """
    each = one_after_another(watch, len(runs))
    data = distinct(run.data for run in runs)
    conditional = any(run.origin.conditional for run in runs)
    title = words("title_cfg" if conditional else "title", data=", ".join(data))
    blocks: list[Block] = []
    chapter = 0
    for kind in (False, True):
        chosen = [run for run in runs if run.origin.conditional is kind]
        if chosen:
            chapter += 1
            shared = shared_pictures(chosen, runs, words)
            blocks += _chapter(str(chapter), chosen, kind, shared, words, assets, unlike, each)
    return Document(
        date=numbers.moment(max(event.seconds for run in runs for event in run.history.events)),
        tags=(*distinct(run.origin.data.name for run in runs), "diffusion", "experiments"),
        title=title,
        blocks=tuple(blocks),
    )


def one_after_another(watch: Watch, total: int) -> Callable[[], None]:
    """Return what is to be called whenever another of the runs is done."""
    done = count(1)
    watch(Work(WHAT, 0, total, "run"))
    return lambda: watch(Work(WHAT, next(done), total, "run"))


def _chapter(
    number: str,
    runs: list[Run],
    conditional: bool,
    shared: list[Block],
    words: Language,
    assets: Assets,
    unlike: bool,
    each: Callable[[], None],
) -> list[Block]:
    """Return all runs of one kind: an overview with the pictures that they share, then each in turn."""
    named = list(zip(display_names(runs), runs, strict=True))
    blocks: list[Block] = [
        Heading(1, f"{number}. " + words("conditional" if conditional else "unconditional"))
    ]
    if conditional:
        blocks.append(Paragraph(words("cfg_meaning")))
    blocks += [Heading(2, f"{number}.1 " + words("overview")), overview(named, conditional, words)]
    blocks += [*comparison(named, words, unlike=unlike), *_budget(number, named, words, assets), *shared]
    for place, (name, run) in enumerate(named, start=2):
        blocks += _model(f"{number}.{place}", name, run, words, assets)
        each()
    return blocks


def _budget(number: str, named: Sequence[tuple[str, Run]], words: Language, assets: Assets) -> list[Block]:
    """Return several models at equal cost, as a picture."""
    found = races(named)
    path = assets.draw(None, f"budget-{number}", partial(draw_races, found)) if found else None
    if path is None:
        return []
    caption = words(
        "budget_caption", what=words("comma").join(dict.fromkeys(words.term(r.title) for r in found))
    )
    return [
        Paragraph(words("single_picture", caption=caption)),
        Pictures((Picture(path, caption),), CURVES_WIDTH),
    ]


def _model(number: str, name: str, run: Run, words: Language, assets: Assets) -> list[Block]:
    """Return one run: training, sampling, evaluation, provenance."""
    device = devices(run, words, "devices_used_heading")
    heading = "model_heading_bare" if "(" in device else "model_heading"  # no brackets within brackets
    return [
        Heading(2, f"{number} " + words(heading, model=name, device=device)),
        Heading(3, f"{number}.1 " + words("training")),
        *_training(run, words),
        *_curves(run, words, assets),
        *previews(run, words),
        Heading(3, f"{number}.2 " + words("sampling")),
        *_sampling(f"{number}.2", run, words),
        Heading(3, f"{number}.3 " + words("evaluation")),
        *evaluation(run, name, words, assets),
        Heading(3, f"{number}.4 " + words("provenance")),
        *provenance(run, words),
    ]


def _training(run: Run, words: Language) -> list[Block]:
    """Return where the weights come from: this run's training, or an import."""
    if run.history.imported:
        return [import_table(run, words)]
    note = [] if run.written_in else [Items((words("batch_workers_note"),))]
    return [training_table(run, words), *note]


def _curves(run: Run, words: Language, assets: Assets) -> list[Block]:
    if run.history.last_progress is None:
        return []
    path = assets.draw(run, "curves", partial(draw_curves, run))
    if path is None:
        return [Note(words("curves_missing"))]
    return [
        Paragraph(words("single_picture", caption=words("curves_caption"))),
        Pictures((Picture(path, words("curves_caption")),), CURVES_WIDTH),
    ]


def _sampling(number: str, run: Run, words: Language) -> list[Block]:
    facts, pictures, gifs = (
        sampling_facts(run, words),
        sampling_pictures(run, words),
        sampling_gifs(run, words),
    )
    if not pictures:
        return facts
    blocks = [Heading(4, f"{number}.1 " + words("sampling_settings")), *facts]
    blocks += [Heading(4, f"{number}.2 " + words("sampling_pictures")), *pictures]
    if gifs:
        blocks += [Heading(4, f"{number}.3 " + words("sampling_gifs")), *gifs]
    return blocks
