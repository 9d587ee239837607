"""Whatever the product sends to BigQuery, through all modes of both sources, is GoogleSQL by Google's own analyzer."""

from __future__ import annotations

import asyncio
import datetime as dt
import re
from typing import Any

import pytest

pytest.importorskip("zetasql")
pytest.importorskip("datasette")

from bqemulator.catalog.models import TableMeta
from google.cloud import bigquery

from deployments.local.bigquery_emulator.analysis import StatementCheck
from deployments.local.bigquery_emulator.googlesql import GoogleSql, GoogleSqlError
from flows.parameters import Mode
from flows.views.deep_preflight import deep_preflight

from ..conftest import SOURCE, Place, Ran
from ..test_civic_run import run_all, services  # noqa: F401 - a fixture

FIRST, LAST = "2025-01-10", "2025-01-11"
SHAPES = 43
"""Counted; fewer would mean that a mode was left out."""
Shape = tuple[str, str]


class Sent:
    """Each shape of statement once, with its parameters and the tables as they were when it was sent."""

    def __init__(self) -> None:
        self.shapes: dict[Shape, tuple[str, list[dict[str, Any]], dict[str, TableMeta]]] = {}

    def note(self, client: bigquery.Client, sql: str, config: bigquery.QueryJobConfig | None) -> None:
        given = (config.to_api_repr()["query"].get("queryParameters") if config else None) or []
        bare = re.sub(r"_[0-9a-f]{20}`", "`", re.sub(r"`[\w-]+\.\w+\.", "`", sql))
        shape = bare, repr([(one["name"], one["parameterType"]) for one in given])
        if shape not in self.shapes:
            names = set(re.findall(r"`([\w-]+\.\w+\.\w+)`", sql))
            self.shapes[shape] = sql, given, {name: _described(client.get_table(name)) for name in names}


def _described(table: bigquery.Table) -> TableMeta:
    now = dt.datetime.now(dt.UTC)
    fields = [field.to_api_repr() for field in table.schema]
    return TableMeta.model_validate(
        {
            "project_id": table.project,
            "dataset_id": table.dataset_id,
            "table_id": table.table_id,
            "schema": {"fields": fields},
            "creation_time": now,
            "last_modified_time": now,
            "etag": "e",
        }
    )


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    """Filled by every query of this process; loads are no statements."""
    found = Sent()

    def noting(ask: Any) -> Any:
        def noted(self: bigquery.Client, sql: str, job_config: Any = None, **rest: Any) -> Any:
            found.note(self, sql, job_config)
            return ask(self, sql, job_config=job_config, **rest)

        return noted

    for name in ("query", "query_and_wait"):
        monkeypatch.setattr(bigquery.Client, name, noting(getattr(bigquery.Client, name)))
    return found


def _every_mode_of_games(place: Place, ran: Ran, gapless: Any) -> None:
    ran(FIRST, LAST, weighed=True)
    place.upstream.trouble({"kind": "drop_last_player", "dates": [FIRST]})
    ran(FIRST, LAST, mode=Mode.FULL)  # read again, compared, changed
    place.upstream.trouble({"kind": "one_game", "dates": [LAST]})
    ran(FIRST, LAST, mode=Mode.FULL)
    ran(FIRST, LAST, accept_shrink=True, reason="other", note="postponed")
    ran(FIRST, LAST, mode=Mode.REPROCESS)
    ran(FIRST, LAST, mode=Mode.VALIDATE)
    for command in (
        ("plan", SOURCE, FIRST, LAST, "--mode", "full"),
        ("gaps", SOURCE, FIRST, LAST),
        ("audit", SOURCE, "--from", FIRST, "--to", LAST),
        ("verify", SOURCE, FIRST, LAST),
        ("repair", SOURCE, FIRST, LAST, "--dry-run"),
        ("preflight", SOURCE),
        ("status", SOURCE),
    ):
        gapless(*command)
    assert deep_preflight(place.services, SOURCE)[-1].result == "pass"


def _every_mode_of_towns(built: Any, upstream: Any) -> None:
    asyncio.run(run_all(built, "bf-1", "berkeley.ca~agendas"))
    upstream.change("berkeley.ca", "delete", rows=4)
    for number, mode in enumerate((Mode.FULL, Mode.REPROCESS, Mode.VALIDATE), 2):
        asyncio.run(run_all(built, f"bf-{number}", "berkeley.ca~agendas", mode))
    assert deep_preflight(built, "civic_band")[-1].result == "pass"


@pytest.mark.faults  # not for what it does but for its length: every mode of both sources
def test_every_statement_of_every_mode_parses_and_analyses_as_googlesql(
    place: Place, ran: Ran, gapless: Any, sent: Sent, request: pytest.FixtureRequest
) -> None:
    _every_mode_of_games(place, ran, gapless)
    games = len(sent.shapes)
    _every_mode_of_towns(*request.getfixturevalue("services"))

    check = StatementCheck(GoogleSql())
    for sql, parameters, tables in sent.shapes.values():
        (analysed,) = check.check(sql, parameters, lambda path, known=tables: known.get(".".join(path)))
        assert analysed.statement.ByteSize(), sql
    print(f"{len(sent.shapes)} shapes of statements analysed, {games} of bdl_box_scores")
    assert len(sent.shapes) >= SHAPES
    texts = [text for text, _ in sent.shapes]
    for part in ("MERGE", "DELETE FROM", "COUNTIF(", "@keys", "@fewest", "@unique_from", "@snapshot_at", "LEFT JOIN"):
        assert any(part in text for text in texts), part


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT COUNT(*) FILTER (WHERE x > 0) FROM UNNEST([1]) AS x",
        "SELECT x FROM UNNEST([1]) AS x LIMIT 1 + 1",
        "SELECT 'a' 'b'",
        "SELECT 1 AS nulls",
    ],
)
def test_what_the_language_has_and_bigquery_lacks_is_refused(sql: str) -> None:
    with pytest.raises(GoogleSqlError):
        StatementCheck(GoogleSql()).check(sql, [], lambda _path: None)
