"""What becomes of each date of an answer that several share: manifests, failures, kills, and what is asked next."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json

import pytest
from sales_world import FIRST, Api, Killed, Sales, World, days, source

from alerting.errors import NotSettled, SourceContractError, SourceUnavailable
from alerting.instant import utc_now
from alerting.memory_store import MemoryObjectStore
from scrapers.base import Dated, Findings, Page, Request
from scrapers.landing import Landing
from scrapers.manifest import Manifest
from scrapers.partition import Partition, partitions_between
from scrapers.scrape import ScrapeContext
from scrapers.spans import SpanQueue, SpanResult, scrape_span


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


def test_rows_of_a_date_that_was_not_asked_for_are_refused_with_the_date_that_they_came_for():
    class Straying(Api):
        def fetch(self, request: Request, page_number: int = 1) -> Page:
            page = super().fetch(request, page_number)
            return dataclasses.replace(page, body=page.body.replace(b'"2020-02-21', b'"2020-03-09'))

    world = World(source(1000, 90), Straying([3, 3, 3], 1000))
    world.fetch(days(3))
    assert list(world.failures) == ["2020-02-21"]
    assert isinstance(world.failures["2020-02-21"], SourceContractError)
    assert sorted(world.manifests) == ["2020-02-20", "2020-02-22"]
    assert any("refused-" in one.name for one in world.landing.store.list("landing/"))


def test_rows_that_are_counted_and_have_no_date_stop_the_source():
    class Forgetful(Sales):
        def inspect(self, partition: Partition, page: Page) -> Findings:
            found = super().inspect(partition, page)
            return dataclasses.replace(found, dates=dict(list(found.dates.items())[1:]))

    with pytest.raises(SourceContractError, match=r"counts 9 rows of sales .* and 6 of them by date"):
        scrape_span(
            days(3),
            ScrapeContext(
                scraper=Forgetful(),
                client=Api([3, 3, 3], 1000),
                landing=Landing(MemoryObjectStore()),
                backfill_id="bf",
                code_version="0",
            ),
        )


def test_an_announced_total_that_is_not_there_is_never_a_success():
    class Boasting(Api):
        def fetch(self, request: Request, page_number: int = 1) -> Page:
            page = super().fetch(request, page_number)
            answer = json.loads(page.body)
            return dataclasses.replace(page, body=json.dumps({**answer, "total": 99}).encode())

    world = World(source(1000, 90), Boasting([3, 3], 1000))
    world.fetch(days(2))
    assert [type(error) for error in world.failures.values()] == [NotSettled, NotSettled]
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
    queue = SpanQueue(days(10)[::-1], 4)
    assert [[one.start.day for one in queue.take()] for _ in range(4)] == [
        [26, 27, 28, 29],
        [22, 23, 24, 25],
        [20, 21],
        [],
    ]
    queue = SpanQueue(days(10), 4)
    first = queue.take()
    queue.put_back(SpanResult(shorter=(first[:1], first[1:]), is_newest_first=False))
    assert [[one.start.day for one in queue.take()] for _ in range(4)] == [
        [20],
        [21, 22, 23, 24],
        [25, 26, 27, 28],
        [29],
    ]


def test_today_is_not_asked_for_with_its_neighbours():
    today = utc_now().date()
    with pytest.raises(NotSettled, match="not settled before"):
        scrape_span(
            partitions_between(today - dt.timedelta(days=2), today, Sales.zone),
            ScrapeContext(
                scraper=Sales(),
                client=Api([], 1000),
                landing=Landing(MemoryObjectStore()),
                backfill_id="bf",
                code_version="0",
            ),
        )
