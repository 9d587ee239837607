"""The local BigQuery: bqemulator 1.4.0 with BigQuery's behaviour where a backfill depends on it.

    python -m deployments.local.bigquery_emulator.server --rest-port 9050 --grpc-port 9060 --data-dir DIR --gcs-root DIR

Without ``--data-dir`` its rows and jobs are in memory, and gone with it.
What is patched and why, and what is still not like BigQuery, stands in README.md beside this file; `patches` installs
it.

``gs://bucket/object`` is read from ``GCS_ROOT/bucket/object``: the folder of fake-gcs-server's filesystem backend.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib.metadata
import json
import logging
import signal
import sys
import tempfile
import urllib.error
import urllib.request
import uuid
from dataclasses import replace
from pathlib import Path

from deployments.local.processes import Child, Inherited, Serving, free_port, start_child

VERSION = "1.4.0"
START_TIMEOUT_S = 300.0
"""For `wait_ready`: the first start on a machine compiles the analyzer, later ones take 2 s."""
SELF_CHECK_PROJECT = "gapless-selfcheck"
IDLE_S = 240
"""How long a connection may rest. Google keeps one for minutes; uvicorn's 5 s end while a job is waited for."""
_log = logging.getLogger("gapless.bigquery")


def start_bigquery(
    data_dir: Path | None,
    gcs_root: Path,
    log_path: Path,
    *,
    rest_port: int | None = None,
    grpc_port: int | None = None,
    inherited: Inherited | None = None,
) -> Child:
    """Starts the emulator as a child process; ready when its self-check passed (`wait_ready`).

    Args:
        data_dir: Its database; survives restarts. One process per folder. None keeps everything in memory.
        gcs_root: See the module.
        log_path: Takes its output.
        rest_port: Preferred port; another one is picked if it is taken.
        grpc_port: The same for the Storage APIs.
        inherited: What it gets; its working directory is the project's.
    """
    port, grpc = free_port(rest_port), free_port(grpc_port)
    command = [
        *(sys.executable, "-m", "deployments.local.bigquery_emulator.server", "--rest-port", str(port)),
        *("--grpc-port", str(grpc), "--gcs-root", str(gcs_root.resolve())),
        *(() if data_dir is None else ("--data-dir", str(data_dir.resolve()))),
    ]
    endpoint = f"http://127.0.0.1:{port}"
    return start_child(
        "bigquery",
        command,
        log_path=log_path,
        serving=Serving(endpoint, f"{endpoint}/gapless/ready", {"http": port, "grpc": grpc}),
        inherited=replace(inherited or Inherited(), cwd=Path(__file__).resolve().parents[3]),
    )


def check_version() -> None:
    """Ends the process unless exactly the bqemulator is installed whose private names are replaced."""
    installed = importlib.metadata.version("bqemulator")
    if installed != VERSION:
        sys.exit(
            f"bigquery_emulator: expected bqemulator {VERSION}, found {installed}. Its private names are "
            f"replaced by ours, so another version may lose rows silently. Next: pip install 'bqemulator=={VERSION}'"
        )


class SelfCheckFailed(RuntimeError):
    """The emulator does not do what the load path relies on."""


def self_check(endpoint: str) -> None:
    """Loads one row twice under one job id into a dataset of its own, which is deleted afterwards.

    Raises:
        SelfCheckFailed: The repeat was not answered by 409, or the row is not there exactly once.
    """
    name = f"c{uuid.uuid4().hex[:12]}"
    base = f"{endpoint}/bigquery/v2/projects/{SELF_CHECK_PROJECT}"
    _call("POST", f"{base}/datasets", {"datasetReference": {"projectId": SELF_CHECK_PROJECT, "datasetId": name}})
    try:
        answers = [_upload_one_row(endpoint, name)[0] for _ in range(2)]
        if answers != [200, 409]:
            raise SelfCheckFailed(f"one row loaded twice under one job id: expected HTTP 200 and 409, got {answers}")
        status, rows = _call("GET", f"{base}/datasets/{name}/tables/t/data", None)
        if status != 200 or json.loads(rows).get("totalRows") != "1":
            raise SelfCheckFailed(
                f"one row loaded twice under one job id: expected 1 row, got HTTP {status} {rows!r:.200}"
            )
    finally:
        _call("DELETE", f"{base}/datasets/{name}?deleteContents=true", None)
        _call("DELETE", f"{base}/jobs/{name}", None)


def _upload_one_row(endpoint: str, name: str) -> tuple[int, bytes]:
    load = {
        "destinationTable": {"projectId": SELF_CHECK_PROJECT, "datasetId": name, "tableId": "t"},
        "sourceFormat": "NEWLINE_DELIMITED_JSON",
        "schema": {"fields": [{"name": "x", "type": "INTEGER"}]},
    }
    job = {"jobReference": {"projectId": SELF_CHECK_PROJECT, "jobId": name}, "configuration": {"load": load}}
    head = f"--b\r\nContent-Type: application/json\r\n\r\n{json.dumps(job)}\r\n--b\r\nContent-Type: */*\r\n\r\n"
    parts = head + '{"x": 1}\r\n--b--'
    url = f"{endpoint}/upload/bigquery/v2/projects/{SELF_CHECK_PROJECT}/jobs?uploadType=multipart"
    return _send(urllib.request.Request(url, parts.encode(), {"Content-Type": "multipart/related; boundary=b"}))  # noqa: S310


def _call(method: str, url: str, body: object) -> tuple[int, bytes]:
    data = None if body is None else json.dumps(body).encode()
    return _send(urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method))  # noqa: S310


def _send(request: urllib.request.Request) -> tuple[int, bytes]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=10) as answer:
            return int(answer.status), bytes(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, error.read()


async def _serve(arguments: argparse.Namespace, uploads: Path) -> None:
    from bqemulator.config import LogLevel, PersistenceMode, Settings
    from bqemulator.server import EmulatorServer

    from deployments.local.bigquery_emulator import patches
    from deployments.local.bigquery_emulator.googlesql import GoogleSql
    from deployments.local.bigquery_emulator.quota import Quota

    quota = Quota()
    patches.install(quota, GoogleSql())
    settings = Settings(
        rest_host="127.0.0.1",
        grpc_host="127.0.0.1",
        rest_port=arguments.rest_port,
        grpc_port=arguments.grpc_port,
        persistence_mode=PersistenceMode.EPHEMERAL if arguments.data_dir is None else PersistenceMode.PERSISTENT,
        data_dir=arguments.data_dir,
        gcs_local_root=arguments.gcs_root,
        upload_staging_dir=uploads,
        enable_format_extensions=False,
        log_level=LogLevel.WARNING,
        metrics_enabled=False,
    )
    emulator = EmulatorServer(settings)
    await emulator.start()
    if emulator._fastapi_server is not None:
        emulator._fastapi_server.config.timeout_keep_alive = IDLE_S
    # Trees of statements are many small objects without circles: looking for some takes a tenth of the CPU.
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        await asyncio.to_thread(self_check, emulator.rest_url)
        quota.ready = True
        _log.warning("ready on %s, gs:// from %s", emulator.rest_url, arguments.gcs_root)
        await stop.wait()
    finally:
        await emulator.stop()


def main() -> None:
    """Command line; exit code 3 if the self-check fails."""
    parser = argparse.ArgumentParser(
        prog="python -m deployments.local.bigquery_emulator.server", description="The local BigQuery."
    )
    parser.add_argument("--rest-port", type=int, required=True)
    parser.add_argument("--grpc-port", type=int, required=True)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--gcs-root", type=Path, required=True)
    arguments = parser.parse_args()
    check_version()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    arguments.gcs_root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="gapless-bigquery-") as folder:
        uploads = Path(folder)
        if arguments.data_dir is not None:
            arguments.data_dir.mkdir(parents=True, exist_ok=True)
            uploads = arguments.data_dir / "uploads"
        try:
            asyncio.run(_serve(arguments, uploads))
        except SelfCheckFailed as error:
            sys.stderr.write(f"self-check failed: {error}. This emulator is not used.\n")
            sys.exit(3)


if __name__ == "__main__":
    main()
