"""How the local BigQuery uses DuckDB: start without a network, no copy of a table per write, readers of their own.

Mends in bqemulator 1.4.0: the start installs DuckDB's extension for GEOGRAPHY and fails without a network (we have no
GEOGRAPHY); every write copies its whole table for time travel, which makes a backfill quadratic; and routes that run in
worker threads share the connection, and with it the open transaction, of the job on the event loop.
"""

from __future__ import annotations

import re
import threading
from typing import Any

from bqemulator.storage.engine import CATALOG_SCHEMA, DuckDBEngine
from bqemulator.versioning.snapshots import SnapshotManager

_CHANGES = "_gapless_changes"
_CHANGES_NOTHING = re.compile(
    rf"\s*(?:SELECT|WITH|BEGIN|COMMIT|CREATE OR REPLACE TEMP|\w+ (?:\w+ )*(?:temp\.|\"{CATALOG_SCHEMA}\"))",
    re.IGNORECASE,
)


def changes(engine: DuckDBEngine) -> int:
    """How many statements were run that may have changed rows; equal numbers mean equal rows."""
    return int(getattr(engine, _CHANGES, 0))


def install() -> None:
    """Patches bqemulator in this process, for good."""
    # Any: mypy does not let a method be replaced.
    engine: Any = DuckDBEngine
    snapshots: Any = SnapshotManager
    released_execute = engine.execute

    def execute(self: DuckDBEngine, sql: str, parameters: list[Any] | None = None) -> Any:
        if not _CHANGES_NOTHING.match(sql):
            setattr(self, _CHANGES, changes(self) + 1)
        # Plain `def` routes (tabledata.list) run in worker threads; on the shared connection they would take the
        # pending result, or read the open transaction, of a job on the event loop.
        if threading.current_thread() is threading.main_thread() or not threading.current_thread().name.startswith(
            "AnyIO"
        ):
            return released_execute(self, sql, parameters)
        reader = self.connection.cursor()
        reader.execute("SET TimeZone = 'UTC'")
        return reader.execute(sql, parameters) if parameters is not None else reader.execute(sql)

    engine.execute = execute
    engine._load_spatial = lambda _self: None
    snapshots.capture = lambda _self, *_names, **_options: None
