"""What a simulated run leaves beside its rows: what verdicts rest on, who was told of what, what it still holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from alerting.errors import PipelineError
from alerting.journal import IncidentJournal
from alerting.memory_store import MemoryObjectStore
from alerting.outbox import Outbox
from flows.coordination.lease import read_lease
from flows.ledger.entry import LedgerEntry, Verdict
from processors.receipt import read_receipt
from scrapers.landing import Landing
from scrapers.manifest import attempt_prefix

_DONE = (Verdict.VERIFIED, Verdict.EMPTY_OK)


def unproven(bucket: MemoryObjectStore, entries: Mapping[str, LedgerEntry]) -> Iterator[tuple[str, str]]:
    """Dates called done whose payloads, manifest or receipt are not there or say something else, and why."""
    landing, landed = Landing(bucket), {one.name for one in bucket.list("landing/")}
    for key, entry in sorted(entries.items()):
        if entry.verdict not in _DONE:
            continue
        try:
            manifest = landing.read_manifest(f"{attempt_prefix(entry.source, key, entry.attempt)}manifest.json")
            receipt = read_receipt(bucket, entry.source, entry.receipt_id) if entry.receipt_id else None
        except PipelineError as error:
            yield key, error.message
            continue
        if missing := sorted({page.object_name for page in manifest.pages} - landed):
            yield key, f"{missing[0]} is not there"
        if manifest.content_hash != entry.content_hash:
            yield key, "its manifest is of another payload"
        rows = {name: one.rows_per_partition.get(key, 0) for name, one in receipt.tables.items()} if receipt else {}
        if {name: count for name, count in entry.loaded.items() if count != rows.get(name, 0)}:
            yield key, "its receipt tells of other rows"


def untold(bucket: MemoryObjectStore, entries: Mapping[str, LedgerEntry], backfill_id: str) -> list[str]:
    """Dates that this run has left failed, and of which no incident tells."""
    failed = {key for key, one in entries.items() if one.verdict.is_failed and one.backfill_id == backfill_id}
    return sorted(failed - {one.partition for one in IncidentJournal(bucket).read(backfill_id)}) if failed else []


def misled(bucket: MemoryObjectStore, entries: Mapping[str, LedgerEntry], backfill_id: str) -> list[str]:
    """Dates of which the facts of this run's mail tell another verdict than the ledger."""
    entry = Outbox(bucket).read(backfill_id)
    told = entry.run_facts.calendar if entry else {}
    return sorted(key for key, verdict in told.items() if key not in entries or entries[key].verdict.value != verdict)


def still_held(bucket: MemoryObjectStore, source: str) -> bool:
    """Whether a run that is over has kept its source."""
    lease = read_lease(bucket, source)
    return lease is not None and lease.state == "held"
