"""The restricted reader: what images are written in is read, and nothing is ever run."""

import builtins
import os
import pickle
import pickletools
import subprocess
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from data.cifar10_files import batch
from hypothesis import given, settings
from hypothesis import strategies as st

from triptych.data.restricted_pickle import load_restricted
from triptych.errors import UserError

LAYOUTS = {
    "rows first": np.arange(24, dtype=np.uint8).reshape(4, 6),
    "columns first": np.asfortranarray(np.arange(24, dtype=np.uint8).reshape(4, 6)),
    "not contiguous": np.arange(48, dtype=np.uint8).reshape(8, 6)[::2],
    "other byte order": np.arange(6, dtype=">i4"),
    "64 bits": np.array([-(2**40), 2**40]),
}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_values_are_what_pickle_reads(protocol):
    values = {
        "text": ["é", b"\xff", 0, -7, 2**40, 0.5],
        b"bytes": (True, False, None),
        3: {"a": (1, (2, 3, 4, 5))},
    }
    assert load_restricted(pickle.dumps(values, protocol), "here") == values


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_arrays_are_what_pickle_reads(layout, protocol):
    array = LAYOUTS[layout]
    read, again = load_restricted(pickle.dumps([array, array.copy(order="K")], protocol), "here")
    for values in (read, again):
        assert isinstance(values, np.ndarray) and values.dtype == array.dtype
        np.testing.assert_array_equal(values, array)
        assert not values.flags.writeable


def test_python_2_wrote_strings_that_are_bytes():
    # {'labels': [6]} with an array as numpy 1 under Python 2 wrote it
    written = (
        b"\x80\x02}q\x00(U\x06labelsq\x01]q\x02K\x06aU\x04dataq\x03cnumpy.core.multiarray\n_reconstruct\nq\x04"
        b"cnumpy\nndarray\nq\x05K\x00\x85U\x01b\x87R(K\x01K\x01K\x02\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R"
        b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x02\x07\xfftbu."
    )
    read = load_restricted(written, "here")
    assert read[b"labels"] == [6]
    np.testing.assert_array_equal(read[b"data"], [[7, 255]])


class Call:
    """A pickle of this calls `function` when it is loaded in the ordinary way."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


CALLS = {
    "posix.system": lambda marker: Call(os.system, f"touch {marker}"),
    "builtins.eval": lambda marker: Call(builtins.eval, f"__import__('os').mkdir({str(marker)!r})"),
    "builtins.exec": lambda marker: Call(builtins.exec, f"__import__('os').mkdir({str(marker)!r})"),
    "posix.mkdir": lambda marker: Call(os.mkdir, str(marker)),
    "subprocess.check_output": lambda marker: Call(subprocess.check_output, ["touch", str(marker)]),
    "save": lambda marker: Call(np.save, str(marker), np.zeros(1)),
    "memmap": lambda marker: Call(np.memmap, str(marker), "u1", "w+", 0, (1,)),
}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("call", CALLS)
def test_nothing_is_called(call, protocol, tmp_path: Path):
    marker = tmp_path / "marker.npy"
    harmful = pickle.dumps(batch(1, 0) | {"more": CALLS[call](marker)}, protocol)
    with pytest.raises(
        UserError, match=r"^data_batch_1 in x: it asks for '.*', .* none of it was run"
    ) as caught:
        load_restricted(harmful, "data_batch_1 in x")
    assert call.partition(".")[2] in str(caught.value) and "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    pickle.loads(harmful)  # it would have worked
    assert list(tmp_path.iterdir()) == [marker]


def named(module: str, name: str) -> bytes:
    return b"\x80\x02c" + f"{module}\n{name}\n".encode()


@pytest.mark.parametrize(
    "module_name",
    [
        ("os", "system"),
        ("posix", "system"),
        ("builtins", "getattr"),
        ("numpy", "load"),
        ("numpy", "fromfile"),
        ("numpy", "ndarray.tofile"),
        ("numpy.core.multiarray", "scalar"),
        ("numpy.core.multiarray", "fromfile"),
        ("copyreg", "_reconstructor"),
        ("functools", "partial"),
        ("_codecs", "lookup"),
        ("triptych.data.restricted_pickle", "load_restricted"),
    ],
)
def test_other_globals_are_refused_by_name(module_name):
    for program in (named(*module_name), named(*module_name) + b")R"):
        with pytest.raises(UserError, match="it asks for '{}.{}'".format(*module_name)):
            load_restricted(program + b".", "here")


INSTRUCTIONS = {
    "EXT1": b"\x82\x01",
    "EXT4": b"\x84\x01\x00\x00\x00",
    "PERSID": b"Pname\n",
    "BINPERSID": b"K\x01Q",
    "INST": b"(ios\nsystem\n",
    "OBJ": named("numpy", "ndarray")[2:] + b"(o",
    "NEWOBJ": named("numpy", "ndarray")[2:] + b")\x81",
    "NEXT_BUFFER": b"\x97",
    "LONG4": b"\x8b\x01\x00\x00\x00\x01",
}


@pytest.mark.parametrize("instruction", INSTRUCTIONS)
def test_other_instructions_are_refused(instruction):
    with pytest.raises(UserError, match="it "):
        load_restricted(b"\x80\x02" + INSTRUCTIONS[instruction] + b".", "here")


def array_of(shape: str, dtype: bytes = b"U\x02u1", raw: bytes = b"U\x02ab") -> bytes:
    """A pickled array whose claims can be bent."""
    return (
        named("numpy.core.multiarray", "_reconstruct")
        + named("numpy", "ndarray")[2:]
        + b"K\x00\x85U\x01b\x87R(K\x01"
        + pickle.dumps(eval(shape), 2)[2:-1]
        + named("numpy", "dtype")[2:]
        + dtype
        + b"K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        + raw
        + b"tb."
    )


def test_an_array_has_to_fit_its_bytes():
    np.testing.assert_array_equal(load_restricted(array_of("(1, 2)"), "here"), [[97, 98]])
    for shape in (
        "(3,)",
        "(2**31, 2**31)",
        "(2**62, 2**62, 0)",
        "(-1, -2)",
        "(True, 2)",
        "('2',)",
        "(1,)*9+(2,)",
    ):
        with pytest.raises(UserError, match="does not fit its bytes"):
            load_restricted(array_of(shape), "here")


@pytest.mark.parametrize(
    "code", [b"U\x01O", b"U\x02O8", b"U\x02V2", b"U\x02f8", b"U\x02M8", b"U\x02S2", b"U\x03u1,", b"U\x02u\n"]
)
def test_an_array_holds_integers_only(code):
    with pytest.raises(UserError, match="holds an array of type"):
        load_restricted(array_of("(1,)", code), "here")


def test_numbers_have_to_be_bytes():
    with pytest.raises(UserError, match="no bytes"):
        load_restricted(array_of("(2,)", raw=b"](K\x01K\x02e"), "here")


HUNGRY = {
    "a memo of 2^31 places": b"\x80\x02Nr\xff\xff\xff\x7f.",
    "a string of 2^62 bytes": b"\x80\x05\x8e" + (2**62).to_bytes(8, "little") + b"x.",
    "an array of 2^40 bytes": b"\x80\x05\x96" + (2**40).to_bytes(8, "little") + b"x.",
    "a frame of 2^60 bytes": b"\x80\x04\x95" + (2**60).to_bytes(8, "little") + b"N.",
    "text encoded again and again": named("_codecs", "encode")
    + b"q\x00X\x00\x10\x00\x00"
    + b"x" * 4096
    + b"q\x01X\x06\x00\x00\x00latin1\x86q\x020"
    + b"]"
    + b"h\x00h\x02Ra" * 20_000
    + b".",
    "a key that takes an age to hash": b"\x80\x02})" + b"q\x00h\x00\x86" * 200 + b"Ns.",
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("what", HUNGRY)
def test_a_short_program_makes_nothing_long(what):
    tracemalloc.start()
    try:
        load_restricted(HUNGRY[what], "here")
    except UserError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 8 * 2**20


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 2**2000])
def test_no_number_has_more_than_64_bits(number):
    with pytest.raises(UserError, match="a number of more than 64 bits"):
        load_restricted(pickle.dumps([number], 2), "here")


@pytest.mark.parametrize("key", [2**31, -(2**31) - 1, 2**61 - 1, 2 * (2**61 - 1)])
def test_no_key_can_be_chosen_to_have_the_hash_of_others(key):
    with pytest.raises(UserError, match="a key is neither a string nor a number of 32 bits"):
        load_restricted(pickle.dumps({key: 0}, 2), "here")


def test_numbers_up_to_the_limits_are_read():
    values = {2**31 - 1: 2**63 - 1, -(2**31): -(2**63)}
    assert load_restricted(pickle.dumps(values, 2), "here") == values


SEEDS = {protocol: pickle.dumps(batch(2, 0), protocol) for protocol in (2, 3, 4, 5)}
OPCODES = [opcode.code.encode("latin-1") for opcode in pickletools.opcodes]


@settings(max_examples=300, deadline=None)
@given(
    protocol=st.sampled_from(list(SEEDS)),
    edits=st.lists(st.tuples(st.integers(0, 10_000), st.binary(max_size=3)), min_size=1, max_size=4),
)
def test_any_damage_is_one_line_or_plain_values(protocol, edits):
    content = bytearray(SEEDS[protocol])
    for place, new in edits:
        # Most of a batch is pixels: half of the edits go to the few bytes around them.
        place = place % len(content) if place % 2 else (place // 2) % 260 - 130
        content[place : place + len(new)] = new
    harmless_or_told(bytes(content))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(OPCODES), st.binary(max_size=4)), max_size=20))
def test_any_program_is_one_line_or_plain_values(program):
    harmless_or_told(b"".join(program) + b".")


def test_every_truncation_is_one_line():
    for seed in SEEDS.values():
        for length in [*range(300), *range(len(seed) - 300, len(seed))]:
            with pytest.raises(UserError):
                load_restricted(seed[:length], "here")


def harmless_or_told(content: bytes) -> None:
    try:
        assert plain(load_restricted(content, "here"))
    except UserError as error:
        assert len(str(error).splitlines()) == 1  # noqa: PT017


def plain(value: object, depth: int = 0) -> bool:
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "iu"
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list | tuple):
        return depth > 10 or all(plain(inner, depth + 1) for inner in value)
    return type(value).__module__ in ("builtins", "triptych.data.restricted_pickle") and not callable(value)
