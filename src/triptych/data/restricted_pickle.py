"""Pickled values read without running anything: the ones that a file of images is made of, and no others.

A pickle is a program for a small stack machine, and Python's own machine can be told by it to call any
function there is. This one knows only the instructions that build numbers, strings, lists, tuples and
dictionaries. Five globals may be named, those by which numpy arrays are written; none is looked up, each is
a sign that this file answers to by itself. So nothing in a file reaches another module, numpy's included:
an array is a view of the file's own bytes, once its shape fits them.

Whatever a file holds, time and memory grow no faster than its length. Hence no integers of more than 64 bits,
no keys but strings and numbers of 32 bits (a nested tuple can take an age to hash, and larger numbers can be
chosen to have one hash), and text is turned into bytes once.

Instructions and their arguments: Python's `pickletools`; layout of arrays: `numpy.ndarray.__reduce__`.
"""

from __future__ import annotations

import enum
import math
import pickletools
import warnings
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from triptych.errors import UserError


class _Global(enum.Enum):
    """What stands for a global that a pickle may name: a sign that cannot be called."""

    RECONSTRUCT = enum.auto()  # an array, to be filled by BUILD (protocols 2 to 4)
    FROM_BUFFER = enum.auto()  # an array, filled at once (protocol 5)
    NDARRAY = enum.auto()  # argument of RECONSTRUCT
    DTYPE = enum.auto()  # the type of an array's numbers
    ENCODE = enum.auto()  # bytes, as Python 3 writes them in protocol 2


GLOBALS = {
    ("numpy.core.multiarray", "_reconstruct"): _Global.RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _Global.RECONSTRUCT,
    ("numpy.core.numeric", "_frombuffer"): _Global.FROM_BUFFER,
    ("numpy._core.numeric", "_frombuffer"): _Global.FROM_BUFFER,
    ("numpy", "ndarray"): _Global.NDARRAY,
    ("numpy", "dtype"): _Global.DTYPE,
    ("_codecs", "encode"): _Global.ENCODE,
}

NUMBERS = frozenset(kind + size for kind in "iu" for size in "1248")
"""numpy's codes of the numbers that an array may hold: integers of 1 to 8 bytes."""

FIGURES = frozenset(("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"))
TEXTS = frozenset(("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"))
BYTES = frozenset(("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"))
LITERALS = FIGURES | TEXTS | BYTES
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
EMPTY = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}

MALFORMED = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    MemoryError,
    RecursionError,
)
"""What reading a malformed file may raise, here and in `pickletools`."""


class _ForbiddenError(Exception):
    """The pickle asks for something that no file of images needs."""


class _Unfilled:
    """An array between RECONSTRUCT and the BUILD that fills it."""


@dataclass
class _NumberType:
    """The type of an array's numbers, between DTYPE and its use."""

    code: str
    byte_order: str = "|"

    def resolve(self) -> np.dtype:
        if self.code not in NUMBERS or self.byte_order not in "|<>=":
            raise _ForbiddenError(f"holds an array of type {(self.byte_order + self.code)[:20]!r}")
        return np.dtype(self.byte_order + self.code)


def load_restricted(content: bytes, place: str) -> object:
    """Return the value pickled in `content`.

    Args:
        content: a pickle of protocol 2 to 5, by Python 2 or 3.
        place: where it comes from, for messages.

    Returns:
        dictionaries, lists, tuples, numbers, str, bytes (Python 2's strings among them) and read-only
        numpy arrays of integers; a strange file may leave signs among them, which are none of these.

    Raises:
        UserError: it is malformed, or asks for anything beyond that.
    """
    try:
        with warnings.catch_warnings():
            # Said of odd text in instructions that are then refused.
            warnings.simplefilter("ignore", DeprecationWarning)
            return _Machine(len(content)).run(content)
    except _ForbiddenError as error:
        found = f"it {error}, which a file of images has no use for, so none of it was run"
        raise UserError(place, found, "do not trust this file; get it from its publisher") from error
    except MALFORMED as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise UserError(place, f"no whole pickle of images ({reason})", "get the file anew") from error


class _Machine:
    """The stack machine that a pickle is a program for, with harmless instructions only.

    Args:
        budget: bytes that text may become in all, so that no short program makes long data.
    """

    def __init__(self, budget: int):
        self.budget = budget
        self.stack: list = []
        self.below: list[list] = []  # what lies under each mark
        self.memo: dict[int, object] = {}

    def run(self, content: bytes) -> object:
        for opcode, operand, _ in pickletools.genops(content):
            name, argument = opcode.name, cast(Any, operand)  # of a type that follows from the name
            if name == "LONG1" and not -(2**63) <= argument < 2**63:
                raise ValueError("it holds a number of more than 64 bits")
            if name in LITERALS:
                self.stack.append(argument)
            elif name in ("SHORT_BINSTRING", "BINSTRING"):  # a string of Python 2, which is bytes
                self.stack.append(argument.encode("latin-1"))
            elif name in ("BINPUT", "LONG_BINPUT"):
                self.memo[argument] = self.stack[-1]
            elif name == "MEMOIZE":
                self.memo[len(self.memo)] = self.stack[-1]
            elif name in ("BINGET", "LONG_BINGET"):
                self.stack.append(self.memo[argument])
            elif name not in ("PROTO", "FRAME", "STOP"):
                self._combine(name, argument)
        (value,) = self.stack
        return value

    def _combine(self, name: str, argument: object) -> None:
        """Follow an instruction that works on what lies on the stack."""
        if name in CONSTANTS:
            self.stack.append(CONSTANTS[name])
        elif name in EMPTY:
            self.stack.append(EMPTY[name]())
        elif name == "MARK":
            self.below.append(self.stack)
            self.stack = []
        elif name in TUPLES:
            self.stack.append(tuple(self._pop(TUPLES[name])))
        elif name == "TUPLE":
            items = self._pop_to_mark()  # changes the stack, so that it has to come first
            self.stack.append(tuple(items))
        elif name == "APPEND":
            self._extend(self._pop(1))
        elif name == "APPENDS":
            items = self._pop_to_mark()
            self._extend(items)
        elif name == "SETITEM":
            self._update(self._pop(2))
        elif name == "SETITEMS":
            items = self._pop_to_mark()
            self._update(items)
        elif name == "GLOBAL":
            self.stack.append(_global(*str(argument).split(" ", 1)))
        elif name == "STACK_GLOBAL":
            self.stack.append(_global(*self._pop(2)))
        elif name == "REDUCE":
            self.stack.append(self._call(*self._pop(2)))
        elif name == "BUILD":
            self.stack.append(_built(*self._pop(2)))
        else:
            raise _ForbiddenError(f"holds the instruction {name}")

    def _pop(self, count: int) -> list:
        if len(self.stack) < count:
            raise ValueError("it takes more from the stack than there is")
        items = self.stack[-count:]
        del self.stack[-count:]
        return items

    def _pop_to_mark(self) -> list:
        items, self.stack = self.stack, self.below.pop()
        return items

    def _extend(self, items: list) -> None:
        if type(self.stack[-1]) is not list:
            raise ValueError("it appends to what is no list")
        self.stack[-1].extend(items)

    def _update(self, items: list) -> None:
        keys, values = items[::2], items[1::2]
        if type(self.stack[-1]) is not dict or len(keys) != len(values):
            raise ValueError("it sets items of what is no dictionary")
        if not all(map(_is_key, keys)):
            raise ValueError("a key is neither a string nor a number of 32 bits")
        self.stack[-1].update(zip(keys, values, strict=True))

    def _call(self, sign: object, arguments: object) -> object:
        """Follow REDUCE: what one of the known globals would return."""
        match sign, arguments:
            case _Global.RECONSTRUCT, (_Global.NDARRAY, (0,), b"b" | "b"):
                return _Unfilled()
            case _Global.DTYPE, (str() | bytes() as code, *_):
                return _NumberType(_text(code))
            case _Global.FROM_BUFFER, (raw, _NumberType() as numbers, tuple() as shape, str() as order):
                return _array(raw, numbers, shape, order)
            case _Global.ENCODE, (str() as text, "latin1" | "latin-1"):
                self.budget -= len(text)
                if self.budget < 0:
                    raise ValueError("it repeats the same text over and over")
                return text.encode("latin-1")
        raise ValueError("it makes an array in an unknown way")


def _is_key(value: object) -> bool:
    return type(value) in (str, bytes) or (type(value) is int and -(2**31) <= value < 2**31)


def _global(module: object, name: object = "") -> _Global:
    """Return the sign for a global that may be named."""
    if isinstance(module, str) and isinstance(name, str) and (module, name) in GLOBALS:
        return GLOBALS[module, name]
    raise _ForbiddenError(f"asks for {f'{module}.{name}'[:80]!r}")


def _built(value: object, state: object) -> object:
    """Follow BUILD: give a type its byte order, or an array its numbers."""
    match value, state:
        case _NumberType(), (int(), str() | bytes() as byte_order, None, None, None, -1, -1, 0):
            value.byte_order = _text(byte_order)
            return value
        case _Unfilled(), (int(), tuple() as shape, _NumberType() as numbers, bool() as columns_first, raw):
            return _array(raw, numbers, shape, "F" if columns_first else "C")
    raise ValueError("an array is described in an unknown way")


def _array(raw: object, numbers: _NumberType, shape: tuple, order: str) -> np.ndarray:
    """Return the numbers in `raw`, in their shape and order, without a copy."""
    dtype = numbers.resolve()
    if not isinstance(raw, bytes | bytearray):
        raise ValueError("an array's numbers are no bytes")
    plain = len(shape) <= 4 and all(type(n) is int and 0 <= n <= len(raw) for n in shape)
    if not plain or math.prod(shape) * dtype.itemsize != len(raw) or order not in ("C", "F"):
        raise ValueError("an array's shape does not fit its bytes")
    values = np.frombuffer(raw, dtype).reshape(shape, order=order)
    values.flags.writeable = False
    return values


def _text(text: str | bytes) -> str:
    return text.decode("latin-1") if isinstance(text, bytes) else text
