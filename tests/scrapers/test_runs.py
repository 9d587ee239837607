"""Several dates by one call: no row is lost at a silent cap, calls stay within twice the fewest, each date is exact."""

from __future__ import annotations

import bisect
import dataclasses
import datetime as dt
import functools
import json
import pathlib
import random
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerting.errors import CoverageLow, NotSettled, PipelineError, SourceContractError, SourceUnavailable, Truncated
from alerting.local_store import MemoryObjectStore
from scrapers.answers import parsed_json
from scrapers.base import Dated, Findings, Page, Request, Scraper
from scrapers.landing import Landing, Manifest
from scrapers.partition import Partition, partitions_between
from scrapers.runs import RunAnswer, RunQueue, dates_of, scrape_run
from scrapers.scrape import scrape, utc_now

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
        return self._between(*partition.span(part, HOUR))

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
        queue = RunQueue([one for one in partitions if one.key not in self.manifests], self.scraper.days_per_call)
        while run := queue.take():
            try:
                if len(run) == 1:
                    self.manifests[run[0].key] = scrape(run[0], **given)
                    continue
                answer: RunAnswer = scrape_run(run, **given)
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


@pytest.mark.parametrize("order", ["oldest first", "newest first"])
def test_five_years_of_an_api_that_caps_at_1000_lose_no_row_and_take_at_most_twice_the_fewest_calls(order):
    chosen = random.Random(3)
    per_day = [chosen.choice((0, 2, 5, 9, 30, 120)) if at % 97 else 2500 for at in range(1826)]
    api = Api(per_day, 1000, order)
    world = World(source(1000, 90), api)
    world.fetch(days(len(per_day)))
    assert (len(world.manifests), world.failures) == (1826, {})
    world.check()
    optimum = fewest(per_day, 1000, 90, api)
    assert api.calls <= 2 * optimum
    assert api.calls < 1826 / 4


counts_of_days = st.lists(st.one_of(st.integers(0, 4), st.integers(0, 25)), min_size=1, max_size=40)


@given(
    counts_of_days,
    st.integers(3, 12),
    st.integers(1, 45),
    st.sampled_from(["oldest first", "newest first", "no order"]),
    st.booleans(),
    st.integers(0, 3),
)
@settings(max_examples=150, deadline=None)
def test_any_days_any_cap_any_order_every_date_is_exact_or_truncated(per_day, cap, days_per_call, order, total, seed):
    api = Api(per_day, cap, order, seed)
    api.announces = total
    world = World(source(cap, days_per_call), api)
    world.fetch(days(len(per_day)))
    world.check()
    assert all(isinstance(error, Truncated) for error in world.failures.values())
    assert len(world.manifests) + len(world.failures) == len(per_day)
    # Only a date that is too large by itself fails, and none of its neighbours.
    assert all(sum(row["date"] == key for row in api.rows) >= cap for key in world.failures)
    if total:
        assert all(one.source_total == one.counts["sales"] for one in world.manifests.values())
    if order != "no order" and not world.failures:
        assert api.calls <= 2 * fewest(per_day, cap, days_per_call, api) + 2 * (order == "newest first")


@given(counts_of_days, st.integers(3, 12), st.integers(2, 45), st.lists(st.integers(1, 40), max_size=4))
@settings(max_examples=80, deadline=None)
def test_a_kill_before_any_call_and_a_rerun_give_what_an_undisturbed_run_gives(per_day, cap, days_per_call, kills):
    kept = [min(count, cap - 1) for count in per_day]
    alone = World(source(cap, days_per_call), Api(kept, cap))
    alone.fetch(days(len(kept)))
    world = World(source(cap, days_per_call), Api(kept, cap))
    for kill in [*kills, 0]:
        world.api.kill_at = world.api.calls + kill if kill else 0
        try:
            world.fetch(days(len(kept)))
        except Killed:
            continue
    world.check()
    assert {key: one.counts for key, one in world.manifests.items()} == {
        key: one.counts for key, one in alone.manifests.items()
    }


def test_the_example_of_add_a_source_asks_for_90_dates_at_once_and_is_cut_at_its_cap():
    page = pathlib.Path(__file__).parents[2] / "docs" / "add-a-source.md"
    (block,) = re.findall(r"```python\n(class Sales\(.*?)```", page.read_text(), re.DOTALL)
    names: dict[str, Any] = {"dt": dt, "Scraper": Sales, "Partition": Partition, "Request": Request}
    names |= {"Findings": Findings, "Page": Page, "dates_of": dates_of, "parsed_json": parsed_json}
    exec(block, names)

    class ByDate(Api):
        def fetch(self, request: Request, page_number: int = 1) -> Page:
            self.calls += 1
            first, last = (value for _, value in request.params)
            found = [row for row in self.rows if first <= row["date"] <= last]
            body = json.dumps(found[: self.cap]).encode()
            return Page(request, page_number, 200, {}, body, dt.datetime(2026, 1, 1, tzinfo=dt.UTC), 0.9)

    world = World(names["Sales"](), ByDate([20] * 200, 1000))
    world.fetch(days(200))
    assert {one.counts["sales"] for one in world.manifests.values()} == {20}
    assert len(world.manifests) == 200
    # 49 dates stay below the cap: 4 runs, and the last 4 dates.
    assert world.api.calls == 9


def test_one_answer_is_landed_once_and_every_date_has_a_manifest_that_refers_to_it():
    world = World(source(1000, 90), Api([3, 0, 2], 1000))
    world.fetch(days(3))
    names = [one.name for one in world.landing.store.list("landing/")]
    (payload,) = [name for name in names if name.endswith(".json.gz")]
    assert payload.startswith("landing/source=sales/run=2020-02-20..2020-02-22/attempt=")
    assert sum(name.endswith("/manifest.json") for name in names) == 4
    for key, manifest in world.manifests.items():
        assert [page.object_name for page in manifest.pages] == [payload]
        assert manifest.object_name.startswith(f"landing/source=sales/partition={key}/attempt=")
        assert manifest.pages[0].covers == (FIRST, FIRST + dt.timedelta(days=3))
        assert manifest.pages[0].elapsed_s == 0.3
    assert world.manifests["2020-02-21"].empty_evidence == "200, 5 rows, no cap (asked for 2020-02-20..2020-02-22)"
    assert world.api.calls == 1


def test_a_date_is_the_same_whatever_its_neighbours_became():
    world = World(source(1000, 90), Api([3, 4, 2], 1000))
    world.fetch(days(3))
    later = World(source(1000, 90), Api([3, 4, 2], 1000))
    later.api.rows[-1]["price"] = 7
    later.fetch(days(3))
    hashes = [(world.manifests[one.key].content_hash, later.manifests[one.key].content_hash) for one in days(3)]
    assert [before == after for before, after in hashes] == [True, True, False]
    assert len({before for before, _ in hashes}) == 3


def test_without_hashes_of_rows_a_date_is_no_twin_of_another():
    class Plain(Sales):
        def inspect(self, partition: Partition, page: Page) -> Findings:
            found = super().inspect(partition, page)
            dates = {date: Dated(one.counts) for date, one in found.dates.items()}
            return dataclasses.replace(found, dates=dates)

    world = World(Plain(), Api([3, 4, 2], 1000))
    world.fetch(days(3))
    assert len({one.content_hash for one in world.manifests.values()}) == 3


def test_a_date_that_is_not_as_it_should_be_fails_alone():
    world = World(source(1000, 90), Api([3] * 30, 1000))
    world.api.rows[45]["broken"] = True
    world.fetch(days(30))
    assert list(world.failures) == [world.api.rows[45]["date"]]
    assert len(world.manifests) == 29
    world.check()


def test_an_outage_concerns_the_dates_of_its_call_and_no_other():
    class Down(Api):
        def fetch(self, request: Request, page_number: int = 1) -> Page:
            if self.calls == 1:
                self.calls += 1
                raise SourceUnavailable("503")
            return super().fetch(request, page_number)

    world = World(source(1000, 10), Down([3] * 30, 1000))
    world.fetch(days(30))
    assert sorted(world.failures) == [one.key for one in days(30)[10:20]]
    assert len(world.manifests) == 20


def test_rows_of_a_date_that_was_not_asked_for_stop_the_source():
    world = World(source(1000, 90), Api([3, 3, 3], 1000))
    world.api.rows[8]["date"] = "2020-03-09"
    world.fetch(days(3))
    assert all(isinstance(error, SourceContractError) for error in world.failures.values())
    assert "got rows of 2020-03-09" in str(world.failures["2020-02-20"])
    refused = [one.name for one in world.landing.store.list("landing/")]
    assert ["refused-" in name for name in refused] == [True]


def test_rows_that_are_counted_and_have_no_date_stop_the_source():
    class Forgetful(Sales):
        def inspect(self, partition: Partition, page: Page) -> Findings:
            found = super().inspect(partition, page)
            return dataclasses.replace(found, dates=dict(list(found.dates.items())[1:]))

    with pytest.raises(SourceContractError, match=r"counts 9 rows of sales .* and 6 of them by date"):
        scrape_run(
            days(3),
            scraper=Forgetful(),
            client=Api([3, 3, 3], 1000),
            landing=Landing(MemoryObjectStore()),
            backfill_id="bf",
            code_version="0",
        )


def test_an_announced_total_that_is_not_there_is_never_a_success():
    class Boasting(Api):
        def fetch(self, request: Request, page_number: int = 1) -> Page:
            page = super().fetch(request, page_number)
            answer = json.loads(page.body)
            return dataclasses.replace(page, body=json.dumps({**answer, "total": 99}).encode())

    world = World(source(1000, 90), Boasting([3, 3], 1000))
    world.fetch(days(2))
    assert all(isinstance(error, NotSettled) for error in world.failures.values())
    assert not [one for one in world.landing.store.list("landing/") if one.name.endswith("/manifest.json")]


def test_an_empty_date_without_evidence_fails_alone_and_its_neighbours_are_landed():
    class Unproven(Sales):
        def inspect(self, partition: Partition, page: Page) -> Findings:
            return dataclasses.replace(super().inspect(partition, page), empty_evidence="")

    world = World(Unproven(), Api([3, 0, 3], 1000))
    world.fetch(days(3))
    assert list(world.failures) == ["2020-02-21"]
    assert "nothing proves that there are none" in str(world.failures["2020-02-21"])
    assert sorted(world.manifests) == ["2020-02-20", "2020-02-22"]


def test_a_killed_run_of_dates_goes_on_with_what_it_has_landed():
    """Killed between the page and the first manifest: the next run makes no call."""

    class Dying(Landing):
        def put_manifest(self, manifest: Manifest) -> None:
            raise Killed

    store = MemoryObjectStore()
    world = World(source(1000, 90), Api([3, 4, 2], 1000), Dying(store))
    with pytest.raises(Killed):
        world.fetch(days(3))
    world.landing = Landing(store)
    world.fetch(days(3))
    assert world.api.calls == 1
    assert {one.resumed_pages for one in world.manifests.values()} == {1}
    world.check()


@pytest.mark.parametrize("dies_at", [2, 3, 4])
def test_a_kill_between_two_manifests_leaves_nothing_that_a_rerun_does_not_mend(dies_at):
    class Dying(Landing):
        written = 0

        def put_manifest(self, manifest: Manifest) -> None:
            self.written += 1
            if self.written == dies_at:
                raise Killed
            super().put_manifest(manifest)

    store = MemoryObjectStore()
    world = World(source(1000, 90), Api([3, 4, 2], 1000), Dying(store))
    with pytest.raises(Killed):
        world.fetch(days(3))
    pages = {one.name for one in store.list("landing/") if one.name.endswith(".gz")}
    world.landing = Landing(store)
    for one in list(store.list("landing/source=sales/partition=")):
        left = world.landing.read_manifest(one.name)
        assert {page.object_name for page in left.pages} <= pages, "what was landed can be read"
    world.fetch(days(3))
    world.check()
    assert len(world.manifests) == 3


def test_the_order_of_a_run_is_kept_and_neighbours_go_on_where_an_answer_ended():
    queue = RunQueue(days(10)[::-1], 4)
    assert [[one.start.day for one in queue.take()] for _ in range(4)] == [
        [26, 27, 28, 29],
        [22, 23, 24, 25],
        [20, 21],
        [],
    ]
    queue = RunQueue(days(10), 4)
    first = queue.take()
    queue.put_back(RunAnswer(shorter=(first[:1], first[1:]), is_newest_first=False))
    assert [[one.start.day for one in queue.take()] for _ in range(4)] == [
        [20],
        [21, 22, 23, 24],
        [25, 26, 27, 28],
        [29],
    ]


def test_today_is_not_asked_for_with_its_neighbours():
    today = utc_now().date()
    with pytest.raises(NotSettled, match="not settled before"):
        scrape_run(
            partitions_between(today - dt.timedelta(days=2), today, Sales.zone),
            scraper=Sales(),
            client=Api([], 1000),
            landing=Landing(MemoryObjectStore()),
            backfill_id="bf",
            code_version="0",
        )
