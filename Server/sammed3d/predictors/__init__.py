"""Implementations of the predictor protocol: with torch in this process, and with a server."""
