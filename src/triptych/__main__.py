"""`python -m triptych`: the command line, for torchrun and for uninstalled checkouts."""

import sys

from triptych.cli import main

sys.exit(main())
