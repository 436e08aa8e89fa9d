"""The inference server. It gets patches and clicks, never volumes, names or paths."""
