"""What is known of a run when it begins: stored beside its outbox entry, so that whoever is left can send a mail."""

from __future__ import annotations

import os
import socket
from collections import Counter
from dataclasses import replace

from prefect.runtime import deployment, flow_run

from alerting.advice import ALL_RETRYABLE
from alerting.instant import utc_now
from alerting.ranges import compress_dates
from alerting.run_facts import RunFacts
from flows.asked import Asked, AskedFamily
from flows.pages import coverage_page, form_page, run_page
from flows.parameters import ASKED_BY, NO_DATE, PASTED_WAIT_S, OnFailure, Order, is_plain, option
from flows.planning.family import FamilyPlan, Step
from flows.planning.plan import Plan
from flows.planning.stored_plan import run_prefix
from flows.run.interruption import deployment_id_of
from flows.wiring import Services

# Pasted together, the commands of a mail take turns: a source has one lease.
_WAITS = f"-p wait_for_lease_s={PASTED_WAIT_S}"


def starting_facts(
    services: Services, plan: Plan, promised: dict[str, float], backfill_id: str, asked: Asked, engine: str = ""
) -> RunFacts:
    """What is known when the run begins; stored with the mail that is owed from that moment.

    ``engine`` says which one was chosen, and why; "" where a person asked for it.
    """
    scraper = services.source_kit(plan.source).scraper
    flow_run_id = str(flow_run.id or "")
    links = {}
    if services.settings.ui_url and flow_run_id:
        links["Prefect run"] = run_page(services.settings.ui_url, flow_run_id)
        links["Coverage"] = coverage_page(services.settings.ui_url, services.settings.inbox_url, plan.source)
    links["Record"] = f"{services.store.root_uri}/{run_prefix(backfill_id)}"
    return RunFacts(
        backfill_id=backfill_id,
        source=plan.source,
        title=scraper.title,
        start_date="" if plan.start_date == NO_DATE else plan.start_date.isoformat(),
        end_date="" if plan.start_date == NO_DATE else plan.end_date.isoformat(),
        zone=plan.zone,
        reason=asked.reason_text,
        mode=asked.mode.value,
        flags=_flags(asked) | ({"engine": engine} if engine else {}),
        plan_hash=plan.hash,
        resumed_from=asked.resume_of,
        flow_run_id=flow_run_id,
        owner=f"process {os.getpid()} on {socket.gethostname()}",
        requested_by="" if asked.part_of else _asked_by(),
        contacts=services.settings.mail_contacts,
        host=socket.gethostname(),
        code_version=services.code_version,
        started_at=utc_now(),
        planned=len(plan.items),
        notes=list(plan.notes),
        left_to_a_person=compress_dates(plan.left_to_a_person, join=".."),
        estimate=promised,
        links=links,
        form_url=_form_url(services, f"backfill/{plan.source}" if asked.part_of else ""),
        retry_command_template=(
            f"prefect deployment run 'backfill/{plan.source}' {_again(plan, asked)} "
            f"-p reason=errors {_WAITS} -p note='retry {{cause}} of {backfill_id}'"
        ),
        range_command=_all_of_it(plan, asked, backfill_id),
        cause_command_template=f"gapless retry-failed {plan.source} --run {backfill_id} --cause {{cause}}",
    )


def family_starting_facts(services: Services, asked: AskedFamily, plan: FamilyPlan, backfill_id: str) -> RunFacts:
    """What is known when a run of a family begins; its steps have facts of their own."""
    flow_run_id = str(flow_run.id or "")
    links = {}
    if services.settings.ui_url and flow_run_id:
        links["Prefect run"] = run_page(services.settings.ui_url, flow_run_id)
    links["Record"] = f"{services.store.root_uri}/{run_prefix(backfill_id)}"
    costs = [step.planned.estimate for step in plan.steps]
    zones = dict.fromkeys(step.planned.plan.zone for step in plan.steps if step.planned.plan.zone)
    flags = {name: str(value) for name in ("ignore_requires",) if (value := getattr(asked, name))}
    flags |= {name: ", ".join(value) for name in ("skip", "also") if (value := getattr(asked, name))}
    if asked.on_failure is OnFailure.STOP:
        flags["on_failure"] = asked.on_failure.value
    dates = f"-p start_date={plan.start_date} -p end_date={plan.end_date}"
    what = option("period", asked.period) if asked.period else dates
    for name in ("skip", "also"):
        if value := getattr(asked, name):
            what += f" {option(name, list(value))}"
    return RunFacts(
        backfill_id=backfill_id,
        source=asked.family,
        title=f"{asked.family}: {', '.join(plan.sources)}",
        start_date=plan.start_date.isoformat(),
        end_date=plan.end_date.isoformat(),
        zone=next(iter(zones)) if len(zones) == 1 else "UTC",
        reason=asked.reason_text,
        mode=asked.mode.value,
        flags=flags,
        resumed_from=asked.resume_of,
        flow_run_id=flow_run_id,
        owner=f"process {os.getpid()} on {socket.gethostname()}",
        requested_by=_asked_by(),
        contacts=services.settings.mail_contacts,
        host=socket.gethostname(),
        code_version=services.code_version,
        started_at=utc_now(),
        planned=sum(len(step.planned.plan.items) for step in plan.steps),
        notes=[f"{source} is left out: {why}" for source, why in plan.left_out.items()],
        estimate={
            "calls": float(sum(cost.calls for cost in costs)),
            "wall_s": round(sum(cost.realistic_s for cost in costs), 1),
            "cost_usd": sum(cost.cost_usd for cost in costs),
        }
        if all(cost.is_known for cost in costs)
        else {},
        links=links,
        form_url=_form_url(services),
        range_command=(
            f"prefect deployment run 'backfill/{asked.family}' {what} -p reason=errors {_WAITS} "
            f"-p note='retry of {backfill_id}'"
        ),
    )


def planned_facts(services: Services, step: Step, backfill_id: str, family_run: str) -> RunFacts:
    """What is known of a step of family run ``family_run`` that has not begun, for the mail if it never does."""
    plan, ledger = step.planned.plan, step.planned.ledger
    verdicts = {key: entry.verdict.value if (entry := ledger.get(key)) else "planned" for key in plan.keys}
    asked = step.asked.model_copy(update={"part_of": family_run})
    facts = starting_facts(services, plan, {}, backfill_id, asked)
    return replace(
        facts,
        flow_run_id="",
        owner="",
        started_at=None,
        notes=[],
        links={},
        calendar=verdicts,
        verdict_counts=dict(Counter(verdicts.values())),
    )


def _all_of_it(plan: Plan, asked: Asked, backfill_id: str) -> str:
    """The command for the whole range; "" for a run that was asked for a part of one."""
    if any((asked.dates, asked.exclude, asked.failed_of, asked.plan_of, asked.retry_failed)):
        return ""
    dates = f"-p start_date={plan.start_date} -p end_date={plan.end_date}"
    entities = option("entities", asked.entities) if asked.entities else ""
    what = " ".join(filter(None, (dates if plan.start_date != NO_DATE else "", entities)))
    note = f"-p note='retry {ALL_RETRYABLE} of {backfill_id}'"
    return f"prefect deployment run 'backfill/{plan.source}' {what}{_reviewed(asked)} -p reason=errors {_WAITS} {note}"


def _again(plan: Plan, asked: Asked) -> str:
    """Parameters with which the partitions in place of ``{ranges}`` are asked for again."""
    if plan.start_date == NO_DATE:
        # A season named 2024 alone would be read as a number.
        mark = "" if all(is_plain(item.partition.key) for item in plan.items) else '"'
        return f"-p entities='{mark}{{ranges}}{mark}'{_reviewed(asked)}"
    return f"-p start_date={plan.start_date} -p end_date={plan.end_date} -p dates='{{ranges}}'{_reviewed(asked)}"


def _reviewed(asked: Asked) -> str:
    return f" -p publish={asked.publish.value}" if asked.is_reviewed else ""


def _flags(asked: Asked) -> dict[str, str]:
    """What differs from an ordinary run, for the mail's audit rows."""
    flags = {}
    if asked.order is not Order.OLDEST_FIRST:
        flags["order"] = asked.order.value
    if asked.on_failure is OnFailure.STOP:
        flags["on_failure"] = asked.on_failure.value
    if asked.is_reviewed:
        flags["publish"] = asked.publish.value
    for name in (
        "retry_failed",
        "accept_shrink",
        "ignore_requires",
        "exclude",
        "failed_of",
        "plan_of",
        "max_calls",
        "max_cost_usd",
    ):
        if value := getattr(asked, name):
            flags[name] = str(value)
    return flags


def _form_url(services: Services, other: str = "") -> str:
    """Where a person runs this deployment again, or the one named ``other``, with parameters in the query.

    "" outside of a deployment.
    """
    if not services.settings.ui_url or not deployment.id:
        return ""
    found = deployment_id_of(other) if other else deployment.id
    return form_page(services.settings.ui_url, found) if found else ""


def _asked_by() -> str:
    """Who asked for the current flow run, by its ``by:`` tag."""
    if not flow_run.id:
        return ""
    person = next((tag.removeprefix(ASKED_BY) for tag in flow_run.tags or [] if tag.startswith(ASKED_BY)), "")
    return person or "not named (prefect deployment run --tag by:YOU)"
