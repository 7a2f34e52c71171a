"""A safetensors file as a stream of bytes, so that one is written without a second copy of its tensors.

The library's own writer builds the whole file in memory, twice, and lets no other thread run meanwhile. Its
reader takes what is written here, and every checkpoint is read back by it before it is published. The format:
https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.complex64: "C64",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint64: "U64",
    torch.uint32: "U32",
    torch.uint16: "U16",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""Types of numbers, as the format calls them."""

ALIGNMENT = 8
"""The header is filled up with spaces to a multiple of so many bytes, which aligns what follows."""

HEADER = 32
"""Bytes of a file that are no tensor's: its length, brackets, and the spaces that fill it up."""
ENTRY = 200
"""Bytes of the header that a tensor takes at most, its name aside: type, shape, place, punctuation."""


class TooLarge(ValueError):  # noqa: N818
    """Tensor `name` alone takes a file of at least `least` bytes, and smaller ones were asked for."""

    def __init__(self, name: str, least: int):
        super().__init__(f"{name} alone takes {least:,} bytes")
        self.name, self.least = name, least


def split(tensors: Mapping[str, Tensor], largest: int | None) -> list[dict[str, Tensor]]:
    """Return tensors in groups, in their order, each for a file of at most `largest` bytes; None: in one.

    Raises:
        TooLarge: one tensor alone takes more; it is the largest that is told.
    """
    groups: list[dict[str, Tensor]] = [{}]
    if largest is None or not tensors:
        return [dict(tensors)]
    needs = {name: tensor.nbytes + ENTRY + len(json.dumps(name)) for name, tensor in tensors.items()}
    most = max(needs, key=lambda name: needs[name])
    if HEADER + needs[most] > largest:
        raise TooLarge(most, HEADER + needs[most])
    taken = HEADER
    for name, tensor in tensors.items():
        if taken + needs[name] > largest:
            groups.append({})
            taken = HEADER
        groups[-1][name] = tensor
        taken += needs[name]
    return groups


def encoded(tensors: Mapping[str, Tensor]) -> Iterator[bytes | memoryview]:
    """Yield the bytes of a safetensors file, tensor by tensor; one that shares memory is written in full.

    Raises:
        ValueError: the format has no name for a tensor's type.
    """
    # Wide numbers first, so that each begins at a multiple of its size.
    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header, end = {}, 0
    for name in order:
        tensor = tensors[name]
        if tensor.dtype not in NAMES:
            raise ValueError(f"{name} is of type {tensor.dtype}, which no safetensors file holds")
        start, end = end, end + tensor.nbytes
        header[name] = {
            "dtype": NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, ensure_ascii=False).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    yield struct.pack("<Q", len(text)) + text
    for name in order:
        plain = tensors[name].detach().cpu().contiguous()
        if plain.numel():
            yield plain.reshape(-1).view(torch.uint8).numpy().data
