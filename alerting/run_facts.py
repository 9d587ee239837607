"""What a run knows about itself for its mail: kept in the outbox from the start, so that any process can write it."""

from __future__ import annotations

import datetime as dt
from dataclasses import field, fields, replace
from typing import Any, Literal

from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

from alerting.ranges import compress_dates, expand_dates
from alerting.redaction import redact_value

Outcome = Literal["", "OK", "OK-WITH-GAPS", "FAILED", "STOPPED", "CANCELLED"]

GOOD_VERDICTS = ("verified", "empty_ok", "unavailable")
"""Partition verdicts after which nothing is left to do (design, section 3)."""

CHANGES = ("created", "updated", "unchanged", "removed")


@dataclass
class TableFacts:
    """One table: rows the source announced, rows landed, loaded, and recounted; ``mismatching`` partition keys.
    ``repeats`` of the landed rows are identical ones that were rightly not loaded. ``changes``: rows that this run
    created, updated, removed, or found unchanged; ``removed_on`` partition keys."""

    name: str
    expected: int | None = None
    landed: int | None = None
    loaded: int | None = None
    verified: int | None = None
    repeats: int = 0
    mismatching: list[str] = field(default_factory=list)
    changes: dict[str, int] = field(default_factory=dict)
    removed_on: list[str] = field(default_factory=list)

    @property
    def changed(self) -> str:
        """``changes`` in words; "" when no row was loaded or removed."""
        return ", ".join(f"{self.changes[what]:,} {what}" for what in CHANGES if self.changes.get(what))


@dataclass
class Command:
    """One line to copy. ``units`` is how many partitions it touches, ``estimate`` free text, ``why`` one sentence."""

    text: str
    units: int | None = None
    estimate: str = ""
    why: str = ""


@dataclass
class Wait:
    """Partitions, as ``ranges``, that nobody may ask for before ``until`` (aware), but after the command ``sooner``.

    ``resumes_as`` is the flow run that asks for them then by itself, "" where there is none.
    """

    ranges: str
    until: dt.datetime
    sooner: str = ""
    resumes_as: str = ""


@dataclass
class RunFacts:
    """Everything optional: a killed run knows little, and its mail must still be written.

    ``start_date`` and ``end_date`` are ISO, inclusive, in ``zone``. ``calendar`` maps partition key to verdict.
    ``verdict_counts`` counts partitions by verdict over the whole plan; ``work_counts`` those of them that the run did
    something about, ``fetch_counts`` those that cost calls (None: not known). ``not_renewed`` are those without a good
    verdict whose verified rows of before are in the tables. ``estimate`` holds what the plan promised
    under the names of the fields here (``calls``, ``wall_s``, ``bytes_landed``, ``bigquery_jobs``, ``bigquery_bytes``,
    ``cost_usd``): BigQuery's by dry run, of the rows that were there before; the field of that name is what was billed.
    ``units`` is what the calls cost in the source's own ``cost_unit`` (credit), which budgets count then; "" is calls.
    ``cost_usd_by`` is that money by what it was paid for.
    ``items`` is how many items other sources ``expected`` of the partitions (games of a schedule), and how many of them
    were ``found``; empty where none says so.
    ``warnings`` are doubts about rows that are loaded, shown before everything else.
    ``retry_command_template`` and ``cause_command_template`` may use ``{source} {ranges} {cause} {fingerprint}
    {backfill_id} {start} {end} {units}``; the second one serves causes whose ranges are too long to paste.
    ``range_command`` does whatever is missing of all that the run was asked for.
    Until ``commands_work_from`` (aware, None: at once) every such command is refused, but after
    ``command_to_begin_sooner``; ``waits`` says the same of some partitions. No command takes up those of the ranges
    ``left_to_a_person``, who decides about them or has rejected them. At ``resumes_at`` (aware, None: never) the run
    goes on by itself, as the flow run named ``resumes_as``. ``flow_run_id`` is the run's own at Prefect,
    ``form_url`` its deployment's form, which takes parameters in ``?parameters=``. Of ``links`` the mail's first screen
    shows "Prefect run" and "Coverage".
    """

    backfill_id: str = ""
    attempt: int = 1
    source: str = ""
    title: str = ""
    start_date: str = ""
    end_date: str = ""
    zone: str = "UTC"
    reason: str = ""
    mode: str = ""
    owner: str = ""
    requested_by: str = ""
    ticket: str = ""
    code_version: str = ""
    plan_hash: str = ""
    resumed_from: str = ""
    resumes_at: dt.datetime | None = None
    resumes_as: str = ""
    flow_run_id: str = ""
    host: str = ""
    flags: dict[str, str] = field(default_factory=dict)
    started_at: dt.datetime | None = None
    finished_at: dt.datetime | None = None
    outcome: Outcome = ""
    verdict: str = ""
    planned: int | None = None
    verdict_counts: dict[str, int] = field(default_factory=dict)
    not_renewed: int = 0
    work_counts: dict[str, int] | None = None
    fetch_counts: dict[str, int] | None = None
    calls: int | None = None
    calls_failed: int | None = None
    units: int | None = None
    cost_unit: str = ""
    calls_budget: int | None = None
    calls_left: int | None = None
    budget_resets_at: dt.datetime | None = None
    account: str = ""
    bytes_landed: int | None = None
    bigquery_jobs: int | None = None
    bigquery_bytes: int | None = None
    cost_usd: float | None = None
    cost_usd_by: dict[str, float] = field(default_factory=dict)
    wall_s: float | None = None
    waited_for_limits_s: float | None = None
    slowest_step: str = ""
    estimate: dict[str, float] = field(default_factory=dict)
    tables: list[TableFacts] = field(default_factory=list)
    items: dict[str, int] = field(default_factory=dict)
    calendar: dict[str, str] = field(default_factory=dict)
    provisional: dict[str, str] = field(default_factory=dict)
    schema_drift: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    previous_run: dict[str, Any] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    form_url: str = ""
    contacts: dict[str, str] = field(default_factory=dict)
    commands: list[Command] = field(default_factory=list)
    commands_work_from: dt.datetime | None = None
    command_to_begin_sooner: str = ""
    waits: list[Wait] = field(default_factory=list)
    left_to_a_person: str = ""
    retry_command_template: str = ""
    cause_command_template: str = ""
    range_command: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; the calendar becomes verdict -> compressed ranges, a hundredth of its size."""
        data: dict[str, Any] = _ADAPTER.dump_python(self, mode="json")
        by_verdict: dict[str, list[str]] = {}
        for key, verdict in self.calendar.items():
            by_verdict.setdefault(verdict, []).append(key)
        data["calendar"] = {verdict: compress_dates(keys) for verdict, keys in by_verdict.items()}
        return data

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> RunFacts:
        """The inverse of ``to_dict``. Raises ``ValueError`` when a field has the wrong type."""
        ranges: dict[str, str] = data.get("calendar") or {}
        calendar = {key: verdict for verdict, text in ranges.items() for key in expand_dates(text)}
        return _ADAPTER.validate_python({**data, "calendar": calendar})

    def redacted(self) -> RunFacts:
        """A copy in which no text holds a secret."""
        return RunFacts.from_dict(redact_value(self.to_dict()))

    def merged(self, later: RunFacts) -> RunFacts:
        """``later`` wins where it differs from the defaults; what only this one knows stays."""
        said = {one.name: getattr(later, one.name) for one in fields(RunFacts)}
        return replace(self, **{name: value for name, value in said.items() if value != getattr(_UNSAID, name)})


_ADAPTER: TypeAdapter[RunFacts] = TypeAdapter(RunFacts)
_UNSAID = RunFacts()
