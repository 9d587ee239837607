"""One payload for two dates, and the same round number on many: quarantined, told, and never silently verified."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from dataclasses import replace
from functools import cached_property
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.errors import Truncated
from alerting.memory_store import MemoryObjectStore
from alerting.smart_alert_manager import SmartAlertManager
from flows.asked import Asked
from flows.ledger.ledger import LedgerEntry, Verdict
from flows.parameters import Mode
from flows.process import load_batch, to_load
from flows.run.plain_orchestrator import PlainOrchestrator
from flows.run.quarantine import at_cap, duplicate_payloads, learned_cap, quarantine_suspects
from flows.run.recording import land, record_failure
from flows.run.run import Run
from flows.settings import Settings
from flows.wiring import Services, SourceKit
from scrapers.base import Findings, Page, Request, Scraper
from scrapers.manifest import Manifest
from scrapers.partition import Partition, partitions_between
from scrapers.rests import Rests

NOW = dt.datetime(2025, 2, 1, 12, tzinfo=dt.UTC)
FIRST, LAST = dt.date(2025, 1, 1), dt.date(2025, 1, 9)


class Prices(Scraper):
    """Its payload does not say of which date it is."""

    source = title = "prices"
    zone = "UTC"
    base_url = "https://prices.example"
    tables = ("prices",)

    def first_request(self, partition: Partition) -> Request:
        return Request(f"/{partition.key}")

    def inspect(self, partition: Partition, page: Page) -> Findings:
        rows = json.loads(page.body)
        return Findings({"prices": len(rows)}, empty_evidence="" if rows else "200 []")


class Client:
    calls = received_bytes = 0

    def __init__(self, rows: dict[str, list[int]]) -> None:
        self.rows = rows

    def fetch(self, request: Request, page_number: int = 1) -> Page:
        body = json.dumps(self.rows[request.path.strip("/")]).encode()
        return Page(request, page_number, 200, {}, body, NOW, 0.1)

    def close(self) -> None:
        pass


class Kit(SourceKit):
    """The source of a ``Place``."""

    services: Place
    processor: Any = None

    def build_scraper(self) -> Scraper:
        return self.services.kind()

    @cached_property
    def client(self) -> Any:
        return Client(self.services.rows)


class Place(Services):
    """Storage and alerts in memory, no warehouse."""

    kit_type = Kit

    def __init__(self, rows: dict[str, list[int]], facts: dict[str, Any] | None = None) -> None:
        super().__init__(Settings(project="p", console_only=True))
        store = MemoryObjectStore()
        self.__dict__.update(store=store, alerts=SmartAlertManager(store=store, channels=[]))
        self.rows, self.kind = rows, type("Prices", (Prices,), facts or {})

    def run(self, backfill_id: str = "bf-1", mode: Mode = Mode.INCREMENTAL) -> Run:
        asked = Asked(source="prices", start_date=FIRST, end_date=LAST, breaker=False, mode=mode)
        run = Run(self, asked, backfill_id, PlainOrchestrator())
        run.work.partitions = {one.key: one for one in partitions_between(FIRST, LAST, "UTC")}
        run.ledger.refresh()
        return run


def landed(run: Run, *keys: str) -> list[Manifest]:
    return [land(run, key) for key in keys]


def believed(run: Run, manifests: list[Manifest]) -> list[str]:
    return [one.partition for one in quarantine_suspects(run, manifests)]


def verdicts(run: Run) -> dict[str, str]:
    return {key: f"{entry.verdict}" for key, entry in run.ledger.refresh().items()}


def verified(run: Run, manifests: list[Manifest]) -> None:
    for key in believed(run, manifests):
        run.ledger.advance(key, Verdict.VERIFIED, run.backfill_id, NOW, receipt_id="r")


def key_of(day: int) -> str:
    return f"2025-01-{day:02d}"


def test_one_payload_for_two_dates_makes_both_partial_and_loads_neither():
    place = Place({key_of(1): [1], key_of(2): [7, 8], key_of(3): [2], key_of(4): [7, 8], key_of(5): [], key_of(6): []})
    run = place.run()
    manifests = landed(run, *place.rows)
    assert believed(run, manifests) == [key_of(day) for day in (1, 3, 5, 6)]
    assert sorted(run.work.landed) == [key_of(day) for day in (1, 3, 5, 6)]
    entry = run.ledger.refresh()[key_of(4)]
    assert (entry.verdict, entry.error_type) == (Verdict.PARTIAL, "CoverageLow")
    assert f"byte for byte that of {key_of(2)}" in entry.error
    run.close()


def test_a_duplicate_that_this_run_has_verified_already_loses_its_verdict_and_one_of_an_earlier_run_is_named():
    place = Place({key_of(1): [7], key_of(2): [7], key_of(3): [7]})
    first = place.run()
    verified(first, landed(first, key_of(1)))
    first.close()
    run = place.run("bf-2")
    verified(run, landed(run, key_of(2)))
    assert verdicts(run) == {key_of(1): "verified", key_of(2): "partial"}
    verified(run, landed(run, key_of(3)))
    assert verdicts(run) == {key_of(1): "verified", key_of(2): "partial", key_of(3): "partial"}
    run.close()

    inside = Place({key_of(1): [7], key_of(2): [7]}).run()
    verified(inside, landed(inside, key_of(1)))
    verified(inside, landed(inside, key_of(2)))
    assert verdicts(inside) == {key_of(1): "partial", key_of(2): "partial"}
    inside.close()


def test_when_the_source_answers_each_date_again_the_suspects_become_good():
    place = Place({key_of(1): [7], key_of(2): [7]})
    run = place.run()
    verified(run, landed(run, *place.rows))
    run.close()
    place.rows[key_of(2)] = [8]
    again = place.run("bf-2")
    for key in place.rows:
        verified(again, landed(again, key))
    assert set(verdicts(again).values()) == {"verified"}
    again.close()


def test_more_empty_dates_in_a_row_than_the_source_rests_are_an_outage_and_not_empty():
    rows = {key_of(day): [] if day in (2, 3, 5, 6, 7) else [day] for day in range(1, 10)}
    place = Place(rows, {"rests": Rests(2)})
    run = place.run()
    assert believed(run, landed(run, *rows)) == [key for key in rows if key not in (key_of(5), key_of(6), key_of(7))]
    entry = run.ledger.refresh()[key_of(6)]
    assert (entry.verdict, entry.error_type) == (Verdict.FAILED_RETRYABLE, "NothingPublished")
    assert f"{key_of(5)} to {key_of(7)} came empty" in entry.error
    run.close()

    # One of them alone is not believed either, until its neighbours have rows.
    again = place.run("bf-2")
    assert believed(again, landed(again, key_of(6))) == []
    place.rows[key_of(7)] = [7]
    last = place.run("bf-3")
    assert believed(last, landed(last, *[key_of(5), key_of(6), key_of(7)])) == [
        key_of(5),
        key_of(6),
        key_of(7),
    ]
    for one in (again, last):
        one.close()


def test_an_empty_date_that_this_run_believed_is_no_longer_believed_when_the_rest_grows_too_long():
    run = Place({key_of(day): [] for day in range(1, 4)}, {"rests": Rests(2)}).run()
    for key in believed(run, landed(run, key_of(1), key_of(2))):
        run.ledger.advance(key, Verdict.EMPTY_OK, run.backfill_id, NOW)
    assert set(verdicts(run).values()) == {"empty_ok"}
    assert believed(run, landed(run, key_of(3))) == []
    assert set(verdicts(run).values()) == {"failed_retryable"}
    run.close()


def test_a_source_that_does_not_say_how_long_it_rests_may_rest_for_ever():
    run = Place({key_of(day): [] for day in range(1, 10)}).run()
    assert len(believed(run, landed(run, *[key_of(day) for day in range(1, 10)]))) == 9
    run.close()


def test_the_process_step_loads_no_suspect():
    run = Place({key_of(1): [7], key_of(2): [7]}).run()
    asyncio.run(load_batch(run, landed(run, *[key_of(1), key_of(2)])))
    (state,) = run.orchestrator.states
    assert state.is_failed()
    assert state.message == "2 partitions quarantined, none left to load: see the errors"
    assert set(verdicts(run).values()) == {"partial"}
    run.close()


def test_t49_the_same_round_number_on_three_dates_is_a_learned_cap_and_truncated():
    rows = {key_of(day): [day, *range(count - 1)] for day, count in enumerate((999, 1000, 1000, 5, 1000), start=1)}
    run = Place(rows).run()
    verified(run, landed(run, *list(rows)[:4]))
    assert set(verdicts(run).values()) == {"verified"}
    verified(run, landed(run, key_of(5)))
    assert verdicts(run) == {key: "truncated" if len(rows[key]) == 1000 else "verified" for key in rows}
    assert "declare result_cap = 1000" in str(run.ledger.get(key_of(2)).error)
    run.close()


def test_a_declared_cap_ends_in_truncated_too_and_the_other_dates_go_on():
    rows = {key_of(day): [day, *range(count - 1)] for day, count in enumerate((99, 100, 5), start=1)}
    run = Place(rows, {"result_cap": 100}).run()
    for key in rows:
        try:
            verified(run, landed(run, key))
        except Truncated as error:
            record_failure(run, key, error, "scrape", key)
    assert verdicts(run) == {key_of(1): "verified", key_of(2): "truncated", key_of(3): "verified"}
    assert run.stopped_by is None
    run.close()


def test_twins_that_were_believed_before_are_quarantined_when_a_full_run_gets_them_again():
    place = Place({key_of(1): [7], key_of(2): [7], key_of(3): [8]}, {"may_repeat": True})
    before = place.run()
    verified(before, landed(before, *place.rows))
    before.close()
    place.kind = Prices
    run = place.run("bf-2", Mode.FULL)
    keys = [one.partition for one in landed(run, *[key_of(1), key_of(2)])]
    found = run.work.hand_over(keys)
    assert [(one.key, one.is_unchanged) for one in found] == [(key, True) for key in keys]
    assert asyncio.run(to_load(run, found)) == []
    assert verdicts(run) == {key_of(1): "partial", key_of(2): "partial", key_of(3): "verified"}
    run.close()


@pytest.mark.parametrize("payload", [[7], list(range(1000))])
def test_a_source_that_may_repeat_has_no_suspects(payload):
    rows = {key_of(day): payload for day in range(1, 5)}
    run = Place(rows, {"may_repeat": True}).run()
    verified(run, landed(run, *rows))
    assert set(verdicts(run).values()) == {"verified"}
    run.close()


def entry(day: int, rows: int, digest: str, verdict: Verdict, run: str, expected: int | None = None) -> LedgerEntry:
    made = LedgerEntry("prices", key_of(day), verdict, run, NOW, content_hash=digest, landed={"prices": rows})
    return replace(made, evidence="" if rows else "200 []", expected=expected)


ledgers = st.lists(
    st.tuples(
        st.sampled_from([0, 3, 100, 150, 175]),
        st.sampled_from("abcd"),
        st.sampled_from(list(Verdict)),
        st.sampled_from(["bf-1", "bf-2"]),
        st.sampled_from([None, 100]),
    ),
    max_size=9,
).map(lambda facts: {key_of(day): entry(day, *one) for day, one in enumerate(facts, start=1)})


@given(ledgers, st.sets(st.integers(1, 9).map(key_of)))
def test_every_asked_duplicate_is_found_with_its_like_and_nothing_else_is(entries, asked):
    found = duplicate_payloads(entries, asked, "bf-1")
    for key, one in entries.items():
        alike = [
            other
            for other, two in entries.items()
            if other != key and two.content_hash == one.content_hash and two.landed["prices"]
        ]
        believed = [
            other for other in alike if other in asked or entries[other].verdict in (Verdict.VERIFIED, Verdict.LANDED)
        ]
        if key in asked and one.landed["prices"] and believed:
            assert key in found
        if key in found:
            assert alike
            assert one.landed["prices"]


@given(ledgers)
def test_a_cap_is_learned_only_from_the_largest_round_number_of_different_unannounced_payloads(entries):
    cap = learned_cap(entries, "prices")
    counted = [one for one in entries.values() if one.expected is None and one.landed["prices"]]
    if cap:
        assert cap == max(one.landed["prices"] for one in counted)
        assert cap in (100, 150)
    suspects = at_cap(entries, "prices", cap)
    assert bool(suspects) == bool(cap)
    assert all(entries[key].landed["prices"] == cap and entries[key].expected is None for key in suspects)
