"""Measure the backbones against named peers, from a checkout: `python -m benchmarks --help`.

Every variant of a comparison is timed in one process, in rounds, and told as a ratio to one of them; its peak
memory is measured in a process of its own. How, and what came out: docs/performance.md.
"""
