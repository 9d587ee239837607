"""What the audit reads, whom it tells, and how its findings become work. Without Prefect."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from alerting.errors import ConfigurationError, LandingDamaged, PipelineError, Truncated, WrongUsage
from alerting.incident import Incident
from alerting.ranges import compress_dates
from alerting.store_clock import StoreClock
from alerting.wording import plural
from flows.coordination.kept_lease import held_by_hand
from flows.coordination.lease import Lease, is_taken, read_lease
from flows.ledger.entry import REOPENED, LedgerEntry
from flows.ledger.ledger import Verdict
from flows.planning.stored_plan import planned_by
from flows.truth.declared import without_unasked
from flows.truth.deficits import Deficit, Finding, find_deficits
from flows.truth.inventory import read_inventory, refuse_unsettled
from flows.truth.landed import landed_after, landed_sources, rejection_of, wanted_attempts
from flows.truth.reconcile import landed_entry
from flows.wiring import Services
from processors.registry import sources as processed_sources
from scrapers.registry import sources as known_sources

LEFT_TO_OTHERS = (Deficit.IN_REVIEW, Deficit.REJECTED, Deficit.IN_WORK)
"""A person decides about the ones, or has decided, a living run about the others."""


def audit_sources(
    services: Services,
    sources: Sequence[str],
    now: dt.datetime,
    first: dt.date | None = None,
    last: dt.date | None = None,
    below: int = 0,
) -> list[Finding]:
    """Deficits of the named sources, or of all; landed objects that no processor takes come first.

    Without ``first``, a date of which nothing is there counts only where somebody asked for it: see ``declared``.

    Raises ``WrongUsage`` for an unknown name, or dates that a named one cannot have; ``StateUnreadable`` for a broken
    ledger object of a named one.
    """
    for name in sources:
        refuse_unsettled(services.source_kit(name).scraper, first, last, now)
    if first and first > now.date() + dt.timedelta(days=1):
        raise WrongUsage(f"{first} lies ahead. Nothing was looked at", stage="audit", hint="begin earlier")
    if sources:
        return [one for name in sources for one in _audit(services, name, now, first, last, below)]
    findings = unmapped(services)
    for name in known_sources():
        try:
            findings += _audit(services, name, now, first, last, below) if name in processed_sources() else []
        except PipelineError as error:  # one source that cannot be audited must not hide the others
            findings.append(Finding(name, "", Deficit.NOT_AUDITED, f"{type(error).__name__}: {error.message}"))
    return findings


def _audit(
    services: Services, source: str, now: dt.datetime, first: dt.date | None, last: dt.date | None, below: int
) -> list[Finding]:
    in_work = _in_work(services, source, now)
    inventory = read_inventory(services, source, now, first, last)
    found = find_deficits(
        source,
        inventory if first else without_unasked(services, source, inventory),
        now,
        empty_ttl=dt.timedelta(days=services.settings.empty_ttl_days),
        fresh_for=services.source_kit(source).scraper.fresh_for,
        below=below,
    )
    # A run may have begun meanwhile, or have ended: what was read of its partitions fits together in neither case.
    in_work |= _in_work(services, source, now) if found else {}
    return [
        dataclasses.replace(one, deficit=Deficit.IN_WORK, why=in_work[one.partition])
        if one.partition in in_work
        else one
        for one in found
    ]


def _in_work(services: Services, source: str, now: dt.datetime) -> dict[str, str]:
    """Partitions that a living run works on, and since when: it tells itself what becomes of them."""
    held = read_lease(services.store, source)
    is_alive = held is not None and is_taken(StoreClock(services.store), held, now)
    plan = planned_by(services.store, held.backfill_id) if held is not None and is_alive else None
    if held is None or plan is None:
        return {}
    why = f"{held.backfill_id} works on it since {held.started_at:%Y-%m-%d %H:%M} UTC"
    return {key: why for key, is_work in plan.work.items() if is_work}


def unmapped(services: Services) -> list[Finding]:
    """Landed sources for which no code is installed that could load them."""
    found = []
    for name in landed_sources(services.store):
        missing = [
            kind
            for kind, names in (("scraper", known_sources()), ("processor", processed_sources()))
            if name not in names
        ]
        if missing:
            why = f"objects under landing/source={name}/ and no {' and no '.join(missing)} of that name"
            found.append(Finding(name, "", Deficit.UNMAPPED, why))
    return found


def tell(services: Services, lines: Iterable[Mapping[str, Any]]) -> None:
    """One live alert for all deficits of a run, limited like every alert; a single one keeps its own kind."""
    lines = list(lines)
    if not lines:
        return
    told = [_told(line) for line in lines]
    sources = sorted({line["source"] for line in lines})
    alone = len(lines) == 1
    services.alerts.record_error(
        Incident(
            source=sources[0] if len(sources) == 1 else "",
            stage="audit",
            error_type=f"Audit{_words(lines[0]).title().replace(' ', '')}" if alone else "AuditDeficits",
            message=told[0]
            if alone
            else "\n".join(f"{line['source']}: {text}" for line, text in zip(lines, told, strict=True)),
            severity="CRITICAL" if any(line["deficit"] == Deficit.UNMAPPED for line in lines) else "ERROR",
            hint="; ".join(dict.fromkeys(map(_next_of, lines))),
        )
    )


def _told(line: Mapping[str, Any]) -> str:
    if not line["ranges"]:
        return f"{_words(line)}: {line['why']}"
    return f"{plural(line['count'], 'partition')} {_words(line)}: {line['ranges'][:500]}. {line['why']}"


def _next_of(line: Mapping[str, Any]) -> str:
    """The command for one line: `gapless repair` knows installed sources, and leaves reviews to a person."""
    if line["deficit"] == Deficit.UNMAPPED:
        return f"install the code of {line['source']}"
    if line["deficit"] == Deficit.NOT_AUDITED:
        return f"gapless audit {line['source']}"
    if line["deficit"] in (Deficit.IN_REVIEW, Deficit.REJECTED):
        return f"gapless reviews --source {line['source']}"
    return f"gapless repair {line['source']} --reason audit"


def _words(line: Mapping[str, Any]) -> str:
    return str(line["deficit"]).replace("_", " ")


def reopen(services: Services, source: str, findings: Sequence[Finding], by: str, now: dt.datetime) -> list[str]:
    """Makes every finding something that a plan takes up, by the cheapest path; returns the keys to run.

    A date that was called done is given back: to ``landed`` when its payload is there (no call is needed), else to
    ``planned``. What is open already is left as it is, and what a run wrote since the audit looked at it.
    Raises ``LeaseHeld`` when a run works on the source.
    """
    if any(one.deficit is Deficit.UNMAPPED for one in findings):
        why = next(one.why for one in findings if one.deficit is Deficit.UNMAPPED)
        raise ConfigurationError(why, source=source, stage="repair", hint="install the missing processor")
    with held_by_hand(services, source, "repair", compress_dates(one.partition for one in findings)[:200]) as lease:
        _reopen(services, lease, findings, by, now)
    return sorted({one.partition for one in findings if one.deficit not in LEFT_TO_OTHERS})


def _reopen(services: Services, lease: Lease, findings: Sequence[Finding], by: str, now: dt.datetime) -> None:
    source = lease.record.source
    ledger = services.source_kit(source).ledger
    entries = ledger.refresh()
    landed = wanted_attempts(services.store, source, entries)
    for one in findings:
        entry, attempts = entries.get(one.partition), landed.get(one.partition, ())
        if one.deficit in LEFT_TO_OTHERS or _is_written_since(entry, one):
            continue
        lease.check()
        why = {"error_type": REOPENED, "error": f"{one.deficit.value}: {one.why}"}
        if (
            one.deficit is Deficit.LANDED_NOT_LOADED
            and attempts
            and (entry is None or landed_after(attempts, entry.attempt))
        ):
            try:
                manifest = services.landing.take_up(attempts[-1].manifest_name, services.source_kit(source).scraper)
            except (LandingDamaged, Truncated) as error:
                ledger.advance(one.partition, Verdict.PLANNED, by, now, error_type=REOPENED, error=error.message)
            else:
                rejected = rejection_of(services.store, attempts[-1])
                ledger.put(landed_entry(manifest, entry, by, now, rejected=rejected))
        elif entry is not None and entry.verdict.is_good:
            verdict = (
                Verdict.LANDED
                if one.deficit is Deficit.SHORT and entry.verdict is Verdict.VERIFIED
                else Verdict.PLANNED
            )
            # Its rows are doubted: what was once counted is no word of them.
            ledger.advance(one.partition, verdict, by, now, verified_at=None, **why)


def _is_written_since(entry: LedgerEntry | None, found: Finding) -> bool:
    """Whether it is another entry than was judged; by no time, which each machine has from its own clock."""
    if entry is None or entry.is_pending:
        return False
    judged = found.entry
    return judged is None or (entry.updated_at, entry.backfill_id) != (judged.updated_at, judged.backfill_id)
