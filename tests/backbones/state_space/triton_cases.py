"""The kernels' scan held to `chunked_scan` and to the recurrence, in a process of its own.

On a GPU they are compiled. Without one they are interpreted, which has to be known before triton is imported:
whoever starts this sets TRITON_INTERPRET=1. Prints, as JSON, what each case differs by.
"""
# ruff: noqa: N806 -- the letters A, B, C, D are the paper's

import json
import sys

import torch

from triptych.backbones.state_space import fused
from triptych.backbones.state_space.ssd import ssd, ssd_reference
from triptych.backbones.state_space.trial import difference

NAMES = ("y", "x", "dt", "A", "B", "C", "D")
STRENGTHS = {"almost none": (1e-6, 1e-6), "usual": (1e-3, 1e-1), "strong": (1, 10), "mixed": (1e-6, 50)}
"""Step sizes dt of decays exp(-dt |A|) with 1 <= |A| <= 16."""

FORWARD, BACKWARD, SPLIT = (False,), (True,), (False, True)
CASES = {
    **{f"{name} decays": {"strength": name, "reverse": SPLIT} for name in STRENGTHS},
    "forward": {"reverse": FORWARD},
    "backward": {"reverse": BACKWARD, "strength": "mixed"},
    "two heads a group": {"reverse": (True, False), "heads": 4},
    "both backward": {"reverse": (True, True), "length": 40},
    "one token": {"length": 1},
    "fewer than a chunk": {"length": 21, "reverse": BACKWARD},
    "a chunk": {"length": 32},
    "chunks that fit": {"length": 64, "reverse": SPLIT},
    "powers of two": {"width": 16, "state": 32, "length": 40},
    "more than one of 16": {"width": 20, "state": 33, "length": 40},
    "the widest": {"width": 64, "state": 64, "length": 40},
    "bf16": {"dtype": torch.bfloat16, "reverse": SPLIT},
    "bf16, mixed decays": {"dtype": torch.bfloat16, "strength": "mixed"},
    "fp16": {"dtype": torch.float16, "reverse": SPLIT},
    "float64": {"dtype": torch.float64, "length": 40},
    "too wide a head": {"width": 65, "length": 40},
    "too wide a state": {"state": 65, "length": 40},
    "views": {"reverse": SPLIT, "views": True},
}


TRIALS = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""Of these the program's own trial is made, in the usual sizes."""


def inputs(
    strength="usual", length=75, reverse=FORWARD, heads=2, width=5, state=6, dtype=torch.float32, views=False
):
    """Return x, dt, A, B, C, D of 2 images; x, B and C of this dtype, or views that lie as a mixer's do."""
    g = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(shape, generator=g)

    low, high = torch.tensor(STRENGTHS[strength]).log()
    dt = (low + (high - low) * torch.rand(2, length, heads, generator=g)).exp()
    A = -1 - 15 * torch.rand(heads, generator=g)
    B, C = (normal(2, length, len(reverse), state).to(dtype) for _ in range(2))
    wide = torch.promote_types(dtype, torch.float32)
    x = normal(2, length, heads, width).to(dtype)
    if views:
        B, C = torch.stack([B, C], 3).unbind(3)
        x, dt = (
            x.transpose(1, 2).contiguous().transpose(1, 2),
            dt.transpose(1, 2).contiguous().transpose(1, 2),
        )
    return x, dt.to(wide), A.to(wide), B, C, normal(heads).to(wide)


def results(scan, tensors, reverse):
    """Return y and the gradients of all inputs, for a fixed gradient of y; their dtypes are the inputs'."""
    leaves = [t.detach().requires_grad_() for t in tensors]  # which lie as they did
    y = scan(*leaves, reverse=reverse)
    dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(tensors[0].dtype)
    dy = dy.to(y) if tensors[0].is_contiguous() else dy.to(y).mT.contiguous().mT
    gradients = torch.autograd.grad(y, leaves, dy)
    assert [t.dtype for t in (y, *gradients)] == [t.dtype for t in (leaves[0], *leaves)]
    return [y.detach().cpu(), *(t.cpu() for t in gradients)]


def differences(scan, case, device):
    """Return what the result and each gradient differ by, relative to its largest entry: from either."""
    tensors = inputs(**case)
    reverse = case.get("reverse", FORWARD)
    found = results(scan, [t.to(device) for t in tensors], reverse)
    expected = results(ssd_reference, [t.double() for t in tensors], reverse)
    plain = results(ssd, tensors, reverse)
    if case is CASES["forward"]:  # in drawing nothing is kept
        assert torch.equal(scan(*(t.to(device) for t in tensors), reverse=reverse).cpu(), found[0])
    return {
        name: [apart(a, b) for b in both]
        for name, a, *both in zip(NAMES, found, expected, plain, strict=True)
    }


def apart(a, b):
    """Return the largest difference, relative to the largest entry of b, or itself where that is 0."""
    return float((a.double() - b.double()).abs().max()) / (float(b.double().abs().max()) or 1.0)


def trial(scan, dtype, device):
    """Return what the program's trial of the kernels finds wrong; nothing, where they pass."""
    given = fused.SSD_TRITON.problem(device, dtype, 64, 64)
    return difference(ssd, scan, given, fused.SSD_TRITON.directions, fused.TOLERANCES[dtype])


def main():
    """Print the differences of every case, and what trials find."""
    scan = fused.SSD_TRITON.load()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    names = sys.argv[1:] or CASES
    found = {name: differences(scan, CASES[name], device) for name in names}
    trials = {name: trial(scan, dtype, device) for name, dtype in TRIALS.items()}
    print(json.dumps({"cases": found, "trials": trials}))


if __name__ == "__main__":
    main()
