"""How long work takes, learned from earlier runs. Pure.

A run of 3 partitions is mostly what every run pays once, one of 3,000 mostly partitions; so wall time is taken apart::

    wall_s = fixed_s + job_s * BigQuery jobs + slot_s * turns

by least squares over relative errors, so that a long run counts no more than a short one and a single slow run moves
little. What the data cannot tell apart (all runs alike) is split as a small source's is. Errors of the fit are measured
on runs that it has not seen (each left out once), and their quantiles are the spread: weighted split-conformal bounds
(Barber et al. 2023, https://arxiv.org/abs/2202.13415) once there are enough runs, Student's prediction bound before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

CALIBRATED_RUNS = 5
"""From so many runs on P90 covers at least 80 % of the next ones: tests/flows/planning/test_estimate_calibration.py."""

_SURE = 0.9
# Half of what a run says is forgotten after twenty others: sources and machines change.
_HALF_LIFE_RUNS = 20.0
# How strongly the shares of a small source pull at what the data leave open.
_PULL = 0.001
# Spread (of logarithms) that is assumed before any run, and how many runs that assumption weighs.
_ASSUMED_SPREAD, _ASSUMED_RUNS = 0.5, 2


class Parts(NamedTuple):
    """Seconds: what every run pays once, a BigQuery job, and a partition in one slot."""

    fixed_s: float
    job_s: float
    slot_s: float


SMALL_SOURCE = Parts(fixed_s=5.0, job_s=3.0, slot_s=1.5)
"""Without a run to learn from: a small JSON source on two cores."""


class Sample(NamedTuple):
    """One run: ``turns`` as :func:`turns` counts them, BigQuery jobs, and the seconds that it took."""

    turns: float
    jobs: int
    busy_s: float


@dataclass(frozen=True, slots=True)
class Durations:
    """The parts, and by how much runs end earlier or later than their sum: factors at 10, 50 and 90 % of the runs."""

    parts: Parts = SMALL_SOURCE
    low: float = 1.0
    middle: float = 1.0
    high: float = 1.0


def turns(partitions: int, concurrency: int) -> float:
    """Partitions one after the other in one slot; slots beyond the partitions stand empty.

    >>> turns(3, 8), turns(80, 8), turns(0, 8)
    (1.0, 10.0, 0.0)
    """
    return max(partitions / max(concurrency, 1), 1.0) if partitions else 0.0


def learn(samples: Sequence[Sample]) -> Durations:
    """What ``samples`` (oldest first) teach; a wide guess when there are none."""
    known = [one for one in samples if one.busy_s > 0]
    if not known:
        low, high = -_bound([], []), _bound([], [])
        return Durations(low=math.exp(low), high=math.exp(high))
    weights = [0.5 ** (age / _HALF_LIFE_RUNS) for age in range(len(known) - 1, -1, -1)]
    scale = _weighted_median([one.busy_s / _predict(SMALL_SOURCE, one) for one in known], weights)
    guess = Parts(*(part * scale for part in SMALL_SOURCE))
    errors: list[float] = []
    if len(known) > 1:
        for left_out, one in enumerate(known):
            unseen = _fit(known, [weight * (place != left_out) for place, weight in enumerate(weights)], guess)
            errors.append(math.log(one.busy_s / _predict(unseen, one)))
    middle = _weighted_median(errors, weights) if errors else 0.0
    low = min(-_bound([-error for error in errors], weights), middle)
    high = max(_bound(errors, weights), middle)
    return Durations(_fit(known, weights, guess), math.exp(low), math.exp(middle), math.exp(high))


def _predict(parts: Parts, one: Sample) -> float:
    return parts.fixed_s + parts.job_s * one.jobs + parts.slot_s * one.turns


def _fit(samples: Sequence[Sample], weights: Sequence[float], guess: Parts) -> Parts:
    """Minimises the weighted squares of relative errors, pulled towards ``guess``; no part is negative."""
    rows = [
        (guess.fixed_s / one.busy_s, guess.job_s * one.jobs / one.busy_s, guess.slot_s * one.turns / one.busy_s)
        for one in samples
    ]
    size = range(len(guess))
    products = [
        [sum(w * row[i] * row[k] for w, row in zip(weights, rows, strict=True)) + _PULL * (i == k) for k in size]
        for i in size
    ]
    wanted = [sum(w * row[i] for w, row in zip(weights, rows, strict=True)) + _PULL for i in size]
    free = list(size)
    shares = _solved(products, wanted, free)
    while min(shares) < 0:
        free.remove(shares.index(min(shares)))
        shares = _solved(products, wanted, free)
    return Parts(*(part * share for part, share in zip(guess, shares, strict=True)))


def _solved(products: Sequence[Sequence[float]], wanted: Sequence[float], free: Sequence[int]) -> list[float]:
    """The least squares in which all but the ``free`` parts are 0: elimination in a positive definite matrix."""
    rows = [[products[i][k] for k in free] + [wanted[i]] for i in free]
    for done, pivot in enumerate(rows):
        for row in rows:
            if row is not pivot:
                factor = row[done] / pivot[done]
                row[:] = [one - factor * other for one, other in zip(row, pivot, strict=True)]
    shares = [0.0] * len(wanted)
    for place, i in enumerate(free):
        shares[i] = rows[place][-1] / rows[place][place]
    return shares


def _bound(errors: Sequence[float], weights: Sequence[float]) -> float:
    """The error that a coming run stays below with probability ``_SURE``; it weighs as much as the newest known one.

    No errors (there is nothing to compare the only run with) is a wide guess.
    """
    wanted, sofar = _SURE * (sum(weights) + 1.0), 0.0
    for error, weight in sorted(zip(errors, weights[: len(errors)], strict=True)):
        sofar += weight
        if sofar >= wanted:
            return error
    # Too few runs to have seen the worst of ten.
    count = len(errors)
    mean = sum(errors) / count if count else 0.0
    freedom = _ASSUMED_RUNS + max(count - 1, 0)
    squares = _ASSUMED_RUNS * _ASSUMED_SPREAD**2 + sum((error - mean) ** 2 for error in errors)
    return mean + _student(freedom) * math.sqrt(squares / freedom * (1 + 1 / max(count, 1)))


def _student(freedom: int) -> float:
    """Quantile ``_SURE`` of Student's distribution, within 2 % from two degrees of freedom on (Cornish-Fisher).

    >>> [round(_student(freedom), 2) for freedom in (2, 5, 30)]  # exact: 1.89, 1.48, 1.31
    [1.85, 1.47, 1.31]
    """
    z = NormalDist().inv_cdf(_SURE)
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)


def _weighted_median(values: Sequence[float], weights: Sequence[float]) -> float:
    ordered = sorted(zip(values, weights, strict=True))
    sofar = 0.0
    for value, weight in ordered:
        sofar += weight
        if sofar >= sum(weights) / 2:
            return value
    return ordered[-1][0]
