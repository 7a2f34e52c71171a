"""Any payload survives the trip through strict JSON, and what does not fit is named."""

import dataclasses
import json
import math
import types
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triptych.record.codec import CodecError, decode, encode
from triptych.record.events import KINDS, Device, Figure, Progress, Resumed, Started

numbers = st.floats(allow_nan=False)  # NaN is unequal to itself: tested apart
untyped = st.recursive(
    st.none() | st.booleans() | st.integers() | numbers | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text(), inner).filter(lambda d: d.keys() != {"$float"})
    ),
    max_leaves=8,
)


def values(hint: Any) -> st.SearchStrategy:
    """All values of the type that a hint names, optional and defaulted fields included."""
    if dataclasses.is_dataclass(hint):
        return st.builds(hint, **{name: values(of) for name, of in get_type_hints(hint).items()})
    if get_origin(hint) in (Union, types.UnionType):
        return st.one_of(*(values(arm) for arm in get_args(hint)))
    if get_origin(hint) is tuple:
        return st.lists(values(get_args(hint)[0]), max_size=3).map(tuple)
    if get_origin(hint) is dict:
        return st.dictionaries(st.text(), values(get_args(hint)[1]), max_size=3)
    plain = {
        int: st.integers(),
        float: numbers,
        bool: st.booleans(),
        str: st.text(),
        types.NoneType: st.none(),
        tuple: st.lists(untyped, max_size=3).map(tuple),
        dict: st.dictionaries(st.text(), untyped, max_size=3).filter(lambda d: d.keys() != {"$float"}),
    }
    return plain[hint]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=30)
@given(data=st.data())
def test_every_payload_comes_back_equal_through_strict_json(kind, data):
    value = data.draw(values(KINDS[kind]))
    text = json.dumps(encode(value, KINDS[kind]), allow_nan=False)
    back = decode(json.loads(text), KINDS[kind])
    assert back == value
    assert repr(back) == repr(value)  # equality alone would let 1 pass for 1.0, and -0.0 for 0.0


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_non_finite_floats_survive_typed_and_untyped(number):
    typed = Progress(epoch=1.0, loss=number, gradient_norm=1.0, learning_rate=1e-4, images_per_second=9.0)
    untyped_value = {"clip": number, "list": [number]}
    for value, hint in [(typed, Progress), (untyped_value, dict)]:
        back = decode(json.loads(json.dumps(encode(value, hint), allow_nan=False)), hint)
        assert repr(back) == repr(value)


def test_a_text_that_reads_like_a_float_stays_a_text():
    assert decode(encode({"name": "NaN"}, dict), dict) == {"name": "NaN"}


def test_numpy_scalars_are_written_as_plain_numbers():
    written = encode(Device("V100", np.int64(3), 8), Device)
    assert json.loads(json.dumps(written)) == {"name": "V100", "used": 3, "present": 8}
    assert encode(np.float64(0.5), float) == 0.5


@pytest.mark.parametrize(
    ("value", "hint", "spot"),
    [
        (Device("V100", 1.5, 8), Device, "value.used"),
        (Device("V100", True, 8), Device, "value.used"),
        (Figure("x", "8.1", None, None), Figure, "value.estimate"),
        ({"a": object()}, dict, "value.a"),
        ({1: 2}, dict, "str keys"),
        ([1.0], tuple[float, ...], "tuple"),
    ],
)
def test_a_value_of_another_type_is_refused_when_written(value, hint, spot):
    with pytest.raises(TypeError, match=spot):
        encode(value, hint)


def test_unknown_fields_are_passed_over_and_missing_defaults_filled_in():
    data = {"metric": "fid", "estimate": 8, "spread": None, "real": 3.1, "from_the_future": [1, 2]}
    assert decode(data, Figure) == Figure("fid", 8.0, None, 3.1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"used": None}, r"value\.used: should be an integer"),
        ({"used": 1.0}, r"value\.used: should be an integer"),
        ({"name": 7}, r"value\.name: should be a text"),
    ],
)
def test_json_of_another_type_is_refused_when_read(change, message):
    with pytest.raises(CodecError, match=message):
        decode({"name": "V100", "used": 1, "present": 8} | change, Device)


def test_a_missing_field_is_named_with_its_path():
    data = dict.fromkeys(get_type_hints(Started)) | {"name": "x", "config": {}, "data": {}}
    with pytest.raises(CodecError, match=r"value\.data: the field 'name' is missing"):
        decode(data, Started)


def test_changes_keep_their_pairs():
    resumed = Resumed("epoch-1", (), {"training.epochs": (2500, 4000)}, Device("cpu", 1, 1), {}, 10)
    assert decode(encode(resumed, Resumed), Resumed).changes["training.epochs"] == (2500, 4000)
