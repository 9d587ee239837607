"""Five years of dates are published with few jobs, on a BigQuery that keeps its limits."""

from __future__ import annotations

import datetime as dt
import json
import urllib.request
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from google.api_core.exceptions import Conflict

from alerting.errors import BudgetExhausted
from alerting.memory_store import MemoryObjectStore
from processors.load_plan import MAX_DAYS_PER_BATCH, pack
from processors.receipt import Receipt
from processors.table_budget import TableBudget
from processors.warehouse import BigQueryWarehouse
from scrapers.landing import Landing
from scrapers.manifest import Manifest

if TYPE_CHECKING:
    from .conftest import Bench

FIRST, DAYS = dt.date(2019, 1, 1), 1_826
MOST_JOBS = 10
_LOCAL = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@pytest.fixture
def limits(bigquery_endpoint: str) -> Iterator[str]:
    """The local BigQuery takes ten loads of a table a day, and none of more dates than a batch may have."""
    url = f"{bigquery_endpoint}/gapless/quota"
    body = json.dumps({"loads_per_table_per_day": MOST_JOBS, "partitions_per_job": MAX_DAYS_PER_BATCH}).encode()
    _LOCAL.open(urllib.request.Request(url, body, {"Content-Type": "application/json"}), timeout=10).close()
    yield url
    _LOCAL.open(urllib.request.Request(url, method="DELETE"), timeout=10).close()


@pytest.fixture
def years(bench: Bench, memory_bucket: MemoryObjectStore) -> list[Manifest]:
    """One game with two players on every date; the landed payloads lie in memory."""
    bench.store, bench.landing = memory_bucket, Landing(memory_bucket)  # type: ignore[assignment]
    days = [(FIRST + dt.timedelta(days=offset)).isoformat() for offset in range(DAYS)]
    return [bench.land(day, [bench.game(day, score=100 + number % 7)]) for number, day in enumerate(days)]


def limited(bench: Bench, modifications: int) -> BigQueryWarehouse:
    """Refuses the modification after so many of a table, before anything is begun."""
    budget = TableBudget(modifications_per_day=int(modifications / 0.95) + 1)
    return BigQueryWarehouse(bench.warehouse.dataset, endpoint=bench.warehouse._endpoint, budget=budget)


def jobs_of(receipts: list[Receipt]) -> Counter[str]:
    """Jobs by table, loads and replaces."""
    return Counter(
        name
        for receipt in receipts
        for name, table in receipt.tables.items()
        for job_id in (table.load_job_id, table.replace_job_id)
        if job_id
    )


def changed(receipts: list[Receipt]) -> Counter[str]:
    found = Counter[str]()
    for receipt in receipts:
        for table in receipt.tables.values():
            for one in table.changes.values():
                found += Counter(one.model_dump())
    return found


@pytest.mark.long
def test_five_years_are_published_with_ten_jobs_and_a_replayed_job_id_changes_nothing(
    bench: Bench, limits: str, years: list[Manifest]
) -> None:
    bench.warehouse = limited(bench, MOST_JOBS)
    batches = pack(years)
    receipts = [bench.process(*batch) for batch in batches]
    assert [one for receipt in receipts for one in receipt.partitions] == [one.partition for one in years]
    assert max(jobs_of(receipts).values()) <= MOST_JOBS
    assert changed(receipts) == {"created": 3 * DAYS}
    content = bench.content()
    assert len(bench.rows("games", "game_date")) == DAYS

    # The very ids again, with something that would be seen.
    client = bench.warehouse._open()
    for receipt in receipts:
        for name, table in receipt.tables.items():
            for job_id in (table.load_job_id, table.replace_job_id):
                with pytest.raises(Conflict):
                    client.query(
                        f"DELETE FROM {bench.warehouse.name_of(name)} WHERE TRUE", job_id=job_id, job_retry=None
                    )
    assert bench.content() == content

    # The same batches again, as a run does it that was killed before it could write its ledger.
    repeated = [bench.process(*batch) for batch in batches]
    assert changed(repeated) == {"unchanged": 3 * DAYS}
    assert bench.content() == content


def test_a_table_whose_modifications_are_used_up_stops_before_the_next_batch(
    bench: Bench, years: list[Manifest]
) -> None:
    bench.warehouse = limited(bench, 1)
    first, second = pack(years[: MAX_DAYS_PER_BATCH + 1])
    bench.process(*first)
    content = bench.content()
    with pytest.raises(BudgetExhausted):
        bench.process(*second)
    assert bench.content() == content
