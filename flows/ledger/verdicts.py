"""From partition verdicts to the verdict of a backfill. Pure."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Mapping

from alerting.errors import (
    BlockedBySource,
    BudgetExhausted,
    ConfigurationError,
    CriticalError,
    SourceContractError,
)
from alerting.run_facts import Outcome
from alerting.wording import plural
from flows.ledger.ledger import LedgerEntry, Verdict
from scrapers.partition import Partition

# Ended without a good verdict, but a later run may simply succeed.
_RETRYABLE = frozenset(
    {
        Verdict.FAILED_RETRYABLE,
        Verdict.PARTIAL,
        Verdict.PLANNED,
        Verdict.LANDED,
        Verdict.LOADED,
        Verdict.STAGED,
        Verdict.PAUSED,
    }
)


def count_verdicts(
    keys: Iterable[str], ledger: Mapping[str, LedgerEntry], unavailable: Iterable[str] = ()
) -> Counter[Verdict]:
    """Planned partitions by verdict; one without a good one is ``unavailable`` if named so, without any ``planned``."""
    never = set(unavailable)
    counts: Counter[Verdict] = Counter()
    for key in keys:
        entry = ledger.get(key)
        verdict = entry.verdict if entry is not None else Verdict.PLANNED
        counts[Verdict.UNAVAILABLE if key in never and not verdict.is_good else verdict] += 1
    return counts


def backfill_verdict(counts: Mapping[Verdict, int], acceptable_share: float, aborted: str = "") -> str:
    """``COMPLETE``, ``ACCEPTABLE``, ``FAILED`` or ``ABORTED(<aborted>)``.

    >>> backfill_verdict({Verdict.VERIFIED: 28, Verdict.FAILED_RETRYABLE: 3}, 0.9)
    'ACCEPTABLE'
    >>> backfill_verdict({Verdict.VERIFIED: 30, Verdict.FAILED_PERMANENT: 1}, 0.9)
    'FAILED'
    """
    planned = sum(counts.values())
    good = sum(count for verdict, count in counts.items() if verdict.is_good)
    if good == planned:
        return "COMPLETE"
    if aborted:
        return f"ABORTED({aborted})"
    rest_is_retryable = all(verdict.is_good or verdict in _RETRYABLE for verdict, count in counts.items() if count)
    if rest_is_retryable and good >= acceptable_share * planned:
        return "ACCEPTABLE"
    return "FAILED"


_OUTCOMES: dict[str, Outcome] = {
    "COMPLETE": "OK",
    "ACCEPTABLE": "OK-WITH-GAPS",
    "FAILED": "FAILED",
    "ABORTED(user)": "CANCELLED",
    "ABORTED(rejected)": "CANCELLED",
}


def mail_outcome(verdict: str) -> Outcome:
    """The word in the mail's subject.

    >>> mail_outcome("ABORTED(critical)")
    'STOPPED'
    """
    return _OUTCOMES.get(verdict, "STOPPED")


CANCELLED = 130
"""As a shell says it of a command that was interrupted."""


def exit_code(verdict: str) -> int:
    """0 when nothing but retryable gaps is left, 130 after a cancel or a rejection, 1 otherwise.

    >>> [exit_code(verdict) for verdict in ("COMPLETE", "ACCEPTABLE", "FAILED", "ABORTED(rejected)")]
    [0, 0, 1, 130]
    """
    if verdict in ("ABORTED(user)", "ABORTED(rejected)"):
        return CANCELLED
    return 0 if verdict in ("COMPLETE", "ACCEPTABLE") else 1


def abort_reason(error: CriticalError | None) -> str:
    """Why a run stopped early, "" when nothing stopped it. The breaker's errors name their own reason.

    >>> abort_reason(BudgetExhausted("none left")), abort_reason(CriticalError("stalled", abort="red_flag"))
    ('budget', 'red_flag')
    """
    if error is None:
        return ""
    return str(error.facts.get("abort", "")) or ("budget" if isinstance(error, BudgetExhausted) else "critical")


def resumes_at(error: BaseException | None) -> dt.datetime | None:
    """The instant (aware) at which a run that ran out of budget or was blocked can go on; None when it cannot."""
    if not isinstance(error, BudgetExhausted | BlockedBySource) or not error.facts.get("resets_at"):
        return None
    return dt.datetime.fromisoformat(str(error.facts["resets_at"]))


def breaks_contract(error: BaseException) -> bool:
    """Whether the answer was another than agreed: another shape, another date, a request refused as wrong (400, 422).

    >>> breaks_contract(SourceContractError("no JSON")), breaks_contract(ConfigurationError("no bucket"))
    (True, False)
    """
    if isinstance(error, SourceContractError):
        return True
    return isinstance(error, ConfigurationError) and "status" in error.facts


def concerns_one_partition(error: CriticalError, partition: Partition | None, *, has_sites: bool) -> bool:
    """Whether the other partitions go on all the same.

    A broken contract is about its date until others break it alike: that the breaker counts. Where each entity is
    answered by a site of its own (``has_sites``), a challenge there says nothing of the others. A dead key, a spent
    budget or wrong settings concern all.
    """
    if partition is None:
        return False
    return breaks_contract(error) or (has_sites and isinstance(error, BlockedBySource))


def reached(error: BaseException) -> dict[str, object]:
    """How far a paginated partition came before ``error``, as facts for the ledger; nothing for other errors."""
    facts = getattr(error, "facts", {})
    if "rows_kept" not in facts:
        return {}
    return {"pages_fetched": facts["rows_kept"], "last_cursor": facts.get("last_cursor", "")}


def unknown_is_critical(error: BaseException, source: str, partition: str, stage: str) -> CriticalError:
    """What is not in the taxonomy is not understood, so it is not retried."""
    return CriticalError(f"unexpected {type(error).__name__}: {error}", source=source, partition=partition, stage=stage)


def verdict_of(error: BaseException) -> Verdict:
    """The partition verdict that an error leaves behind."""
    for name, verdict in _VERDICT_BY_ERROR.items():
        if any(kind.__name__ == name for kind in type(error).__mro__):
            return verdict
    return Verdict.FAILED_PERMANENT


# Most specific first.
_VERDICT_BY_ERROR = {
    "PartitionUnavailable": Verdict.UNAVAILABLE,
    "Truncated": Verdict.TRUNCATED,
    "NotSettled": Verdict.PARTIAL,
    "CoverageLow": Verdict.PARTIAL,
    "Shrunk": Verdict.SHRUNK,
    "NothingPublished": Verdict.FAILED_RETRYABLE,
    "LandingDamaged": Verdict.FAILED_RETRYABLE,
    "BlockedBySource": Verdict.BLOCKED,
    # No date is to blame for a dead key, and each is asked for again by the next run.
    "AuthenticationError": Verdict.PLANNED,
    "BudgetExhausted": Verdict.PAUSED,
    "TransientError": Verdict.FAILED_RETRYABLE,
}


def describe_counts(counts: Mapping[str, int]) -> str:
    """Partitions by verdict in words.

    >>> describe_counts({"verified": 28, "failed_retryable": 3})
    '31 partitions: 28 verified, 3 failed_retryable'
    """
    parts = ", ".join(f"{count:,} {verdict}" for verdict, count in counts.items())
    total = plural(sum(counts.values()), "partition")
    return f"{total}: {parts}" if parts else total
