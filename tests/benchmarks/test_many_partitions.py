"""100,000 partitions planned, fetched, loaded, recounted and told in one mail, without a Prefect server.

The source answers from memory, storage is memory, BigQuery is the local one, the mail goes over SMTP. What is measured
is what the product itself does with so many: plan, ledger, batches, recounts, closing, mail. GAPLESS_BENCH_PARTITIONS
takes another number.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from alerting.instant import utc_now
from alerting.object_store import StoredObject
from deployments.local.inbox.server import InboxClient
from deployments.local.upstreams.season import late_game
from flows import calendar_dates
from flows.asked import Asked
from flows.backfill import run_backfill
from flows.planning import partition_limit
from flows.planning.planner import plan_asked
from flows.run.plain_orchestrator import PlainOrchestrator
from flows.wiring import Services, SourceKit
from processors.table_budget import TableBudget
from processors.warehouse import BigQueryWarehouse, JobPatience
from scrapers.base import Page, Request

if TYPE_CHECKING:
    from ..conftest import MemoryBucket, Provisioned

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(5400)]
SOURCE = "bdl_box_scores"
PARTITIONS = int(os.environ.get("GAPLESS_BENCH_PARTITIONS", "100000"))
LAST = dt.date(2025, 6, 30)
PLAYERS = 5
A_PAGE = 1_000
"""Objects that Cloud Storage lists at once."""


class FiveASide:
    """The source: one game on every date, with the fewest players that a game can have."""

    units = received_bytes = 0

    def __init__(self) -> None:
        self.calls = 0
        self.first_s = self.last_s = 0.0

    def fetch(self, request: Request, page_number: int = 1) -> Page:
        game = late_game(dt.date.fromisoformat(dict(request.params)["date"]))
        for side in ("home_team", "visitor_team"):
            del game[side]["players"][PLAYERS:]
        self.last_s = time.monotonic()
        self.first_s = self.first_s or self.last_s
        self.calls += 1
        return Page(request, page_number, 200, {}, json.dumps({"data": [game]}).encode(), utc_now(), 0.01)

    def close(self) -> None:
        """Nothing is open."""


class Counted:
    """A bucket that counts what is asked of it, listings by their pages."""

    def __init__(self, bucket: MemoryBucket) -> None:
        self._bucket = bucket
        self.asked: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bucket, name)

    @property
    def calls(self) -> dict[str, int]:
        return {}

    def read(self, name: str) -> tuple[bytes, int]:
        self.asked["read"] += 1
        return self._bucket.read(name)

    def write(self, name: str, *args: Any, **rest: Any) -> int:
        self.asked["write"] += 1
        return self._bucket.write(name, *args, **rest)

    def list(self, *args: Any, **rest: Any) -> Iterator[StoredObject]:
        found = list(self._bucket.list(*args, **rest))
        self.asked["list"] += max(1, -(-len(found) // A_PAGE))
        return iter(found)


class Unweighed(BigQueryWarehouse):
    """Reads nothing by dry run."""

    def dry_run(self, sql: str, parameters: Any = None) -> int:
        return 0


def peak_mib() -> float:
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024


@pytest.fixture
def services(
    provisioned: Provisioned, memory_bucket: MemoryBucket, inbox: InboxClient, monkeypatch: pytest.MonkeyPatch
) -> Services:
    """Of a user whose source goes back as far as is asked for."""
    given = provisioned(
        SOURCE,
        "http://127.0.0.1:9",
        {"bdl_api_key": "k"},
        GAPLESS_CONSOLE_ONLY="false",
        GAPLESS_SMTP_HOST="127.0.0.1",
        GAPLESS_SMTP_PORT=str(inbox.smtp_port),
        GAPLESS_SMTP_SECURITY="none",
        GAPLESS_MAIL_TO="you@example.org",
    )
    store = Counted(memory_bucket)

    class Kit(SourceKit):
        @cached_property
        def client(self) -> Any:
            return FiveASide()

    class Huge(Services):
        kit_type = Kit

        @cached_property
        def store(self) -> Any:
            return store

        @cached_property
        def warehouse(self) -> BigQueryWarehouse:
            # A table takes 30,000 partitions a day of Google, whatever there is to load: docs/scale.md.
            budget = TableBudget(partition_modifications_per_day=10**9)
            return BigQueryWarehouse(self.dataset, patience=JobPatience(retry_s=300.0), budget=budget)

        def warehouse_within(self, wait_s: float) -> Any:
            """No dry runs: 175 of them, for each of which the local BigQuery counts all bytes."""
            return Unweighed(self.dataset)

    # 100,000 days begin before the years that a person may ask for.
    monkeypatch.setattr(calendar_dates, "FIRST", dt.date(1000, 1, 1))
    # Nor does Google's limit of partitions hold at the local BigQuery.
    monkeypatch.setattr(partition_limit, "MOST_PARTITIONS", PARTITIONS)
    huge = Huge(given.settings)
    monkeypatch.setattr(type(huge.source_kit(SOURCE).scraper), "floor", LAST - dt.timedelta(days=PARTITIONS))
    return huge


def test_many_partitions(services: Services, inbox: InboxClient) -> None:
    asked = Asked(source=SOURCE, start_date=LAST - dt.timedelta(days=PARTITIONS - 1), end_date=LAST)
    store: Any = services.store
    clients = list[FiveASide]()
    made = type(services.source_kit(SOURCE))
    made.client = property(lambda _: clients[0])  # type: ignore[assignment, method-assign]
    clients.append(FiveASide())

    def planned() -> str:
        began_s, lists = time.monotonic(), store.asked["list"]
        plan = plan_asked(services, asked, utc_now()).plan
        assert len(plan.items) == PARTITIONS
        took_s = time.monotonic() - began_s
        return f"{took_s:7.1f} s, {store.asked['list'] - lists} listings, {len(plan.to_fetch):,} to fetch"

    print(f"\n{PARTITIONS:,} partitions, load {os.getloadavg()[0]:.1f}")
    print(f"  plan of what nobody knows  {planned()}")
    began_s, cpu_s, before = time.monotonic(), time.process_time(), Counter(store.asked)
    with temporary_settings({PREFECT_API_URL: None}):
        state = asyncio.run(run_backfill(services, asked, "bf-many000001", PlainOrchestrator(tries_again=True)))
    ended_s, cpu_s, used = time.monotonic(), time.process_time() - cpu_s, store.asked - before
    source = clients[0]
    print(f"  {state.message}")
    print(f"  until the first call       {source.first_s - began_s:7.1f} s")
    print(f"  first call to last         {source.last_s - source.first_s:7.1f} s")
    print(f"  last call to mail          {ended_s - source.last_s:7.1f} s")
    cpu_ms = cpu_s / PARTITIONS * 1000
    print(f"  in all                     {ended_s - began_s:7.1f} s, {cpu_ms:.1f} ms of CPU a partition")
    print(f"  storage                    {dict(used)}")
    print(f"  plan of what is done       {planned()}")
    (mail,) = [one for one in inbox.messages() if "bf-many000001" in inbox.message(one["id"])["text"]]
    size = len(inbox.message(mail["id"])["text"])
    print(f"  mail                       {mail['subject']!r}, text of {size:,} characters")
    print(f"  memory at its peak         {peak_mib():7.0f} MiB; load {os.getloadavg()[0]:.1f}")
    assert state.is_completed(), state.message
    assert source.calls == PARTITIONS
