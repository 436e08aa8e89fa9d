"""Learning from corrected cases: a model of one's own that is installed only where it is better than its start."""
