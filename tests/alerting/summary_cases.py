"""Runs and their errors whose mails were looked at: a case for each golden file, and the builders of more."""

from __future__ import annotations

import datetime as dt
from collections import Counter

from alerting import errors
from alerting.incident import Incident
from alerting.run_facts import RunFacts, TableFacts

AT = dt.datetime(2026, 1, 10, 2, 0, tzinfo=dt.UTC)
DAYS = [str(dt.date(2021, 1, 1) + dt.timedelta(days=offset)) for offset in range(1826)]
TEMPLATE = "prefect deployment run 'backfill/orders' -p source={source} -p 'dates={ranges}' -p reason='retry {cause}'"


def incident(kind: str, message: str, partition: str, **rest) -> Incident:
    known = {"SourceUnavailable": True, "CoverageLow": True}
    given = {"source": "orders_api", "stage": "scrape", "occurred_at": AT, "incident_id": partition}
    given |= {"retryable": known.get(kind, False), **rest}
    return Incident(error_type=kind, message=message, partition=partition, **given)


def facts(failed: set[str], **rest) -> RunFacts:
    calendar = {day: "failed_retryable" if day in failed else "verified" for day in DAYS}
    rows = 660 * (len(DAYS) - len(failed))
    given = {
        "backfill_id": "orders-2021-2025",
        "source": "orders_api",
        "title": "Orders of all shops",
        "start_date": DAYS[0],
        "end_date": DAYS[-1],
        "zone": "Europe/Berlin",
        "reason": "data_loss",
        "requested_by": "maria@example.org",
        "ticket": "DATA-1412",
        "code_version": "0.1.0+5bac1ac",
        "started_at": AT - dt.timedelta(hours=2),
        "finished_at": AT,
        "planned": len(DAYS),
        "verdict_counts": dict(Counter(calendar.values())),
        "calendar": calendar,
        "calls": 1826,
        "calls_budget": 10_000,
        "calls_left": 8_174,
        "budget_resets_at": AT + dt.timedelta(hours=22),
        "bytes_landed": 812_000_000,
        "bigquery_jobs": 9,
        "wall_s": 7_200.0,
        "waited_for_limits_s": 600.0,
        "estimate": {"calls": 1826, "wall_s": 6_000},
        "tables": [
            TableFacts("orders", rows, rows, rows, rows),
            TableFacts("order_items", 4 * rows, 4 * rows, 4 * rows, 4 * rows),
        ],
        "links": {
            "Prefect run": "http://127.0.0.1:4200/runs/flow-run/1",
            "Coverage": "http://127.0.0.1:4200/artifacts/key/calendar-orders-api",
            "Ledger": "gs://b/ledger/source=orders_api/",
        },
        "form_url": "http://127.0.0.1:4200/v2/deployments/deployment/7/run",
        "retry_command_template": TEMPLATE,
        "cause_command_template": "gapless retry-failed {source} --run {backfill_id} --cause {cause}",
    }
    return RunFacts(**{**given, **rest})


def three_causes() -> tuple[RunFacts, list[Incident]]:
    first = [
        incident("SourceUnavailable", f"GET /v1/orders?date={day} answered 503", day, status=503) for day in DAYS[60:76]
    ]
    second = [
        incident("CoverageLow", f"expected {1000 + n} rows, got {n}", day, stage="verify")
        for n, day in enumerate(DAYS[5::97])
    ]
    third = [
        incident(
            "SourceContractError",
            f"expected a list at data.orders, got <script>alert({n})</script>",
            day,
            severity="CRITICAL",
            traceback="processors/sources/orders.py:41 in rows\n    for row in body['orders']:",
            hint="fix the row model",
        )
        for n, day in enumerate(DAYS[900:903])
    ]
    found = [*first, *second, *third]
    return facts({each.partition for each in found}, outcome="FAILED", verdict="ACCEPTABLE"), found


def one_cause() -> tuple[RunFacts, list[Incident]]:
    found = [incident("SourceUnavailable", f"connection refused on {day}", day) for day in DAYS[:3]]
    return facts(set(DAYS[:3]), outcome="OK-WITH-GAPS"), found


def all_failed() -> tuple[RunFacts, list[Incident]]:
    kinds = ("SourceUnavailable", "CoverageLow", "TypeError")
    words = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta")
    found = [
        incident(kinds[n % 3], f"{words[n % 7]} failed at id {n * 7919} on {day}", day) for n, day in enumerate(DAYS)
    ]
    return facts(set(DAYS), outcome="STOPPED", verdict="ABORTED(red_flag)"), found


def right_to_left() -> tuple[RunFacts, list[Incident]]:
    found = [
        incident("SourceUnavailable", "שגיאה בשרת: לא נמצא דף 😀🔥 «עמוד»", DAYS[0]),
        incident("CoverageLow", "الخادم لا يستجيب — 模式不匹配 \u202eabc\u202c", DAYS[1]),
    ]
    return facts(set(DAYS[:2]), outcome="FAILED", title="Ünïcode 🏀"), found


def huge_message() -> tuple[RunFacts, list[Incident]]:
    error = errors.SourceContractError(
        "bad body: " + "<td>nonsense</td> " * 6000, source="orders_api", partition=DAYS[9]
    )
    made = Incident.from_error(error, occurred_at=AT)
    return facts({DAYS[9]}, outcome="FAILED"), [made]


def crashed() -> tuple[RunFacts, list[Incident]]:
    """What a run that was killed in its tenth month leaves behind, as the watchdog writes it."""
    failed = set(DAYS[10:13])
    calendar = dict.fromkeys(DAYS[:270], "verified")
    calendar |= dict.fromkeys(DAYS[270:300], "landed") | dict.fromkeys(DAYS[300:365], "planned")
    calendar |= dict.fromkeys(failed, "failed_retryable")
    found = [
        incident("SourceUnavailable", f"the source answered 503: request for {day}", day) for day in sorted(failed)
    ]
    known = facts(
        failed,
        outcome="STOPPED",
        verdict="ABORTED(crashed)",
        calendar=calendar,
        verdict_counts=dict(Counter(calendar.values())),
        planned=365,
        end_date=DAYS[364],
        calls=306,
        owner="process 4409 on worker-3",
        tables=[TableFacts("orders", 196_020, 196_020, 176_220, 176_220)],
        finished_at=AT + dt.timedelta(minutes=4),
        notes=["red flag, error rate: 11 of the last 100 dates failed"],
    )
    return known, found


def blocked() -> tuple[RunFacts, list[Incident]]:
    """A source that showed a challenge: nothing may be asked for a while."""
    found = [
        incident(
            "BlockedBySource",
            "the source answered 403: a web page came where JSON was expected",
            DAYS[3],
            status=403,
            severity="CRITICAL",
        )
    ]
    calendar = dict.fromkeys(DAYS[:3], "verified") | {DAYS[3]: "blocked"} | dict.fromkeys(DAYS[4:31], "paused")
    known = facts(
        {DAYS[3]},
        outcome="STOPPED",
        verdict="ABORTED(critical)",
        calendar=calendar,
        verdict_counts=dict(Counter(calendar.values())),
        planned=31,
        end_date=DAYS[30],
        calls=4,
        tables=[],
        commands_work_from=AT + dt.timedelta(minutes=90),
        command_to_begin_sooner="gapless lift-cooldown orders_api --reason WHY",
    )
    return known, found


def paused() -> tuple[RunFacts, list[Incident]]:
    """A quota that is used up: the run goes on by itself after the reset."""
    found = [incident("BudgetExhausted", "5,000 calls a day are used up", DAYS[12], severity="CRITICAL")]
    calendar = dict.fromkeys(DAYS[:12], "verified") | dict.fromkeys(DAYS[12:31], "paused")
    known = facts(
        set(),
        outcome="STOPPED",
        verdict="ABORTED(budget)",
        calendar=calendar,
        verdict_counts=dict(Counter(calendar.values())),
        planned=31,
        end_date=DAYS[30],
        calls=12,
        tables=[],
        resumes_at=AT + dt.timedelta(hours=22, minutes=1),
        resumes_as="amber-otter",
        range_command="prefect deployment run 'backfill/orders' -p start_date=2021-01-01 -p end_date=2021-01-31",
    )
    return known, found


CASES = {
    "0_causes": lambda: (facts(set(), outcome="OK"), []),
    "1_cause": one_cause,
    "3_causes": three_causes,
    "1826_errors": all_failed,
    "rtl_and_emoji": right_to_left,
    "100_kb_message": huge_message,
    "crashed_run": crashed,
    "blocked_run": blocked,
    "paused_run": paused,
    "killed_run": lambda: (RunFacts(backfill_id="b1", source="nba", started_at=AT, outcome="STOPPED"), one_cause()[1]),
}
