"""Which device computes which request: engine, workers, scheduling."""
