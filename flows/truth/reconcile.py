"""Rebuilds lost ledger entries from what cannot lie: manifests, receipts, and a recount in BigQuery."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections.abc import Mapping
from typing import Any

from alerting.errors import LandingDamaged, LeaseHeld, Truncated
from alerting.object_store import GenerationConflict, ObjectStore, StoredObject
from flows.coordination.kept_lease import held_by_hand
from flows.ledger.entry import NOT_APPROVED, OfNewerVersion
from flows.ledger.ledger import LedgerEntry, Verdict, ledger_prefix
from flows.truth.landed import LandedAttempt, rejection_of, wanted_attempts
from flows.truth.recount import recount_landed
from flows.wiring import Services
from processors.receipt import Receipt, receipts_of
from scrapers.manifest import Manifest

RECONCILED = "reconcile"


@dataclasses.dataclass(frozen=True, slots=True)
class Rebuilt:
    """One entry and why it was rebuilt: ``missing`` or ``unreadable``."""

    entry: LedgerEntry
    was: str
    generation: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        entry = self.entry
        return {"partition": entry.partition, "was": self.was, "verdict": entry.verdict.value, "attempt": entry.attempt}


def landed_entry(
    manifest: Manifest, before: LedgerEntry | None, backfill_id: str, now: dt.datetime, *, rejected: str = ""
) -> LedgerEntry:
    """The entry of a landed attempt, as the run that landed it would have written it, or who ``rejected`` its rows."""
    verdict = Verdict.PARTIAL if manifest.unsettled else Verdict.LANDED
    return LedgerEntry(
        source=manifest.source,
        partition=manifest.partition,
        verdict=Verdict.FAILED_PERMANENT if rejected else verdict,
        backfill_id=backfill_id,
        updated_at=now,
        attempt=manifest.attempt,
        attempts=before.attempts if before else 1,
        content_hash=manifest.content_hash,
        landed=manifest.counts,
        evidence=manifest.empty_evidence,
        open_items=manifest.open_text,
        absent=manifest.absent_text,
        fed_by=manifest.fed_by,
        only=manifest.only,
        read_at=manifest.landed_at,
        rejected=rejected,
        error_type=NOT_APPROVED if rejected else "NotSettled" if manifest.unsettled else "",
        error=rejected,
    )


def rebuild_ledger(services: Services, source: str, now: dt.datetime, apply: bool) -> list[Rebuilt]:
    """Entries for landed partitions whose ledger object is missing or cannot be read; readable ones are never touched.

    A partition whose rows agree with its manifest, and which a receipt names, is verified again by that recount;
    any other is ``landed``, so that the next run loads it without a call, or ``planned`` where the answer was not a
    complete one. Writes only with ``apply``, over the very object that was looked at. Raises ``LeaseHeld`` while a run
    works on the source, and when somebody wrote beside it all the same.
    """
    if not apply:
        return _rebuilt(services, source, now)
    with held_by_hand(services, source, RECONCILED) as lease:
        rebuilt = _rebuilt(services, source, now)
        for one in rebuilt:
            lease.check()
            _put(services.store, one)
    return rebuilt


def _rebuilt(services: Services, source: str, now: dt.datetime) -> list[Rebuilt]:
    listed = {_key(source, one): one for one in services.store.list(ledger_prefix(source))}
    lost = {
        key: attempts
        for key, attempts in wanted_attempts(services.store, source, {}).items()
        if key not in listed or not _readable(source, key, listed[key])
    }
    broken = {key for key, one in listed.items() if not _readable(source, key, one)}
    entries = _rebuilt_entries(services, source, lost, now)
    rebuilt = [
        Rebuilt(entry, "unreadable" if key in broken else "missing", listed[key].generation if key in listed else 0)
        for key, entry in sorted(entries.items())
    ]
    # Nothing was ever landed for these, so the truth is that the date was not done.
    rebuilt += [
        Rebuilt(LedgerEntry(source, key, Verdict.PLANNED, RECONCILED, now), "unreadable", listed[key].generation)
        for key in sorted(broken - set(entries))
    ]
    return rebuilt


def _rebuilt_entries(
    services: Services, source: str, lost: Mapping[str, tuple[LandedAttempt, ...]], now: dt.datetime
) -> dict[str, LedgerEntry]:
    scraper, manifests, entries = services.source_kit(source).scraper, dict[str, Manifest](), dict[str, LedgerEntry]()
    for key, attempts in lost.items():
        try:
            manifests[key] = services.landing.take_up(attempts[-1].manifest_name, scraper)
            by, rejected = manifests[key].backfill_id, rejection_of(services.store, attempts[-1])
            entries[key] = landed_entry(manifests[key], None, by, now, rejected=rejected)
        except (LandingDamaged, Truncated) as error:
            entries[key] = LedgerEntry(source, key, Verdict.PLANNED, RECONCILED, now, evidence=error.message)
    receipts = receipts_of(services.store, source) if manifests else []
    named = {key: receipt for key, one in manifests.items() if (receipt := _receipt_of(one, receipts))}
    dropped = {key: receipt.dropped.get(key, {}) for key, receipt in named.items()}
    loaded = [manifests[key] for key in named if not (manifests[key].unsettled or entries[key].rejected)]
    for key, found in recount_landed(services, source, loaded, dropped).items():
        if found.is_ok:
            good = Verdict.EMPTY_OK if manifests[key].empty_evidence else Verdict.VERIFIED
            entries[key] = dataclasses.replace(
                entries[key], verdict=good, loaded=found.loaded, receipt_id=named[key].receipt_id
            )
    return entries


def _receipt_of(manifest: Manifest, receipts: list[Receipt]) -> Receipt | None:
    """The newest receipt of this very attempt; of those that name none, one from after it was landed."""
    key = manifest.partition
    fitting = [one for one in receipts if key in one.partitions and _is_of(one, manifest)]
    return max(fitting, key=lambda one: one.finished_at, default=None)


def _is_of(receipt: Receipt, manifest: Manifest) -> bool:
    if receipt.attempts:
        return receipt.attempts.get(manifest.partition) == manifest.attempt
    return receipt.finished_at >= manifest.landed_at


def _key(source: str, stored: StoredObject) -> str:
    return stored.name.removeprefix(ledger_prefix(source)).removesuffix(".json")


def _readable(source: str, key: str, stored: StoredObject) -> bool:
    try:
        LedgerEntry.from_metadata(source, key, stored.metadata)
    except OfNewerVersion:
        # It is whole, and says more than could be written in its place.
        return True
    except (KeyError, ValueError, TypeError):
        return False
    return True


def _put(store: ObjectStore, one: Rebuilt) -> None:
    entry, metadata = one.entry, one.entry.to_metadata()
    try:
        store.write(
            f"{ledger_prefix(entry.source)}{entry.partition}.json",
            json.dumps(metadata, indent=1).encode(),
            if_generation=one.generation,
            content_type="application/json",
            metadata=metadata,
        )
    except GenerationConflict as conflict:
        raise LeaseHeld(
            "the ledger entry was written by another process meanwhile; it stays, and so do entries rebuilt before it",
            source=entry.source,
            partition=entry.partition,
            stage="ledger",
            hint=f"gapless status {entry.source}, then the same command again",
        ) from conflict
