"""Ends a foreground stack when its owner is gone, however it went.

The guard reads from a pipe whose other end only the owner holds. The system closes that end when the owner ends, and
the read returns. Unlike Linux's death signal this reaches flow runs too, which have sessions of their own, gives a
SIGTERM first, and works where no such signal exists.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from deployments.local.process_id import TOKEN_VARIABLE, family, stop_processes
from deployments.local.processes import Child, Inherited, start_child
from deployments.local.stack_shutdown import shut_down
from deployments.local.stack_state import load_state, state_file

_OPEN_ENDS: list[int] = []


def start_guard(state_dir: Path, log_path: Path, token: str) -> Child:
    """Starts the guard; this process is the owner from then on, until it ends."""
    reading, writing = os.pipe()
    _OPEN_ENDS.append(writing)
    try:
        return start_child(
            "guard",
            [sys.executable, "-m", "deployments.local.guard", str(state_dir.resolve())],
            log_path=log_path,
            inherited=Inherited(
                {TOKEN_VARIABLE: token}, Path(__file__).resolve().parents[2], reading, die_with_parent=False
            ),
        )
    finally:
        os.close(reading)


def main() -> None:
    """Waits for the end of the owner, then stops the stack if it is still the owner's."""
    state_dir, token = Path(sys.argv[1]), os.environ[TOKEN_VARIABLE]
    sys.stdin.buffer.read()
    if load_state(state_file(state_dir)).token == token:
        shut_down(state_dir)
    stop_processes(family(token))


if __name__ == "__main__":
    main()
