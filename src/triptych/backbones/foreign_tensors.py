"""Tensors of another program's network: found to be those that its sizes ask for, or refused by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from triptych.errors import UserError


def in_float32(
    tensors: Mapping[str, Tensor], shapes: Mapping[str, Sequence[int]], network: str, sizes: str
) -> dict[str, Tensor]:
    """Return the tensors in float32, once they have been found to be all that there are to be.

    Args:
        tensors: under the other program's names.
        shapes: of every tensor that has to be there; there must be no other.
        network: what the other program calls the network, for messages.
        sizes: what asks for these shapes, for messages.

    Raises:
        UserError: a tensor is missing, unknown, of another shape, or holds no floating-point numbers of at
            most 32 bits.
    """
    for what, names, count in (
        ("missing", shapes.keys() - tensors.keys(), len(shapes)),
        ("unknown", tensors.keys() - shapes.keys(), len(tensors)),
    ):
        if names:
            raise broken(network, f"{what} tensor {min(names)[:100]!r} ({len(names)} of {count} are {what})")
    wrong = [name for name, shape in shapes.items() if not _fits(tensors[name], shape)]
    if wrong:
        found = misfit(wrong[0], tensors[wrong[0]], list(shapes[wrong[0]]))
        raise broken(network, f"{found} ({len(wrong)} of {len(shapes)} tensors do not fit {sizes})")
    return {name: tensors[name].float() for name in shapes}


def misfit(name: str, tensor: Tensor, wanted: object) -> str:
    """Return what is wrong with a tensor that is not of the shape `wanted`, or holds no such numbers."""
    return f"{name} is {str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}, not float {wanted}"


def broken(network: str, found: str) -> UserError:
    """Return the error of a file that does not hold such a network."""
    return UserError(f"import a {network}", found, "restore its files from where they came")


def _fits(tensor: Tensor, shape: Sequence[int]) -> bool:
    return tensor.shape == tuple(shape) and tensor.is_floating_point() and tensor.element_size() <= 4
