"""Answers at a silent cap: cut into parts until nothing is missing, or ``Truncated``; never a success with less."""

from __future__ import annotations

import datetime as dt
import http.server
import itertools
import json
import random
import re
import threading
import urllib.parse
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from textwrap import dedent
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import scrapers.sources
from alerting.errors import NothingPublished, NotSettled, PipelineError, SourceContractError, Truncated
from alerting.memory_store import MemoryObjectStore
from scrapers.base import Findings, Page, Request, Scraper, SourceAccess
from scrapers.client import SourceClient
from scrapers.landing import Landing
from scrapers.manifest import Manifest
from scrapers.pace.budget import Budget
from scrapers.partition import Partition
from scrapers.parts import halves
from scrapers.rate import Rate
from scrapers.scrape import ScrapeContext, scrape

DAY = Partition.day(dt.date(2025, 3, 9), "America/New_York")
MINUTE = dt.timedelta(minutes=1)
HOUR = dt.timedelta(hours=1)


class Events(Scraper):
    """Events of a day, each with its instant; asked for from an instant to another."""

    source, title, zone = "events", "Events", DAY.zone
    base_url = "https://events.example"
    tables = ("events",)
    step_length = MINUTE
    tells_where = True
    tells_keys = True

    def first_request(self, partition: Partition) -> Request:
        return self.part_request(partition, self.parts(partition))

    def parts(self, partition: Partition) -> range:
        return partition.steps(self.step_length)

    def part_request(self, partition: Partition, part: range) -> Request:
        begin, end = partition.instants_of(part, self.step_length)
        return Request("/events", (("from", begin.isoformat()), ("to", end.isoformat())))

    def inspect(self, partition: Partition, page: Page) -> Findings:
        document = json.loads(page.body)
        where = [partition.step_of(dt.datetime.fromisoformat(at), self.step_length) for _, at in document["events"]]
        return Findings(
            {"events": len(where)},
            source_total=document.get("total"),
            empty_evidence="" if where or document.get("odd") else "no events",
            keys=tuple(str(name) for name, _ in document["events"]) if self.tells_keys else (),
            where=tuple(where) if self.tells_where else (),
        )


class Killed(BaseException):
    """The process is gone."""


class Api:
    """Gives at most ``cap`` events of what was asked for, and does not say that there are more."""

    def __init__(self, instants: Sequence[dt.datetime], cap: int, order: str = "oldest first") -> None:
        self.events = list(enumerate(sorted(instants)))
        self.cap, self.order, self.calls = cap, order, 0
        self.announces_total = False
        self.narrow: Callable[[dt.datetime, dt.datetime], tuple[dt.datetime, dt.datetime]] = lambda *asked: asked
        self.kills: set[int] = set()

    def answer(self, params: dict[str, str]) -> dict[str, Any]:
        self.calls += 1
        begin, end = self.narrow(dt.datetime.fromisoformat(params["from"]), dt.datetime.fromisoformat(params["to"]))
        found = [(name, at.isoformat()) for name, at in self.events if begin <= at < end]
        if self.order == "newest first":
            found.reverse()
        elif self.order == "no order":
            random.Random(len(found)).shuffle(found)
        return {"events": found[: self.cap], **({"total": len(found)} if self.announces_total else {})}

    def fetch(self, request: Request, page_number: int = 1) -> Page:
        if self.calls + 1 in self.kills:
            self.kills.discard(self.calls + 1)
            raise Killed
        body = json.dumps(self.answer(dict(request.params))).encode()
        return Page(request, page_number, 200, {}, body, dt.datetime(2026, 1, 1, tzinfo=dt.UTC), 0.1)


def source(cap: int, **facts: Any) -> Events:
    return type("Events", (Events,), {"result_cap": cap, **facts})()


def swept(api: Any, scraper: Scraper, landing: Landing | None = None) -> tuple[Manifest, list[int]]:
    """The manifest, and the names of all landed events with rows, in order."""
    landing = landing or Landing(MemoryObjectStore())
    made = scrape(DAY, ScrapeContext(scraper=scraper, client=api, landing=landing, backfill_id="b", code_version="0"))
    names = [name for body in landing.read_pages(made) for name, _ in json.loads(body)["events"]]
    assert made.counts == {"events": len(names)}
    return made, sorted(names)


def at(minutes: Sequence[int]) -> list[dt.datetime]:
    return [DAY.begins_at + minute * MINUTE for minute in minutes]


def fewest_parts(minutes: Sequence[int], cap: int) -> int:
    """The least number of answers below the cap that whole minutes can be put into."""
    parts, rows = 1, 0
    for _, count in sorted(Counter(minutes).items()):
        if rows + count >= cap:
            parts, rows = parts + 1, 0
        rows += count
    return parts


class Handler(http.server.BaseHTTPRequestHandler):
    api: Api

    def do_GET(self) -> None:
        params = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
        body = json.dumps(self.api.answer(params)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def served() -> Iterator[Callable[[Api, Scraper], SourceClient]]:
    """Puts an API behind a real server and gives the real client of it."""
    ending: list[Callable[[], None]] = []

    def serve(api: Api, scraper: Scraper) -> SourceClient:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"api": api}))
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        client = SourceClient(scraper, SourceAccess(f"http://127.0.0.1:{server.server_port}"), Budget(Rate()))
        ending.extend([client.close, server.shutdown, server.server_close])
        return client

    yield serve
    for end in ending:
        end()


@pytest.mark.parametrize("order", ["oldest first", "newest first"])
def test_t49_a_silent_cap_at_1000_loses_no_row_and_takes_at_most_twice_the_fewest_calls(served, order):
    """12,345 events of one day, most of them in the evening."""
    chosen = random.Random(7)
    minutes = [min(1379, max(0, int(chosen.gauss(1140, 90)))) for _ in range(11_000)]
    minutes += [chosen.randrange(1380) for _ in range(1_345)]
    api, scraper = Api(at(minutes), 1000, order), source(1000)
    manifest, names = swept(served(api, scraper), scraper)
    assert names == list(range(12_345))
    assert api.calls <= 2 * fewest_parts(minutes, 1000) - 1
    assert max(page.counts["events"] for page in manifest.pages if page.holds_rows) < 1000
    assert all(page.counts["events"] == 1000 for page in manifest.pages if page.is_cut)


minutes_of_a_day = st.lists(st.one_of(st.integers(0, 1379), st.integers(600, 620)), max_size=60)


@given(
    minutes_of_a_day,
    st.integers(2, 12),
    st.sampled_from(["oldest first", "newest first", "no order"]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_any_day_is_complete_or_truncated_and_the_calls_stay_within_twice_the_parts(
    minutes, cap, order, where, keys, total
):
    api = Api(at(minutes), cap, order)
    api.announces_total = total
    is_possible = all(minutes.count(minute) < cap for minute in minutes)
    try:
        manifest, names = swept(api, source(cap, tells_where=where, tells_keys=keys))
    except Truncated:
        assert not is_possible
        return
    assert is_possible
    assert names == list(range(len(minutes)))
    parts = sum(page.holds_rows for page in manifest.pages)
    assert api.calls == 2 * parts - 1
    if where and order != "no order":
        assert parts == fewest_parts(minutes, cap)
    assert manifest.source_total == (len(minutes) if total else None)


@given(minutes_of_a_day, st.integers(3, 12), st.sampled_from(["oldest first", "no order"]), st.sets(st.integers(2, 40)))
@settings(max_examples=100, deadline=None)
def test_a_kill_between_any_parts_resumes_and_gives_what_an_undisturbed_run_gives(minutes, cap, order, kills):
    kept = [minute for at_, minute in enumerate(minutes) if minutes[:at_].count(minute) < cap - 1]
    undisturbed = Api(at(kept), cap, order)
    alone, _ = swept(undisturbed, source(cap))
    api, landing = Api(at(kept), cap, order), Landing(MemoryObjectStore())
    api.kills = set(kills)
    manifest = None
    while manifest is None:
        try:
            manifest, names = swept(api, source(cap), landing)
        except Killed:
            continue
    assert names == list(range(len(kept)))
    assert (manifest.content_hash, manifest.counts) == (alone.content_hash, alone.counts)
    assert [page.is_cut for page in manifest.pages] == [page.is_cut for page in alone.pages]
    assert api.calls == undisturbed.calls
    assert manifest.object_name.count("attempt=") == 1
    landed = [found.name for found in landing.store.list("landing/")]
    assert len(landed) == len(manifest.pages) + 1


def test_the_example_of_a_capped_source_loses_no_row():
    (block,) = re.findall(r"^ {4}MINUTE = .*?(?=^\S)", scrapers.sources.__doc__ or "", re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {"dt": dt, "Scraper": Events, "Partition": Partition, "Request": Request}
    exec(dedent(block), names)
    api = Api(at(range(900)) * 4, 1000)
    manifest, found = swept(api, names["Events"]())
    assert found == list(range(3600))
    assert api.calls == len(manifest.pages) > 4


def test_exactly_the_cap_is_suspect_and_one_less_is_not():
    for rows, calls in ((9, 1), (10, 3)):
        api = Api(at(range(rows)), 10)
        swept(api, source(10))
        assert api.calls == calls


def test_a_cap_of_a_source_that_cannot_be_asked_for_less_is_truncated_and_lands_no_manifest():
    landing = Landing(MemoryObjectStore())
    whole = source(10, parts=Scraper.parts, first_request=lambda _, day: Events().first_request(day), tells_where=False)
    with pytest.raises(Truncated, match="the partition came with 10 rows, the source gives at most 10") as caught:
        swept(Api(at(range(30)), 10), whole, landing)
    assert caught.value.partition == DAY.key
    assert [found.name.rpartition("/")[2] for found in landing.store.list("landing/")] == ["page-0001.json.gz"]
    assert swept(Api(at(range(9)), 10), whole, landing)[1] == list(range(9))


def test_a_truncated_partition_is_asked_again_from_its_beginning():
    landing, api = Landing(MemoryObjectStore()), Api(at([5] * 30), 10)
    with pytest.raises(Truncated, match="steps 5 to 5 of 1380 came with 10 rows"):
        swept(api, source(10), landing)
    api.cap = 50
    manifest, names = swept(api, source(50), landing)
    assert (len(names), manifest.resumed_pages) == (30, 0)


def ignoring(begin: dt.datetime, end: dt.datetime) -> tuple[dt.datetime, dt.datetime]:
    return DAY.begins_at, DAY.ends_at


def losing_the_first_minute(begin: dt.datetime, end: dt.datetime) -> tuple[dt.datetime, dt.datetime]:
    return (begin if begin == DAY.begins_at else begin + MINUTE), end


def including_the_end(begin: dt.datetime, end: dt.datetime) -> tuple[dt.datetime, dt.datetime]:
    return begin, end + MINUTE


@pytest.mark.parametrize(
    ("narrow", "facts", "kind", "said"),
    [
        (ignoring, {}, SourceContractError, "got a row of step"),
        (ignoring, {"tells_where": False}, Truncated, "what lies beyond is missing"),
        (losing_the_first_minute, {}, NotSettled, "in none of its parts"),
        (including_the_end, {}, SourceContractError, "got a row of step"),
        (including_the_end, {"tells_where": False}, NotSettled, "a row came in two parts"),
    ],
)
def test_a_source_that_does_not_give_exactly_the_asked_part_is_found_out(narrow, facts, kind, said):
    api = Api(at(range(100)), 40)
    api.narrow = narrow
    with pytest.raises(kind, match=said):
        swept(api, source(40, **facts))


def test_an_announced_total_that_the_parts_do_not_add_up_to_is_never_a_success():
    api = Api(at(range(100)), 40)
    api.announces_total, api.narrow = True, losing_the_first_minute
    with pytest.raises(NotSettled, match=r"announced 100 rows, its \d parts have"):
        swept(api, source(40, tells_keys=False))


def test_a_cap_that_nobody_knew_is_noticed_by_the_total_that_the_source_announces():
    api = Api(at(range(100)), 40)
    api.announces_total = True
    assert swept(api, source(1000))[1] == list(range(100))


def test_an_empty_part_needs_the_same_proof_as_an_empty_date():
    class Odd(Api):
        def answer(self, params: dict[str, str]) -> dict[str, Any]:
            found = super().answer(params)
            return {**found, "odd": not found["events"]}

    with pytest.raises(NothingPublished, match="nothing proves that they are"):
        swept(Odd(at([700] * 9 + [701] * 9), 10), source(10, tells_where=False))


def test_a_part_that_fails_is_located_and_says_what_was_kept():
    class Failing(Api):
        def fetch(self, request: Request, page_number: int = 1) -> Page:
            if page_number == 3:
                raise PipelineError("no")
            return super().fetch(request, page_number)

    with pytest.raises(PipelineError) as caught:
        swept(Failing(at(range(30)), 10), source(10))
    assert (caught.value.partition, caught.value.facts["rows_kept"]) == (DAY.key, 9)


zones = st.sampled_from(["America/New_York", "Europe/Stockholm", "Australia/Lord_Howe", "UTC", "Asia/Kathmandu"])


@given(zones, st.dates(dt.date(2000, 1, 1), dt.date(2030, 1, 1)), st.booleans(), st.integers(1, 400), st.data())
@settings(max_examples=150, deadline=None)
def test_parts_touch_and_cover_the_interval_exactly_over_every_change_of_the_clocks(zone, date, monthly, length, data):
    partition = Partition.month(date.year, date.month, zone) if monthly else Partition.day(date, zone)
    step = dt.timedelta(minutes=length)
    parts = [partition.steps(step)]
    while len(parts) < 8 and any(len(part) > 1 for part in parts):
        number = data.draw(st.sampled_from([at_ for at_, part in enumerate(parts) if len(part) > 1]))
        where = data.draw(st.lists(st.integers(parts[number].start, parts[number].stop - 1), max_size=4))
        parts[number : number + 1] = halves(parts[number], where)
    spans = [partition.instants_of(part, step) for part in parts]
    assert [spans[0][0], spans[-1][1]] == [partition.begins_at, partition.ends_at]
    assert all(left[1] == right[0] for left, right in itertools.pairwise(spans))
    assert all(begin < end for begin, end in spans)
    for (begin, end), part in zip(spans, parts, strict=True):
        assert partition.step_of(begin, step) == part.start
        assert partition.step_of(end - dt.timedelta(microseconds=1), step) == part.stop - 1
