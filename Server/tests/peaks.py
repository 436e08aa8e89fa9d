"""How much memory something takes for a while."""

import contextlib
import tracemalloc


@contextlib.contextmanager
def peak_memory():
    """Trace what Python and NumPy take; yields a function of the most bytes so far."""
    tracemalloc.start()
    try:
        yield lambda: tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
