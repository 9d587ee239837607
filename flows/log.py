"""Log lines that reach the Prefect UI when a run is there to take them, and standard logging otherwise."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from logging import LoggerAdapter
from typing import Any

from prefect.client.schemas.objects import State
from prefect.exceptions import MissingContextError
from prefect.logging import get_run_logger
from prefect.states import Failed

from alerting.errors import PipelineError
from alerting.redaction import RedactingFilter, redact


def partition_logger() -> logging.Logger | LoggerAdapter[Any]:
    """The current run's logger; ``gapless`` outside of a run, where Prefect would raise.

    What it logs from then on is redacted, what Prefect itself says of this run's exceptions too.
    """
    try:
        found = get_run_logger()
    except MissingContextError:
        found = logging.getLogger("gapless")
    logger = found if isinstance(found, logging.Logger) else found.logger
    if not any(isinstance(known, RedactingFilter) for known in logger.filters):
        logger.addFilter(RedactingFilter())
    return found


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
