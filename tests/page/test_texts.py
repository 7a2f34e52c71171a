"""The page's texts: used, and with the same places in both languages."""

import re
from pathlib import Path
from string import Formatter

import pytest

import triptych.page
from triptych.page.texts import PAGE
from triptych.report.language import TEXTS

SOURCE = "".join(
    path.read_text(encoding="utf-8") for path in Path(triptych.page.__file__).parent.glob("*.py")
)
STATES = {"training", "finished", "stopped", "killed", "imported", "exported", "written", "reading", "broken"}


@pytest.mark.parametrize("key", PAGE)
def test_every_text_is_used_and_has_the_same_places_in_both_languages(key):
    state = key.removeprefix("state_")
    assert SOURCE.count(f'"{key}"') > 1 or state in STATES
    english, chinese = ({name for _, name, _, _ in Formatter().parse(text) if name} for text in PAGE[key])
    assert english == chinese


def test_every_text_that_is_asked_for_is_there():
    asked = set(re.findall(r'words\("(\w+)"', SOURCE))
    assert asked <= PAGE.keys() | TEXTS.keys()
    assert {f"state_{state}" for state in STATES} <= PAGE.keys()
