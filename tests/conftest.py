"""What every test runs under."""

import gc
import os
from pathlib import Path

import pytest

pytest_plugins = ["pytester", "skip_policy"]

# Tests run side by side, one process per core: more threads than that only get in each other's way.
# Set before anything imports torch, which reads it once.
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")


def pytest_collection_finish() -> None:
    """Leave what is there before the first test to no garbage collection: millions of objects that all stay.

    Every collection would go through them, and some tests collect.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Return the folder with the real CIFAR-10 that TRIPTYCH_TEST_DATA names; skip where it names none."""
    named = os.environ.get("TRIPTYCH_TEST_DATA")
    if not named:
        pytest.skip("TRIPTYCH_TEST_DATA names no folder with the real CIFAR-10")
    folder = Path(named)
    assert folder.is_dir(), f"TRIPTYCH_TEST_DATA={named} is no folder"
    return folder
