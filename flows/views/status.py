"""`gapless status`: the state of one source, for people and as JSON."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections import Counter
from typing import Any

from alerting.ranges import compress_dates
from flows.control.cooldown import cooling_until
from flows.control.lease import read_lease
from flows.ledger import Ledger, Verdict
from flows.pending import read_pending
from flows.views.answers import Seen, answers_to
from flows.views.inspection import describe_run, newest_objects, recent_runs
from flows.wiring import Services
from scrapers.landing import source_prefix


def source_status(services: Services, source: str, now: dt.datetime, newest: int = 5) -> dict[str, Any]:
    """JSON-ready: ``state``, ``answers`` (fifteen), counts, causes, the last run and the newest objects.

    Reads the ledger (one listing), the lease and the outbox. Raises ``StateUnreadable``.
    """
    seen = Seen(
        services,
        source,
        now,
        Ledger(services.store, source).refresh(),
        read_lease(services.store, source)[0],
        next(recent_runs(services.store, 1, source), None),
        cooling_until(services.store, source, now),
    )
    entries = list(seen.entries.values())
    return {
        "source": source,
        "state": seen.state,
        "left_alone_until": seen.cooling_until,
        "partitions": len(entries),
        "verdicts": dict(sorted(Counter(entry.verdict.value for entry in entries).items())),
        "done": compress_dates(entry.partition for entry in entries if entry.verdict.is_good),
        "open": compress_dates(entry.partition for entry in entries if not entry.verdict.is_good),
        "pending": [
            {"verdict": one.verdict, "partitions": len(keys), "ranges": compress_dates(keys), "why": one.why}
            for one in read_pending(services.store, source)
            if (keys := [key for key in one.keys if key in seen.entries and seen.entries[key].is_pending])
        ],
        "rows": {
            table: sum(entry.loaded.get(table, 0) for entry in seen.with_verdict(Verdict.VERIFIED))
            for table in services.scraper(source).tables
        },
        "last_update": max((entry.updated_at for entry in entries), default=None),
        "failed": [cause.to_dict() for cause in seen.failed],
        "run": describe_run(seen.run, now) if seen.run else None,
        "newest_objects": newest_objects(services.store, source_prefix(source), newest) if newest else [],
        "answers": [dataclasses.asdict(answer) for answer in answers_to(seen)],
    }
