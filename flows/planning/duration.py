"""How long work takes, learned from earlier runs. Pure.

A run of 3 partitions is mostly what every run pays once, one of 3,000 mostly partitions. So a run is first taken for
one of a small source::

    wall_s = fixed_s + job_s * BigQuery jobs + slot_s * turns

and what is learned is the ratio of the seconds that runs took to that: its weighted median, and its weighted quantiles
as the spread. Recent runs, and runs of about the size that is asked for, weigh most: a source with a slow API and one
with a slow warehouse err differently in short runs and in long ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

CALIBRATED_RUNS = 5
"""From so many runs on P90 covers at least 80 % of the next ones: tests/flows/planning/test_estimate_calibration.py."""

_SURE = 0.9
# Half of what a run says is forgotten after twenty others: sources and machines change.
_HALF_LIFE_RUNS = 20.0
# Two runs are assumed beside the known ones, one this much quicker and one this much slower than the median; each
# weighs a fifth of the most alike of the known ones.
_ASSUMED_FACTOR, _ASSUMED_WEIGHT = 4.0, 0.2


class Parts(NamedTuple):
    """Seconds: what every run pays once, a BigQuery job, and a partition in one slot."""

    fixed_s: float
    job_s: float
    slot_s: float


SMALL_SOURCE = Parts(fixed_s=5.0, job_s=3.0, slot_s=1.5)
"""A small JSON source on two cores."""


class Work(NamedTuple):
    """What decides how long a run takes: ``turns`` as :func:`turns` counts them, and BigQuery jobs."""

    turns: float
    jobs: int

    @property
    def of_small_source_s(self) -> float:
        """The seconds that a small source takes for it."""
        return SMALL_SOURCE.fixed_s + SMALL_SOURCE.job_s * self.jobs + SMALL_SOURCE.slot_s * self.turns

    def likeness(self, other: Work) -> float:
        """1 for work of the same size; a third of it for e times as many turns, or jobs.

        >>> Work(9.0, 4).likeness(Work(9.0, 4)), round(Work(9.0, 4).likeness(Work(999.0, 4)), 3)
        (1.0, 0.01)
        """
        turns = abs(math.log((1 + self.turns) / (1 + other.turns)))
        jobs = abs(math.log((1 + self.jobs) / (1 + other.jobs)))
        return math.exp(-turns - jobs)


class Sample(NamedTuple):
    """One run: its work, and the seconds that it took."""

    work: Work
    busy_s: float


@dataclass(frozen=True, slots=True)
class Durations:
    """The factors of a small source's seconds that 10, 50 and 90 % of the runs stay below."""

    low: float
    middle: float
    high: float


def turns(partitions: int, concurrency: int) -> float:
    """Partitions one after the other in one slot; slots beyond the partitions stand empty.

    >>> turns(3, 8), turns(80, 8), turns(0, 8)
    (1.0, 10.0, 0.0)
    """
    return max(partitions / max(concurrency, 1), 1.0) if partitions else 0.0


def learn(samples: Sequence[Sample], coming: Work) -> Durations:
    """What ``samples`` (oldest first) teach about ``coming``; a wide guess when there are none.

    >>> learn([], Work(10.0, 4))
    Durations(low=0.25, middle=1.0, high=4.0)
    """
    known = [one for one in samples if one.busy_s > 0]
    ratios = [one.busy_s / one.work.of_small_source_s for one in known]
    weights = [
        0.5 ** (age / _HALF_LIFE_RUNS) * one.work.likeness(coming)
        for age, one in zip(range(len(known) - 1, -1, -1), known, strict=True)
    ]
    middle = _quantile(ratios, weights, 0.5) if known else 1.0
    assumed = [middle / _ASSUMED_FACTOR, middle * _ASSUMED_FACTOR]
    weights += 2 * [_ASSUMED_WEIGHT * max(weights, default=1.0)]
    low, high = (_quantile(ratios + assumed, weights, share) for share in (1 - _SURE, _SURE))
    return Durations(min(low, middle), middle, max(high, middle))


def _quantile(values: Sequence[float], weights: Sequence[float], share: float) -> float:
    """The least of ``values`` that ``share`` of the weight does not exceed."""
    wanted, sofar = share * sum(weights), 0.0
    for value, weight in sorted(zip(values, weights, strict=True)):
        sofar += weight
        if sofar >= wanted:
            return value
    return max(values)
