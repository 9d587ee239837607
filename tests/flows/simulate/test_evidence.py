"""A verdict rests on what is still there, a failed date is told of, and whoever is done lets its source go."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest

from alerting.errors import SourceUnavailable
from alerting.incident import Incident
from alerting.journal import IncidentJournal
from alerting.memory_store import MemoryObjectStore
from alerting.outbox import Outbox, OutboxEntry
from alerting.run_facts import RunFacts
from flows.coordination.lease import Holder, Lease
from flows.ledger.ledger import LedgerEntry, Verdict
from flows.simulate.evidence import misled, still_held, unproven, untold
from processors.receipt import Receipt, TableReceipt
from scrapers.landing import Landing
from scrapers.manifest import Manifest, PageRecord, attempt_prefix

BEGIN = dt.datetime(2025, 6, 17, 6, tzinfo=dt.UTC)
SOURCE, DATE, TABLE = "bdl_games", "2025-06-05", "nba_bdl_games"


@pytest.fixture
def bucket() -> MemoryObjectStore:
    return MemoryObjectStore("gs://simulated")


@pytest.fixture
def entry(bucket: MemoryObjectStore) -> LedgerEntry:
    """Of a date that was landed and loaded."""
    page = f"{attempt_prefix(SOURCE, DATE, 'a1')}page-0001.json.gz"
    bucket.write(page, b"")
    record = PageRecord(
        object_name=page, sha256="", size_bytes=0, path="/games", status=200, fetched_at=BEGIN, elapsed_s=0.1
    )
    day = dt.date(2025, 6, 5)
    manifest = Manifest(
        source=SOURCE, partition=DATE, start=day, end=day + dt.timedelta(days=1), zone="UTC", attempt="a1",
        backfill_id="bf-1", code_version="1", landed_at=BEGIN, pages=(record,), counts={TABLE: 2}, content_hash="c1",
    )  # fmt: skip
    Landing(bucket).put_manifest(manifest)
    table = TableReceipt(
        load_job_id="l",
        replace_job_id="r",
        rows=2,
        size_bytes=1,
        rows_per_partition={DATE: 2},
        schema_hash="",
        digest="",
    )
    Receipt(
        receipt_id="r1", source=SOURCE, backfill_id="bf-1", batch_hash="b", processor_version=1, partitions=(DATE,),
        tables={TABLE: table}, rejects={}, dropped={}, failures={}, unknown_fields={}, absent_fields={},
        finished_at=BEGIN,
    ).put(bucket)  # fmt: skip
    return LedgerEntry(
        SOURCE, DATE, Verdict.VERIFIED, "bf-1", BEGIN, attempt="a1", content_hash="c1", loaded={TABLE: 2},
        receipt_id="r1",
    )  # fmt: skip


def test_a_date_that_is_done_rests_on_its_payloads_its_manifest_and_its_receipt(
    bucket: MemoryObjectStore, entry: LedgerEntry
) -> None:
    assert list(unproven(bucket, {DATE: entry})) == []
    for changed, told in (
        ({"loaded": {TABLE: 3}}, "its receipt tells of other rows"),
        ({"receipt_id": ""}, "its receipt tells of other rows"),
        ({"content_hash": "c2"}, "its manifest is of another payload"),
    ):
        assert list(unproven(bucket, {DATE: replace(entry, **changed)})) == [(DATE, told)]
    bucket.delete(f"{attempt_prefix(SOURCE, DATE, 'a1')}page-0001.json.gz")
    ((date, why),) = unproven(bucket, {DATE: entry})
    assert date == DATE
    assert why.endswith("page-0001.json.gz is not there")


def test_a_date_that_is_not_done_need_not_rest_on_anything(bucket: MemoryObjectStore, entry: LedgerEntry) -> None:
    assert list(unproven(bucket, {DATE: replace(entry, verdict=Verdict.TRUNCATED, attempt="a7")})) == []


def test_whoever_leaves_a_date_failed_tells_of_it(bucket: MemoryObjectStore, entry: LedgerEntry) -> None:
    entries = {DATE: replace(entry, verdict=Verdict.FAILED_RETRYABLE)}
    assert untold(bucket, entries, "bf-1") == [DATE]
    assert untold(bucket, entries, "bf-2") == [], "it is another run's"
    error = SourceUnavailable("503", source=SOURCE, partition=DATE, stage="scrape")
    IncidentJournal(bucket).append("bf-1", DATE, 1, [Incident.from_error(error)])
    assert untold(bucket, entries, "bf-1") == []


def test_what_a_mail_tells_of_a_date_is_what_the_ledger_does(bucket: MemoryObjectStore, entry: LedgerEntry) -> None:
    def tell(outbox: OutboxEntry) -> OutboxEntry:
        outbox.facts = RunFacts(calendar={DATE: "verified"}).to_dict()
        return outbox

    Outbox(bucket).update("bf-1", tell, create=lambda: OutboxEntry("bf-1"))
    assert misled(bucket, {DATE: entry}, "bf-1") == []
    assert misled(bucket, {DATE: replace(entry, verdict=Verdict.LANDED)}, "bf-1") == [DATE]
    assert misled(bucket, {}, "bf-1") == [DATE]


def test_a_source_is_held_until_its_run_lets_it_go(bucket: MemoryObjectStore) -> None:
    assert not still_held(bucket, SOURCE)
    lease = Lease.acquire(bucket, SOURCE, Holder("bf-1"), now=BEGIN, ttl_s=120)
    assert still_held(bucket, SOURCE)
    lease.release(BEGIN)
    assert not still_held(bucket, SOURCE)
