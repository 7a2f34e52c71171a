"""The web page of a folder of runs: what they are, how they come along, and images drawn from them."""
