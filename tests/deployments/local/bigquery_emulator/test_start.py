"""The local BigQuery refuses what it cannot vouch for, and forgets nothing over a kill."""

from __future__ import annotations

import http.client
import json
import os
import signal
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from google.api_core.exceptions import Conflict
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from deployments.local.bigquery_emulator.server import (
    START_TIMEOUT_S,
    SelfCheckFailed,
    check_version,
    self_check,
    start_bigquery,
)
from deployments.local.processes import Child, wait_ready


class _AcceptsEverything(BaseHTTPRequestHandler):
    """An emulator that knows no job id: a repeat is a success like the first."""

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b'{"totalRows": "2"}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_DELETE = _answer

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def accepts_everything() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), _AcceptsEverything) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_the_self_check_refuses_an_emulator_that_takes_a_job_id_twice(accepts_everything: str) -> None:
    with pytest.raises(SelfCheckFailed, match=r"expected HTTP 200 and 409, got \[200, 200\]"):
        self_check(accepts_everything)


def test_the_self_check_leaves_nothing_behind(bigquery_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    self_check(bigquery_endpoint)

    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", bigquery_endpoint)
    client = bigquery.Client(project="gapless-selfcheck", credentials=AnonymousCredentials())
    assert list(client.list_datasets()) == []
    assert list(client.list_jobs()) == []


def test_another_version_of_the_emulator_is_refused_with_the_command_that_mends_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda _: "1.5.0")

    with pytest.raises(SystemExit, match=r"expected bqemulator 1.4.0, found 1.5.0.*pip install 'bqemulator==1.4.0'"):
        check_version()


def test_a_killed_emulator_comes_back_with_its_rows_burnt_ids_and_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start() -> tuple[Child, bigquery.Client]:
        child = start_bigquery(tmp_path / "data", tmp_path / "gcs", tmp_path / "log")
        wait_ready([child], timeout_s=START_TIMEOUT_S)
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", child.endpoint)
        return child, bigquery.Client(project="killed", credentials=AnonymousCredentials())

    config = bigquery.LoadJobConfig(schema=[bigquery.SchemaField("x", "INTEGER")])
    child, client = start()
    try:
        client.create_dataset("d")
        client.load_table_from_json([{"x": 1}], "d.t", job_id="j", job_config=config).result(timeout=20)
        os.kill(child.identity.pid, signal.SIGKILL)
        child.stop()
        child, client = start()
        with pytest.raises(Conflict):
            client.load_table_from_json([{"x": 1}], "d.t", job_id="j", job_config=config).result(timeout=20)
        assert [row.x for row in client.list_rows("d.t")] == [1]
        with urllib.request.urlopen(f"{child.endpoint}/gapless/quota", timeout=10) as answer:
            counted = {one["table"]: one["loads"] for one in json.loads(answer.read())["loads"]}
        assert counted["d.t"] == 1
    finally:
        child.stop()


@pytest.mark.long
def test_a_connection_may_rest_for_as_long_as_a_job_is_waited_for(bigquery_endpoint: str) -> None:
    """Uvicorn's own limit is 5 s, which a client that is 3 s away meets."""
    connection = http.client.HTTPConnection(bigquery_endpoint.removeprefix("http://"), timeout=10)
    for rest_s in (0.0, 7.0):
        time.sleep(rest_s)
        connection.request("GET", "/gapless/ready")
        assert connection.getresponse().read()
