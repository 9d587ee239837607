"""Family runs whose mails were looked at: a case for each golden file."""

from __future__ import annotations

import datetime as dt
from collections import Counter

from summary_cases import AT, incident

from alerting.family_view import Section
from alerting.run_facts import RunFacts, TableFacts

MARCH = [str(dt.date(2025, 3, 1) + dt.timedelta(days=offset)) for offset in range(31)]
LISTS = ["courses", "regions"]
FAMILY_COMMAND = (
    "prefect deployment run 'backfill/racing' -p start_date=2025-03-01 -p end_date=2025-03-31 -p reason=errors "
    "-p wait_for_lease_s=21600 -p note='retry of bf-0f3a5c1e7b1d'"
)
_TITLES = {
    "racing_reference": "The Racing API: courses and regions",
    "racing_cards": "The Racing API: racecards",
    "racing_results": "The Racing API: results",
}
_ENDED = {"COMPLETE": "OK", "ACCEPTABLE": "OK-WITH-GAPS", "FAILED": "FAILED", "": ""}


def step(source: str, failed: dict[str, str] | None = None, verdict: str = "", **rest) -> RunFacts:
    """What the backfill of one source left; ``failed`` maps partition to verdict."""
    keys, lost = LISTS if source == "racing_reference" else MARCH, failed or {}
    calendar = {key: lost.get(key, "verified") for key in keys}
    verdict = verdict or ("FAILED" if lost else "COMPLETE")
    rows = 240 * sum(key not in lost for key in keys)
    backfill_id = f"bf-0f3a5c1e7b1d-{source}"
    given = {
        "backfill_id": backfill_id,
        "source": source,
        "title": _TITLES[source],
        "start_date": "" if keys is LISTS else MARCH[0],
        "end_date": "" if keys is LISTS else MARCH[-1],
        "zone": "Europe/London",
        "started_at": AT - dt.timedelta(minutes=4),
        "finished_at": AT,
        "verdict": verdict,
        "outcome": _ENDED.get(verdict, "STOPPED"),
        "planned": len(keys),
        "verdict_counts": dict(Counter(calendar.values())),
        "calendar": calendar,
        "calls": 2 * len(keys),
        "wall_s": 80.0,
        "tables": [TableFacts(f"ra_{source}", rows, rows, rows, rows)],
        "links": {"Record": f"gs://b/runs/backfill={backfill_id}/"},
        "retry_command_template": (
            f"prefect deployment run 'backfill/{source}' -p start_date={MARCH[0]} -p end_date={MARCH[-1]} "
            "-p dates='{ranges}' -p reason=errors"
        ),
        "cause_command_template": f"gapless retry-failed {source} --run {backfill_id} --cause {{cause}}",
    }
    return RunFacts(**{**given, **rest})


def family(verdict: str, sections: list[Section], **rest) -> RunFacts:
    counts: Counter[str] = Counter()
    for each in sections:
        counts.update(each.facts.verdict_counts)
    given = {
        "backfill_id": "bf-0f3a5c1e7b1d",
        "source": "racing",
        "title": "The Racing API: reference, cards, results",
        "start_date": MARCH[0],
        "end_date": MARCH[-1],
        "zone": "Europe/London",
        "reason": "never_collected: the new season",
        "requested_by": "maria@example.org",
        "mode": "incremental",
        "code_version": "0.1.0+5bac1ac",
        "started_at": AT - dt.timedelta(minutes=12),
        "finished_at": AT,
        "verdict": verdict,
        "outcome": _ENDED.get(verdict, "STOPPED"),
        "planned": sum(counts.values()),
        "verdict_counts": dict(counts),
        "calls": 128,
        "wall_s": 720.0,
        "cost_usd": 0.0042,
        "links": {"Prefect run": "http://127.0.0.1:4200/runs/flow-run/1", "Record": "gs://b/runs/backfill=bf-0f3a/"},
        "range_command": FAMILY_COMMAND,
    }
    return RunFacts(**{**given, **rest})


def all_there() -> tuple[RunFacts, list[Section]]:
    sections = [Section(step(source), []) for source in _TITLES]
    return family("COMPLETE", sections), sections


def two_lack_dates_of_one_cause() -> tuple[RunFacts, list[Section]]:
    def down(source: str, day: str):
        message = f"GET /v1/races?date={day} answered 503"
        return incident("SourceUnavailable", message, day, source=source, status=503)

    cards = dict.fromkeys(MARCH[4:7], "failed_retryable")
    results = {MARCH[5]: "failed_retryable", MARCH[9]: "failed_permanent"}
    broken = incident(
        "SourceContractError",
        "expected a list at results, got <script>alert(1)</script>",
        MARCH[9],
        source="racing_results",
        traceback="processors/sources/racing_results.py:41 in rows\n    for race in body['results']:",
    )
    sections = [
        Section(step("racing_reference"), []),
        Section(step("racing_cards", cards), [down("racing_cards", day) for day in cards]),
        Section(step("racing_results", results), [down("racing_results", MARCH[5]), broken]),
    ]
    return family("FAILED", sections), sections


def killed_in_the_second() -> tuple[RunFacts, list[Section]]:
    begun = dict.fromkeys(MARCH[12:], "planned")
    sections = [
        Section(step("racing_reference"), []),
        Section(step("racing_cards", begun, "ABORTED(crashed)"), []),
        Section(step("racing_results", dict.fromkeys(MARCH, "planned"), verdict="ABORTED(not_begun)"), []),
    ]
    return family("ABORTED(crashed)", sections), sections


def paused_by_a_quota() -> tuple[RunFacts, list[Section]]:
    goes_on = {"resumes_at": AT + dt.timedelta(hours=22), "resumes_as": "amber-otter"}
    waiting = dict.fromkeys(MARCH[12:], "paused")
    spent = incident(
        "BudgetExhausted",
        "500 of 500 calls of this day are spent",
        MARCH[12],
        source="racing_cards",
        severity="CRITICAL",
    )
    sections = [
        Section(step("racing_reference"), []),
        Section(step("racing_cards", waiting, "ABORTED(budget)", **goes_on), [spent]),
        Section(step("racing_results"), []),
    ]
    return family("ABORTED(budget)", sections, **goes_on), sections


CASES = {
    "family_all_there": all_there,
    "family_one_cause_in_two": two_lack_dates_of_one_cause,
    "family_killed": killed_in_the_second,
    "family_paused": paused_by_a_quota,
}
