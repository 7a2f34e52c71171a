"""The kernels' draws held to those of the operations, in a process of its own.

On a GPU they are compiled. Without one they are interpreted, which has to be known before triton is imported:
whoever starts this sets TRITON_INTERPRET=1. Prints, as JSON, whether each case is the same, and the trial.
"""

import json
import sys

import torch

from triptych.philox import fused, reference

SHAPES = {
    "a word": (1, 1),
    "a block": (3, 4),
    "no whole block": (5, 7),
    "more than a program": (40, 150),
    "many blocks of one index": (1, 5000),
    "no index": (0, 8),
}
"""Indices, and words for each."""
KEYS = {
    "zeros": (0, 0, 0),
    "ones": (1, 1, 1),
    "multiples of 16": (32, 64, 128),
    "the largest": (2**32 - 1, 2**32 - 1, 2**32 - 1),
    "about the sign": (2**31 - 1, 2**31, 2**31 + 1),
}
THRESHOLDS = (0, 1, 16384, 58982, 65535, 65536)


def main() -> None:
    from triptych.philox import triton_kernels as kernels

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    found = {}
    for shape, (rows, count) in SHAPES.items():
        index = (torch.arange(rows, device=device) * 2_654_435_761_123) % 2**41
        for name, key in KEYS.items():
            same = torch.equal(kernels.words(*key, index, count), reference.words(*key, index, count))
            for threshold in THRESHOLDS:
                mine, other = (each.below(threshold, *key, index, count) for each in (kernels, reference))
                same = same and mine.dtype == torch.bool and torch.equal(mine, other)
            found[f"{shape}, {name}"] = same
    apart = torch.arange(20, device=device)[::2]  # an index that lies with gaps
    mine, other = (each.words(1, 2, 3, apart, 9) for each in (kernels, reference))
    found["an index with gaps"] = torch.equal(mine, other)
    json.dump({"same": found, "tried": fused.tried(kernels, device)}, sys.stdout)


if __name__ == "__main__":
    main()
