"""What the commands share."""

import signal

import pytest

from sammed3d.cli.terminal import interrupted_by_signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_interrupt_also_where_they_were_ignored(number):
    usual = signal.signal(number, signal.SIG_IGN)  # as for a process in the background
    try:
        with pytest.raises(KeyboardInterrupt), interrupted_by_signals():
            signal.raise_signal(number)
        assert signal.getsignal(number) == signal.SIG_IGN, "afterwards it is as before"
    finally:
        signal.signal(number, usual)
