"""What a person asks of a backfill: the parameters of the flow, as one value. Enums become dropdowns in the UI."""

from __future__ import annotations

import datetime as dt
import json
import re
import shlex
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema


class Mode(StrEnum):
    """How much is done again.

    ``incremental``: what is missing or failed at any level (fetched, loaded, verified), by the cheapest path.
    ``full``: everything is fetched again. What came unchanged is recounted and loaded only if its rows are not right;
    what changed is checked, staged and swapped. Old rows stay where new ones are not good.
    ``reprocess``: landed payloads are read and loaded again, without a call to the source.
    ``validate``: the tables are recounted; nothing is fetched and no table is written.
    """

    INCREMENTAL = "incremental"
    FULL = "full"
    REPROCESS = "reprocess"
    VALIDATE = "validate"

    @property
    def may_fetch(self) -> bool:
        """Whether calls to the source are allowed at all."""
        return self in (Mode.INCREMENTAL, Mode.FULL)


class Reason(StrEnum):
    """Why a backfill is run; free text goes into the note."""

    NEVER_COLLECTED = "never_collected"
    NOT_PROCESSED = "not_processed"
    ERRORS = "errors"
    STALE = "stale"
    PARTIAL_LOSS = "partial_loss"
    COMPLETE_LOSS = "complete_loss"
    CORRUPTED = "corrupted"
    SCHEMA_CHANGE = "schema_change"
    VALIDATION_FAILED = "validation_failed"
    GAP_REPAIR = "gap_repair"
    TEST = "test"
    OTHER = "other"


class Order(StrEnum):
    """In which order dates are begun. ``sequential`` is oldest first, and one at a time."""

    OLDEST_FIRST = "oldest_first"
    NEWEST_FIRST = "newest_first"
    SEQUENTIAL = "sequential"


class Engine(StrEnum):
    """Where dates are fetched: in this process, or in windows spread over the workers of the pool; auto chooses."""

    INLINE = "inline"
    DISTRIBUTED = "distributed"
    AUTO = "auto"


class OnFailure(StrEnum):
    """Whether a failed date ends the run; ``stop`` leaves the dates not yet begun pending."""

    CONTINUE = "continue"
    STOP = "stop"


class Publish(StrEnum):
    """When what was loaded comes into the tables.

    ``at_once``: when it is checked. ``after_approval``: it is loaded and recounted beside them, and what it would
    change is mailed; a person publishes or rejects it.
    """

    AT_ONCE = "at_once"
    AFTER_APPROVAL = "after_approval"


ASKED_BY = "by:"
"""Begins the tag of a flow run that names who asked for it: ``prefect deployment run ... --tag by:maria``."""
PASTED_WAIT_S = 6 * 3600
"""How long a run that somebody pasted out of a mail waits for the source's lease, in seconds."""

# Prefect reads escapes in any other text, or refuses it.
_PLAIN = re.compile(r"[\w .,:;@~/()'+-]+")
RUN_ID = r"^(bf-[a-z0-9_-]+)?$"


def field(title: str, **rules: Any) -> Any:
    """A parameter's field in the form: ``title`` has its unit, ``rules`` are what the browser checks before it asks.

    Prefect loses ``title=`` and ``description=`` of a parameter's own ``Field`` (measured with 3.8.8); descriptions
    come from the docstring.
    """
    return Field(json_schema_extra={"title": title}, **rules)


def no_bool(given: Any) -> Any:
    """``true`` is no number of anything. Raises ``ValueError``.

    >>> no_bool(5), no_bool("5")
    (5, '5')
    """
    if isinstance(given, bool):
        raise ValueError("true and false are not numbers")
    return given


# 0 has one meaning in every form: the default, which is the setting where there is one. A title begins with the name
# that commands use.
_NUMBER = BeforeValidator(no_bool)
Parallel = Annotated[int, field("parallel (parts; 0: default)", ge=0, le=64), _NUMBER]
Canary = Annotated[int, field("canary (first dates; 0: default, -1: none)", ge=-1, le=36_525), _NUMBER]
MaxCalls = Annotated[int, field("max_calls (calls or credits; 0: default)", ge=0, le=10**9), _NUMBER]
MaxCost = Annotated[float, field("max_cost_usd (US dollars; 0: default)", ge=0, le=10**9), _NUMBER]
DeadlineHours = Annotated[float, field("deadline_h (hours; 0: default)", ge=0, le=8_784), _NUMBER]
WaitSeconds = Annotated[float, field("wait_for_lease_s (seconds; 0: default, refuse)", ge=0, le=31_622_400), _NUMBER]
Concurrency = Annotated[int, field("max_concurrency (at once, 1 to 64)", ge=1, le=64), _NUMBER]
# A year of days back is a backfill, and belongs there.
DaysBack = Annotated[int, field("days_back (days, 1 to 60)", ge=1, le=60), _NUMBER]
EarlierRun = Annotated[str, field("failed_of (bf-...)", pattern=RUN_ID)]
PlannedRun = Annotated[str, field("plan_of (bf-...)", pattern=RUN_ID)]
Period = Annotated[str, field("period (2024-25, 2024 or 2024-03)", pattern=r"^(\d{4}(-\d\d)?)?$")]
# Text, because a date that may be left out is shown as a choice of types in place of the calendar.
DateOrNone = Annotated[str, Field(json_schema_extra={"format": "date"})]
# Not in the form: a run that resumes automatically sets it.
PausedRun = SkipJsonSchema[Annotated[str, Field(pattern=RUN_ID)]]
ADVANCED = "advanced"
"""The parameter that groups what is rarely set."""


def _as_group(schema: dict[str, Any]) -> None:
    """A group of a form: the server lets through what the form hides, and the run refuses names that nobody knows."""
    schema.pop("additionalProperties", None)


# The title of a field is the name that commands use, unless it has one of its own.
_GROUP = ConfigDict(
    frozen=True, extra="forbid", json_schema_extra=_as_group, field_title_generator=lambda name, _: name
)


class Advanced(BaseModel):
    """What is rarely set: where dates are fetched, limits, and earlier runs. Commands of `gapless` name each alone."""

    model_config = _GROUP

    on_failure: OnFailure = Field(
        OnFailure.CONTINUE, description="continue with the others, or stop and leave them pending."
    )
    engine: Engine = Field(
        Engine.INLINE,
        description=(
            "inline: fetch in this process; distributed: spread windows over the pool's workers; auto: whichever is "
            "faster by plan, rate and workers."
        ),
    )
    parallel: Parallel = Field(
        0,
        description=(
            "Number of parallel windows (not for engine inline), as far as workers and max_concurrency allow. "
            "0: chosen by auto, or the settings (4 at once, at most 1,000 dates each)."
        ),
    )
    canary: Canary = Field(
        0,
        description=("How many run first, as a test, and must succeed. 0: 3 when more than 100 are fetched; -1: none."),
    )
    breaker: bool = Field(
        True, description="Stop early at red flags (20 % failing, the same error everywhere ...). Off: try all."
    )
    max_calls: MaxCalls = Field(
        0,
        description="Maximum calls (or credits) of this run; 0: only the source's limits.",
    )
    max_cost_usd: MaxCost = Field(
        0.0,
        description="Maximum cost of this run in US dollars (calls, storage operations, BigQuery); 0: the setting.",
    )
    deadline_h: DeadlineHours = Field(0.0, description="Hours after which nothing more starts; 0: the setting.")
    ignore_requires: bool = Field(
        False,
        description=(
            "Also run dates whose required source is not done, such as results before their cards. The mail names them."
        ),
    )
    failed_of: EarlierRun = Field(
        "", description="Only what this earlier backfill (bf-...) planned and has not finished."
    )
    plan_of: PlannedRun = Field("", description="Only what this earlier backfill's plan included and still needs.")
    resume_of: PausedRun = ""


class AdvancedFamily(BaseModel):
    """What is rarely set for a family. Commands of `gapless` name each alone."""

    model_config = _GROUP

    deadline_h: DeadlineHours = Field(
        0.0,
        description="Hours after which no source starts; 0: the settings of each.",
    )
    ignore_requires: bool = Field(
        False, description="Also run dates whose required source is not done. The mail names them."
    )
    resume_of: PausedRun = ""


def flat(given: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a flow, each by its own name.

    >>> flat({"source": "nba", "advanced": {"max_calls": 5}})
    {'source': 'nba', 'max_calls': 5}
    """
    group = given.get(ADVANCED) or {}
    rare = dict(group) if isinstance(group, Mapping | BaseModel) else {ADVANCED: group}
    return {**{name: value for name, value in given.items() if name != ADVANCED}, **rare}


def grouped(given: Mapping[str, Any], group: type[BaseModel] = Advanced) -> dict[str, Any]:
    """The parameters as the form has them: what is rarely set lies in its group.

    >>> grouped({"source": "nba", "max_calls": 5})
    {'source': 'nba', 'advanced': {'max_calls': 5}}
    """
    rare = {name: value for name, value in given.items() if name in group.model_fields}
    rest = {name: value for name, value in given.items() if name not in rare}
    return {**rest, **({ADVANCED: rare} if rare else {})}


def option(name: str, value: Any) -> str:
    """``-p name=value`` as ``prefect deployment run`` reads it back: as JSON, or as plain text where it is none.

    >>> option("dates", "2025-01-03"), option("max_calls", 5), option("dry_run", True)
    ('-p dates=2025-01-03', '-p max_calls=5', '-p dry_run=true')
    >>> print(option("period", "2024"), option("skip", ["nba_odds"]))
    -p period='"2024"' -p skip='["nba_odds"]'
    """
    text = value if isinstance(value, str) and is_plain(value) else json.dumps(value, ensure_ascii=False)
    return f"-p {name}={shlex.quote(text)}"


def is_plain(text: str) -> bool:
    """Whether ``prefect deployment run`` takes the text as it stands.

    >>> is_plain("2024-25"), is_plain("2024"), is_plain('a "b"')
    (True, False, False)
    """
    try:
        json.loads(text)
    except ValueError:
        return _PLAIN.fullmatch(text) is not None
    return False


NO_DATE = dt.date.min
"""Stands for a date that was not given: a source that is asked by entity has none."""
