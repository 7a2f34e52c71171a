"""Train, sample, evaluate and compare small-image diffusion models."""
