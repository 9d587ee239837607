"""The verdict of a partition whose rows were recounted."""

from __future__ import annotations

import dataclasses
from typing import Any

from alerting.errors import CoverageLow
from alerting.instant import utc_now
from flows.ledger.events import verdict_event
from flows.ledger.ledger import Verdict
from flows.run.data_facts import item_counts_of
from flows.run.recording import record_failure
from flows.run.run import Run
from processors.process import Receipt
from processors.verification import Verification
from scrapers.manifest import Manifest


def record_verification(
    run: Run, manifest: Manifest, found: Verification, window: str, receipt: Receipt | None = None
) -> bool:
    """Writes one partition's final verdict; True when it is good. Without a ``receipt`` it keeps the one it has."""
    key = found.partition
    if not found.is_ok:
        _keep_what_is_there(run, manifest, found, receipt)
        error = CoverageLow(
            f"{found.verdict}: {found.evidence}; {_left(run)}",
            source=run.source,
            partition=key,
            stage="verify",
            hint=_hint(found),
        )
        record_failure(run, key, error, "verify", window)
        return False
    if run.review is not None and receipt is not None:
        entry = run.ledger.advance(
            key,
            Verdict.STAGED,
            run.backfill_id,
            utc_now(),
            evidence=manifest.empty_evidence,
            attempt=manifest.attempt,
            receipt_id=receipt.receipt_id,
        )
        verdict_event(entry)
        return True
    before = run.ledger.get(key)
    entry = run.ledger.advance(
        key,
        Verdict.EMPTY_OK if manifest.empty_evidence else Verdict.VERIFIED,
        run.backfill_id,
        utc_now(),
        loaded=found.loaded,
        changes=receipt.changes_of(key) if receipt else {},
        actual=found.loaded.get(run.kit.scraper.tables[0], 0),
        verified_at=utc_now(),
        attempt=manifest.attempt,
        read_at=max(manifest.landed_at, before.read_at or manifest.landed_at) if before else manifest.landed_at,
        **item_counts_of(found),
        # Published, or the source says again what was approved.
        **({"rejected": ""} if run.asked.overrules else {}),
        **({"receipt_id": receipt.receipt_id} if receipt else {}),
        **({"accepted": accepted} if (accepted := _acceptance(run, key, receipt)) else {}),
    )
    verdict_event(entry)
    return True


def _keep_what_is_there(run: Run, manifest: Manifest, found: Verification, receipt: Receipt | None) -> None:
    """A date that is not called done has its rows all the same: ledger and mail say how many of those that were landed.

    Rows beyond these were never right, and no later load has to account for them.
    """
    if (entry := run.ledger.get(found.partition)) is None or run.review is not None:
        return
    facts: dict[str, Any] = {
        "loaded": {table: min(rows, manifest.counts.get(table, rows)) for table, rows in found.loaded.items()},
        **(item_counts_of(found) if found.items else {}),
    }
    if receipt is not None:
        facts |= {"receipt_id": receipt.receipt_id, "changes": receipt.changes_of(found.partition)}
    run.ledger.put(dataclasses.replace(entry, **facts))


def _left(run: Run) -> str:
    if run.review is not None:
        return "the rows were tried beside the tables, which are as they were"
    return "the rows are loaded but not called done"


def _hint(found: Verification) -> str:
    oracles = sorted({one.oracle.source for one in found.items if one.is_short})
    if not oracles:
        return "fetch the date again"
    return f"fetch the date again; if it is right without them, {' or '.join(oracles)} is wrong or was read too early"


def _acceptance(run: Run, key: str, receipt: Receipt | None) -> str:
    """Who or what took fewer rows of the partition than were there; "" where nobody had to."""
    if receipt is not None and key in receipt.settled:
        return f"fewer rows in {run.backfill_id}: {receipt.settled[key]}"
    if not run.asked.accept_shrink:
        return ""
    by = f" by {run.facts.requested_by}" if run.facts.requested_by else ""
    return f"fewer rows accepted{by} in {run.backfill_id}: {run.asked.reason_text}"
