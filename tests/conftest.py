"""What every test runs under."""

import os

# Tests run side by side, one process per core: more threads than that only get in each other's way.
# Set before anything imports torch, which reads it once.
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
