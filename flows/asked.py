"""What a run was asked to do: the form, as one value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from alerting.errors import writable
from flows.calendar_dates import CalendarDate
from flows.parameters import (
    NO_DATE,
    PASTED_WAIT_S,
    AdvancedFamily,
    Canary,
    Concurrency,
    DeadlineHours,
    Engine,
    MaxCalls,
    MaxCost,
    Mode,
    OnFailure,
    Order,
    Parallel,
    Publish,
    Reason,
    WaitSeconds,
    flat,
    grouped,
)


def _flattened(given: Any) -> Any:
    return flat(given) if isinstance(given, Mapping) else given


def _date(given: Any) -> Any:
    return NO_DATE if given is None else given


def _value(given: Any) -> Any:
    return getattr(given, "value", given)


def _storable(note: str) -> str:
    """What a store, a database and a mail take, of a text that came from a command line or by an API.

    >>> _storable("why" + chr(0) + chr(0xD83D)), len(_storable("x" * 100_000))
    ('why \\\\ud83d', 2000)
    """
    return writable(note[:MAX_NOTE_CHARS].replace("\0", " "))[:MAX_NOTE_CHARS]


MAX_NOTE_CHARS = 2_000
Note = Annotated[str, AfterValidator(_storable)]


class Asked(BaseModel):
    """Every parameter of one run, in its group or not; the flow's docstring and `Advanced` say what each means."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    _flat = model_validator(mode="before")(_flattened)

    source: Annotated[str, BeforeValidator(_value)]
    start_date: Annotated[CalendarDate, BeforeValidator(_date)] = NO_DATE
    end_date: Annotated[CalendarDate, BeforeValidator(_date)] = NO_DATE
    entities: str = ""
    reason: Reason = Reason.OTHER
    note: Note = ""
    mode: Mode = Mode.INCREMENTAL
    publish: Publish = Publish.AT_ONCE
    order: Order = Order.OLDEST_FIRST
    on_failure: OnFailure = OnFailure.CONTINUE
    engine: Engine = Engine.INLINE
    parallel: Parallel = 0
    max_concurrency: Concurrency = 8
    dry_run: bool = False
    retry_failed: bool = False
    accept_shrink: bool = False
    ignore_requires: bool = False
    dates: str = ""
    exclude: str = ""
    failed_of: str = ""
    plan_of: str = ""
    resume_of: str = ""
    canary: Canary = 0
    breaker: bool = True
    max_calls: MaxCalls = 0
    max_cost_usd: MaxCost = 0.0
    deadline_h: DeadlineHours = 0.0
    wait_for_lease_s: WaitSeconds = 0.0
    part_of: Annotated[str, Field(description="Id of the family run that this is a step of; set by that run.")] = ""

    @property
    def range_text(self) -> str:
        """What was asked for, in one line: first and last date, or the entities, or both."""
        dates = f"{self.start_date}..{self.end_date}" if self.start_date != NO_DATE else ""
        return " ".join(filter(None, (self.entities, dates)))

    @property
    def reason_text(self) -> str:
        """Reason and note, as mails and records show them."""
        return f"{self.reason.value}: {self.note}" if self.note else self.reason.value

    @property
    def accept_command(self) -> str:
        """The command that loads what came with fewer rows than before, in the range of this run."""
        dates = f"{self.start_date} {self.end_date}" if self.start_date != NO_DATE else ""
        entities = f"--entities '{self.entities}'" if self.entities else ""
        what = " ".join(filter(None, (dates, entities)))
        return f"gapless run {self.source} {what} --accept-shrink --reason WHY"

    @property
    def is_reviewed(self) -> bool:
        """Whether its rows wait beside the tables until a person publishes them."""
        return self.publish is Publish.AFTER_APPROVAL

    @property
    def overrules(self) -> bool:
        """Whether a person asks for what somebody did not approve, too: once more, or as it is."""
        return self.mode is Mode.FULL or self.accept_shrink

    @property
    def concurrency(self) -> int:
        """Dates in flight at once."""
        return 1 if self.order is Order.SEQUENTIAL else self.max_concurrency

    def given(self) -> dict[str, Any]:
        """JSON-ready parameters of the form; what is at its default is left out: forms differ in what they ask."""
        return grouped(self._given())

    def _given(self) -> dict[str, Any]:
        return {**self.model_dump(mode="json", exclude_defaults=True, exclude={"part_of"}), "reason": self.reason.value}

    def resumed(self, backfill_id: str) -> dict[str, Any]:
        """The same for a run that goes on where run ``backfill_id`` of these parameters stopped.

        It begins by itself, so that nobody is there to ask again where the daily run is at work just then: it waits.
        """
        given = self.model_copy(update=_waiting(self.wait_for_lease_s))._given()
        given["resume_of"] = self.resume_of or backfill_id
        if self.retry_failed or self.failed_of:
            # What had failed is paused or untouched by now, so it is named by the plan and not by its verdict.
            given = {name: value for name, value in given.items() if name not in ("retry_failed", "failed_of")}
            given["plan_of"] = backfill_id
        return grouped(given)


class AskedFamily(BaseModel):
    """Every parameter of a run of a family of sources, in its group or not; see the flow and `AdvancedFamily`."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    _flat = model_validator(mode="before")(_flattened)

    family: Annotated[str, BeforeValidator(_value)]
    period: str = ""
    start_date: str = ""
    end_date: str = ""
    reason: Reason = Reason.OTHER
    note: Note = ""
    mode: Mode = Mode.INCREMENTAL
    on_failure: OnFailure = OnFailure.CONTINUE
    skip: tuple[Annotated[str, BeforeValidator(_value)], ...] = ()
    also: tuple[Annotated[str, BeforeValidator(_value)], ...] = ()
    max_concurrency: int = 8
    dry_run: bool = False
    ignore_requires: bool = False
    deadline_h: float = 0.0
    wait_for_lease_s: float = 0.0
    resume_of: str = ""

    @property
    def range_text(self) -> str:
        """What was asked for, in one line."""
        return self.period or f"{self.start_date}..{self.end_date}"

    @property
    def reason_text(self) -> str:
        """Reason and note, as mails and records show them."""
        return f"{self.reason.value}: {self.note}" if self.note else self.reason.value

    def given(self) -> dict[str, Any]:
        """JSON-ready parameters of the form, those at their default left out."""
        given = {"reason": self.reason.value, **self.model_dump(mode="json", exclude_defaults=True)}
        return grouped(given, AdvancedFamily)

    def resumed(self, backfill_id: str) -> dict[str, Any]:
        """The same for a run that goes on where run ``backfill_id`` of these parameters stopped; it waits its turn."""
        update = {"resume_of": self.resume_of or backfill_id, **_waiting(self.wait_for_lease_s)}
        return self.model_copy(update=update).given()


def _waiting(asked_s: float) -> dict[str, float]:
    return {"wait_for_lease_s": max(asked_s, PASTED_WAIT_S)}
