"""Both languages say all the same things, with the same places to fill, and nothing that nobody asks for."""

from pathlib import Path
from string import Formatter

import pytest

import triptych.report
from triptych.errors import UserError
from triptych.report.budget import HELD_OUT
from triptych.report.evaluation_texts import EVALUATION, TERMS
from triptych.report.language import LANGUAGES, TEXTS, Language
from triptych.report.names import METRICS
from triptych.report.texts import GENERAL

SOURCE = "\n".join(path.read_text() for path in Path(triptych.report.__file__).parent.glob("*.py"))


def places(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


@pytest.mark.parametrize("key", TEXTS)
def test_every_text_exists_in_every_language_with_the_same_places(key):
    assert len(TEXTS[key]) == len(LANGUAGES)
    assert all(text.strip() for text in TEXTS[key])
    assert len({frozenset(places(text)) for text in TEXTS[key]}) == 1


@pytest.mark.parametrize("key", TEXTS)
def test_every_text_is_used(key):
    assert SOURCE.count(f'"{key}"') > 1


def test_only_what_has_no_translation_reads_alike_in_both_languages():
    alike = {key for key, (english, chinese) in TEXTS.items() if english == chinese}
    assert alike == {"batch_lr", "batch_workers", "scale_alone", "sum_of_parts"}


def test_no_text_hides_another():
    assert not GENERAL.keys() & EVALUATION.keys()


@pytest.mark.parametrize("term", TERMS)
def test_every_translated_term_is_what_a_metric_is_called(term):
    assert term in {HELD_OUT, *(metric.label for metric in METRICS.values())}
    assert Language("en").term(term) == term != Language("zh").term(term)


def test_metrics_that_have_one_name_everywhere_keep_it():
    assert {Language(code).term("FID") for code in LANGUAGES} == {"FID"}


def test_a_language_that_there_is_not_is_refused():
    with pytest.raises(UserError, match="choose en or zh"):
        Language("fr")
