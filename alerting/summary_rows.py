"""The lower half of the summary: data, cost, difference from the last run, who and why, as rows. Pure."""

from __future__ import annotations

from collections.abc import Collection

from alerting.fingerprint import Causes
from alerting.ranges import compress_dates, expand_dates
from alerting.redaction import redact
from alerting.run_facts import RunFacts, TableFacts
from alerting.wording import dollars, duration, moment, shorten, size, span

VERDICT_LABELS = {
    "verified": "verified",
    "empty_ok": "proven empty",
    "unavailable": "not at the source",
    "failed_retryable": "failed, retryable",
    "failed_permanent": "failed, needs a fix",
    "partial": "incomplete",
    "truncated": "truncated",
    "shrunk": "shrunk, old rows kept",
    "landed": "landed, not loaded",
    "loaded": "loaded, not recounted",
    "staged": "waits for approval, old rows kept",
    "paused": "waiting (quota, block or pause)",
    "planned": "not attempted",
}

Rows = tuple[tuple[str, str], ...]
CENT_USD = 0.01


def table_row(table: TableFacts) -> tuple[str, ...]:
    """Name, the four counts, and "" when they agree, else what is wrong with them.

    >>> table_row(TableFacts("orders", None, 10, 10, None))
    ('orders', 'not announced', '10', '10', '?', 'not recounted')
    """
    expected = "not announced" if table.expected is None else f"{table.expected:,}"
    found = ("?" if number is None else f"{number:,}" for number in (table.landed, table.loaded, table.verified))
    return (table.name, expected, *found, table_state(table))


def table_state(table: TableFacts) -> str:
    """The first step at which rows are missing, or too many.

    >>> table_state(TableFacts("orders", 10, 10, 7, 7)), table_state(TableFacts("orders", 10, 10, 10, 10))
    ('3 not loaded', '')
    """
    loadable = None if table.landed is None else table.landed - table.repeats
    steps = (
        (table.expected, table.landed, "not landed"),
        (loadable, table.loaded, "not loaded"),
        (table.loaded, table.verified, "not verified"),
    )
    for before, after, word in steps:
        if before is not None and after is not None and before != after:
            return f"{before - after:,} {word}" if before > after else f"{after - before:,} too many {word[4:]}"
    if table.mismatching:
        return "differs"
    return "not recounted" if table.verified is None and table.loaded else ""


def removed_rows(facts: RunFacts) -> tuple[str, ...]:
    """What the run took away, per table: rows and where.

    >>> removed_rows(RunFacts(tables=[TableFacts("orders", changes={"removed": 2}, removed_on=["2025-01-03"])]))
    ('2 of orders (2025-01-03)',)
    """
    return tuple(
        f"{count:,} of {table.name}"
        + (f" ({shorten(compress_dates(table.removed_on), 120)})" if table.removed_on else "")
        for table in facts.tables
        if (count := table.changes.get("removed", 0))
    )


def data_rows(facts: RunFacts) -> Rows:
    """Partitions by verdict, provisional ones, rows that changed, schema drift."""
    rows = [
        (VERDICT_LABELS.get(verdict, verdict.replace("_", " ")), f"{count:,}")
        for verdict, count in facts.verdict_counts.items()
        if count
    ]
    rows += [("repeats not loaded", f"{table.name} {table.repeats:,}") for table in facts.tables if table.repeats]
    if facts.items:
        rows.append(("expected items", f"{facts.items.get('found', 0):,} of {facts.items.get('expected', 0):,} there"))
    if facts.provisional:
        rows.append(("provisional", "; ".join(f"{ranges}: {when}" for ranges, when in facts.provisional.items())))
    rows += [(f"{table.name} rows", table.changed) for table in facts.tables if table.changed]
    rows += [("schema drift", redact(line)) for line in facts.schema_drift[:20]]
    return tuple(rows)


def cost_rows(facts: RunFacts) -> Rows:
    """Calls, quota, bytes, jobs, money and time, each against its estimate."""

    def against(name: str, text: str, value: float) -> str:
        promised = facts.estimate.get(name)
        if not promised:
            return text
        off = f"{(value - promised) / promised:+.0%}"
        return f"{text} (as estimated)" if off[1:] == "0%" else f"{text} (estimate {_shown(name, promised)}, {off})"

    rows: list[tuple[str, str]] = []
    if facts.calls is not None:
        allowed = f" of {facts.calls_budget:,}" if facts.calls_budget else ""
        text = f"{facts.calls:,}" + ("" if facts.cost_unit else allowed)
        rows.append(("calls", against("calls", text, facts.calls)))
        if facts.units is not None:
            rows.append((f"{facts.cost_unit}s", against("units", f"{facts.units:,}{allowed}", facts.units)))
    if facts.calls_left is not None:
        reset = f", reset {moment(facts.budget_resets_at, facts.zone)}" if facts.budget_resets_at else ""
        rows.append(("quota left", f"{facts.calls_left:,}{reset}"))
    if facts.account:
        rows.append(("account", facts.account))
    if facts.bytes_landed is not None:
        rows.append(("landed", against("bytes_landed", size(facts.bytes_landed), facts.bytes_landed)))
    if facts.bigquery_jobs is not None:
        rows.append(("BigQuery jobs", against("bigquery_jobs", f"{facts.bigquery_jobs:,}", facts.bigquery_jobs)))
    if facts.bigquery_bytes:
        before = facts.estimate.get("bigquery_bytes")
        told = "" if before is None else f"; the dry run counted {size(before)} of existing rows"
        rows.append(("BigQuery bytes", f"{size(facts.bigquery_bytes)} billed{told}"))
    if facts.cost_usd is not None and max(facts.cost_usd, facts.estimate.get("cost_usd", 0.0)) < CENT_USD:
        rows.append(("cost", f"under {dollars(CENT_USD)}"))
    elif facts.cost_usd is not None:
        parts = ", ".join(f"{what} {dollars(usd)}" for what, usd in facts.cost_usd_by.items() if usd)
        text = against("cost_usd", dollars(facts.cost_usd), facts.cost_usd)
        rows.append(("cost", f"{text}: {parts}" if parts else text))
    if facts.wall_s is not None:
        rows.append(("wall time", against("wall_s", duration(facts.wall_s), facts.wall_s)))
    if facts.waited_for_limits_s:
        rows.append(("waiting for limits", duration(facts.waited_for_limits_s)))
    if facts.slowest_step:
        rows.append(("slowest step", facts.slowest_step))
    return tuple(rows)


def _shown(name: str, value: float) -> str:
    if name.endswith("_s"):
        return duration(value)
    if name.endswith("_usd"):
        return dollars(value)
    return size(value) if "bytes" in name else f"{value:,.0f}"


def diff_rows(facts: RunFacts, causes: Causes, failed: set[str]) -> Rows:
    """New, recurring and gone causes, of the dates that both runs had: what was not asked for again is neither."""
    previous = facts.previous_run
    if not previous:
        return ()
    common = compared_dates(facts, failed)

    def is_comparable(partitions: Collection[str]) -> bool:
        # Without partitions a cause is the whole run's.
        return bool(common) and (not partitions or not common.isdisjoint(partitions))

    known = {
        key: cause
        for key, cause in (previous.get("causes") or {}).items()
        if is_comparable(expand_dates(cause.get("ranges", "")))
    }
    current = {group.fingerprint: group for group in causes.groups if is_comparable(group.partitions)}
    new = [group.cause_id for key, group in current.items() if key not in known]
    recurring = [group.cause_id for key, group in current.items() if key in known]
    fixed = [str(cause.get("title", key)) for key, cause in known.items() if key not in current]
    ended = str(previous.get("finished_at"))[:10]
    label = f"{previous.get('backfill_id') or 'last run'}, {previous.get('outcome') or '?'} {ended}"
    rows = [("compared with", redact(label))]
    rows += [("rows removed", line) for line in removed_rows(facts)]
    if not common:
        return (*rows, ("difference", "no date in common"))
    rows.append(("of", compress_dates(common, counts=True)))
    failed_before = common.intersection(expand_dates(previous.get("failed", "")))
    if not removed_rows(facts) and not new and not fixed and failed_before == common & failed:
        return (*rows, ("difference", "nothing changed"))
    rows += [("new", ", ".join(new))] if new else []
    rows += [("recurring", ", ".join(recurring))] if recurring else []
    rows += [("gone", shorten(redact(title), 160)) for title in fixed[:10]]
    rows += [("gone", f"and {len(fixed) - 10} more")] if len(fixed) > 10 else []
    return tuple(rows)


def compared_dates(facts: RunFacts, failed: set[str]) -> set[str]:
    """Partitions that this run and the one before it both had."""
    return planned_keys(facts, failed) & set(expand_dates(facts.previous_run.get("planned", "")))


def planned_keys(facts: RunFacts, failed: set[str]) -> set[str]:
    """Every partition of the run, as far as it is known."""
    return {*facts.calendar, *failed}


def audit_rows(facts: RunFacts) -> Rows:
    """What an auditor asks for."""
    dates = span(facts.start_date, facts.end_date)
    rows = (
        ("backfill", f"{facts.backfill_id}{f', attempt {facts.attempt}' if facts.attempt > 1 else ''}"),
        ("source", facts.title),
        ("range", f"{dates} {facts.zone}, inclusive" if dates else ""),
        ("requested by", facts.requested_by),
        ("reason", facts.reason),
        ("ticket", facts.ticket),
        ("mode", facts.mode),
        ("verdict", facts.verdict),
        ("started", moment(facts.started_at, facts.zone)),
        ("finished", moment(facts.finished_at, facts.zone)),
        ("code", facts.code_version),
        ("plan", facts.plan_hash),
        ("resumed from", facts.resumed_from),
        ("run by", facts.owner or facts.host),
        ("flags", ", ".join(f"{name}={value}" for name, value in facts.flags.items())),
    )
    return tuple((label, shorten(redact(value), 300)) for label, value in rows if value.strip())
