"""What came of one schedule; of one that broke something, the shortest of its kind."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from flows.simulate.faults import Planned, plan_of
from flows.simulate.invariants import Ending
from flows.simulate.schedule import run_schedule
from flows.simulate.subject import Subject

_SHOWN_OPERATIONS = 12


@dataclass(frozen=True)
class Broken:
    """A schedule after which something did not hold, with as few of its faults as still do it."""

    seed: int
    told: tuple[str, ...]
    met: tuple[str, ...]
    operations: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """One schedule: counts, the names of the faults it met, and a digest of all of its operations."""

    seed: int
    runs: int
    operations: int
    faults: tuple[str, ...]
    trace: str
    broken: Broken | None = None


def outcome_of(subject: Subject, truth: Ending, seed: int, *, faults: bool) -> Outcome:
    """Runs the schedule of ``seed``; without ``faults`` only its order differs."""
    planned = plan_of(seed, truth.operations) if faults else ()
    ending = run_schedule(subject, seed, planned, truth=truth)
    trace = hashlib.sha256("\n".join((*ending.operations, *ending.met, *ending.broken)).encode()).hexdigest()[:16]
    names = tuple(met.rpartition(": ")[2] for met in ending.met)
    broken = _shortest(subject, seed, planned, ending, truth) if ending.broken else None
    return Outcome(seed, ending.runs, len(ending.operations), names, trace, broken)


def _shortest(subject: Subject, seed: int, planned: Sequence[Planned], ending: Ending, truth: Ending) -> Broken:
    """The same schedule without the faults that it did not need."""
    left = list(planned)
    for one in planned:
        fewer = [other for other in left if other is not one]
        again = run_schedule(subject, seed, fewer, truth=truth)
        if again.broken:
            left, ending = fewer, again
    return Broken(seed, ending.broken, ending.met, ending.operations)


def trace_of(broken: Broken) -> list[str]:
    """The operations around each fault, numbered.

    >>> trace_of(Broken(1, (), ("1 write b: killed after it",), ("read a", "write b", "read c")))
    ['0 read a', '1 write b', '2 read c']
    """
    places = [int(met.split(" ", 1)[0]) for met in broken.met]
    shown = {
        number
        for place in places
        for number in range(max(0, place - _SHOWN_OPERATIONS // 2), place + _SHOWN_OPERATIONS // 2)
        if number < len(broken.operations)
    }
    return [f"{number} {broken.operations[number]}" for number in sorted(shown)]
