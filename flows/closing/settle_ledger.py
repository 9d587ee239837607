"""Gives every partition that a run planned and did not begin its verdict, when the run ends or pauses."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from alerting.errors import PipelineError
from alerting.object_store import ObjectStore
from alerting.ranges import compress_dates
from flows.ledger.ledger import Ledger, LedgerEntry, Verdict
from flows.ledger.pending import Pending, leave_pending
from flows.planning.plan import Path
from flows.planning.stored_plan import StoredPlan

LOG = logging.getLogger("gapless.closing")


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended or paused at ``at`` (aware UTC).

    ``resumes_at`` is the reset that it waits for, None when it waits for no quota; ``is_paused``: for a person.
    """

    why: str
    at: dt.datetime
    resumes_at: dt.datetime | None = None
    is_paused: bool = False


def settle_ledger(
    store: ObjectStore, source: str, backfill_id: str, plan: StoredPlan, ending: Ending
) -> dict[str, LedgerEntry]:
    """The ledger over a run's plan, in which everything that the run was to fetch has a verdict. Repeatable.

    What the run never reached and no earlier run knew is ``paused`` when the run is to go on, else ``planned``. What
    the plan calls ``unavailable`` is that in the ledger, too. A record that cannot be written is logged, because the
    mail has still to leave, and the plan proves the same.

    Args:
        store: Of the ledger.
        source: Source name.
        backfill_id: Which run.
        plan: As it stored it.
        ending: How the run ended.

    Raises ``StateUnreadable`` for a ledger that cannot be read.
    """
    keys = plan.keys
    if not keys:
        return {}
    entries = Ledger(store, source).refresh_over(keys)
    left = _not_begun(plan, entries)
    never = plan.unavailable
    rest = list(_waiting(plan, entries, backfill_id, ending.at))
    if left:
        rest.append(
            Pending(
                backfill_id=backfill_id,
                verdict="paused" if ending.resumes_at or ending.is_paused else "planned",
                why=f"{backfill_id} {ending.why}",
                at=ending.at,
                resumes_at=ending.resumes_at,
                ranges=compress_dates(left, join=".."),
            )
        )
    for why in dict.fromkeys(never.values()):
        ranges = compress_dates((key for key, said in never.items() if said == why), join="..")
        rest.append(Pending(backfill_id=backfill_id, verdict="unavailable", why=why, at=ending.at, ranges=ranges))
    ledger = Ledger(store, source)
    try:
        leave_pending(store, source, keys, *rest)
        if not rest:
            return entries
        entries = ledger.refresh_over(keys)
        for key, said in never.items():
            if not entries[key].verdict.is_good:
                entries[key] = ledger.advance(key, Verdict.UNAVAILABLE, backfill_id, ending.at, evidence=said)
    except PipelineError as error:
        LOG.error("what %s did not begin was not noted: %s", backfill_id, error)
    return entries


def _not_begun(plan: StoredPlan, entries: Mapping[str, LedgerEntry]) -> list[str]:
    return [
        item.key for item in plan.items if item.path in (Path.FETCH, Path.EMPTY) and _is_untouched(item.key, entries)
    ]


def _is_untouched(key: str, entries: Mapping[str, LedgerEntry]) -> bool:
    return (entry := entries.get(key)) is None or entry.is_pending


def _waiting(
    plan: StoredPlan, entries: Mapping[str, LedgerEntry], backfill_id: str, at: dt.datetime
) -> Iterator[Pending]:
    """What was left out because another source has to come first, by what it waits for."""
    by_why: dict[str, list[str]] = {}
    for key, why in plan.waiting.items():
        if _is_untouched(key, entries):
            by_why.setdefault(why, []).append(key)
    for why, keys in by_why.items():
        ranges = compress_dates(keys, join="..")
        yield Pending(backfill_id=backfill_id, verdict="planned", why=f"{backfill_id} {why}", at=at, ranges=ranges)
