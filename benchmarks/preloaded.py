"""What the server of `processes.py` imports once, so that the processes that it forks find it there.

Without it every one of them would import for seconds. Nothing is computed: that would start threads.
"""

import torch._dynamo  # noqa: F401 -- torch imports it itself at the first backward pass

import benchmarks.measure  # noqa: F401
