"""Log lines that reach the Prefect UI when a run is there to take them, and standard logging otherwise."""

from __future__ import annotations

import logging
from logging import LoggerAdapter
from typing import Any

from prefect.exceptions import MissingContextError
from prefect.logging import get_run_logger


def partition_logger() -> logging.Logger | LoggerAdapter[Any]:
    """The current run's logger; ``gapless`` outside of a run, where Prefect would raise."""
    try:
        return get_run_logger()
    except MissingContextError:
        return logging.getLogger("gapless")
