"""Noise levels, schedules, predictions and objectives: what diffusion is, without any network."""
