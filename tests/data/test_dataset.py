"""Names of classes: any text that can be shown, and no other, whichever file they come from."""

import pytest

from triptych.data.dataset import check_class_names
from triptych.errors import UserError


@pytest.mark.parametrize(
    "names",
    [
        [],
        ["cat"],
        ["apartment_building/outdoor", "apartment_building/indoor"],
        ["_background", "(misc)", "n: 3", "\U0001f431", "\U0001f468\u200d\U0001f469", "x" * 100],
        ("图像 二", "wide\u3000space", "می\u200cخواهم"),
    ],
)
def test_any_text_of_one_line_is_a_name(names):
    assert check_class_names(names, "some file") == tuple(names)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (5, "its names of classes are no list of texts"),
        ("xy", "its names of classes are no list of texts"),
        ({"0": "cat"}, "its names of classes are no list of texts"),
        (["cat", 7], "its names of classes are no list of texts"),
        (["cat", ""], "class 1 has a name without a letter"),
        (["cat", " "], "class 1 has a name without a letter"),
        (["x" * 101], "class 0 has a name of 101 characters, more than 100"),
        (["a\nb"], "class 0 is called 'a\\nb', which cannot be shown on one line"),
        (["\u202etac"], "class 0 is called '\\u202etac', which cannot be shown on one line"),
        (["\ud800"], "class 0 is called '\\ud800', which cannot be shown on one line"),
        (["a\u2028b"], "class 0 is called 'a\\u2028b', which cannot be shown on one line"),
        (["dog", "cat", "dog"], "class 2 is called 'dog', as another one is"),
    ],
)
def test_what_is_no_name_is_told_by_its_place(names, told):
    with pytest.raises(UserError) as refused:
        check_class_names(names, "some file")
    assert str(refused.value).startswith(f"some file: {told}")
    assert len(str(refused.value).splitlines()) == 1
