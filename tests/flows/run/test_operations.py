"""What a run asks of storage and BigQuery: money and quota in the cloud, and 50 ms, 200 ms or 3 s each."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from outside import kind_of_google
from requests.adapters import HTTPAdapter

from alerting.instant import utc_now
from alerting.memory_store import MemoryObjectStore
from alerting.object_store import StoredObject
from flows.asked import Asked
from flows.ledger.ledger import Ledger, Verdict
from flows.planning.planner import plan_asked
from flows.settings import Settings
from flows.wiring import Services
from scrapers.partition import partitions_between

if TYPE_CHECKING:
    import pytest

    from ..conftest import Place, Ran

DATES = 24
SOURCE = "bdl_box_scores"
RECOUNT = 9
"""Queries of `processors.verification`: of both tables the count, the keys, and these keys elsewhere; of the games a
column that is unique beside the key; of the lines their games, and how many a game has."""


def test_a_date_costs_four_writes_and_no_read_of_storage(
    place: Place, ran: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, jobs = Counter[str](), Counter[str]()
    monkeypatch.setattr(HTTPAdapter, "send", _counted_jobs(jobs, HTTPAdapter.send))
    for kind in ("read", "write"):
        monkeypatch.setattr(place.store, kind, _counted(asked, kind, getattr(place.store, kind)))
    _, facts = ran("2025-01-03", "2025-01-26", max_concurrency=4)
    assert facts.verdict == "COMPLETE"
    by_date = Counter(
        {name: count for name, count in asked.items() if name.split()[1] in ("landing/source", "ledger/source")}
    )
    assert by_date == {"write landing/source": 2 * DATES, "write ledger/source": 2 * DATES}
    # One batch of two tables, whatever the number of its dates: each is loaded, asked meanwhile whether it holds a row
    # that the new ones could meet, and replaced; the rest is the recount.
    assert jobs == {"BigQuery job: load": 2, "BigQuery job: query": 2, "BigQuery query": 2 + RECOUNT}


def test_a_plan_of_ten_years_is_five_listings(monkeypatch: pytest.MonkeyPatch) -> None:
    first, last = dt.date(2014, 10, 1), dt.date(2024, 9, 30)
    store = Paged("gs://b")
    monkeypatch.setattr(Services, "store", store)
    services = Services(Settings(project="p", console_only=True))
    ledger = Ledger(store, SOURCE)
    for one in partitions_between(first, last, "US/Eastern"):
        ledger.advance(one.key, Verdict.VERIFIED, "bf-0", utc_now())
    planned = plan_asked(services, Asked(source=SOURCE, start_date=first, end_date=last), utc_now())
    assert (len(planned.plan.items), len(planned.plan.to_fetch)) == (3_653, 0)
    assert store.pages == {f"ledger/source={SOURCE}/": 4, "reviews/": 1}


class Paged(MemoryObjectStore):
    """Counts listings by the pages of 1,000 objects that Cloud Storage gives."""

    calls: dict[str, int] = {}  # noqa: RUF012

    def __init__(self, root_uri: str) -> None:
        super().__init__(root_uri)
        self.pages: Counter[str] = Counter()

    def list(self, prefix: str, **rest: Any) -> Iterator[StoredObject]:
        found = list(super().list(prefix, **rest))
        self.pages[prefix] += max(1, -(-len(found) // 1_000))
        return iter(found)


def _counted_jobs(jobs: Counter[str], send: Any) -> Any:
    def counting(adapter: Any, request: Any, *args: Any, **rest: Any) -> Any:
        body = request.body if isinstance(request.body, bytes) else str(request.body or "").encode()
        kind = kind_of_google(str(request.method), str(request.url), body)
        jobs.update([kind] if kind.startswith(("BigQuery job", "BigQuery query")) else [])
        return send(adapter, request, *args, **rest)

    return counting


def _counted(asked: Counter[str], kind: str, call: Any) -> Any:
    def counting(name: str, *args: Any, **rest: Any) -> Any:
        asked[f"{kind} {name.partition('=')[0]}"] += 1
        return call(name, *args, **rest)

    return counting
