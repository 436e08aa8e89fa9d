"""What stands between the socket and the engine: heads, guards, keys, problems, native routes."""
