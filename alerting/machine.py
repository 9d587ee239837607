"""Where a process id means something, so that who left a claim or a lease is known to be gone."""

from __future__ import annotations

import contextlib
import functools
import os
import socket
from pathlib import Path

_BOOT, _NAMESPACE = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")


def machine_name() -> str:
    """Host, its boot, and its namespace of process ids.

    Two containers may share the host's name, and two hosts a name and the number of the first namespace.
    """
    name = socket.gethostname()
    with contextlib.suppress(OSError):
        name += f".{_beginning(_BOOT)}"
    with contextlib.suppress(OSError):
        name += f".{_NAMESPACE.stat().st_ino}"
    return name


@functools.cache
def _beginning(path: Path) -> str:
    return path.read_text(encoding="ascii")[:8]


def is_process_gone(machine: str, pid: int) -> bool:
    """Whether no process ``pid`` of ``machine`` lives; False where that cannot be seen from here."""
    if machine != machine_name():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
