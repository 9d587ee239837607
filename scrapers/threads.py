"""Threads for work that waits for the outside; a simulation does the same work in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

_IN_TURN: ContextVar[bool] = ContextVar("in_turn", default=False)


def threads(at_once: int, name: str = "") -> Executor:
    """A pool of so many threads, to be left as a context."""
    return _InTurn() if _IN_TURN.get() else ThreadPoolExecutor(at_once, thread_name_prefix=name)


@contextmanager
def in_turn() -> Iterator[None]:
    """Inside, pools that this thread opens do each piece of work as it is handed in: the order is always the same."""
    before = _IN_TURN.set(True)
    try:
        yield
    finally:
        _IN_TURN.reset(before)


class _InTurn(Executor):
    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        done: Future[R] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except BaseException as error:
            done.set_exception(error)
        return done
