"""Ctrl+C, which a terminal sends to a command and to all processes that it began."""

from __future__ import annotations

import signal
import subprocess
import sys

from flows.simulate.interrupts import deaf_to_interrupts

ASKED = "import signal; print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)"


def test_a_process_that_is_begun_inside_hears_no_ctrl_c_and_the_one_that_began_it_does() -> None:
    before = signal.getsignal(signal.SIGINT)
    with deaf_to_interrupts():
        begun = subprocess.run([sys.executable, "-c", ASKED], capture_output=True, text=True, check=True)
    assert begun.stdout == "True\n"
    assert signal.getsignal(signal.SIGINT) is before
