"""Child processes of the local stack: started, watched and stopped.

Every child leads its own session, so that Ctrl+C in the terminal reaches the supervisor only, which
then stops the children in order. Output goes to files: a pipe that nobody reads blocks its writer after 64 KB.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from alerting.errors import CriticalError
from deployments.local.process_id import ProcessId, listens, stop_processes

_PR_SET_PDEATHSIG = 1
_POLL_S = 0.05
_LOG_MARK = "=== start of"
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform.startswith("linux") else None
_LOCAL = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class ChildFailed(CriticalError):
    """A child ended, or did not answer in time; the message carries the tail of its log."""


@dataclass
class Child:
    """One process of the stack.

    Attributes:
        name: Word for people and for the state file.
        identity: Pid and start time.
        endpoint: Base URL or ``host:port`` that clients use.
        log_path: File that takes its stdout and stderr.
        ready_url: URL that answers 2xx when the child serves; empty = ready once it runs.
        ports: Its ports by use, e.g. ``{"http": 8025, "smtp": 1025}``.
        process: Handle, if this process started it.
    """

    name: str
    identity: ProcessId
    endpoint: str
    log_path: Path
    ready_url: str = ""
    ports: dict[str, int] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def alive(self) -> bool:
        """Whether it still runs; also reaps it when it ended."""
        if self.process is not None and self.process.poll() is not None:
            return False
        return self.identity.alive()

    def ready(self) -> bool:
        """Whether its ready URL answers with a 2xx within a second, and it is this child that listens there.

        Somebody else, such as the stack of another checkout, may have taken the port just before it could.
        """
        if not self.ready_url:
            return self.alive()
        try:
            with _LOCAL.open(self.ready_url, timeout=1.0) as answer:
                is_well = 200 <= int(answer.status) < 300
        except (OSError, urllib.error.URLError, ValueError):
            return False
        return is_well and listens(self.identity, self.ports.values())

    def log_tail(self, lines: int = 25) -> str:
        """The last lines that it logged since its start, or a word that there are none."""
        try:
            text = self.log_path.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            return f"(no log: {error})"
        return "\n".join(text.rpartition(_LOG_MARK)[2].splitlines()[1:][-lines:]) or "(the log is empty)"

    def stop(self, grace_s: float = 5.0) -> None:
        """SIGTERM to its process group, SIGKILL to what is left after ``grace_s``. Repeatable."""
        stop_processes([self.identity], grace_s=grace_s)
        if self.process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=5)


@dataclass(frozen=True)
class Serving:
    """What clients are told of a child; see `Child`."""

    endpoint: str = ""
    ready_url: str = ""
    ports: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Inherited:
    """What a child gets from its parent.

    Attributes:
        environment: Added to the parent's. An empty value removes the variable.
        cwd: Working directory.
        lifeline: File descriptor that becomes its stdin.
        die_with_parent: Linux: SIGKILL when the *thread* that started it ends, however it ends. So start
            children from the main thread. Elsewhere without effect.
    """

    environment: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    lifeline: int | None = None
    die_with_parent: bool = True


def free_port(preferred: int | None = None) -> int:
    """A free TCP port on 127.0.0.1: the preferred one if nobody listens there, else one the system picks."""
    for port in (preferred or 0, 0):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            # Without it, a port whose last connections are in TIME_WAIT looks taken for a minute after a restart.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise ChildFailed("no free port on 127.0.0.1")


def start_child(
    name: str,
    command: Sequence[str | Path],
    *,
    log_path: Path,
    serving: Serving | None = None,
    inherited: Inherited | None = None,
) -> Child:
    """Starts a process in its own session; returns at once, see `wait_ready`.

    Args:
        name: Word for people.
        command: Program and arguments.
        log_path: Takes stdout and stderr, appended; its folder is made.
        serving: Where it will serve, if it does.
        inherited: What it gets.

    Raises:
        ChildFailed: The program could not be started.
    """
    serving, given = serving or Serving(), inherited or Inherited()
    # Paths and logs are UTF-8 in every locale: DuckDB cannot open a path that Python read in another one. Optimized,
    # forms and tables would lose their descriptions, which are docstrings.
    merged = {**os.environ, "PYTHONUTF8": "1", **given.environment}
    merged.pop("PYTHONOPTIMIZE", None)
    merged = {key: value for key, value in merged.items() if value != "" or key not in given.environment}
    log_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    log_path.touch(mode=0o600)
    parent = os.getpid()

    def follow_parent() -> None:
        if _LIBC is not None:
            _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:  # the parent died before the line above
                os._exit(1)

    with log_path.open("ab") as log:
        log.write(f"\n{_LOG_MARK} {name} at {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC\n".encode())
        log.flush()
        try:
            process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL if given.lifeline is None else given.lifeline,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=merged,
                cwd=given.cwd,
                start_new_session=True,
                # Its databases, mails and logs are this user's alone.
                umask=0o077,
                preexec_fn=follow_parent if given.die_with_parent and _LIBC is not None else None,
            )
        except OSError as error:
            raise ChildFailed(f"{name} could not be started: {error}. Command: {command[0]}") from error
    identity = ProcessId.of(process.pid) or ProcessId(process.pid, "ended at once")
    return Child(name, identity, serving.endpoint, log_path, serving.ready_url, dict(serving.ports), process)


def wait_ready(children: Iterable[Child], timeout_s: float = 20.0) -> None:
    """Waits for all children at the same time.

    Raises:
        ChildFailed: One ended or was not ready after ``timeout_s``. The others are left as they are.
    """
    waiting = list(children)
    deadline = time.monotonic() + timeout_s
    while True:
        waiting = [child for child in waiting if not child.ready()]
        for child in waiting:
            if not child.alive():
                code = _exit_code(child)
                raise ChildFailed(f"{child.name} ended with code {code} at start.\n{_where(child)}")
        if not waiting:
            return
        if time.monotonic() > deadline:
            slow = waiting[0]
            raise ChildFailed(f"{slow.name} did not answer {slow.ready_url} in {timeout_s:g} s.\n{_where(slow)}")
        time.sleep(_POLL_S)


def refuse_ended(children: Iterable[Child]) -> None:
    """Raises ``ChildFailed`` for the first child that runs no more."""
    for child in children:
        if not child.alive():
            raise ChildFailed(f"{child.name} ended.\n{_where(child)}")


def _exit_code(child: Child) -> int | str:
    if child.process is None:
        return "unknown"
    # Ended and not yet reaped: the system has its code.
    with contextlib.suppress(subprocess.TimeoutExpired):
        return child.process.wait(timeout=5)
    return "unknown"


def _where(child: Child) -> str:
    return f"Log {child.log_path}:\n{child.log_tail()}"
