"""Ctrl-C and SIGTERM: asked to stop once, ended by the second; what runs in the background hears them too."""

import signal

import pytest

from sammed3d.cli.signals import Stop, interrupted_by_signals, interruptible
from sammed3d.core.cancellation import Cancellation


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_interrupt_also_where_they_were_ignored(number):
    usual = signal.signal(number, signal.SIG_IGN)  # as for a process in the background
    try:
        with pytest.raises(KeyboardInterrupt), interrupted_by_signals():
            signal.raise_signal(number)
        assert signal.getsignal(number) == signal.SIG_IGN, "afterwards it is as before"
    finally:
        signal.signal(number, usual)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_to_stop_and_the_second_ends_it(number):
    cancellation, stop = Cancellation(), Stop()
    usual = signal.signal(number, signal.default_int_handler)  # what runs in the background may ignore it
    try:
        with interruptible(cancellation, stop):
            signal.raise_signal(number)
            assert cancellation.is_cancelled
            assert stop.exit_code == 128 + number, "as shells have it"
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(number)
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, usual)
