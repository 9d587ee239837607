"""bqemulator in a thread of the test process: as released, or with our patches, which are taken back at the end."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import Message
from pathlib import Path
from typing import Any
from unittest import mock

import bqemulator.api.app
import bqemulator.api.routes.jobs
import bqemulator.api.routes.tables
import bqemulator.api.routes.upload
import bqemulator.catalog.ddl_sync
import bqemulator.jobs.executor
import bqemulator.server
import bqemulator.sql.inner_query
import bqemulator.sql.translator
import fastapi.dependencies.utils
import structlog
from bqemulator.catalog.duckdb_repository import DuckDBCatalogRepository
from bqemulator.config import LogLevel, PersistenceMode, Settings
from bqemulator.sql.translator import SQLTranslator
from bqemulator.storage.engine import DuckDBEngine
from bqemulator.versioning.snapshots import SnapshotManager
from sqlglot.dialects.dialect import Dialect

PROJECT = "released"
PATCHED: tuple[Any, ...] = (
    bqemulator.catalog.ddl_sync,
    bqemulator.jobs.executor,
    bqemulator.sql.inner_query,
    bqemulator.sql.translator,
    bqemulator.api.app,
    fastapi.dependencies.utils,
    bqemulator.api.routes.jobs,
    bqemulator.api.routes.tables,
    bqemulator.api.routes.upload,
    bqemulator.server,
    DuckDBCatalogRepository,
    DuckDBEngine,
    SQLTranslator,
    SnapshotManager,
    Dialect,
)
"""Everything of bqemulator, sqlglot and FastAPI that a patch changes."""


class Answer:
    """Status, headers and JSON of an answer."""

    def __init__(self, status: int, body: bytes, headers: Message) -> None:
        self.status, self.headers = status, headers
        self.json: dict[str, Any] = json.loads(body) if body.strip() else {}

    @property
    def is_good(self) -> bool:
        """Whether what was asked for was done: a job that failed is answered by 200 too."""
        return self.status < 300 and "errorResult" not in self.json.get("status", {})


class Emulator:
    """A running emulator with one dataset ``d`` and an empty folder behind ``gs://``."""

    def __init__(self, server: Any, loop: asyncio.AbstractEventLoop, gcs_root: Path) -> None:
        self._server, self._loop, self.gcs_root = server, loop, gcs_root
        self._number = 0
        self.call("POST", "datasets", {"datasetReference": {"projectId": PROJECT, "datasetId": "d"}})

    @property
    def engine(self) -> Any:
        return self._server._engine

    @property
    def catalog(self) -> Any:
        return self._server._catalog

    def new_name(self) -> str:
        """A name of no table, object or job."""
        self._number += 1
        return f"n{self._number}"

    def on_loop(self, run: Callable[[], Any]) -> Any:
        """The result of ``run`` in the emulator's own thread, where its jobs run."""

        async def go() -> Any:
            return run()

        return asyncio.run_coroutine_threadsafe(go(), self._loop).result(20)

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """A call of the REST API; ``path`` is below the project unless it begins with a slash."""
        url = self._server.rest_url + (path if path[0] == "/" else f"/bigquery/v2/projects/{PROJECT}/{path}")
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            url, data, {"Content-Type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}
        )
        request.method = method
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=20) as answer:
                return Answer(answer.status, answer.read(), answer.headers)
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.read(), error.headers)

    def job(self, kind: str, config: dict[str, Any], job_id: str = "") -> Answer:
        """Runs a job to its end."""
        reference = {"projectId": PROJECT, "jobId": job_id or self.new_name()}
        return self.call("POST", "jobs", {"jobReference": reference, "configuration": {kind: config}})

    def query(self, sql: str, job_id: str = "", **config: Any) -> Answer:
        return self.job("query", {"query": sql, "useLegacySql": False, **config}, job_id)

    def put(self, data: bytes | str, name: str = "") -> str:
        """Writes an object and gives its URI."""
        uri = f"gs://b/{name or self.new_name()}"
        self.path_of(uri).parent.mkdir(parents=True, exist_ok=True)
        self.path_of(uri).write_bytes(data if isinstance(data, bytes) else data.encode())
        return uri

    def path_of(self, uri: str) -> Path:
        """The file behind an object."""
        return self.gcs_root / uri.removeprefix("gs://")

    def table_of(self, *fields: tuple[str, str] | tuple[str, str, str], **more: Any) -> str:
        """Makes a table and gives its name."""
        name = self.new_name()
        assert self.call("POST", "datasets/d/tables", self.table_body(name, *fields, **more)).is_good
        return name

    def table_body(self, name: str, *fields: Any, **more: Any) -> dict[str, Any]:
        reference = {"projectId": PROJECT, "datasetId": "d", "tableId": name}
        return {"tableReference": reference, "schema": {"fields": fields_of(*fields)}, **more}

    def load(self, table: str, uris: str | list[str], *fields: Any, job_id: str = "", **more: Any) -> Answer:
        """A load of NDJSON."""
        config = {
            "destinationTable": {"projectId": PROJECT, "datasetId": "d", "tableId": table},
            "sourceFormat": "NEWLINE_DELIMITED_JSON",
            "sourceUris": [uris] if isinstance(uris, str) else uris,
            **({"schema": {"fields": fields_of(*fields)}} if fields else {}),
            **more,
        }
        return self.job("load", config, job_id)

    def rows(self, table: str) -> list[list[Any]]:
        """The values of all rows; empty for a table that is not there."""
        found = self.call("GET", f"datasets/d/tables/{table}/data").json.get("rows", [])
        return [[cell["v"] for cell in row["f"]] for row in found]


def fields_of(*fields: Any) -> list[dict[str, Any]]:
    """A schema from ``(name, type)`` and ``(name, type, mode)``."""
    return [{"name": name, "type": kind, "mode": mode[0] if mode else "NULLABLE"} for name, kind, *mode in fields]


@contextmanager
def running(folder: Path) -> Iterator[Emulator]:
    """An emulator with whatever patches are installed at this moment."""
    (folder / "gcs").mkdir(parents=True)
    settings = Settings(
        rest_host="127.0.0.1",
        grpc_host="127.0.0.1",
        rest_port=0,
        grpc_port=0,
        persistence_mode=PersistenceMode.PERSISTENT,
        data_dir=folder / "data",
        gcs_local_root=folder / "gcs",
        # Without one, all users of a machine share that of who came first.
        upload_staging_dir=folder / "uploads",
        enable_format_extensions=False,
        log_level=LogLevel.ERROR,
        metrics_enabled=False,
    )
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="emulator", daemon=True)
    thread.start()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    # Without a network it cannot start as released; and logging is the tests' own.
    with (
        mock.patch.object(DuckDBEngine, "_load_spatial"),
        mock.patch.object(bqemulator.server, "configure_logging"),
    ):
        server = bqemulator.server.EmulatorServer(settings)
        asyncio.run_coroutine_threadsafe(server.start(), loop).result(60)
    try:
        yield Emulator(server, loop, folder / "gcs")
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)
        loop.close()
        structlog.reset_defaults()


@contextmanager
def patches_taken_back() -> Iterator[None]:
    """Whatever is patched inside is as released afterwards."""
    before = [(owner, dict(vars(owner))) for owner in PATCHED]
    try:
        yield
    finally:
        for owner, released in before:
            for name, value in released.items():
                if vars(owner)[name] is not value:
                    setattr(owner, name, value)
