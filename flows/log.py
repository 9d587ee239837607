"""What every flow and task has around it: a logger, redacted exceptions, and a rule of retry.

Log lines reach the Prefect UI when a run is there to take them, and standard logging otherwise.
"""

from __future__ import annotations

import functools
import inspect
import logging
import types
from collections.abc import Iterator
from contextlib import contextmanager
from logging import LoggerAdapter
from typing import Any, TypeVar

from prefect.client.schemas.objects import State, TaskRun
from prefect.exceptions import MissingContextError
from prefect.logging import get_run_logger
from prefect.states import Failed
from prefect.tasks import Task

from alerting.errors import PipelineError, TransientError
from alerting.redacted_errors import redacted_errors
from alerting.redaction import redact

T = TypeVar("T")


def partition_logger() -> logging.Logger | LoggerAdapter[Any]:
    """The current run's logger; ``gapless`` outside of a run, where Prefect would raise."""
    try:
        return get_run_logger()
    except MissingContextError:
        return logging.getLogger("gapless")


def lets_out_redacted(work: T) -> T:
    """Put above ``@task`` and ``@flow``: only redacted exceptions leave, as Prefect writes them into states and events.

    Not below it, because Prefect reads source, parameters and entry point from the function it is given.
    """
    traced: Any = work
    function = traced.fn
    guarded = redacted_errors

    async def awaited(*args: Any, **rest: Any) -> Any:
        with guarded():
            return await function(*args, **rest)

    def called(*args: Any, **rest: Any) -> Any:
        with guarded():
            return function(*args, **rest)

    made: Any = awaited if inspect.iscoroutinefunction(function) else called
    # With the globals of the function within: Prefect evaluates annotations in them, at each run.
    made = types.FunctionType(made.__code__, function.__globals__, function.__name__, None, made.__closure__)
    traced.fn = functools.update_wrapper(made, function)
    return work


async def retry_transient(_task: Task[Any, Any], _task_run: TaskRun, state: State[Any]) -> bool:
    """Retries only what the taxonomy calls transient; waiting for Retry-After is the budget's part."""
    error = await state.aresult(raise_on_failure=False)
    return isinstance(error, TransientError)


def failed(error: PipelineError) -> State[Any]:
    """The final state of a run that ``error`` ended before it had begun: one sentence and the next command, logged."""
    partition_logger().error("%s", error)
    return Failed(message=redact(str(error)))


class _RunHandler(logging.Handler):
    """Passes records on to the logger of a run, from whatever thread they come."""

    def __init__(self, run_logger: logging.Logger | LoggerAdapter[Any]) -> None:
        super().__init__(logging.INFO)
        self._run_logger = run_logger

    def emit(self, record: logging.LogRecord) -> None:
        self._run_logger.log(record.levelno, "%s", record.getMessage())


@contextmanager
def library_logs_in_run() -> Iterator[None]:
    """What our layers below log (``gapless.*``), the undelivered or console-only mail above all, is seen in the UI."""
    library, run_logger = logging.getLogger("gapless"), partition_logger()
    if run_logger is library:
        yield
        return
    handler, level = _RunHandler(run_logger), library.level
    library.addHandler(handler)
    library.setLevel(logging.INFO)
    library.propagate = False
    try:
        yield
    finally:
        library.propagate = True
        library.removeHandler(handler)
        library.setLevel(level)
