"""What can go wrong at a place where a run meets the outside, and the plan of a seed: where it does."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum


class Fault(StrEnum):
    """What happens at one operation."""

    KILL_BEFORE = "killed before it"
    KILL_AFTER = "killed after it, before anybody knew"
    LOST_ANSWER = "done, but its answer was lost"
    UNAVAILABLE = "unavailable"
    STALL = "stood still until another run had taken over"
    SKEW = "the wall clock was set by an hour"
    RATE_LIMITED = "429 with Retry-After"
    TIMEOUT = "no answer in time"
    SERVER_ERROR = "503"
    CUT = "half of the page"
    EMPTY = "200 without a body"
    STALE = "the page before, once more"
    CHALLENGE = "a challenge page"


OF_STORAGE_WRITE = (Fault.KILL_BEFORE, Fault.KILL_AFTER, Fault.LOST_ANSWER, Fault.UNAVAILABLE, Fault.STALL, Fault.SKEW)
OF_READ = (Fault.KILL_BEFORE, Fault.UNAVAILABLE, Fault.STALL)
OF_CHANNEL = (Fault.KILL_BEFORE, Fault.KILL_AFTER, Fault.LOST_ANSWER, Fault.UNAVAILABLE)
OF_SOURCE = (
    Fault.KILL_BEFORE, Fault.KILL_AFTER, Fault.RATE_LIMITED, Fault.TIMEOUT, Fault.SERVER_ERROR, Fault.CUT, Fault.EMPTY,
    Fault.STALE, Fault.CHALLENGE, Fault.STALL,
)  # fmt: skip


class Killed(BaseException):
    """The simulated process is dead: none of its code has an effect any more, that of ``finally`` included."""


@dataclass(frozen=True, slots=True)
class Planned:
    """The ``number``-th operation of the schedule (from 0) meets the fault that ``chance`` picks of those it can."""

    number: int
    chance: float

    def of(self, faults: Sequence[Fault]) -> Fault:
        """Which one."""
        return faults[int(self.chance * len(faults))]


_PLACES = {
    "call ": 8, "write ": 6, "stage ": 2, "replace ": 3, "mail ": 3, "query": 1, "read ": 2, "list ": 1, "delete ": 1,
}  # fmt: skip
"""Beginnings of operations, and how often a fault is planned at one of them."""


def plan_of(seed: int, operations: Sequence[str]) -> tuple[Planned, ...]:
    """One to four faults at places that a run without faults comes by, or a little later, as repetitions shift them."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    places = {begin: [at for at, what in enumerate(operations) if what.startswith(begin)] for begin in _PLACES}
    known = [begin for begin in _PLACES if places[begin]]
    weights = [_PLACES[begin] for begin in known]
    numbers = set()
    for begin in chance.choices(known, weights, k=chance.choice((1, 1, 2, 2, 3, 4))):
        numbers.add(chance.choice(places[begin]) + chance.choice((0, 0, 0, 1, 2, len(operations) // 2)))
    return tuple(Planned(number, chance.random()) for number in sorted(numbers))


@dataclass
class Trace:
    """Every operation of a schedule in order, over all of its processes, and the faults that it met."""

    planned: Sequence[Planned] = ()
    operations: list[str] = field(default_factory=list)
    met: list[str] = field(default_factory=list)

    def next(self, what: str, faults: Sequence[Fault]) -> Fault | None:
        """Notes one operation; what befalls it, or None."""
        number = len(self.operations)
        fault = next((one.of(faults) for one in self.planned if one.number == number), None) if faults else None
        self.operations.append(what)
        if fault is not None:
            self.met.append(f"{number} {what}: {fault.value}")
        return fault


@dataclass
class Process:
    """One simulated process: what it does to the outside goes through `doing`."""

    trace: Trace
    stall: Callable[[], None]
    skew: Callable[[], None]
    is_alive: bool = True

    @contextmanager
    def doing(self, what: str, faults: Sequence[Fault], unavailable: Callable[[], Exception]) -> Iterator[Fault | None]:
        """Around one operation. Raises ``Killed``, or what ``unavailable`` makes; other faults are the caller's."""
        self._check()
        fault = self.trace.next(what, faults)
        if fault is Fault.KILL_BEFORE:
            self._die()
        if fault is Fault.STALL:
            self.stall()
        if fault is Fault.SKEW:
            self.skew()
        if fault is Fault.UNAVAILABLE:
            raise unavailable()
        yield fault
        if fault is Fault.KILL_AFTER:
            self._die()
        if fault is Fault.LOST_ANSWER:
            raise unavailable()

    def _die(self) -> None:
        self.is_alive = False
        raise Killed

    def _check(self) -> None:
        if not self.is_alive:
            raise Killed
