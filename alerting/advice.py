"""What a person should do about a class of errors, and the command that does the rest. Pure."""

from __future__ import annotations

import json
import shlex
import string
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from urllib.parse import quote

from alerting.fingerprint import IncidentGroup
from alerting.incident import Incident
from alerting.ranges import compressed_items, expand_dates, unit_name
from alerting.redaction import redact
from alerting.run_facts import GOOD_VERDICTS, RunFacts
from alerting.wording import about, cut_items, moment, plural

_ADVICE = {
    "AuthenticationError": "Renew or unlock the key first; until then every call is refused.",
    "BudgetExhausted": "Wait for the budget's reset, or raise the budget.",
    "BlockedBySource": "The source blocks us. Wait out the cooldown; do not retry faster.",
    "ConfigurationError": "Fix the setting or parameter that the message names.",
    "SourceContractError": "The response breaks the contract. Fix the scraper or processor, or exclude these; "
    "landed pages are kept.",
    "LoadRejected": "BigQuery refused the rows. Fix the row model; a retry reloads landed pages without calls.",
    "LandingDamaged": "Landed payloads were changed or removed. See who writes to the bucket, then fetch these again.",
    "SiteClosed": "Open the site in a browser; fix or remove it in the settings. The others were read.",
    "WindowLost": "Look at the log of the window's flow run and the worker's memory; the source is not to blame.",
    "LeaseHeld": "Another run holds this source. Wait for it.",
    "StateUnreadable": "Restore the object that the message names.",
    "RowRejected": "Look at the rejected rows; they are kept beside the raw pages.",
    "Truncated": "The source caps its results. Request smaller pieces.",
    "CoverageLow": "Fewer rows than announced. Retry.",
    "Shrunk": "Fewer rows than before; the old ones are kept. Retry.",
    "NothingPublished": "No data, and no proof that there is none. Retry later.",
    "NotSettled": "The source still changes these. Retry when they are settled.",
    "PartitionUnavailable": "The source will never have these; nothing to do.",
    "RateLimited": "The source asked for a slower pace. Retry.",
    "SourceUnavailable": "The source was down, or its response incomplete. Retry.",
    "LandingUnavailable": "Object storage was down. Retry.",
    "WarehouseBusy": "BigQuery was busy. Retry; landed pages are not fetched again.",
    "DiskFull": "Free some space on the worker's disk. Retry; landed pages are not fetched again.",
}
_UNKNOWN = "Unknown error, probably ours. Read the traceback before you retry."
_TYPED = ("gapless ", "prefect ", "python ", "export ", "http", "bq ", "gcloud ", "make ", "docker ", "pip ")
_LANDED = ("landed", "loaded")
_FAILED = ("failed_retryable", "failed_permanent", "truncated", "blocked")
MAX_PASTED = 700
MAX_URL = 1_800
"""Longer ones are cut or refused by some mail programs and proxies."""
ALL_RETRYABLE = "all-retryable"
"""In place of a cause: every partition of the retryable causes."""


@dataclass(frozen=True, slots=True)
class Step:
    """One command to copy, for ``units`` partitions.

    ``cause_id`` when it retries one cause; ``instead_of`` names causes whose own command has no use beside this one.
    ``works_from`` says until when it, or some of its partitions, are refused; ``sooner`` is typed to have them before.
    """

    text: str
    units: int
    unit: str
    estimate: str
    why: str
    cause_id: str = ""
    instead_of: tuple[str, ...] = ()
    works_from: str = ""
    sooner: str = ""

    @property
    def size_text(self) -> str:
        """``37 days, 37 calls, about 2 minutes``."""
        return ", ".join(part for part in (f"{self.units:,} {self.unit}" if self.units else "", self.estimate) if part)


@dataclass(frozen=True, slots=True)
class Action:
    """A link on the first screen of a mail: what a person without a shell can do about it."""

    label: str
    url: str


def actions_of(facts: RunFacts, steps: Sequence[Step]) -> tuple[Action, ...]:
    """The run's page, a form in which the retry is filled in already, and the calendar of the source."""
    found = (
        Action("Open run", facts.links.get("Prefect run", "")),
        Action("Retry in the form", _form_of(facts, steps)),
        Action("Coverage", facts.links.get("Coverage", "")),
    )
    return tuple(replace(one, url=redact(one.url)) for one in found if one.url.startswith(("http://", "https://")))


def _form_of(facts: RunFacts, steps: Sequence[Step]) -> str:
    """The link to the form with the parameters of the first step, or with those of all that the run left undone."""
    if not facts.form_url or not steps:
        return ""
    given = _parameters(steps[0].text)
    if given is not None:
        url = _filled(facts, given)
        if len(url) <= MAX_URL:
            return url
    if not facts.start_date:
        return ""
    dates = {"start_date": facts.start_date, "end_date": facts.end_date}
    return _filled(facts, {**dates, "reason": "errors", "advanced": {"failed_of": facts.backfill_id}})


def _filled(facts: RunFacts, parameters: dict[str, object]) -> str:
    data = redact(json.dumps({"source": facts.source, **parameters}, separators=(",", ":")))
    return f"{facts.form_url}?parameters={quote(data, safe='')}"


def _parameters(command: str) -> dict[str, object] | None:
    r"""What ``prefect deployment run ... -p name=value`` asks for; None for any other command.

    >>> _parameters("prefect deployment run 'backfill/nba' -p reason=errors -p wait_for_lease_s=60")
    {'reason': 'errors', 'wait_for_lease_s': 60}
    >>> _parameters("prefect deployment run 'backfill/nba' -p advanced='{\"max_calls\": 5}' -p period='\"2024\"'")
    {'advanced': {'max_calls': 5}, 'period': '2024'}
    """
    words = shlex.split(command)
    if words[:3] != ["prefect", "deployment", "run"]:
        return None
    found: dict[str, object] = {}
    for word in (value for mark, value in pairwise(words) if mark == "-p"):
        name, _, value = word.partition("=")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def advice_of(incident: Incident) -> str:
    """The incident's own hint, else what its class means."""
    if hint := incident.hint:
        return hint if hint.startswith(_TYPED) else hint[:1].upper() + hint[1:]
    if incident.error_type in _ADVICE:
        return _ADVICE[incident.error_type]
    return "Retry." if incident.retryable else _UNKNOWN


def is_command(text: str) -> bool:
    """Whether a piece of advice is one command and nothing else: to be copied as it is.

    >>> is_command("bq show -j gapless-load-1"), is_command("gcloud auth login, or grant roles/x"), is_command("Wait.")
    (True, False, False)
    """
    return text.startswith(_TYPED) and not any(mark in text for mark in (", ", ". ", "; "))


def advice_for(group: IncidentGroup) -> str:
    """``advice_of`` the group's sample."""
    return advice_of(group.sample)


def retry_step(facts: RunFacts, group: IncidentGroup) -> Step | None:
    """The command that retries exactly the partitions of one cause; None without a template or partitions."""
    if not group.partitions or not (facts.retry_command_template or facts.cause_command_template):
        return None
    text = _fill(facts, group.partitions, cause=group.cause_id, fingerprint=group.fingerprint)
    step = Step(
        text,
        len(group.partitions),
        unit_name(group.partitions, len(group.partitions)),
        _cost(facts, group.partitions),
        _why_retry(group),
        group.cause_id,
    )
    return _held_back(facts, group.partitions, step)


def go_on_step(facts: RunFacts, groups: Sequence[IncidentGroup], failed: set[str]) -> Step | None:
    """One command for all that a run can settle: retryable causes, and whatever was not started or finished.

    It asks for the whole range where that is what the run was asked for, as what is done is skipped; dates that need
    a repair first are excluded.
    """
    healing = [group for group in groups if heals(group) and group.partitions]
    rest = missing_of(facts) - failed - set(expand_dates(facts.left_to_a_person))
    partitions = rest.union(*(group.partitions for group in healing))
    if not partitions or not (facts.retry_command_template or facts.cause_command_template):
        return None
    repairs = ",".join(compressed_items((failed & (missing_of(facts) or failed)) - partitions, join=".."))
    if facts.range_command and len(repairs) <= MAX_PASTED:
        text = facts.range_command + (f" -p exclude='{repairs}'" if repairs else "")
    else:
        # Ranges that are too long to paste have a name; what no cause names always carries its ranges.
        template = replace(facts, cause_command_template="") if rest and facts.retry_command_template else facts
        text = _fill(template, partitions, cause=ALL_RETRYABLE, fingerprint=ALL_RETRYABLE)
    names = cut_items([group.cause_id for group in healing], 12)
    why = f"Every retryable cause: {names}." if healing else "What was not started."
    if healing and rest:
        why = f"Every retryable cause: {names}, and whatever was not started or finished."
    keyless = tuple(group.cause_id for group in healing if group.sample.error_type == _DEAD_KEY)
    if keyless:
        why = f"Renew or unlock the key first, then this. {why}"
    if repairs and facts.range_command and text.startswith(facts.range_command):
        why += " Excludes what needs a fix first."
    if any(group.sample.error_type == "BudgetExhausted" for group in healing):
        why += " While the budget is used up, it pauses again."
    units = len(partitions)
    landed = sum(facts.calendar.get(key) in ("landed", "loaded") for key in rest)
    if landed:
        why += f" {landed:,} are landed and cost no call."
    step = Step(text, units, unit_name(partitions, units), _cost(facts, partitions), why, instead_of=keyless)
    return _held_back(facts, partitions, step)


_DEAD_KEY = "AuthenticationError"
_HEALS_AFTER = {
    "BudgetExhausted": "retryable when the budget resets",
    "BlockedBySource": "retryable after the cooldown",
    _DEAD_KEY: "retryable when the key works",
}


def heals(group: IncidentGroup) -> bool:
    """Whether another run alone may be enough, now or after a wait or a new key that the mail names."""
    return group.sample.retryable or group.sample.error_type in _HEALS_AFTER


def state_of(sample: Incident) -> str:
    """Whether a cause is retryable, and when."""
    return "retryable" if sample.retryable else _HEALS_AFTER.get(sample.error_type, "needs a fix first")


def missing_of(facts: RunFacts) -> set[str]:
    """Partitions without a good verdict."""
    return {key for key, verdict in facts.calendar.items() if verdict not in GOOD_VERDICTS}


def _why_retry(group: IncidentGroup) -> str:
    advice = advice_for(group)
    if heals(group):
        return advice
    # The command itself stands with its cause, where it can be copied.
    return "Fix first, then retry." if is_command(advice) else f"Fix first, then retry. {advice}"


def _cost(facts: RunFacts, partitions: Collection[str]) -> str:
    """Calls and time of a retry: what is landed is loaded without a call."""
    landed = sum(facts.calendar.get(key) in _LANDED for key in partitions)
    if landed and landed == len(partitions):
        return "landed, so no calls"
    return estimate(facts, len(partitions) - landed)


def rest_step(facts: RunFacts, failed: set[str]) -> Step | None:
    """One command for what is missing without an error: not attempted, or landed and not yet loaded."""
    missing = missing_of(facts) - failed - set(expand_dates(facts.left_to_a_person))
    if not missing or not facts.retry_command_template:
        return None
    # No cause names these: the command always carries its ranges.
    text = _fill(replace(facts, cause_command_template=""), missing, cause="the rest", fingerprint="")
    landed = sum(facts.calendar[key] in _LANDED for key in missing)
    why = "What was not started."
    if landed:
        why = f"What was not finished; {landed:,} are landed and cost no call."
    step = Step(text, len(missing), unit_name(missing, len(missing)), estimate(facts, len(missing) - landed), why)
    return _held_back(facts, missing, step)


def _held_back(facts: RunFacts, partitions: set[str], step: Step) -> Step:
    """The step with the instant from which on it does what it says, where a block keeps some ``partitions`` back."""
    held = [(one, partitions & set(expand_dates(one.ranges))) for one in facts.waits]
    held = [(one, keys) for one, keys in held if keys]
    if not held or facts.commands_work_from is not None:
        return step
    last = max((one for one, _ in held), key=lambda one: one.until)
    keys = set().union(*(keys for _, keys in held))
    which = "Works" if keys == partitions else f"For {len(keys):,} of them it works"
    own = f"; flow run {last.resumes_as} does them then" if last.resumes_as else ""
    sooner = " && ".join(dict.fromkeys(one.sooner for one, _ in held if one.sooner))
    works_from = f"{which} from {moment(last.until, facts.zone)} on{own}"
    return replace(step, works_from=works_from, sooner=redact(sooner))


def _fill(facts: RunFacts, partitions: set[str], *, cause: str, fingerprint: str) -> str:
    ranges = ",".join(compressed_items(partitions, join=".."))
    template = facts.retry_command_template
    if not template or (len(ranges) > MAX_PASTED and facts.cause_command_template):
        template = facts.cause_command_template
    values = {
        "source": facts.source,
        "ranges": ranges,
        "cause": cause,
        "fingerprint": fingerprint,
        "backfill_id": facts.backfill_id,
        "start": facts.start_date,
        "end": facts.end_date,
        "units": str(len(partitions)),
    }
    # Only the names above are replaced: a template may hold JSON with braces of its own.
    for _, name, _, _ in _fields(template):
        if name in values:
            template = template.replace(f"{{{name}}}", values[name])
    return template


def _fields(template: str) -> Sequence[tuple[str, str, str, str]]:
    try:
        return [(a, b or "", c or "", d or "") for a, b, c, d in string.Formatter().parse(template)]
    except ValueError:
        return [
            ("", name, "", "")
            for name in ("source", "ranges", "cause", "fingerprint", "backfill_id", "start", "end", "units")
        ]


def estimate(facts: RunFacts, units: int) -> str:
    """Calls and time for ``units`` more partitions, at this run's own pace; "" when it had none.

    Calls at which a try failed say nothing of the next run, nor do the partitions that kept failing, those that were
    done before, or those that were loaded without a call.
    """
    counts = facts.verdict_counts if facts.fetch_counts is None else facts.fetch_counts
    worked_on = attempted(facts.verdict_counts if facts.work_counts is None else facts.work_counts)
    if not worked_on or not facts.calls or not units:
        return ""
    needed, answered = facts.calls, attempted(counts)
    if facts.calls_failed:
        needed -= facts.calls_failed
        answered -= sum(counts.get(verdict, 0) for verdict in _FAILED)
    calls = max(round(needed / answered * units) if answered > 0 else 0, units)
    parts = [plural(calls, "call")]
    if facts.wall_s:
        parts.append(about(facts.wall_s / worked_on * units))
    if facts.calls_left is not None:
        parts.append("no extra quota day" if calls <= facts.calls_left else "more than the quota left")
    return ", ".join(parts)


def attempted(counts: Mapping[str, int]) -> int:
    """Partitions of ``counts`` (by verdict) that were really begun."""
    return sum(count for verdict, count in counts.items() if verdict not in ("planned", "paused", "unavailable"))
