"""What can go wrong at a place where a run meets the outside, and the plan of a seed: where it does."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, Protocol


class Fault(StrEnum):
    """What happens at one operation."""

    KILL_BEFORE = "killed before it"
    KILL_AFTER = "killed after it, before anybody knew"
    LOST_ANSWER = "done, but its answer was lost"
    NOT_DONE = "told as done, and not done"
    UNAVAILABLE = "unavailable"
    OUTAGE = "unavailable for an hour"
    OVERLAP = "watchdog and another run began beside it"
    STALL = "stood still until another run had taken over"
    SKEW = "the wall clock was set an hour ahead"
    SKEW_BACK = "the wall clock was set an hour back"
    RATE_LIMITED = "429 with Retry-After"
    STORM = "429 to everybody for ten minutes"
    TIMEOUT = "no answer in time"
    SERVER_ERROR = "503"
    CUT = "half of the page"
    PART = "half of the rows that it announced"
    EMPTY = "200 without a body"
    STALE = "the page before, once more"
    DRIFT = "a row came in before the page and moved its last one to the next"
    CHALLENGE = "a challenge page"


OF_STORAGE_WRITE = (
    Fault.KILL_BEFORE, Fault.KILL_AFTER, Fault.LOST_ANSWER, Fault.UNAVAILABLE, Fault.OUTAGE, Fault.STALL, Fault.OVERLAP,
    Fault.SKEW, Fault.SKEW_BACK,
)  # fmt: skip
OF_REPLACE = (*OF_STORAGE_WRITE, Fault.NOT_DONE)
OF_READ = (Fault.KILL_BEFORE, Fault.UNAVAILABLE, Fault.OUTAGE, Fault.STALL, Fault.OVERLAP)
OF_CHANNEL = (Fault.KILL_BEFORE, Fault.KILL_AFTER, Fault.LOST_ANSWER, Fault.UNAVAILABLE, Fault.OUTAGE)
OF_SOURCE = (
    Fault.KILL_BEFORE, Fault.KILL_AFTER, Fault.RATE_LIMITED, Fault.TIMEOUT, Fault.SERVER_ERROR, Fault.OUTAGE, Fault.CUT,
    Fault.EMPTY, Fault.STALE, Fault.CHALLENGE, Fault.STALL, Fault.OVERLAP, Fault.STORM, Fault.DRIFT, Fault.PART,
)  # fmt: skip
AHEAD = ", an hour ahead until their clocks were set right"
"""Said of an overlap."""
OUTAGE_S = AN_HOUR_S = 3_600.0
STORM_S = 600.0
_SKEWS: Mapping[Fault | None, float] = {Fault.SKEW: AN_HOUR_S, Fault.SKEW_BACK: -AN_HOUR_S}


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


_PLACES: Mapping[str, tuple[Sequence[Fault], int]] = {
    "call ": (OF_SOURCE, 8),
    "write landing": (OF_STORAGE_WRITE, 5),
    "write ledger": (OF_STORAGE_WRITE, 3),
    "write outbox": (OF_STORAGE_WRITE, 2),
    "write ": (OF_STORAGE_WRITE, 4),
    "delete ": (OF_STORAGE_WRITE, 1),
    "read ": (OF_READ, 2),
    "list ": (OF_READ, 1),
    "stage ": (OF_STORAGE_WRITE, 2),
    "compare ": (OF_READ, 1),
    "replace ": (OF_REPLACE, 3),
    "query": (OF_READ, 2),
    "mail ": (OF_CHANNEL, 3),
    "look at limit": (OF_READ, 1),
    "take of limit": (OF_CHANNEL, 2),
}
"""Beginnings of operations, the first that fits; what they can meet, and how often a fault is planned there."""


def plan_of(seed: int, operations: Sequence[str]) -> tuple[Planned, ...]:
    """One to four faults at places that a run without faults comes by, or a little later, as repetitions shift them.

    The first takes its turn: consecutive seeds go through every fault of every kind of place, in an order that looks
    like none. In the first round it is the only one.
    """
    chance = random.Random(seed)  # noqa: S311 - no secret
    places: dict[str, list[int]] = {}
    for at, what in enumerate(operations):
        if begin := next((begin for begin in _PLACES if what.startswith(begin)), ""):
            places.setdefault(begin, []).append(at)
    pairs = [(begin, number) for begin in places for number in range(len(_PLACES[begin][0]))]
    random.Random(len(pairs)).shuffle(pairs)  # noqa: S311 - no secret
    round_, turn = divmod(seed, len(pairs))
    begin, fault = pairs[turn]
    planned = {chance.choice(places[begin]): (fault + 0.5) / len(_PLACES[begin][0])}
    weights = [_PLACES[begin][1] for begin in places]
    for begin in chance.choices(list(places), weights, k=chance.choice((0, 0, 1, 1, 2, 3)) if round_ else 0):
        number = chance.choice(places[begin]) + chance.choice((0, 0, 0, 1, 2, len(operations) // 2))
        planned.setdefault(number, chance.random())
    return tuple(Planned(number, planned[number]) for number in sorted(planned))


Outside = Literal["storage", "warehouse", "source", "mail", "server"]
"""What can be away by itself."""


class Surroundings(Protocol):
    """What goes on around a process that is in the middle of an operation."""

    def stall(self) -> None:
        """The process stands still, until another run has taken over."""

    def overlap(self, process: Process) -> None:
        """Watchdog and another run begin at this very moment; neither may touch what a living ``process`` is at.

        The clocks of their machines may be wrong until they are set right.
        """

    def died(self) -> None:
        """The running process is dead, though its code goes on."""

    def skew(self, seconds: float) -> None:
        """The wall clock of the machine is set, and set right some time later."""

    def operates(self) -> None:
        """A process is about to do something."""

    def outage(self, part: Outside) -> None:
        """``part`` is away for `OUTAGE_S`."""

    def replaces(self, process: Process, table: str) -> None:
        """``process`` is about to write rows that readers see."""

    def is_away(self, part: Outside) -> bool:
        """Whether it is at this moment."""


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
    """One simulated process: what it does to the outside goes through `doing`.

    Attributes:
        trace: Of the schedule.
        surroundings: What happens around the process while it is at an operation.
        backfill_id: Of its run; "" for the watchdog.
        silenced_at: The operation before which it stands still or has died; "" while it goes on.
    """

    trace: Trace
    surroundings: Surroundings
    backfill_id: str = ""
    is_alive: bool = True
    silenced_at: str = ""

    @contextmanager
    def doing(
        self, part: Outside, what: str, faults: Sequence[Fault], unavailable: Callable[[], Exception]
    ) -> Iterator[Fault | None]:
        """Around one operation. Raises ``Killed``, or what ``unavailable`` makes; other faults are the caller's."""
        self._check()
        self.surroundings.operates()
        fault = self.trace.next(what, faults)
        if fault is Fault.KILL_BEFORE:
            self.silenced_at = what
            self._die()
        if fault is Fault.STALL:
            self.silenced_at = what
            self.surroundings.stall()
            self.silenced_at = ""
        if fault is Fault.OVERLAP:
            self.surroundings.overlap(self)
        if fault in _SKEWS:
            self.surroundings.skew(_SKEWS[fault])
        if fault is Fault.OUTAGE:
            self.surroundings.outage(part)
        if fault is Fault.UNAVAILABLE or self.surroundings.is_away(part):
            raise unavailable()
        yield fault
        if fault is Fault.KILL_AFTER:
            self._die()
        if fault is Fault.LOST_ANSWER:
            raise unavailable()

    def _die(self) -> None:
        self.is_alive = False
        self.surroundings.died()
        raise Killed

    def _check(self) -> None:
        if not self.is_alive:
            raise Killed
