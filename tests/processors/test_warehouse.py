"""Faults between and inside the steps of a load: the table holds old rows or new ones, never both, never neither."""

from __future__ import annotations

import datetime as dt
import http.server
import json
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any, ClassVar

import pytest
from google.cloud import bigquery
from pydantic import AwareDatetime, Field
from requests.adapters import HTTPAdapter

from alerting.errors import BudgetExhausted, ConfigurationError, LoadRejected, WarehouseBusy
from processors import warehouse
from processors.base import Row, Table
from processors.load_plan import Constraint, TableBatch, TableLoad
from processors.staging import write_once
from processors.table_budget import TableBudget
from processors.warehouse import BigQueryWarehouse, Dataset, JobPatience

DAY = "2025-01-03"
_LOCAL = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@pytest.fixture
def order(bigquery_endpoint: str) -> Iterator[Callable[..., None]]:
    """Orders the local BigQuery to refuse jobs; forgotten after the test."""

    def post(**rule: Any) -> None:
        url, body = f"{bigquery_endpoint}/gapless/quota", json.dumps(rule).encode()
        _LOCAL.open(urllib.request.Request(url, body, {"Content-Type": "application/json"}), timeout=10).close()

    yield post
    _LOCAL.open(urllib.request.Request(f"{bigquery_endpoint}/gapless/quota", method="DELETE"), timeout=10).close()


class Killed(BaseException):
    """Stands for a kill: no ``except Exception`` may catch it."""


STEPS = ("stage_rows", "replace_rows", "drop_staging")


@pytest.mark.parametrize(
    ("table", "step", "when"),
    [
        *(("games", step, "after") for step in STEPS),
        ("player_lines", "stage_rows", "after"),
        ("player_lines", "replace_rows", "after"),
        # What is there before a step is what was there after the one before.
        *(pytest.param("games", step, "before", marks=pytest.mark.long) for step in STEPS),
    ],
)
def test_a_kill_between_two_steps_leaves_old_or_new_rows_and_a_rerun_the_new(bench, monkeypatch, table, step, when):
    bench.process(bench.land(DAY, [bench.game(DAY, score=1), bench.game(DAY, 2, score=1)]))
    manifest = bench.land(DAY, [bench.game(DAY, score=2, players=3)])
    real = getattr(BigQueryWarehouse, step)

    def killed(self, batch, **rest):
        if batch.table.name != table:
            return real(self, batch, **rest)
        if when == "after":
            real(self, batch, **rest)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(BigQueryWarehouse, step, killed)
        with pytest.raises(Killed):
            bench.process(manifest)
    assert bench.rows("games", "score") in ([(1,), (1,)], [(2,)])
    assert len(bench.rows("player_lines", "player_id")) in (4, 3)
    bench.process(manifest)
    assert bench.rows("games", "score") == [(2,)]
    assert bench.rows("player_lines", "player_id") == [(0,), (1,), (2,)]
    assert bench.table_ids() == {"games", "player_lines"}


@pytest.mark.parametrize("kind", ["load", "query"])
def test_a_lost_answer_is_recognised_as_our_own_job(bench, order, kind):
    order(reason="backendError", kind=kind, when="after", table=_table(bench, kind))
    receipt = bench.process(bench.land(DAY, [bench.game(DAY)]))
    assert bench.rows("games", "score") == [(100,)]
    assert receipt.tables["games"].load_job_id.endswith("-a1")
    # The local BigQuery forgets a query's labels, so the replace cannot know its own job and runs again: harmless.
    assert receipt.tables["games"].replace_job_id.endswith(("-a1", "-a2"))


def _table(bench: Any, kind: str) -> str:
    # Query rules match words of the statement, load rules the staging table's name, which nobody knows beforehand.
    return bench.warehouse.dataset.name if kind == "query" else "*"


@pytest.mark.parametrize("kind", ["load", "query"])
@pytest.mark.parametrize("reason", ["rateLimitExceeded", "backendError", "internalError"])
def test_a_passing_refusal_is_tried_again(bench, order, kind, reason):
    order(reason=reason, kind=kind, table=_table(bench, kind), times=1)
    bench.process(bench.land(DAY, [bench.game(DAY)]))
    assert bench.rows("games", "score") == [(100,)]


@pytest.mark.parametrize("kind", ["load", "query"])
def test_a_used_up_quota_stops_at_once_keeps_the_old_rows_and_names_the_reset(bench, order, kind):
    bench.process(bench.land(DAY, [bench.game(DAY, score=1)]))
    order(reason="quotaExceeded", kind=kind, table=_table(bench, kind), times=1)
    with pytest.raises(BudgetExhausted) as caught:
        bench.process(bench.land(DAY, [bench.game(DAY, score=2)]))
    assert "midnight Pacific" in caught.value.hint
    assert bench.rows("games", "score") == [(1,)]


def test_refusals_that_outlast_the_retries_are_transient(bench, order, bigquery_endpoint):
    order(reason="rateLimitExceeded", kind="load", times=None)
    bench.warehouse = BigQueryWarehouse(
        bench.warehouse.dataset, endpoint=bigquery_endpoint, patience=JobPatience(retry_s=0.5)
    )
    with pytest.raises(WarehouseBusy, match="rateLimitExceeded"):
        bench.process(bench.land(DAY, [bench.game(DAY)]))


def load(bench: Any, batch: TableBatch) -> TableLoad:
    """Both steps, as a batch of one table takes them."""
    done: TableLoad = bench.warehouse.replace(batch, bench.warehouse.stage(batch))
    bench.warehouse.drop_staging(batch)
    return done


def _batch(bench: Any, table: Table, lines: list[dict[str, Any]], digest: str, **changes: Any) -> TableBatch:
    name = f"staging/{digest}.ndjson"
    write_once(bench.store, name, "".join(json.dumps(line) + "\n" for line in lines).encode(), "text/plain")
    facts = {
        "scope": (Constraint(table.partition_field, (dt.date(2025, 1, 3),)),),
        "uris": (f"{bench.store.root_uri}/{name}",),
        "rows": len(lines),
        **changes,
    }
    return TableBatch(table, digest=digest, backfill_id="b1", **facts)


def test_a_failed_job_id_is_burnt_and_the_next_attempt_loads(bench):
    table = bench.processor.tables[0]
    row = {"game_key": "k", "game_date": DAY, "score": 1}
    batch = _batch(bench, table, [row], "d1", uris=(f"{bench.store.root_uri}/staging/late.ndjson",))
    with pytest.raises((LoadRejected, ConfigurationError)):
        load(bench, batch)
    write_once(bench.store, "staging/late.ndjson", json.dumps(row).encode() + b"\n", "text/plain")
    assert load(bench, batch).load_job_id.endswith("-a2")
    assert bench.rows("games", "score") == [(1,)]


def test_a_row_that_the_warehouse_refuses_leaves_the_old_rows(bench):
    table = bench.processor.tables[0]
    load(bench, _batch(bench, table, [{"game_key": "k", "game_date": DAY, "score": 1}], "d1"))
    with pytest.raises(LoadRejected):
        load(bench, _batch(bench, table, [{"game_key": "k", "game_date": DAY, "score": "x"}], "d2"))
    assert bench.rows("games", "score") == [(1,)]


def test_fewer_rows_than_staged_are_refused_before_the_replace(bench):
    table = bench.processor.tables[0]
    with pytest.raises(LoadRejected, match="2 rows staged, the load job took 1"):
        load(bench, _batch(bench, table, [{"game_key": "k", "game_date": DAY, "score": 1}], "d1", rows=2))
    assert bench.rows("games", "score") == []


def test_two_runs_with_the_same_batch_at_once_end_with_its_rows_once(bench):
    manifest = bench.land(DAY, [bench.game(DAY, number) for number in range(5)])
    bench.process(manifest)
    expected = bench.content()
    with ThreadPoolExecutor(2) as both:
        list(both.map(lambda run: bench.process(manifest, backfill_id=run), ["b7", "b8"]))
    assert bench.content() == expected


class Wider(Row):
    """Games with one more column."""

    game_key: str
    game_date: dt.date
    score: int
    note: str | None = None
    arena: str


class Shifted(Row):
    """Games whose score became text."""

    game_key: str
    game_date: dt.date
    score: str


def test_a_column_added_to_the_model_is_added_to_the_table(bench):
    old = bench.processor.tables[0]
    load(bench, _batch(bench, old, [{"game_key": "k", "game_date": DAY, "score": 1}], "d1"))
    table = Table("games", Wider, ("game_key",), "game_date")
    row = {"game_key": "l", "game_date": "2025-01-04", "score": 2, "arena": "TD"}
    scope = (Constraint("game_date", (dt.date(2025, 1, 4),)),)
    load(bench, _batch(bench, table, [row], "d2", scope=scope))
    assert bench.rows("games", "game_key", "arena") == [("k", None), ("l", "TD")]


def test_a_changed_type_is_refused_before_any_effect(bench):
    old = bench.processor.tables[0]
    load(bench, _batch(bench, old, [{"game_key": "k", "game_date": DAY, "score": 1}], "d1"))
    table = Table("games", Shifted, ("game_key",), "game_date")
    with pytest.raises(LoadRejected, match=r"column score: it is INTEGER REQUIRED, the row model says STRING"):
        load(bench, _batch(bench, table, [{"game_key": "k", "game_date": DAY, "score": "1"}], "d2"))
    assert bench.rows("games", "score") == [(1,)]
    assert bench.table_ids() == {"games"}


def test_another_partition_column_is_refused(bench):
    bench.warehouse.ensure_table(bench.processor.tables[0])

    class Moved(Row):
        game_key: str
        game_date: dt.date
        played_on: dt.date

    with pytest.raises(LoadRejected, match="partitioned by game_date, expected played_on"):
        bench.warehouse.ensure_table(Table("games", Moved, ("game_key",), "played_on"))


def test_a_view_in_the_place_of_a_table_is_named_for_what_it_is(bench):
    table = bench.processor.tables[0]
    bench.warehouse.query(f"CREATE VIEW {bench.warehouse.name_of(table.name)} AS SELECT DATE '2025-01-03' AS game_date")
    with pytest.raises(LoadRejected, match="is a VIEW, which takes no rows"):
        bench.warehouse.ensure_table(table)


def test_the_table_is_partitioned_clustered_and_described(bench):
    bench.warehouse.ensure_table(bench.processor.tables[1])
    found = bench.warehouse._open().get_table(f"p.{bench.warehouse.dataset.name}.player_lines")
    assert (found.time_partitioning.type_, found.time_partitioning.field) == ("DAY", "game_date")
    assert found.clustering_fields == ["game_key", "player_id"]
    assert found.description == "One player's line."


class Page(Row):
    """A page of a town's minutes."""

    town: str
    page_id: str
    meeting_date: dt.date | None = None


def test_a_whole_entity_is_replaced_whatever_its_dates(bench):
    table = Table("pages", Page, ("town", "page_id"), "meeting_date", entity_field="town", whole_entity=True)
    oak = [{"town": "oak", "page_id": "1", "meeting_date": "2020-01-01"}, {"town": "oak", "page_id": "2"}]
    elm = [{"town": "elm", "page_id": "1", "meeting_date": "2020-01-01"}]
    both = (Constraint("town", ("oak", "elm")),)
    load(bench, _batch(bench, table, oak + elm, "d1", scope=both))
    only = (Constraint("town", ("oak",)),)
    load(bench, _batch(bench, table, [{"town": "oak", "page_id": "3"}], "d2", scope=only))
    assert bench.rows("pages", "town", "page_id") == [("elm", "1"), ("oak", "3")]
    load(bench, _batch(bench, table, [], "d3", scope=only, uris=()))
    assert bench.rows("pages", "town", "page_id") == [("elm", "1")]


class Price(Row):
    """A price seen in a shop."""

    shop: str
    sku: str
    seen_on: dt.date


def test_entity_and_date_together_limit_what_is_replaced(bench):
    table = Table("prices", Price, ("shop", "sku", "seen_on"), "seen_on", entity_field="shop")
    rows = [{"shop": s, "sku": "1", "seen_on": day} for s in "ab" for day in ("2025-01-03", "2025-01-04")]
    days = (dt.date(2025, 1, 3), dt.date(2025, 1, 4))
    load(bench, _batch(bench, table, rows, "d1", scope=(Constraint("shop", ("a", "b")), Constraint("seen_on", days))))
    scope = (Constraint("shop", ("a",)), Constraint("seen_on", days[:1]))
    load(bench, _batch(bench, table, [], "d2", scope=scope, uris=()))
    assert [(row[0], str(row[1])) for row in bench.rows("prices", "shop", "seen_on")] == [
        ("a", "2025-01-04"),
        ("b", "2025-01-03"),
        ("b", "2025-01-04"),
    ]


class Inner(Row):
    """A nested value."""

    name: str
    amount: Decimal | None = None


class Everything(Row):
    """One column of every kind."""

    key: str = Field(description="the key")
    day: dt.date
    flag: bool | None = None
    ratio: float | None = None
    price: Decimal | None = None
    at_: AwareDatetime | None = Field(None, alias="at")
    tags: tuple[str, ...] = ()
    inside: Inner | None = None
    inners: tuple[Inner, ...] = ()


def test_every_kind_of_column_survives_the_round_trip(bench):
    row = Everything(
        key="k",
        day=dt.date(2025, 1, 3),
        flag=True,
        ratio=0.125,
        price=Decimal("12.345678901"),
        at_=dt.datetime(2025, 1, 3, 19, 30, tzinfo=dt.timezone(dt.timedelta(hours=-5))),
        tags=("a", "b"),
        inside=Inner(name="x", amount=Decimal("1.5")),
        inners=(Inner(name="y"),),
    )
    table = Table("everything", Everything, ("key",), "day")
    line = json.loads(row.model_dump_json(by_alias=False))
    scope = (Constraint("day", (row.day,)),)
    load(bench, _batch(bench, table, [line], "d1", scope=scope))
    found = bench.warehouse.query(f"SELECT * FROM {bench.warehouse.name_of('everything')}")[0]
    assert found["at_"] == row.at_
    assert found["price"] == row.price
    assert found["inside"] == {"name": "x", "amount": Decimal("1.5")}
    assert (found["tags"], [one["name"] for one in found["inners"]]) == (["a", "b"], ["y"])
    assert (found["flag"], found["ratio"], found["day"]) == (True, 0.125, row.day)


def test_a_budget_stops_before_any_effect(bench, bigquery_endpoint):
    budget = TableBudget(modifications_per_day=2)
    bench.warehouse = BigQueryWarehouse(bench.warehouse.dataset, endpoint=bigquery_endpoint, budget=budget)
    bench.process(bench.land(DAY, [bench.game(DAY, score=1)]))
    with pytest.raises(BudgetExhausted, match="used 1 of 1 modifications"):
        bench.process(bench.land(DAY, [bench.game(DAY, score=2)]))
    assert bench.rows("games", "score") == [(1,)]


def test_nothing_is_opened_before_the_first_use():
    BigQueryWarehouse(Dataset("p", "d", "US"), endpoint="http://127.0.0.1:1")


def test_an_unreachable_warehouse_is_transient_and_bounded():
    house = BigQueryWarehouse(Dataset("p", "d", "US"), endpoint="http://127.0.0.1:1", patience=JobPatience(retry_s=0.3))
    with pytest.raises(WarehouseBusy) as caught:
        house.query("SELECT 1")
    assert "127.0.0.1" not in str(caught.value)


def test_a_select_is_one_request_without_a_job_and_its_bytes_are_billed(bench, monkeypatch):
    bench.process(bench.land(DAY, [bench.game(DAY)]))
    asked, before, send = [], bench.warehouse.billed_bytes, HTTPAdapter.send

    def counted(adapter, request, *args, **rest):
        asked.append((request.method, request.url.rpartition("/")[2].partition("?")[0]))
        return send(adapter, request, *args, **rest)

    monkeypatch.setattr(HTTPAdapter, "send", counted)
    table = bench.warehouse.name_of("games")
    assert bench.warehouse.query(f"SELECT score FROM {table} WHERE score > @least", {"least": 1}) == [{"score": 100}]
    assert asked == [("POST", "queries")]
    assert bench.warehouse.billed_bytes - before == 10 * 2**20


def test_rows_beyond_one_answer_all_come_and_are_billed_once(bench, monkeypatch):
    bench.process(bench.land(DAY, [bench.game(DAY, number, score=number) for number in range(1, 6)]))
    before = bench.warehouse.billed_bytes
    monkeypatch.setattr(warehouse, "_ROWS_PER_ANSWER", 2)
    assert bench.rows("games", "score") == [(1,), (2,), (3,), (4,), (5,)]
    assert bench.warehouse.billed_bytes - before == 10 * 2**20


class Slow(http.server.BaseHTTPRequestHandler):
    """BigQuery with a query that outlasts the answer to its question, so that it is a job; ``looks`` end before it."""

    looks = 2
    asked: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"] or 0))
        if self.path.partition("?")[0].endswith("/cancel"):
            self._answer({"job": self._job("DONE")})
        else:
            self._answer({"jobComplete": False, "jobReference": self._reference})

    def do_GET(self) -> None:
        is_over = self.asked.count("GET queries") >= self.looks
        if "/queries/" not in self.path:
            self._answer(self._job("DONE" if is_over else "RUNNING"))
            return
        time.sleep(0.05)
        rows = {"schema": {"fields": [{"name": "n", "type": "INTEGER"}]}, "rows": [{"f": [{"v": "7"}]}]}
        self._answer({"jobReference": self._reference, "jobComplete": is_over, "totalRows": "1", **rows})

    _reference: ClassVar[dict[str, str]] = {"projectId": "p", "jobId": "j1", "location": "US"}

    def _job(self, state: str) -> dict[str, Any]:
        counted = {"query": {"totalBytesBilled": "20971520"}}
        hidden = {"projectId": "p", "datasetId": "_1", "tableId": "anon"}
        asked = {"query": {"query": "SELECT 7 AS n", "destinationTable": hidden}, "jobType": "QUERY"}
        status = {"jobReference": self._reference, "status": {"state": state}, "configuration": asked}
        return {**status, "statistics": counted}

    def _answer(self, body: dict[str, Any]) -> None:
        path = self.path.partition("?")[0]
        self.asked.append(f"{self.command} {'cancel' if path.endswith('/cancel') else path.split('/')[5]}")
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Silent."""


@pytest.fixture
def slow() -> Iterator[tuple[type[Slow], str]]:
    kind = type("SlowOfTest", (Slow,), {"asked": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield kind, f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join(5)


def test_a_query_that_outlasts_its_answer_is_waited_for_as_the_job_that_it_is(slow):
    kind, endpoint = slow
    house = BigQueryWarehouse(Dataset("p", "d", "US"), endpoint=endpoint)
    assert house.query("SELECT 7 AS n") == [{"n": 7}]
    assert kind.asked[0] == "POST queries"
    assert "POST cancel" not in kind.asked
    assert house.billed_bytes == 20_971_520


def test_a_query_without_an_end_is_given_up_in_time_and_cancelled(slow):
    kind, endpoint = slow
    kind.looks = 10**9
    house = BigQueryWarehouse(Dataset("p", "d", "US"), endpoint=endpoint, patience=JobPatience(job_s=0.5))
    with pytest.raises(WarehouseBusy):
        house.query("SELECT 7 AS n")
    assert kind.asked[-1] == "POST cancel"


def test_a_query_that_would_be_billed_for_more_than_the_limit_reads_nothing_and_names_the_setting(bench, monkeypatch):
    bench.process(bench.land(DAY, [bench.game(DAY)]))
    before = bench.content()
    monkeypatch.setattr(bench.warehouse, "_max_bytes_billed", 1_000_000)
    manifest = bench.land(DAY, [bench.game(DAY, score=7)])

    with pytest.raises(ConfigurationError, match="limit for bytes billed: 1000000") as caught:
        bench.process(manifest)

    assert "GAPLESS_MAX_BYTES_BILLED" in caught.value.hint
    monkeypatch.setattr(bench.warehouse, "_max_bytes_billed", None)
    assert bench.content() == before


def test_a_staging_table_that_expired_before_the_replace_is_staged_again(bench, monkeypatch):
    manifest = bench.land(DAY, [bench.game(DAY)])
    real = BigQueryWarehouse.replace_rows

    def expired(self, batch, **given):
        self.drop_staging(batch)
        return real(self, batch, **given)

    with monkeypatch.context() as patch:
        patch.setattr(BigQueryWarehouse, "replace_rows", expired)
        with pytest.raises(WarehouseBusy):
            bench.process(manifest)
    assert bench.process(manifest).tables["games"].load_job_id.endswith("-a2")
    assert bench.rows("games", "score") == [(100,)]


def test_a_job_that_is_done_when_its_start_is_answered_is_not_asked_about(bench, monkeypatch):
    asked = []
    for kind in (bigquery.LoadJob, bigquery.QueryJob):
        real = kind.result

        def told(job, *args, real=real, **rest):
            asked.append(job.job_id)
            return real(job, *args, **rest)

        monkeypatch.setattr(kind, "result", told)
    receipt = bench.process(bench.land(DAY, [bench.game(DAY)]))
    jobs = {job for one in receipt.tables.values() for job in (one.load_job_id, one.replace_job_id)}
    assert len(jobs) == 4
    assert jobs.isdisjoint(asked)
