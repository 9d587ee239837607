"""Which process is meant, and how it is ended.

A pid alone names nothing: it is recycled. A process is its pid plus its start time, and both are checked before any
signal is sent. What a child starts itself (a worker its flow runs, in sessions of their own) is found by a token that
the whole family inherits in its environment.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

TOKEN_VARIABLE = "GAPLESS_STACK_TOKEN"  # noqa: S105
_POLL_S = 0.05
_PROC = Path("/proc")
_LISTENING = "0A"


@dataclass(frozen=True)
class ProcessId:
    """A process that cannot be confused with a later one of the same pid.

    Attributes:
        pid: Process id.
        started: Start time as the system tells it: clock ticks since boot on Linux, a date elsewhere.
    """

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> ProcessId | None:
        """The identity behind a pid; None if there is no such process, or only its zombie."""
        started = _start_time(pid)
        return cls(pid, started) if started else None

    def alive(self) -> bool:
        """Whether this very process still runs."""
        return _start_time(self.pid) == self.started


def _start_time(pid: int) -> str:
    if (_PROC / "self").is_dir():
        try:
            stat = (_PROC / f"{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
        # The second field is the command in brackets and may hold spaces and brackets itself.
        fields = stat.rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else fields[19]
    command = ["ps", "-o", "stat=,lstart=", "-p", str(pid)]
    answer = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False)
    state, _, started = answer.stdout.strip().partition(" ")
    return "" if state.startswith("Z") else started.strip()


def stop_processes(identities: Iterable[ProcessId], grace_s: float = 5.0) -> None:
    """SIGTERM to the groups of these processes at once, SIGKILL to the groups that outlive ``grace_s``.

    A process whose start time differs from the recorded one is a stranger and is left alone.
    """
    left = [one for one in identities if one.alive()]
    for one in left:
        _signal_group(one, signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    while left and time.monotonic() < deadline:
        time.sleep(_POLL_S)
        left = [one for one in left if one.alive()]
    for one in left:
        _signal_group(one, signal.SIGKILL)
    deadline = time.monotonic() + 5.0
    while any(one.alive() for one in left) and time.monotonic() < deadline:
        time.sleep(_POLL_S)


def _signal_group(one: ProcessId, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.getpgid(one.pid) == one.pid:
            os.killpg(one.pid, number)
        else:
            os.kill(one.pid, number)


def began(leader: int, one: ProcessId) -> bool:
    """Whether the process of pid ``leader`` began this one, or one that did. Linux; elsewhere never."""
    pid = one.pid
    while pid > 1 and pid != leader:
        try:
            stat = (_PROC / f"{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return False
        pid = int(stat.rpartition(")")[2].split()[1])
    return pid == leader


def is_deaf(one: ProcessId) -> bool:
    """Whether it ignores SIGTERM. Linux; elsewhere no."""
    with contextlib.suppress(OSError):
        for line in (_PROC / f"{one.pid}/status").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("SigIgn:"):
                return bool(int(line.split()[1], 16) >> (signal.SIGTERM - 1) & 1)
    return False


def listens(leader: ProcessId, ports: Iterable[int]) -> bool:
    """Whether the session of ``leader`` listens on all of these TCP ports. Linux; elsewhere it is believed."""
    try:
        sockets = _listening_sockets()
    except OSError:
        return True
    ours = {name for pid in _session_of(leader.pid) for name in _open_files(pid)}
    return all(ours & sockets.get(port, set()) for port in ports)


def _listening_sockets() -> dict[int, set[str]]:
    """By port, as they are named among the open files of a process."""
    found: dict[int, set[str]] = {}
    for table in ("tcp", "tcp6"):
        path = _PROC / "net" / table
        if table == "tcp6" and not path.exists():
            continue
        for line in path.read_text(encoding="ascii").splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTENING:
                port = int(fields[1].rpartition(":")[2], 16)
                found.setdefault(port, set()).add(f"socket:[{fields[9]}]")
    return found


def _session_of(leader: int) -> Iterator[int]:
    for folder in _PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError, ProcessLookupError):
            if os.getsid(int(folder.name)) == leader:
                yield int(folder.name)


def _open_files(pid: int) -> Iterator[str]:
    with contextlib.suppress(OSError):
        for one in (_PROC / f"{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                yield str(one.readlink())


def family(token: str) -> list[ProcessId]:
    """All living processes of this user that inherited a token, this one excepted. Linux; elsewhere empty."""
    wanted = f"{TOKEN_VARIABLE}={token}".encode()
    found = []
    for folder in _PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            pid = int(folder.name)
            if pid != os.getpid() and wanted in (folder / "environ").read_bytes().split(b"\0"):
                found.append(ProcessId.of(pid))
    return [one for one in found if one]
