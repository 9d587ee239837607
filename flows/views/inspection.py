"""What a person asks at two in the morning, answered from ledger, lease, outbox and records. Reads only.

Needs no Prefect server: the answers are there when the server is not.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import Any

from alerting.errors import StateUnreadable
from alerting.fingerprint import group_incidents, normalise
from alerting.incident import Incident
from alerting.journal import IncidentJournal
from alerting.object_store import ObjectStore
from alerting.outbox import OutboxEntry
from alerting.ranges import compress_dates
from flows.ledger.ledger import LedgerEntry
from flows.wiring import Services

_JOURNAL = re.compile(r"alerts/backfill=([^/]+)/incidents/.+")

BLAME: Mapping[str, str] = {
    "AuthenticationError": "permissions: the key is dead, missing or not entitled",
    "BudgetExhausted": "quota: a call or table quota is used up until its reset",
    "RateLimited": "quota: the source asks for a slower pace",
    "BlockedBySource": "the source: it blocks us",
    "WindowLost": "us: the process of its window ended before it was done",
    "LandingDamaged": "us: somebody changed or removed landed objects",
    "SiteClosed": "the source: that site is closed, has moved or refuses us",
    "SourceUnavailable": "the source: down, slow, or cutting answers off",
    "NothingPublished": "the source: nothing there yet, or an unproven empty answer",
    "NotSettled": "the source: these dates still change",
    "PartitionUnavailable": "the source: it will never have these",
    "Truncated": "the source: it cuts off at a cap",
    "CoverageLow": "the source or us: counts differ, look at one date",
    "Shrunk": "the source or a new processor: fewer rows than before; the old ones are kept",
    "SourceContractError": "the source: it changed its answer; the scraper has to follow",
    "RowRejected": "us or the source: rows break the row model",
    "LoadRejected": "us: BigQuery refuses our rows or schema",
    "ConfigurationError": "us: a setting or parameter is wrong",
    "LandingUnavailable": "Google Cloud Storage was not there",
    "WarehouseBusy": "BigQuery was busy",
    "DiskFull": "us: the disk of the worker is full",
    "StateUnreadable": "us: a state object is damaged",
    "LeaseHeld": "nobody: another run works on the source",
    "Narrowed": "nobody: less was asked for than the settings want now",
    "Reopened": "nobody: an audit asked for it again",
    "NotApproved": "nobody: a person did not approve its rows, or did not decide in time",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Cause:
    """Partitions with one verdict and one error: ``landed`` of them have a payload in the bucket."""

    verdict: str
    error_type: str
    example: str
    partitions: tuple[str, ...]
    landed: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, with ``ranges`` and whose fault it is."""
        data = dataclasses.asdict(self)
        data |= {"partitions": len(self.partitions), "ranges": compress_dates(self.partitions), "blame": self.blame}
        return data

    @property
    def blame(self) -> str:
        """Source, quota, permissions, or us."""
        return BLAME.get(self.error_type, "unknown, so probably us: read the traceback in the mail or the record")


def causes_of(entries: Iterable[LedgerEntry]) -> list[Cause]:
    """Entries by verdict and normalised error, biggest first."""
    grouped: dict[tuple[str, str, str], list[LedgerEntry]] = {}
    for entry in entries:
        grouped.setdefault((entry.verdict.value, entry.error_type, normalise(entry.error)), []).append(entry)
    causes = [
        Cause(
            verdict,
            error_type,
            members[0].error,
            tuple(sorted(one.partition for one in members)),
            sum(1 for one in members if one.attempt),
        )
        for (verdict, error_type, _), members in grouped.items()
    ]
    return sorted(causes, key=lambda cause: -len(cause.partitions))


def describe_run(entry: OutboxEntry, now: dt.datetime, suspended: Container[str] = ()) -> dict[str, Any]:
    """One line of ``gapless runs``; ``suspended`` names runs that wait for a person."""
    facts = entry.run_facts
    waits = entry.backfill_id in suspended and not entry.closed
    going = "suspended" if waits else "lost contact" if entry.stale(now) else "running"
    ended = facts.finished_at or entry.finished_at
    until = ended or now
    return {
        "backfill_id": entry.backfill_id,
        "source": entry.source,
        "range": f"{facts.start_date}..{facts.end_date}" if facts.start_date else "",
        "verdict": facts.verdict or ("" if ended else going),
        "planned": facts.planned,
        "counts": facts.verdict_counts,
        "started_at": facts.started_at or entry.opened_at,
        "finished_at": ended,
        "wall_s": round((until - facts.started_at).total_seconds()) if facts.started_at else None,
        "calls": facts.calls,
        "cost_usd": facts.cost_usd,
        "reason": facts.reason,
        "code_version": facts.code_version,
        "mail": "due when the run ends" if waits else mail_state(entry, now),
    }


def mail_state(entry: OutboxEntry, now: dt.datetime) -> str:
    """What became of the summary, in words."""
    if entry.state == "sent":
        channels = ", ".join(sorted(entry.delivered)) or "nobody"
        return f"sent {entry.sent_at:%Y-%m-%d %H:%M:%S} UTC by {channels}" if entry.sent_at else f"sent by {channels}"
    if (waiting := [each.missing for each in entry.delivered.values() if each.missing]) and entry.sent_at:
        channels = ", ".join(sorted(entry.delivered))
        return f"sent {entry.sent_at:%Y-%m-%d %H:%M:%S} UTC by {channels}; {'; '.join(waiting)}"
    if entry.state == "refused":
        last = entry.errors[-1] if entry.errors else "no channel takes it"
        return f"REFUSED for good: {last}. The whole mail is kept at {entry.mail_object}"
    if entry.told_by:
        return f"in the mail of {entry.told_by}"
    if entry.state == "archived":
        return "kept with the run, not mailed (as asked)"
    problem = f"; last problem: {entry.errors[-1]}" if entry.errors else ""
    if entry.finished_at is not None or entry.state == "claimed":
        return f"PENDING: not sent yet{problem}. Next: gapless send-owed"
    if entry.stale(now):
        return f"PENDING: the run died{problem}. Next: gapless send-owed"
    return "due when the run ends"


def recent_errors(
    services: Services,
    hours: float,
    now: dt.datetime,
    source: str = "",
    unreadable: list[StateUnreadable] | None = None,
) -> dict[str, Any]:
    """Incidents of all backfills and live alerts of the last ``hours``: counts by type and source, and causes.

    Objects of the journal that cannot be read are added to ``unreadable``, or raised.
    """
    since = now - dt.timedelta(hours=hours)
    incidents = [one for one in _incidents_since(services, since, hours, unreadable) if source in ("", one.source)]
    by_type: dict[str, int] = {}
    by_source: dict[str, int] = {}
    for one in incidents:
        by_type[one.error_type] = by_type.get(one.error_type, 0) + 1
        by_source[one.source or "unknown"] = by_source.get(one.source or "unknown", 0) + 1
    causes = [
        {
            "cause": group.cause_id,
            "source": group.sample.source,
            "error_type": group.sample.error_type,
            "severity": group.sample.severity,
            "count": group.count,
            "ranges": group.ranges,
            "first_at": group.first_at,
            "last_at": group.last_at,
            "message": group.sample.message[:300],
            "hint": group.sample.hint,
        }
        for group in group_incidents(incidents).groups
    ]
    return {"hours": hours, "errors": len(incidents), "by_type": by_type, "by_source": by_source, "causes": causes}


def _incidents_since(
    services: Services, since: dt.datetime, hours: float, unreadable: list[StateUnreadable] | None
) -> Iterator[Incident]:
    backfills = []
    for stored in services.store.list("alerts/"):
        match = _JOURNAL.fullmatch(stored.name)
        if match and (stored.updated_at is None or stored.updated_at >= since) and match[1] not in backfills:
            backfills.append(match[1])
    for backfill_id in backfills:
        incidents = IncidentJournal(services.store).read(backfill_id, unreadable)
        yield from (one for one in incidents if one.occurred_at >= since)
    yield from services.alerts.live.pending(hours)


def newest_objects(store: ObjectStore, prefix: str, last: int) -> list[dict[str, Any]]:
    """The objects of a prefix that were written last, newest first."""
    never = dt.datetime.min.replace(tzinfo=dt.UTC)
    listed = sorted(store.list(prefix), key=lambda one: one.updated_at or never, reverse=True)
    return [
        {"uri": f"{store.root_uri}/{one.name}", "size_bytes": one.size_bytes, "written_at": one.updated_at}
        for one in listed[:last]
    ]


def failed_keys(entries: Mapping[str, LedgerEntry], keys: Sequence[str] | None = None) -> list[str]:
    """Keys whose last verdict is a failure, sorted; only those of ``keys`` when given."""
    wanted = entries if keys is None else [key for key in keys if key in entries]
    return sorted(key for key in wanted if entries[key].has_failed)
