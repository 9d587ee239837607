"""Incident: one failure, as plain data that survives its process. Built here, and redacted here, once."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pydantic import TypeAdapter

from alerting import errors
from alerting.ranges import date_of
from alerting.redaction import as_text, one_line, printable, redact_value
from alerting.tracebacks import cut_lines, exception_chain, own_frame, traceback_text
from alerting.wording import shorten

Severity = Literal["CRITICAL", "ERROR", "WARNING", "INFO"]
SEVERITIES: tuple[Severity, ...] = ("CRITICAL", "ERROR", "WARNING", "INFO")

MAX_MESSAGE = 4_000
MAX_SEARCHED = 200_000
_COUNT = re.compile(r"[0-9]{1,9}")
_NAMED = frozenset(
    [
        "details",
        "error",
        "exception",
        "message",
        "source",
        "partition",
        "severity",
        "error_type",
        "attempts",
        "timestamp",
        "occurred_at",
        "stage",
        "hint",
        "traceback",
    ]
)
"""What a caller's dictionary says and the incident has a field for."""
_EXPECTED = (errors.NothingPublished, errors.NotSettled, errors.PartitionUnavailable)
_RETRYABLE = (errors.TransientError, errors.NothingPublished, errors.NotSettled, errors.CoverageLow, errors.Shrunk)


@dataclass(frozen=True, slots=True)
class Incident:
    """One failure. Every text in it is redacted and cut to size by the builders.

    ``partition`` is a partition key ("" for the whole run), ``date`` its ISO date or month, ``status`` an HTTP status,
    ``exception_chain`` class names from the raised error down to its first cause, ``frame`` the innermost own
    ``file:function``, ``traceback`` at most 20 lines. ``fingerprint`` is filled when the incident is journaled.
    """

    source: str = ""
    partition: str = ""
    date: str = ""
    stage: str = ""
    error_type: str = "UnknownError"
    message: str = ""
    status: int | None = None
    endpoint: str = ""
    severity: Severity = "ERROR"
    retryable: bool = False
    hint: str = ""
    occurred_at: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC))
    attempts: int = 1
    exception_chain: tuple[str, ...] = ()
    frame: str = ""
    traceback: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    fingerprint: str = ""
    incident_id: str = field(default_factory=lambda: uuid.uuid4().hex[:16])

    @classmethod
    def from_error(
        cls,
        error: BaseException,
        *,
        source: str = "",
        partition: str = "",
        stage: str = "",
        attempts: int = 1,
        occurred_at: dt.datetime | None = None,
        **facts: Any,
    ) -> Incident:
        """Reads everything that the exception knows; arguments fill what it does not.

        A class outside the taxonomy is CRITICAL and not retryable: it is not understood.
        """
        known = error if isinstance(error, errors.PipelineError) else None
        evidence = {**facts, **(known.facts if known else {})}
        where = (known.partition if known else "") or partition
        return cls(
            source=_clean(known.source if known and known.source else source),
            partition=_clean(where),
            date=date_of(where),
            stage=(known.stage if known else "") or stage,
            error_type=type(error).__name__,
            message=_message(known.message if known else as_text(error)) or type(error).__name__,
            status=_status(evidence.get("status")),
            endpoint=printable(as_text(evidence.get("endpoint") or "")),
            severity=_severity(error),
            retryable=isinstance(error, _RETRYABLE),
            hint=printable(known.hint) if known else "",
            occurred_at=_aware(occurred_at),
            attempts=attempts,
            exception_chain=exception_chain(error),
            frame=own_frame(error.__traceback__),
            traceback="" if _is_expected(error) else traceback_text(error),
            facts=_facts(evidence),
        )

    @classmethod
    def from_mapping(cls, error_data: Mapping[str, Any]) -> Incident:
        """The dictionaries of the NBA platform's callers: ``processor`` or ``scraper``, ``error`` (text or exception),
        ``error_type`` (derived when missing), ``date`` and more on top or inside ``details``."""
        details = error_data.get("details")
        data = {**(details if isinstance(details, Mapping) else {}), **error_data}
        raised = next(
            (data[name] for name in ("error", "exception") if isinstance(data.get(name), BaseException)), None
        )
        text = as_text(data.get("error") or data.get("message") or data.get("exception") or "")
        source = as_text(data.get("source") or data.get("scraper") or data.get("processor") or "")
        partition = as_text(data.get("partition") or data.get("date") or data.get("game_date") or "")
        facts = {
            name: value
            for name, value in data.items()
            if name not in _NAMED and as_text(value) not in (source, partition)
        }
        severity = as_text(data.get("severity") or "").upper()
        chosen = next((level for level in SEVERITIES if level == severity), None)
        told = as_text(data.get("attempts") or "")
        attempts = int(told) if _COUNT.fullmatch(told) else 1
        when = _timestamp(data.get("timestamp") or data.get("occurred_at"))
        kind = as_text(data.get("error_type") or "")
        if raised is not None:
            taxonomy = isinstance(raised, errors.PipelineError)
            made = cls.from_error(
                raised, source=source, partition=partition, attempts=attempts, occurred_at=when, **facts
            )
            return replace(
                made,
                severity=chosen or (made.severity if taxonomy else "ERROR"),
                error_type=kind or made.error_type,
            )
        kind = _clean(kind or _derived_type(text))
        known = getattr(errors, kind, None)
        taxonomy_class = known if isinstance(known, type) and issubclass(known, errors.PipelineError) else None
        return cls(
            source=_clean(source),
            partition=_clean(partition),
            date=date_of(partition) or _clean(as_text(data.get("date") or "")),
            stage=_clean(as_text(data.get("stage") or "")),
            error_type=kind,
            message=_message(text) or kind,
            status=_status(data.get("status") or data.get("status_code")),
            endpoint=printable(as_text(data.get("endpoint") or data.get("url") or "")),
            severity=chosen or (_severity(taxonomy_class("")) if taxonomy_class else "ERROR"),
            retryable=bool(taxonomy_class and issubclass(taxonomy_class, _RETRYABLE)),
            hint=printable(as_text(data.get("hint") or "")),
            occurred_at=_aware(when),
            attempts=attempts,
            exception_chain=(kind,),
            traceback=cut_lines(printable(as_text(data.get("traceback") or ""))),
            facts=_facts(facts),
        )

    @classmethod
    def of(cls, reported: Reported, source: str = "") -> Incident:
        """An incident, an exception, or a dictionary of the old callers; ``source`` where it names none."""
        if isinstance(reported, Incident):
            return reported
        if isinstance(reported, BaseException):
            return cls.from_error(reported, source=source)
        return cls.from_mapping({"source": source, **reported} if source else reported)

    def to_json(self, without: Collection[str] = ()) -> bytes:
        """One line of JSON; the fields in ``without`` are left out."""
        return _ADAPTER.dump_json(self, exclude=set(without) or None)

    @classmethod
    def from_json(cls, line: bytes | str) -> Incident:
        """The inverse of ``to_json``. Raises ``ValueError``."""
        return _ADAPTER.validate_json(line)


Reported = Incident | BaseException | Mapping[str, Any]
_ADAPTER: TypeAdapter[Incident] = TypeAdapter(Incident)


def _message(text: str) -> str:
    """Head and tail of a long one. Of a huge one the head only: to search all of it would take seconds an error."""
    return shorten(printable(text, MAX_SEARCHED), MAX_MESSAGE)


def _clean(text: str) -> str:
    return one_line(text)[:200]


def _severity(error: BaseException) -> Severity:
    if isinstance(error, _EXPECTED):
        return "WARNING"
    if isinstance(error, errors.TransientError | errors.NonCriticalError):
        return "ERROR"
    return "CRITICAL"


def _is_expected(error: BaseException) -> bool:
    """A failure that the taxonomy names says all in its message; ``CriticalError`` itself stands for unknown ones."""
    return isinstance(error, errors.PipelineError) and type(error) not in (errors.PipelineError, errors.CriticalError)


def _status(value: Any) -> int | None:
    text = as_text(value or "")
    return int(text) if len(text) == 3 and _COUNT.fullmatch(text) else None


def _aware(when: dt.datetime | None) -> dt.datetime:
    if when is None:
        return dt.datetime.now(dt.UTC)
    try:
        return when.replace(tzinfo=dt.UTC) if when.tzinfo is None else when.astimezone(dt.UTC)
    except OverflowError:  # in UTC it is of the year 0 or 10000
        return dt.datetime.now(dt.UTC)


def _timestamp(value: Any) -> dt.datetime | None:
    if isinstance(value, dt.datetime):
        return value
    try:
        return dt.datetime.fromisoformat(as_text(value)) if value else None
    except ValueError:
        return None


def _derived_type(text: str) -> str:
    """``ReadTimeout: took 30 s`` and ``<class 'KeyError'>`` name their class; other text has none."""
    match = re.match(
        r"(?:<class ')?(?:[\w]+\.)*([A-Z]\w*(?:Error|Exception|Timeout|Unavailable|Limited))\b", text.strip()
    )
    return match[1] if match else "UnknownError"


def _facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    cut: dict[str, Any] = redact_value(dict(list(facts.items())[:20]))
    return {name[:60]: _held(value) for name, value in cut.items()}


def _held(value: Any) -> Any:
    if value is None or isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**63):
        return value
    return shorten(as_text(value), 300)
