"""The error taxonomy. A class answers one question: what happens next.

::

    PipelineError
    ├── TransientError          retry with backoff; exhausted -> partition ``failed_retryable``
    │   ├── RateLimited             the upstream said "slower"; neither spend nor failure
    │   ├── SourceUnavailable       5xx, 202, timeout, broken connection, empty or cut-off body
    │   ├── LandingUnavailable      object storage did not take or give an object
    │   ├── WarehouseBusy           BigQuery says rateLimitExceeded, backendError, internalError
    │   └── DiskFull                the disk of this machine does not take what is staged on it
    ├── NonCriticalError        record it, go on with the other partitions
    │   ├── NothingPublished        the source has no answer yet, or an unproven empty one
    │   ├── NotSettled              the source still changes this partition (a past game is not Final)
    │   ├── RowRejected             rows broke the contract; kept with their reason
    │   ├── PartitionUnavailable    the source will never have it
    │   ├── Truncated               a cap was reached; the rest is not there
    │   ├── CoverageLow             fewer rows than the source itself announced
    │   ├── Shrunk                  it would remove more rows than is usual; the old ones were kept
    │   ├── LandingDamaged          what was landed of it is not in storage any more as it was; it is fetched again
    │   ├── SiteClosed              the site of one entity is closed, has moved or refuses us; the others are asked
    │   └── WindowLost              the process that was to do it ended again and again before it did
    └── CriticalError           stop this source now; untried partitions stay pending; tell a human at once
        ├── ConfigurationError      our settings or parameters are wrong
        │   └── WrongUsage              what was asked for cannot be, as a source that does not exist
        ├── AuthenticationError     the key is missing, dead, or not entitled
        ├── BudgetExhausted         a call, credit or table quota is used up until its reset
        ├── BlockedBySource         a challenge page or a ban instead of data
        ├── SourceContractError     the answer has not the agreed shape; stops when other dates break it alike
        ├── LoadRejected            BigQuery refuses the rows or the schema
        ├── LeaseHeld               another run works on this source, or took this run's lease over
        └── StateUnreadable         ledger, lease or journal cannot be read; never taken for empty

An exception outside this tree is unknown, and unknown is critical: what is not understood is not retried.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from typing import Any

from alerting.redaction import redact, redact_value

_A_DAY_S = 86_400.0
_BREAKS = re.compile("[\n\r\x0b\x0c\x85\u2028\u2029]+")


def writable(text: str) -> str:
    """The text with what has no UTF-8 as an escape: sources send halves of emojis, and logs, objects and mails break.

    >>> writable("TOR-BOS " + chr(0xD83D))
    'TOR-BOS \\\\ud83d'
    """
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


class PipelineError(Exception):
    """Base of every error that Gapless raises on purpose.

    Args:
        message: What was expected, what came instead, what was kept. No whole body.
        source: Source name, if the error belongs to one.
        partition: Partition key, if it belongs to one.
        stage: ``plan``, ``scrape``, ``land``, ``load``, ``verify``, ``alert`` ...
        hint: The next command or action.
        facts: Small evidence, e.g. ``status=503``, ``endpoint="/v1/box_scores"``. Shown to people, redacted.
    """

    def __init__(
        self,
        message: str,
        *,
        source: str = "",
        partition: str = "",
        stage: str = "",
        hint: str = "",
        **facts: Any,
    ) -> None:
        super().__init__(message)
        # Names out of answers stand in messages: a line break in one would forge lines of logs and terminals.
        self.message = _BREAKS.sub(" ", writable(message))
        self.source = source
        self.partition = partition
        self.stage = stage
        self.hint = writable(hint)
        self.facts = {name: writable(value) if isinstance(value, str) else value for name, value in facts.items()}

    def __str__(self) -> str:
        """Where, what, evidence, next step, on one line.

        >>> str(RateLimited("429", source="bdl", partition="2025-01-03", stage="scrape", retry_after_s=3.0))
        'bdl 2025-01-03 [scrape]: 429 (retry_after_s=3.0)'
        """
        where = " ".join(part for part in (self.source, self.partition) if part)
        if self.stage and where:
            where = f"{where} [{self.stage}]"
        # As structures, before they are text: headers, pairs, bytes.
        shown = ((name, redact_value(value, name)) for name, value in self.facts.items() if value not in (None, ""))
        facts = ", ".join(f"{name}={value}" for name, value in shown)
        message = redact(self.message)
        text = f"{where}: {message}" if where else message
        if facts:
            text += f" ({facts})"
        return f"{text}. Next: {redact(self.hint)}" if self.hint else text

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, self.__dict__)

    def located(self, **where: str) -> PipelineError:
        """Fills ``source``, ``partition``, ``stage`` or ``hint`` where they are still empty; returns self."""
        for name, value in where.items():
            if not getattr(self, name):
                setattr(self, name, value)
        return self


def _rebuild(kind: type[PipelineError], message: str, state: dict[str, Any]) -> PipelineError:
    error = kind.__new__(kind)
    Exception.__init__(error, message)
    error.__dict__.update(state)
    return error


def wait_facts(wish_s: float | None, now: dt.datetime) -> dict[str, Any]:
    """A wish to wait as facts for people: seconds up to a day, beyond it the instant; nothing without a wish.

    >>> now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    >>> wait_facts(17.0, now), wait_facts(3 * 86_400.0, now), wait_facts(None, now)
    ({'retry_after_s': 17.0}, {'retry_at': '2026-01-04 00:00 UTC'}, {})
    """
    if wish_s is None or not math.isfinite(wish_s):
        return {}
    if wish_s <= _A_DAY_S:
        return {"retry_after_s": wish_s}
    try:
        return {"retry_at": f"{(now + dt.timedelta(seconds=wish_s)).astimezone(dt.UTC):%Y-%m-%d %H:%M} UTC"}
    except OverflowError:
        return {}


class TransientError(PipelineError):
    """May work in a moment. Retried with backoff and jitter."""


class RateLimited(TransientError):
    """The upstream asked to slow down; ``retry_after_s`` is its own wish, when it had one."""

    def __init__(self, message: str, *, retry_after_s: float | None = None, **rest: Any) -> None:
        super().__init__(message, **wait_facts(retry_after_s, dt.datetime.now(dt.UTC)), **rest)
        self.retry_after_s = retry_after_s


class SourceUnavailable(TransientError):
    """5xx, 202, timeout, refused or broken connection, a body that is empty or ended too early."""


class LandingUnavailable(TransientError):
    """Object storage failed for a transient reason."""


class WarehouseBusy(TransientError):
    """BigQuery answered ``rateLimitExceeded``, ``backendError`` or ``internalError``."""


class DiskFull(TransientError):
    """The disk of this machine did not take what is staged on it; others may free it in a moment."""


class NonCriticalError(PipelineError):
    """Belongs to one partition; the others go on."""


class NothingPublished(NonCriticalError):
    """Empty without proof of emptiness, or not published yet."""


class NotSettled(NonCriticalError):
    """The source still changes this partition; what it gave is landed but never called loaded."""


class RowRejected(NonCriticalError):
    """At least one row broke the row model; the rejects are kept beside the raw payload."""


class PartitionUnavailable(NonCriticalError):
    """The source will never have this partition: before its floor, or gone. Terminal, an accepted loss."""


class Truncated(NonCriticalError):
    """A known or learned cap was reached; what lies beyond it is missing."""


class CoverageLow(NonCriticalError):
    """Source, landing and warehouse disagree about the number of rows, or a check between them failed."""


class Shrunk(NonCriticalError):
    """The new answer would remove more rows than is usual for the table: evidence against the answer."""


class LandingDamaged(NonCriticalError):
    """A payload or manifest is gone, cannot be unpacked, or has other bytes than were landed. None of it was loaded."""


class SiteClosed(NonCriticalError):
    """The site of one entity is closed, has moved, or refuses us: a person has to look; the others are asked on."""


class WindowLost(NonCriticalError):
    """The process of its window ended again and again before this partition was tried to the end."""


class CriticalError(PipelineError):
    """Stops the source at once. Partitions not yet tried stay pending."""


class ConfigurationError(CriticalError):
    """Settings or parameters are wrong. Nothing was done."""


class WrongUsage(ConfigurationError):
    """What was asked for cannot be, whatever the state of the world: a source that does not exist, swapped dates."""


class AuthenticationError(CriticalError):
    """Key missing, dead, or not entitled to this endpoint."""


class BudgetExhausted(CriticalError):
    """A budget is used up until its reset."""


class BlockedBySource(CriticalError):
    """A challenge page, a ban or HTML where data should be."""


class SourceContractError(CriticalError):
    """The answer has not the agreed shape.

    About its partition alone, until others break the contract alike: then the source stops.
    """


class LoadRejected(CriticalError):
    """BigQuery refuses the rows or their schema; the table is as it was."""


class LeaseHeld(CriticalError):
    """Another run holds the source's lease. This one wrote nothing after that moment."""


class StateUnreadable(CriticalError):
    """State in object storage cannot be read. Nothing was changed, and it is not read as empty."""

    def told_or_raised(self, unreadable: list[StateUnreadable] | None, **where: str) -> None:
        """Adds itself, `located`, to the list of who shows everything else; raises itself where nobody has one."""
        if unreadable is None:
            raise self
        self.located(**where)
        unreadable.append(self)
