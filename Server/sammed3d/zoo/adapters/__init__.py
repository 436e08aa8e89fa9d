"""Checkpoints of others, turned into complete weights."""
