"""Keyset paging and resuming against a small Datasette in memory: any page sizes, kills and changes."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerting.errors import NotSettled, SourceContractError, Truncated
from alerting.memory_store import MemoryObjectStore
from scrapers.base import Page, Request
from scrapers.landing import Landing
from scrapers.partition import Partition
from scrapers.registry import scraper
from scrapers.scrape import ScrapeContext, scrape
from scrapers.sources.civic_band import CivicBand

NOON = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)
WHOLE = Partition.whole("alameda.ca~agendas", "UTC")
FIXTURES = Path(__file__).parents[3] / "shared" / "fixtures" / "civicband"
keys = st.sets(st.text("0123456789abcdef", min_size=1, max_size=3), max_size=12)


class Killed(BaseException):
    """The process is gone."""


def source(page_size: int = 3) -> CivicBand:
    made = type(scraper("civic_band"))()
    made.page_size = page_size
    return made


def page_of(document: Any, request: Request | None = None, number: int = 1, **headers: str) -> Page:
    asked = request or source().first_request(WHOLE)
    return Page(asked, number, 200, headers, json.dumps(document).encode(), NOON, 0.1)


class Fake:
    """Speaks as Datasette does. ``plan[n]`` happens before call n: "kill", or the rows from then on."""

    def __init__(self, rows: set[str], plan: dict[int, Any]) -> None:
        self.rows, self.plan, self.calls = rows, plan, 0
        self.states = [rows]

    def fetch(self, request: Request, page_number: int = 1) -> Page:
        self.calls += 1
        event = self.plan.get(self.calls)
        if event == "kill":
            raise Killed
        if event is not None:
            self.rows = event
            self.states.append(event)
        params = dict(request.params)
        size, after = int(params["_size"]), params.get("_next", "")
        found = sorted(key for key in self.rows if key > after)
        shown = found[:size]
        columns = ("id",) if params.get("_col") == "id" else ("id", "text")
        document = {
            "ok": True,
            "next": shown[-1] if len(found) > size else None,
            "count": len(self.rows),
            "rows": [dict.fromkeys(columns, key) for key in shown],
            "truncated": False,
        }
        return page_of(document, request, page_number)


def sweep(fake: Fake, landing: Landing, page_size: int) -> set[str]:
    made = scrape(
        WHOLE, ScrapeContext(scraper=source(page_size), client=fake, landing=landing, backfill_id="b", code_version="0")
    )
    ids = [row["id"] for body in landing.read_pages(made) for row in json.loads(body)["rows"]]
    assert len(ids) == len(set(ids)) == made.counts["civic_pages"]
    assert made.source_total == len(ids)
    assert bool(made.empty_evidence) == (not ids)
    return set(ids)


def test_a_row_of_the_first_recent_day_is_recent_and_one_of_the_day_before_is_not():
    since = dt.date(2025, 7, 1)
    dates = ["2025-06-30", "2025-07-01", "2025-07-02", "", None]
    body = json.dumps({"rows": [{CivicBand.date_column: date} for date in dates]}).encode()
    asked = dict(source().probes(source().first_request(WHOLE), since)[1].params)
    assert asked[f"{CivicBand.date_column}__gte"] == "2025-07-01"
    assert source().counts_of([body, body], since) == (10, 4)


@given(keys, st.lists(st.integers(1, 5), min_size=1, max_size=6), st.sets(st.integers(1, 30), max_size=5))
@settings(max_examples=100, deadline=None)
def test_any_page_sizes_and_kills_give_exactly_the_rows_of_the_table(rows, sizes, kills):
    fake, landing = Fake(rows, dict.fromkeys(kills, "kill")), Landing(MemoryObjectStore())
    found, tries = None, 0
    while found is None:
        try:
            found = sweep(fake, landing, sizes[tries % len(sizes)])
        except Killed:
            tries += 1
    assert found == rows


@given(keys, st.integers(1, 4), st.dictionaries(st.integers(1, 25), keys | st.just("kill"), max_size=5))
@settings(max_examples=200, deadline=None)
def test_what_is_landed_is_always_a_state_that_the_table_really_had(rows, page_size, plan):
    fake, landing = Fake(rows, plan), Landing(MemoryObjectStore())
    while True:
        try:
            found = sweep(fake, landing, page_size)
        except Killed:
            continue
        except NotSettled:
            return
        assert found in fake.states
        return


def rows_of(*ids: str) -> dict[str, Any]:
    return {"ok": True, "next": None, "count": len(ids), "rows": [{"id": one} for one in ids], "truncated": False}


def without(document: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name not in names}


def after(cursor: str) -> Request:
    return Request("/x", (("_next", cursor),), cursor=cursor)


@pytest.mark.parametrize(
    ("document", "request_", "kind"),
    [
        (rows_of(), after("nonsense"), NotSettled),
        (rows_of("b", "a"), None, SourceContractError),
        (rows_of("a", "a"), None, SourceContractError),
        (rows_of("a", "b"), after("b"), SourceContractError),
        ({**rows_of("a"), "next": "b"}, None, SourceContractError),
        ({**rows_of(), "next": "b"}, None, SourceContractError),
        ({**rows_of("a"), "truncated": True}, None, Truncated),
        ({**rows_of("a"), "rows": [["a"]]}, None, SourceContractError),
        ({**rows_of("a"), "rows": [{"id": 1}]}, None, SourceContractError),
        ({**rows_of("a"), "count": "many"}, None, SourceContractError),
        ({"ok": False, "error": "Table not found", "status": 404, "title": None}, None, SourceContractError),
        (without(rows_of("a"), "next", "count"), None, SourceContractError),
        ({**rows_of("a"), "next": {}}, None, SourceContractError),
        ({**rows_of("a"), "count": True}, None, SourceContractError),
        ({**rows_of("a", "b", "c"), "count": None}, None, Truncated),
        ({**rows_of("a"), "rows": [{"id": "a", "town": "berkeley.ca"}]}, None, SourceContractError),
        ({**rows_of("a"), "rows": [{"id": "a", "entity": "alameda.ca~minutes"}]}, None, SourceContractError),
    ],
)
def test_a_page_that_lies_about_its_place_is_refused(document, request_, kind):
    with pytest.raises(kind):
        source().inspect(WHOLE, page_of(document, request_))


def test_an_empty_table_needs_a_count_of_zero_to_be_believed():
    assert source().inspect(WHOLE, page_of(rows_of())).empty_evidence == "count 0 and no rows"
    unproven = source().inspect(WHOLE, page_of({**rows_of(), "count": None}))
    assert (unproven.empty_evidence, unproven.next_request is not None) == ("", True)


def test_a_count_above_the_ceiling_is_no_count():
    found = source().inspect(WHOLE, page_of({**rows_of("a"), "count": 10_001}))
    assert found.source_total is None
    assert ("_col", "id") in found.next_request.params


def test_the_next_page_is_taken_from_the_link_header_where_the_body_has_none():
    document = without(rows_of("City, Council"), "next")
    link = '<http://x/meetings/agendas.json?_size=1&_next=City~2C+Council>; rel="next"'
    found = source().inspect(WHOLE, page_of(document, link=link))
    assert found.next_request.cursor == "City~2C Council"


class Linking(Fake):
    """An older server: the next page stands in the header alone, and the last page has no such header."""

    def fetch(self, request: Request, page_number: int = 1) -> Page:
        page = super().fetch(request, page_number)
        document = json.loads(page.body)
        following = document.pop("next")
        headers = {"link": f'<http://x/a.json?_next={following}>; rel="next"'} if following else {}
        return page_of(document, request, page_number, **headers)


@given(keys, st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_a_reading_by_the_link_header_alone_comes_to_its_end(rows, page_size):
    assert sweep(Linking(rows, {}), Landing(MemoryObjectStore()), page_size) == rows


class EndingEarly(Fake):
    """Calls every full page the last one, and has too many rows to count."""

    def fetch(self, request: Request, page_number: int = 1) -> Page:
        document = json.loads(super().fetch(request, page_number).body)
        return page_of({**document, "next": None, "count": self.count}, request, page_number)


@pytest.mark.parametrize(("count", "kind"), [(10_001, NotSettled), (None, Truncated)])
def test_a_full_page_that_is_called_the_last_one_is_not_believed(count, kind):
    fake = EndingEarly({f"{number:03}" for number in range(12)}, {})
    fake.count = count
    with pytest.raises(kind):
        sweep(fake, Landing(MemoryObjectStore()), 5)


def test_a_row_that_names_the_asked_town_is_taken():
    document = {**rows_of("a"), "rows": [{"id": "a", "town": "Alameda.CA", "entity": "alameda.ca~agendas"}]}
    assert source().inspect(WHOLE, page_of(document)).counts == {"civic_pages": 1}


@pytest.mark.fixtures
@pytest.mark.skipif(not FIXTURES.exists(), reason="recorded payloads are not part of the project")
@pytest.mark.parametrize("name", ["a28_agendas_objects_size2.json", "v065_agendas_objects_size2.json"])
def test_recorded_pages_of_two_generations_are_read_alike(name):
    found = source(2).inspect(WHOLE, page_of(json.loads((FIXTURES / name).read_text())))
    assert (found.keys, found.next_request.cursor) == (("004db202a771", "00b245ef7dc6"), "00b245ef7dc6")
