"""`gapless status`: the state of one source, for people and as JSON."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections import Counter
from typing import Any

from alerting.errors import StateUnreadable
from alerting.ranges import compress_dates
from flows.ledger.ledger import Verdict
from flows.ledger.pending import read_pending
from flows.run.data_facts import item_counts, shrunk_text
from flows.views.inspection import describe_run, newest_objects
from flows.views.situation import APPROVAL, PERSON, situation_of
from flows.views.status_answers import Seen, answers_to
from flows.wiring import Services
from scrapers.manifest import source_prefix


def source_status(
    services: Services,
    source: str,
    now: dt.datetime,
    newest: int = 5,
    unreadable: list[StateUnreadable] | None = None,
) -> dict[str, Any]:
    """JSON-ready: ``state`` with ``headline`` and ``next_step``, ``answers`` (fifteen), counts, causes, the last run
    and the newest objects.

    Reads the ledger (one listing) and some single objects. Raises ``StateUnreadable``; ``unreadable`` as of
    `situation_of`.
    """
    at_present = situation_of(services, source, now, unreadable)
    seen = Seen(services, at_present)
    entries = list(at_present.entries.values())
    suspended = [at_present.backfill_id] if at_present.paused_for in (PERSON, APPROVAL) else []
    return {
        "source": source,
        "state": at_present.state.value,
        "paused_for": at_present.paused_for,
        "until": at_present.until,
        "headline": at_present.headline,
        "next_step": at_present.next_step,
        "cooldown_until": at_present.cooldown.until if at_present.cooldown else None,
        "left_alone": {site: one.until for site, one in at_present.left_alone.items()},
        "progress": dataclasses.asdict(at_present.progress) if at_present.progress else None,
        "partitions": len(entries),
        "verdicts": dict(sorted(Counter(entry.verdict.value for entry in entries).items())),
        "done": compress_dates(entry.partition for entry in entries if entry.verdict.is_good),
        "open": compress_dates(entry.partition for entry in entries if not entry.verdict.is_good),
        "loaded_without": {
            entry.partition: entry.open_items
            for entry in entries
            if entry.verdict.is_good and entry.open_items and not entry.open_accepted
        },
        "items": item_counts(entries),
        "missing_items": {one.partition: one.missing_items for one in entries if one.missing_items},
        "told_items": {one.partition: one.told_items for one in entries if one.told_items},
        "pending": [
            {"verdict": one.verdict, "partitions": len(keys), "ranges": compress_dates(keys), "why": one.why}
            for one in read_pending(services.store, source)
            if (keys := [key for key in one.keys if key in at_present.entries and at_present.entries[key].is_pending])
        ],
        "rows": {
            table: sum(entry.loaded.get(table, 0) for entry in at_present.with_verdict(Verdict.VERIFIED))
            for table in services.source_kit(source).scraper.tables
        },
        "last_update": max((entry.updated_at for entry in entries), default=None),
        "shrunk": {entry.partition: shrunk_text(entry) for entry in at_present.with_verdict(Verdict.SHRUNK)},
        "accepted": {entry.partition: entry.accepted for entry in entries if entry.accepted},
        "failed": [cause.to_dict() for cause in seen.failed],
        "run": describe_run(at_present.run, now, suspended) if at_present.run else None,
        "newest_objects": newest_objects(services.store, source_prefix(source), newest) if newest else [],
        "answers": [dataclasses.asdict(answer) for answer in answers_to(seen)],
    }
