"""The generator behind every draw: as tensor operations, and as one kernel of a GPU."""
