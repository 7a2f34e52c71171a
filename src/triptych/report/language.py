"""The language of a report: its texts, and what it calls metrics."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from triptych.errors import UserError
from triptych.report.evaluation_texts import EVALUATION, TERMS
from triptych.report.texts import GENERAL

LANGUAGES = ("en", "zh")
TEXTS = GENERAL | EVALUATION


class Language:
    """The texts of one language, as a function of key and values; UserError for a language there is not.

    `more` are texts beside those of reports, in every language: key -> (English, Chinese).
    """

    def __init__(self, code: str, more: Mapping[str, tuple[str, str]] = MappingProxyType({})):
        if code not in LANGUAGES:
            raise UserError(f"--language {code}", "no such language", f"choose {' or '.join(LANGUAGES)}")
        self.code = code
        self._texts = TEXTS | dict(more)
        self._column = LANGUAGES.index(code)

    def __call__(self, key: str, **values: object) -> str:
        """Return the text of `key` with its places filled."""
        return self._texts[key][self._column].format(**values)

    def term(self, english: str) -> str:
        """Return what a metric is called."""
        return english if self.code == "en" else TERMS.get(english, english)
