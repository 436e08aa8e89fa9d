"""Simulated users, shared by training, evaluation and the demonstration."""
