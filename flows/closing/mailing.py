"""Between a run and its mail: who asked for the run, which dates a cause has, and what became of the mail."""

from __future__ import annotations

from prefect.runtime import deployment, flow_run

from alerting.advice import ALL_RETRYABLE, heals
from alerting.delivery import SendResult
from alerting.errors import ConfigurationError, PipelineError, TransientError, WrongUsage
from alerting.fingerprint import group_incidents
from alerting.instant import utc_now
from alerting.journal import IncidentJournal
from alerting.limiter import Limiter
from alerting.outbox import OutboxEntry
from alerting.refused_mail import Refusal, send_refusal
from alerting.run_facts import RunFacts
from flows.asked import Asked, AskedFamily
from flows.log import partition_logger
from flows.pages import run_page
from flows.parameters import PASTED_WAIT_S, Advanced, AdvancedFamily, grouped, option
from flows.wiring import Services, build_services

FOLLOWED = "followed"
"""Tag of a flow run that a command of ours follows to its end."""


def refuse_without_mail(services: Services) -> None:
    """Raises ``ConfigurationError`` when nobody could be told now how a run ends. Sends nothing."""
    try:
        services.alerts.preflight()
    except TransientError as error:
        raise ConfigurationError(
            f"no channel could report how the run ends: {error.message}. Nothing was done",
            stage="start",
            hint="check the mail server: gapless test-alert; or run without mail: export GAPLESS_CONSOLE_ONLY=true",
        ) from error


def tell_refused(asked: Asked | AskedFamily, backfill_id: str, error: PipelineError) -> None:
    """Mails that a run was refused before it began, unless somebody follows it at a terminal and reads it there.

    Who pasted a command of a mail, or set a schedule, waits for a summary that would never come.
    """
    if not deployment.id or FOLLOWED in (flow_run.tags or []):
        return
    try:
        services = build_services()
        links = {}
        if services.settings.ui_url:
            links["Prefect run"] = run_page(services.settings.ui_url, flow_run.id)
        name = _name_of(asked)
        facts = RunFacts(backfill_id=backfill_id, source=name, links=links)
        entry = OutboxEntry(backfill_id, source=name, mail_host=services.settings.mail_host, facts=facts.to_dict())
        place = f"{name} {asked.range_text.replace('..', '…')}"
        # What asks for the wrong thing is refused again, however often it is asked.
        is_wrong = isinstance(error, WrongUsage) or (isinstance(error, ConfigurationError) and error.stage == "plan")
        again = "" if is_wrong else _same_again(asked)
        send_refusal(services.channels, entry, Refusal(place, error, again), _limiter(services), utc_now())
    except PipelineError as problem:  # without a transport there is nobody to tell; the run's state says it
        partition_logger().error("nobody was told of the refusal: %s", problem)


def _limiter(services: Services) -> Limiter | None:
    """None where the settings name no store; that may be what the run was refused for."""
    try:
        return Limiter(services.store, utc_now)
    except PipelineError:
        return None


def _name_of(asked: Asked | AskedFamily) -> str:
    return asked.source if isinstance(asked, Asked) else asked.family


def _same_again(asked: Asked | AskedFamily) -> str:
    given = asked.model_dump(mode="json", exclude_defaults=True, exclude={"source", "family", "resume_of"})
    given |= {"reason": asked.reason.value, "wait_for_lease_s": max(asked.wait_for_lease_s, PASTED_WAIT_S)}
    group = Advanced if isinstance(asked, Asked) else AdvancedFamily
    said = " ".join(option(name, value) for name, value in grouped(given, group).items())
    return f"prefect deployment run 'backfill/{_name_of(asked)}' {said}"


def mail_trouble(result: SendResult | None) -> str:
    """What the run's state must say about its mail: "" when everybody has it.

    >>> mail_trouble(SendResult("sent", "bf-1", refused={"gone@example.org": "550 no such mailbox"}))
    'mail refused by gone@example.org: 550 no such mailbox'
    >>> mail_trouble(SendResult("sent", "bf-1", waiting=("a@example.org is tried again: 451 later",)))
    'mail: a@example.org is tried again: 451 later'
    >>> mail_trouble(SendResult("failed", "bf-1", errors=("smtp: 451 later",)))
    'mail not sent, it stays in the outbox and is tried again: smtp: 451 later'
    >>> mail_trouble(SendResult("sent", "bf-1", mail_object="alerts/mail-1.eml", cut={"smtp": "552 too big"}))
    'smtp has a smaller mail only, the whole one is kept at alerts/mail-1.eml: 552 too big'
    """
    if result is None:
        return ""
    if result.status == "failed":
        return f"mail not sent, it stays in the outbox and is tried again: {'; '.join(result.errors)}"
    has = (
        "will take no mail of this run, it" if result.status == "refused" else "has a smaller mail only, the whole one"
    )
    told = [f"{name} {has} is kept at {result.mail_object}: {answer}" for name, answer in result.cut.items()]
    told += [f"mail refused by {who}: {answer}" for who, answer in result.refused.items()]
    return "; ".join([*told, *(f"mail: {who}" for who in result.waiting)])


def keys_of_cause(services: Services, backfill_id: str, cause: str) -> list[str]:
    """Partitions of one cause (``C2``, or a fingerprint) of an ended backfill, as its mail numbered them; of all causes
    that is retryable for ``all-retryable``.

    Reads the journal. Raises ``ConfigurationError`` for an unknown cause, ``StateUnreadable``.
    """
    groups = group_incidents(IncidentJournal(services.store).read(backfill_id)).groups
    if cause == ALL_RETRYABLE:
        return sorted({key for group in groups if heals(group) for key in group.partitions})
    for group in groups:
        if cause in (group.cause_id, group.fingerprint):
            return sorted(group.partitions)
    known = ", ".join(group.cause_id for group in groups) or "none"
    raise ConfigurationError(
        f"backfill {backfill_id} has no cause {cause}; it has {known}. Nothing was done",
        stage="start",
        hint="the causes are in its mail, and in its incidents.ndjson",
    )
