"""Geometry, interpolation, prompts: NumPy alone."""
