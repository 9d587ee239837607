"""The canary: which dates go first, and what they must look like before the others follow. Pure."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

from alerting.errors import LandingUnavailable, SourceContractError, WarehouseBusy
from alerting.wording import plural
from flows.ledger.month_rows import month_of
from flows.planning.history import SourceHistory
from scrapers.partition import Partition

LARGE_PLAN = 100
DEFAULT_CANARIES = 3
# Between a tenth and ten times the rows of earlier runs is a season; beyond it is another answer.
VOLUME_FACTOR = 10.0
# Fewer dates of a month are no measure of it: three of the All-Star break have a tenth of the others' rows.
MEASURE_DATES = 5


def canary_size(asked: int, to_fetch: int) -> int:
    """How many dates go first: what was asked for; with 0, 3 when more than 100 are to be fetched; with -1 none.

    >>> [canary_size(0, 31), canary_size(0, 365), canary_size(-1, 365), canary_size(5, 31)]
    [0, 3, 0, 5]
    """
    if asked == 0 and to_fetch > LARGE_PLAN:
        asked = DEFAULT_CANARIES
    return asked if to_fetch > asked > 0 else 0


def choose_canaries(partitions: Sequence[Partition], count: int, seed: str) -> list[Partition]:
    """At most ``count``, in order of time: first, last, clock change, leap day, month end, then random by ``seed``."""
    ordered = sorted(partitions)
    chosen: dict[str, Partition] = {}
    rest = list(ordered)
    random.Random(seed).shuffle(rest)  # noqa: S311 - which dates are tried first is no secret
    for partition in (*_telling(ordered), *rest):
        if len(chosen) >= count:
            break
        chosen.setdefault(partition.key, partition)
    return sorted(chosen.values())


def _telling(ordered: Sequence[Partition]) -> Iterator[Partition]:
    if not ordered:
        return
    yield ordered[0]
    yield ordered[-1]
    yield from [one for one in ordered if one.days == 1 and not _has_24_hours(one)][:2]
    yield from [one for one in ordered if (one.start.month, one.start.day) == (2, 29)][:1]
    yield from [one for one in ordered if one.end.day == 1][:1]


def _has_24_hours(partition: Partition) -> bool:
    starts_at = dt.datetime.combine(partition.start, dt.time(), ZoneInfo(partition.zone)).astimezone(dt.UTC)
    return partition.ends_at - starts_at == dt.timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class CanaryResult:
    """What came of the canaries: rows per good partition, causes of the others, fields no row model knows."""

    rows: Mapping[str, int]
    failures: Mapping[str, str] = field(default_factory=dict)
    unknown_fields: frozenset[str] = frozenset()


def passes_by_itself(result: CanaryResult) -> bool:
    """Whether storage or BigQuery was not to be had, and nothing else is wrong."""
    causes = set(result.failures.values()) - {SourceContractError.__name__}
    return bool(causes) and causes <= {WarehouseBusy.__name__, LandingUnavailable.__name__}


def drift(result: CanaryResult, history: SourceHistory) -> str:
    """Why the others must not follow, "" when they may."""
    odd = sum(cause == SourceContractError.__name__ for cause in result.failures.values())
    tried = len(result.failures) + len(result.rows)
    # A broken contract is about its date until others break it: less than half of the canaries are odd dates.
    if len(result.failures) > odd or 2 * odd >= tried > 0:
        told = ", ".join(f"{key}: {cause}" for key, cause in sorted(result.failures.items())[:3])
        return f"{len(result.failures)} of {tried} canary dates failed ({told})"
    unseen = sorted(result.unknown_fields - history.known_unknown_fields)
    if history.runs and unseen:
        return f"the source sends fields that no earlier run saw: {', '.join(unseen[:5])}"
    # Seasons differ by month: what an off-season's few dates had is no measure of the others.
    months = {key: history.usual_in(month_of(key)) for key in result.rows}
    measured = {key: one.a_date for key, one in months.items() if one.dates >= MEASURE_DATES and result.rows[key]}
    found, usual = _mean([result.rows[key] for key in measured]), _mean(list(measured.values()))
    if _is_far(found, usual):
        return f"{found:,.1f} rows a date, earlier runs had {usual:,.1f} in the same months"
    return ""


def unlike(result: CanaryResult, history: SourceHistory) -> str:
    """What is odd about the canaries' rows where too little is known to stop the others for it, "" for nothing."""
    usual = history.usual
    # A date that is empty with proof, as those of an off-season are, says nothing of the others' volume.
    found = _mean([count for count in result.rows.values() if count])
    if not _is_far(found, usual.a_date) or drift(result, history):
        return ""
    known = f"{plural(usual.dates, 'date')} of earlier runs had {usual.a_date:,.1f}"
    return f"{found:,.1f} rows a date, {known}, in other months or too few to judge by; the others begin"


def _mean(counts: Sequence[float]) -> float:
    return sum(counts) / len(counts) if counts else 0.0


def _is_far(found: float, usual: float) -> bool:
    return bool(found and usual) and not usual / VOLUME_FACTOR <= found <= usual * VOLUME_FACTOR
