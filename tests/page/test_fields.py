"""The values of the page's fields, without a browser."""

import math

from triptych.page import fields
from triptych.page.glance import Glance
from triptych.page.texts import PAGE
from triptych.report.language import Language

GLANCES = [
    Glance("a", state="finished", metric="FID", figure=7.5, changed=0.0),
    Glance("b", state="stopped", metric="FD (classifier)", figure=0.25),
    Glance("c", state="broken", fault="nonsense"),
]


def test_figures_of_unlike_metrics_are_not_in_one_column():
    words = Language("en", PAGE)
    columns, rows = fields.list_columns(GLANCES, words), fields.list_rows(GLANCES, words)
    titles = list(columns)
    assert all(len(row) == len(titles) for row in rows)
    found = {title: [row[titles.index(title)] for row in rows] for title in titles}
    assert found["Best FID"] == [7.5, None, None]
    assert found["Best FD (classifier)"] == [None, 0.25, None]
    assert found["State"] == ["finished", "stopped", "unreadable: nonsense"]
    assert found["Last event (UTC)"] == ["1970-01-01 00:00", "", ""]
    assert columns["Best FID"] == "number"


def test_nothing_evaluated_needs_no_column():
    words = Language("zh", PAGE)
    columns = fields.list_columns([Glance("a", figure=math.nan)], words)
    assert not [title for title in columns if title.startswith("最佳")]
