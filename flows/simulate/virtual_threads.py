"""Threads of a simulated loop: work that waits lets the loop go on, as a thread would, and no two are ever at work.

A thread goes on in one piece until it sleeps or wants a lock that another one holds. Then the loop has its turn, with
its timers, until the thread is due.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from greenlet import GreenletExit, getcurrent, greenlet

R = TypeVar("R")
_Lock = threading.Lock


class Deadlock(RuntimeError):
    """Nothing is ready and nothing will be: every task waits for another one."""


class VirtualThread(greenlet):  # type: ignore[misc]
    """Work that a loop does beside its tasks, for ``owner``; ``over`` is when it has come to its end."""

    def __init__(self, loop: asyncio.AbstractEventLoop, owner: object, work: Callable[[], object]) -> None:
        super().__init__(self._to_the_end)
        self.gr_context = contextvars.copy_context()
        self.owner, self.over = owner, loop.create_future()
        self._loop, self._work = loop, work
        self._due: asyncio.Handle | None = None
        self._is_ended = False

    def _to_the_end(self) -> None:
        try:
            self._work()
        finally:
            if not self.over.done():
                self.over.set_result(None)

    def go_on(self) -> None:
        """Until it waits, or to its end. Of the loop."""
        self._due = None
        self.switch()

    def wait(self, seconds: float) -> None:
        """Lets the loop go on. Of the thread."""
        self._leave(self._loop.call_later(seconds, self.go_on))

    def wait_for(self, lock: VirtualLock) -> None:
        """Until ``lock`` may be free. Of the thread."""
        lock.wanted_by.append(self)
        self._leave(None)

    def may_go_on(self) -> None:
        """What it has waited for has come."""
        if not self._is_ended:
            self._due = self._loop.call_soon(self.go_on)

    def end(self) -> None:
        """With its process: wherever it waits, it goes no further."""
        self._is_ended = True
        if self._due is not None:
            self._due.cancel()
        if not self.dead:
            self.throw(GreenletExit)

    def _leave(self, due: asyncio.Handle | None) -> None:
        if self._is_ended:
            raise GreenletExit
        self._due = due
        assert self.parent is not None
        self.parent.switch()


def thread_here() -> VirtualThread | None:
    """The one that is at work; None in the loop, and outside of a simulation."""
    here = getcurrent()
    return here if isinstance(here, VirtualThread) else None


class VirtualThreads:
    """Those of one loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: list[VirtualThread] = []

    def begin(self, owner: object, func: Callable[..., R], args: tuple[Any, ...]) -> asyncio.Future[R]:
        """Calls ``func`` here and now, and leaves it when it waits; what it raises is in the future."""
        done: asyncio.Future[R] = self._loop.create_future()

        def work() -> None:
            try:
                result = func(*args)
            except GreenletExit:
                return
            except BaseException as error:
                if not done.done():
                    # A future takes no StopIteration.
                    done.set_exception(RuntimeError(repr(error)) if isinstance(error, StopIteration) else error)
            else:
                if not done.done():
                    done.set_result(result)

        thread = VirtualThread(self._loop, owner, work)
        thread.go_on()
        if not thread.dead:
            self._waiting.append(thread)
        return done

    def of(self, owner: object) -> list[VirtualThread]:
        """Those that have not come to their end, in the order of their beginnings."""
        return [thread for thread in self.all() if thread.owner is owner]

    def all(self) -> list[VirtualThread]:
        """Those of everybody."""
        self._waiting = [thread for thread in self._waiting if not thread.dead]
        return list(self._waiting)


class VirtualLock:
    """See ``threading.Lock``: a simulated thread that has to wait for one lets the loop go on."""

    def __init__(self) -> None:
        self._lock = _Lock()
        self._holder: greenlet | None = None
        self.wanted_by: list[VirtualThread] = []

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """See ``threading.Lock``; a simulated thread waits for as long as it takes."""
        while not self._lock.acquire(blocking=False):
            if not blocking:
                return False
            if here := thread_here():
                here.wait_for(self)
            elif isinstance(self._holder, VirtualThread):
                raise Deadlock("a task wants a lock that a thread holds while it waits")
            elif not self._lock.acquire(timeout=timeout):
                return False
            else:
                break
        self._holder = getcurrent()
        return True

    def release(self) -> None:
        """See ``threading.Lock``."""
        self._holder = None
        self._lock.release()
        if self.wanted_by:
            self.wanted_by.pop(0).may_go_on()

    def locked(self) -> bool:
        """See ``threading.Lock``."""
        return self._lock.locked()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


@contextmanager
def virtual_locks(rules_here: Callable[[], bool]) -> Iterator[None]:
    """Whoever makes a lock where the virtual clock rules gets a virtual one."""
    vars(threading)["Lock"] = lambda: VirtualLock() if rules_here() else _Lock()
    try:
        yield
    finally:
        vars(threading)["Lock"] = _Lock
