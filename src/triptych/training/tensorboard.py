"""Training figures for TensorBoard, where it is installed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from triptych.record.events import Event, HeldOut, Progress

SCALARS = {
    Progress: ("loss", "gradient_norm", "learning_rate", "images_per_second"),
    HeldOut: ("mse",),
}


class TensorBoard:
    """Writes the figures of training events into `folder`; what lies beyond `step` is drawn anew."""

    def __init__(self, folder: Path, step: int):
        from torch.utils.tensorboard import SummaryWriter  # slow to import, and an optional extra

        self.writer = SummaryWriter(str(folder), purge_step=step + 1)

    def __call__(self, event: Event) -> None:
        """Write what the event measured, if anything."""
        for name in SCALARS.get(type(event.data), ()):
            self.writer.add_scalar(f"{event.kind}/{name}", getattr(event.data, name), event.step)
        self.writer.flush()


def tensorboard_installed() -> bool:
    """Whether TensorBoard's writer can be imported."""
    return find_spec("tensorboard") is not None
