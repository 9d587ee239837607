"""Machines on which simulated processes run: names, numbers, timers and open files, which end with their process."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import io
import os
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any, TypeVar

from alerting import private_files, spool
from flows.simulate.virtual_time import Owner, VirtualClock

R = TypeVar("R")
_FIRST_PID = 1_001


@dataclass(eq=False)
class _OfProcess:
    """What a process has on its machine; ``standstills`` is how often it was brought to one.

    ``slept_s`` is for how long its monotonic clock stood still.
    """

    pid: int
    host: str
    is_alive: bool = True
    standstills: int = 0
    slept_s: float = 0.0
    timers: list[VirtualTimer] = field(default_factory=list)
    files: list[io.FileIO] = field(default_factory=list)

    def end(self) -> None:
        """What it had open is closed, as by the kernel; nothing more of it has an effect."""
        self.is_alive = False
        self.timers.clear()
        for file in self.files:
            file.close()


@dataclass
class _Wrong:
    """The wall clock of a machine is so far ahead, until it is set right after so many operations."""

    ahead_s: float
    operations: int


_HERE: ContextVar[_OfProcess | None] = ContextVar("simulated_process", default=None)
"""The process that is at work."""


def process_here() -> Owner | None:
    """Of the process that is at work; its tasks and threads are told by it."""
    return _HERE.get()


def begun_by_nobody(work: Coroutine[Any, Any, R]) -> asyncio.Task[R]:
    """A task that does not end with the process that is at work."""
    around = contextvars.copy_context()
    around.run(_HERE.set, None)
    return around.run(asyncio.get_running_loop().create_task, work)


class _File(io.FileIO):
    """A file that a dead process cannot touch."""

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """See ``FileIO``."""
        if self.closed:
            raise OSError("its process is dead")
        return super().seek(offset, whence)


class VirtualTimer:
    """See ``threading.Timer``: called when its process next waits for as long, or longer, on the virtual clock."""

    daemon = True

    def __init__(self, owner: _OfProcess, due_s: float, function: Callable[..., object], arguments: Any) -> None:
        self.due_s, self.run = due_s, partial(contextvars.copy_context().run, function, *arguments)
        self._owner = owner

    def start(self) -> None:
        """From now on it is waited for."""
        self._owner.timers.append(self)

    def cancel(self) -> None:
        """It is not called, unless that is over."""
        with contextlib.suppress(ValueError):
            self._owner.timers.remove(self)


class Machines:
    """Every process is on a machine of its own, or all are on one.

    Those of one machine know by its number whether a process lives, and find what the dead have left on the disk.
    """

    def __init__(self, clock: VirtualClock, disk: Path, *, is_one: bool) -> None:
        self._clock, self._disk, self._is_one = clock, disk, is_one
        self._living: list[_OfProcess] = []
        self._pids = 0
        self._wrong: dict[str, _Wrong] = {}
        """By machine; the clocks of all others are right."""
        self._next: _Wrong | None = None
        clock.on_the_way = self._due
        clock.ahead_s, clock.slept_s = self._ahead_s, self._slept_s

    @property
    def spool_folder(self) -> Path:
        """Of the machine of the running process."""
        return self._disk / self._host()

    @contextmanager
    def process(self) -> Iterator[None]:
        """A process begins, and ends; all tasks that are begun inside are its own."""
        self._pids += 1
        number = self._pids
        one = _OfProcess(_FIRST_PID + number, "simulated" if self._is_one else f"simulated{number}")
        if self._next:
            self._wrong[one.host], self._next = self._next, None
        self._living.append(one)
        before = _HERE.set(one)
        try:
            yield
        finally:
            _HERE.reset(before)
            one.end()
            self._living.remove(one)

    def died(self) -> None:
        """The running process is dead, though its code goes on: in its ``finally``, and in its other tasks."""
        if running := _HERE.get():
            running.end()

    @contextmanager
    def standstill(self, *, asleep: bool) -> Iterator[None]:
        """Whoever is at work stands still: no timer of theirs goes off, nor, if ``asleep``, does a monotonic clock."""
        standing, before, begun_s = list(self._living), _HERE.set(None), self._clock.now_s
        for one in standing:
            one.standstills += 1
        try:
            yield
        finally:
            _HERE.reset(before)
            for one in standing:
                one.standstills -= 1
                one.slept_s += (self._clock.now_s - begun_s) * asleep

    def set_clock(self, ahead_s: float, operations: int) -> None:
        """The wall clock of the machine of the running process is set, and set right after so many operations on it."""
        self._wrong[self._host()] = _Wrong(ahead_s, operations)

    def next_clock(self, ahead_s: float, operations: int) -> None:
        """As `set_clock`, of the machine on which the next process begins."""
        self._next = _Wrong(ahead_s, operations)

    def set_right(self) -> None:
        """All clocks are."""
        self._wrong.clear()
        self._next = None

    def operates(self) -> None:
        """The running process is about to do something to the outside."""
        if wrong := self._wrong and self._wrong.get(self._host()):
            wrong.operations -= 1
            if wrong.operations < 0:
                del self._wrong[self._host()]

    def _ahead_s(self) -> float:
        wrong = self._wrong and (running := _HERE.get()) and self._wrong.get(running.host)
        return wrong.ahead_s if wrong else 0.0

    def _slept_s(self) -> float:
        running = _HERE.get()
        return running.slept_s if running else 0.0

    @contextmanager
    def in_place_of_this_one(self) -> Iterator[None]:
        """What is asked of this machine where the virtual clock rules, is asked of the simulated one."""
        real = os.getpid, os.kill, socket.gethostname, threading.Timer
        is_ours = self._clock.rules_here

        def kill(pid: int, signal: int) -> None:
            if signal or not is_ours():
                real[1](pid, signal)
            elif pid not in [one.pid for one in self._living if one.is_alive]:
                raise ProcessLookupError(pid)

        def timer(interval: float, function: Callable[..., object], args: Any = (), kwargs: Any = None) -> Any:
            running = _HERE.get()
            if running is None or not is_ours():
                return real[3](interval, function, args, kwargs)
            return VirtualTimer(running, self._clock.now_s + interval, function, args)

        def open_private(path: Path, mode: str) -> IO[bytes]:
            running = _HERE.get()
            if running is None or not is_ours():
                return private_files.open_private(path, mode)
            if not running.is_alive:
                raise OSError("its process is dead")
            running.files.append(_File(path, mode))
            return running.files[-1]

        os.getpid = lambda: self._pid() if is_ours() else real[0]()
        os.kill = kill
        socket.gethostname = lambda: self._host() if is_ours() else real[2]()
        threading.Timer = timer  # type: ignore[assignment, misc]
        vars(spool)["open_private"] = open_private
        try:
            yield
        finally:
            os.getpid, os.kill, socket.gethostname, threading.Timer = real  # type: ignore[misc]
            vars(spool)["open_private"] = private_files.open_private

    def _pid(self) -> int:
        running = _HERE.get()
        return running.pid if running else _FIRST_PID

    def _host(self) -> str:
        running = _HERE.get()
        return running.host if running else "simulated"

    def _due(self, until_s: float) -> VirtualTimer | None:
        """The first timer of a running process that goes off by then; it is not waited for any more."""
        running = [one for one in self._living if not one.standstills]
        due = [timer for one in running for timer in one.timers if timer.due_s <= until_s]
        if not due:
            return None
        first = min(due, key=lambda timer: timer.due_s)
        first.cancel()
        return first
