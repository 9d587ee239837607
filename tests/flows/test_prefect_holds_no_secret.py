"""The server's own database after a real run in which the configured key is in every exception."""

from __future__ import annotations

import ast
import asyncio
import base64
import json
import logging
import re
import sqlite3
import subprocess
import sys
import time
import traceback
import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from prefect.logging.handlers import APILogHandler
from prefect.settings import PREFECT_SERVER_DATABASE_CONNECTION_URL

from alerting.errors import SourceUnavailable
from alerting.redacted_errors import redacted_error, redacted_errors
from alerting.redaction import register_secret
from flows import dates, process
from flows.backfill import backfill

if TYPE_CHECKING:
    from .conftest import Place

FLOWS = Path(__file__).parents[2] / "flows"
KEY = "sample-key-7d1f"
PLANTED = "pl4nted-S3cret-value"


class ForeignError(Exception):
    """What a library raises: the request, its headers and a body in its text."""


def raising(original: Any) -> Any:
    def land(run: Any, partition: str, *rest: Any) -> Any:
        if partition == "2025-01-11":
            raise ForeignError(
                f"GET https://x.test/?a={KEY} {{'x-api-key': '{PLANTED}'}} {base64.b64encode(KEY.encode())!r}"
            )
        if partition == "2025-01-10":
            raise SourceUnavailable(f"refused {KEY}", headers={b"Authorization": KEY.encode()}, token=PLANTED)
        return original(run, partition, *rest)

    return land


def every_text_of(database: Path) -> dict[str, str]:
    """Table by table, everything that is in it."""
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: str(connection.execute(f'SELECT * FROM "{name}"').fetchall()) for name in names}


@pytest.mark.e2e
def test_no_table_of_the_server_and_no_line_of_output_holds_the_configured_key(
    place: Place,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    # Here, because it imports Prefect's whole server, which takes an eighth of the collection of all tests.
    from prefect.testing.utilities import prefect_test_harness

    monkeypatch.setenv("GAPLESS_RETRY_DELAYS_S", "[0.1]")
    monkeypatch.setattr(dates, "land", raising(dates.land))
    monkeypatch.setattr(process, "process", lambda *_, **__: (_ for _ in ()).throw(ForeignError(f"load with {KEY}")))
    with prefect_test_harness(server_startup_timeout=150):
        # The harness names a server of its own; the run's own settings come from the environment.
        monkeypatch.delenv("PREFECT_API_URL")
        database = Path(str(PREFECT_SERVER_DATABASE_CONNECTION_URL.value()).partition(":///")[2])
        state = asyncio.run(
            backfill(
                source="bdl_box_scores",
                start_date="2025-01-10",
                end_date="2025-01-12",
                reason="test",
                note=f"apiKey={PLANTED}",
                max_concurrency=1,
                advanced={"canary": -1},
                return_state=True,
            )
        )
        asyncio.run(flushed())
        deadline_s = time.monotonic() + 60
        tables = every_text_of(database)
        while not is_all_there(tables) and time.monotonic() < deadline_s:
            time.sleep(0.5)
            tables = every_text_of(database)
    assert state.is_failed()
    for name in ("log", "task_run_state", "flow_run_state", "events"):
        assert "ForeignError" in tables[name] or name in ("flow_run_state", "events"), name
        assert len(tables[name]) > 2, f"{name} is empty: the test would see nothing"
    tables["flow_run"] = tables["flow_run"].replace(f"apiKey={PLANTED}", "")  # the parameter, as its sender wrote it
    said = capfd.readouterr()
    told = {
        **tables,
        "stdout": said.out,
        "stderr": said.err,
        "state": repr(state),
        "mail": str([place.inbox.message(one["id"]) for one in place.inbox.messages()]),
    }
    assert "ForeignError" in caplog.text
    for name, text in told.items():
        for secret in (KEY, PLANTED, urllib.parse.quote(KEY), base64.b64encode(KEY.encode()).decode().rstrip("=")):
            at = text.find(secret)
            assert at < 0, f"{name}: ...{text[max(0, at - 200) : at + 60]}"


def is_all_there(tables: dict[str, str]) -> bool:
    return "prefect.flow-run.Failed" in tables["events"] and "ForeignError" in tables["log"]


async def flushed() -> None:
    await APILogHandler.aflush()


def test_a_record_is_redacted_whoever_logs_it_and_before_our_first_line(caplog: pytest.LogCaptureFixture) -> None:
    script = (
        "import logging, sys; import flows; from alerting.redaction import register_secret;"
        "register_secret('a-registered-key');"
        "logging.getLogger('prefect.task_runs').error('x a-registered-key');"
        "logging.getLogger('prefect.made_up.later').error('%s', {b'apiKey': b'" + PLANTED + "'});"
        "raise RuntimeError('token=" + PLANTED + " a-registered-key')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "RuntimeError: token=***" in done.stderr
    assert done.stderr.count("***") >= 4
    assert PLANTED not in done.stderr
    assert "a-registered-key" not in done.stderr


def test_every_flow_and_task_lets_out_redacted_errors_only() -> None:
    missing = []
    for path in sorted(FLOWS.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                names = [ast.unparse(decorator).partition("(")[0] for decorator in node.decorator_list]
                if {"flow", "task"} & set(names) and names[0] != "lets_out_redacted":
                    missing.append(f"{path.name}:{node.name}")
    assert missing == []


def test_an_error_keeps_its_class_or_name_its_causes_and_its_traceback() -> None:
    register_secret(KEY)
    response = httpx.Response(401, request=httpx.Request("GET", f"https://x.test/?apiKey={PLANTED}"))

    def failing() -> None:
        with redacted_errors():
            try:
                raise OSError(13, "denied", f"/keys/{KEY}")
            except OSError as error:
                try:
                    response.raise_for_status()
                except httpx.HTTPStatusError as inner:
                    inner.add_note(f"token={PLANTED}")
                    raise inner from error

    with pytest.raises(Exception, match="401") as caught:
        failing()
    told = "".join(traceback.format_exception(caught.value))
    assert type(caught.value).__name__ == "HTTPStatusError"
    assert "PermissionError" in told
    assert "raise_for_status" in told
    assert KEY not in told
    assert PLANTED not in told


def test_an_error_without_a_secret_stays_the_same_object_and_facts_keep_their_types() -> None:
    plain = KeyError("key")
    assert redacted_error(plain) is plain
    known = SourceUnavailable("503", source="s", retry_after_s=3.0, status=503, api_key=PLANTED, body=f"sig={PLANTED}")
    assert redacted_error(known) is known
    assert known.facts == {"retry_after_s": 3.0, "status": 503, "api_key": "***", "body": "sig=***"}
    looped = ValueError(f"token={PLANTED}")
    looped.__cause__ = looped
    assert PLANTED not in str(redacted_error(looped))


def test_an_error_whose_own_text_cannot_be_changed_is_replaced() -> None:
    class Stubborn(Exception):
        def __str__(self) -> str:
            return f"password={PLANTED}"

    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError(PLANTED)

    for kind in (Stubborn, Broken):
        made = redacted_error(kind())
        assert type(made).__name__ == kind.__name__
        assert PLANTED not in str(made) + repr(made)
    group = ExceptionGroup(f"token={PLANTED}", [ValueError(f"token={PLANTED}"), Stubborn()])
    assert PLANTED not in repr(redacted_error(group))


def test_a_log_record_of_prefect_keeps_what_its_handlers_read() -> None:
    record = logging.getLogRecordFactory()(
        "prefect.flow_runs", 20, "f.py", 1, "Finished in state %s", ("Completed()",), None
    )
    assert record.args == ("Completed()",)
    assert json.dumps(record.getMessage()) == '"Finished in state Completed()"'
    assert re.match("Finished", record.msg)
