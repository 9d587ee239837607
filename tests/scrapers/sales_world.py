"""A shop whose sales are asked for from one instant to another, with a silent cap, and what is landed of it."""

from __future__ import annotations

import bisect
import dataclasses
import datetime as dt
import functools
import json
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar

from alerting.errors import CoverageLow, PipelineError
from alerting.memory_store import MemoryObjectStore
from scrapers.base import Findings, Page, Request, Scraper
from scrapers.landing import Landing
from scrapers.manifest import Manifest
from scrapers.partition import Partition, partitions_between
from scrapers.scrape import ScrapeContext, scrape
from scrapers.spans import SpanQueue, SpanResult, dates_of, scrape_span

FIRST = dt.date(2020, 2, 20)
HOUR = dt.timedelta(hours=1)


class Sales(Scraper):
    """Sales from one instant to another; a list shorter than the cap is complete."""

    source, title, zone = "sales", "Sales", "America/New_York"
    base_url, tables = "https://sales.example", ("sales",)
    result_cap: ClassVar[int] = 1000
    days_per_call: ClassVar[int] = 90
    tells_totals = False

    def first_request(self, partition: Partition) -> Request:
        return self._between(partition.begins_at, partition.ends_at)

    def parts(self, partition: Partition) -> range:
        return partition.steps(HOUR)

    def part_request(self, partition: Partition, part: range) -> Request:
        return self._between(*partition.instants_of(part, HOUR))

    @staticmethod
    def _between(begin: dt.datetime, end: dt.datetime) -> Request:
        return Request("/sales", (("from", begin.isoformat()), ("to", end.isoformat())))

    def inspect(self, partition: Partition, page: Page) -> Findings:
        answer = json.loads(page.body)
        if any(row.get("broken") for row in answer["sales"]):
            raise CoverageLow("a sale without a price")
        instants = [dt.datetime.fromisoformat(row["at"]) for row in answer["sales"]]
        local = [at.astimezone(partition.begins_at.tzinfo) for at in instants]
        dates = [dt.date.fromisoformat(row["date"]) for row in answer["sales"]]
        assert len(local) == len(dates)
        return Findings(
            {"sales": len(dates)},
            source_total=answer.get("total"),
            empty_evidence=f"200, {len(dates)} rows, no cap" if len(dates) < self.result_cap else "",
            keys=tuple(str(row["id"]) for row in answer["sales"]),
            where=tuple(partition.step_of(at, HOUR) for at in instants),
            dates=dates_of((date, "sales", row) for date, row in zip(dates, answer["sales"], strict=True)),
        )


class Killed(BaseException):
    """The process is gone."""


class Api:
    """Gives at most ``cap`` of the sales that it was asked for, and does not say that there are more."""

    def __init__(self, per_day: Sequence[int], cap: int, order: str = "oldest first", seed: int = 0) -> None:
        chosen = random.Random(seed)
        self.rows: list[dict[str, Any]] = []
        for offset, count in enumerate(per_day):
            day = Partition.day(FIRST + dt.timedelta(days=offset), Sales.zone)
            minutes = int((day.ends_at - day.begins_at).total_seconds() // 60)
            for at in sorted(day.begins_at + dt.timedelta(minutes=chosen.randrange(minutes)) for _ in range(count)):
                self.rows.append({"id": len(self.rows), "at": at.isoformat(), "date": day.start.isoformat()})
        self.instants = [dt.datetime.fromisoformat(row["at"]) for row in self.rows]
        self.cap, self.order, self.calls, self.announces = cap, order, 0, False
        self.kill_at = 0

    def fetch(self, request: Request, page_number: int = 1) -> Page:
        self.calls += 1
        if self.calls == self.kill_at:
            raise Killed
        asked = dict(request.params)
        begin, end = dt.datetime.fromisoformat(asked["from"]), dt.datetime.fromisoformat(asked["to"])
        found = self.rows[bisect.bisect_left(self.instants, begin) : bisect.bisect_left(self.instants, end)]
        if self.order == "newest first":
            found.reverse()
        elif self.order == "no order":
            random.Random(len(found)).shuffle(found)
        total = {"total": len(found)} if self.announces else {}
        body = json.dumps({"sales": found[: self.cap], **total}).encode()
        return Page(request, page_number, 200, {}, body, dt.datetime(2026, 1, 1, tzinfo=dt.UTC), 0.9)


def source(cap: int, days_per_call: int, **facts: Any) -> Sales:
    return type("Sales", (Sales,), {"result_cap": cap, "days_per_call": days_per_call, **facts})()


def days(count: int) -> list[Partition]:
    return partitions_between(FIRST, FIRST + dt.timedelta(days=count - 1), Sales.zone)


@functools.lru_cache(maxsize=4)
def rows_of(body: bytes) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(body)["sales"]
    return found


@dataclasses.dataclass
class World:
    """What a run without flows does: runs, shorter ones where it is told to, single dates by ``scrape``."""

    scraper: Sales
    api: Any
    landing: Landing = dataclasses.field(default_factory=lambda: Landing(MemoryObjectStore()))
    manifests: dict[str, Manifest] = dataclasses.field(default_factory=dict)
    failures: dict[str, PipelineError] = dataclasses.field(default_factory=dict)

    def fetch(self, partitions: Sequence[Partition]) -> None:
        given = {"scraper": self.scraper, "client": self.api, "landing": self.landing}
        given |= {"backfill_id": "bf", "code_version": "0"}
        queue = SpanQueue([one for one in partitions if one.key not in self.manifests], self.scraper.days_per_call)
        while run := queue.take():
            try:
                if len(run) == 1:
                    self.manifests[run[0].key] = scrape(run[0], ScrapeContext(**given))
                    continue
                answer: SpanResult = scrape_span(run, ScrapeContext(**given))
            except PipelineError as error:
                self.failures.update(dict.fromkeys((one.key for one in run), error))
                continue
            self.manifests.update(answer.manifests)
            self.failures.update(answer.failures)
            queue.put_back(answer)

    def ids(self, key: str) -> list[int]:
        """Names of the rows that a date's manifest gives, in order, its neighbours' skipped."""
        rows = [row for body in self.landing.read_pages(self.manifests[key]) for row in rows_of(body)]
        return sorted(row["id"] for row in rows if row["date"] == key)

    def check(self) -> None:
        """Every date exact, and all rows there once."""
        by_date: dict[str, list[int]] = {}
        for row in self.api.rows:
            by_date.setdefault(row["date"], []).append(row["id"])
        for key, manifest in self.manifests.items():
            assert self.ids(key) == by_date.get(key, [])
            assert manifest.counts == {"sales": len(by_date.get(key, []))}
            assert bool(manifest.empty_evidence) == (key not in by_date)
            assert sum(page.counts.get("sales", 0) for page in manifest.pages) == manifest.counts["sales"] or any(
                page.is_cut for page in manifest.pages
            )
            assert self.landing.read_manifest(manifest.object_name) == manifest


def fewest(per_day: Sequence[int], cap: int, days_per_call: int, api: Api) -> int:
    """The least number of answers below the cap by which every date is asked for, no date together with part of one."""
    calls = rows = length = 0
    for offset, count in enumerate(per_day):
        if count >= cap:
            calls, rows, length = calls + fewest_hours(api, offset, cap), 0, 0
            continue
        if not length or rows + count >= cap or length == days_per_call:
            calls, rows, length = calls + 1, 0, 0
        rows, length = rows + count, length + 1
    return calls


def fewest_hours(api: Api, offset: int, cap: int) -> int:
    day = Partition.day(FIRST + dt.timedelta(days=offset), Sales.zone)
    mine = [dt.datetime.fromisoformat(row["at"]) for row in api.rows if row["date"] == day.key]
    parts, rows = 1, 0
    for _, count in sorted(Counter(day.step_of(at, HOUR) for at in mine).items()):
        if rows + count >= cap:
            parts, rows = parts + 1, 0
        rows += count
    return parts
