"""Measuring models: simulated clicks and scores."""
