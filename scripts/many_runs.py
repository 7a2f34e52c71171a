"""Make many long runs, and tell how soon a list of them is shown: for the first time, and again.

    python scripts/many_runs.py --runs 200 --epochs 20000

The runs are records alone, one event an epoch, with a held-out error, a checkpoint and a preview every 50.
They go into a folder of their own that is gone afterwards, as is the cache.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from triptych.record.events import DataSummary, Device, HeldOut, Previewed, Progress, Saved, Started
from triptych.record.record import FILE_NAME, Event, encode_line

IMAGES, BATCH = 50_000, 128
LIST = """
import sys, time
start = time.perf_counter()
from pathlib import Path
from triptych.page.shelf import Shelf
shelf = Shelf(Path(sys.argv[1]))
found = shelf.glances()
shown = time.perf_counter() - start
while any(one.state == "reading" for one in found):
    time.sleep(0.2)
    found = shelf.glances()
known = time.perf_counter() - start
assert {one.state for one in found} == {"killed"}, {one.state for one in found}
print(len(found), round(shown, 3), round(known, 3))
"""
"""What a server does when it starts, in a process of its own."""


def write_run(folder: Path, epochs: int) -> None:
    """Write the record of a long run."""
    folder.mkdir(parents=True)
    device, data = Device("V100 32G", 1, 8), DataSummary("cifar10", "c" * 64, 3, 32, IMAGES, 10_000, ())
    training = {"epochs": epochs, "batch_size": BATCH}
    config = {"name": folder.name, "backbone": {"kind": "unet"}, "training": training}
    steps = IMAGES / BATCH
    started = Started(folder.name, config, data, 1, True, device, {}, steps, round(epochs * steps))
    lines = [encode_line(Event("started", 0, 0, 0.0, started))]
    for epoch in range(1, epochs + 1):
        step, now = round(epoch * steps), 45.0 * epoch
        progress = Progress(float(epoch), 0.03 + 0.1 / epoch, 1.0, 1e-4, 1111.0)
        lines.append(encode_line(Event("progress", step, 0, now, progress)))
        if epoch % 50 == 0:
            name = f"epoch-{epoch:05d}"
            rest = {
                "held-out": HeldOut(float(epoch), 0.03 + 1.0 / epoch, True, 2.0),
                "saved": Saved(float(epoch), name, 143_000_000, 1.5, ()),
                "previewed": Previewed(float(epoch), f"previews/{name}.png", "ddim:50", 1.3, 16, 51.0),
            }
            lines += [encode_line(Event(kind, step, 0, now, payload)) for kind, payload in rest.items()]
    (folder / FILE_NAME).write_bytes(b"".join(lines))


def main() -> int:
    """Write the runs, list them three times, print a table; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=200, help="how many (default 200)")
    parser.add_argument("--epochs", type=int, default=20_000, help="of each (default 20,000)")
    options = parser.parse_args()
    with TemporaryDirectory() as place:
        runs = Path(place) / "runs"
        write_run(runs / "run-000", options.epochs)
        data = (runs / "run-000" / FILE_NAME).read_bytes()
        for i in range(1, options.runs):
            (runs / f"run-{i:03d}").mkdir()
            (runs / f"run-{i:03d}" / FILE_NAME).write_bytes(data)
        events = data.count(b"\n")
        print(f"{options.runs} records of {len(data) / 1e6:.1f} MB and {events:,} events")
        print("| | list shown, s | all known, s |\n|---|---|---|")
        environment = os.environ | {"TRIPTYCH_CACHE": str(Path(place) / "cache")}
        for what in ("first time", "again", "one has grown"):
            if what == "one has grown":
                with (runs / "run-000" / FILE_NAME).open("ab") as file:
                    file.write(data[data.index(b"\n") + 1 :].splitlines(keepends=True)[-1])
            command = [sys.executable, "-c", LIST, str(runs)]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
            count, shown, known = done.stdout.split()
            assert int(count) == options.runs
            print(f"| {what} | {shown} | {known} |", flush=True)
            time.sleep(0.1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
