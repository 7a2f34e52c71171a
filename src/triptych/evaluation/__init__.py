"""Measuring images, reading the measurements: features, figures, reference, selection."""
