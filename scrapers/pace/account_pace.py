"""The rate of an account across processes: turns, taken from one shared timeline by compare-and-swap.

Within its turn a process may call, outside of it not at all. Turns follow each other without overlap, so that the calls
of all processes together keep the rate, whatever runs them: a backfill in one process, its windows in several, a daily
run of another source. As long as another process may have called within the second or minute that is limited, calls are
spread evenly; who has been alone for longer may call as fast as its own budget lets it, and its turns grow by it.

    budgets/pace/<account>.json   {"until": the end of the last turn, "by": who has it, "held_until": a pause of all}

Measured by wall clocks: those of machines that share an account have to agree within the margin that the declared
rate leaves (0.1 s of 1.8 calls a second where 2 are allowed). A process that is killed loses the rest of its turn,
which is `LONGEST_TURN_S` at most.
"""

from __future__ import annotations

import datetime as dt
import math
import secrets
from collections.abc import Callable

from pydantic import AwareDatetime, BaseModel, ConfigDict, TypeAdapter

from alerting.object_store import ObjectStore
from alerting.versioned_record import Version, VersionedRecord
from scrapers.pace.budget import Clock
from scrapers.rate import Rate

LONGEST_TURN_S = 5.0
HEARD_WITHIN_S = 1.0
"""A pause that another process was asked for, where there are no turns: Cloud Storage is read no oftener for it."""
"""Longer ones let the others wait, shorter ones write the shared object more often than once a second."""
_FIRST_TURN_CALLS = 2
_FIRST_TURN_S = 0.25
"""Of a fast account: shorter than the write that takes it, a turn would be over when it begins."""
_SOON = dt.timedelta(seconds=1)
# A clock that runs ahead on another machine must not close the account for as long as it is wrong.
_LONGEST_QUEUE_S = 120.0
_LONGEST_QUEUE_CALLS = 20
_NEVER = dt.datetime.min.replace(tzinfo=dt.UTC)


class _Timeline(BaseModel):
    model_config = ConfigDict(frozen=True)

    until: AwareDatetime
    by: str
    held_until: AwareDatetime


_SHAPE = TypeAdapter(_Timeline)
_UNUSED = _Timeline(until=_NEVER, by="", held_until=_NEVER)


class AccountPace:
    """This process's turns at one account. Not thread-safe by itself: ``Budget`` calls it under its lock.

    Args:
        store: Where the timeline lies.
        account: Whose.
        rate: Its limits; without one of second or minute only the pauses that the source asks for are kept together.
        source: For error messages.
        clock: Replaced in tests.
    """

    def __init__(
        self, store: ObjectStore, account: str, rate: Rate, *, source: str = "", clock: Clock | None = None
    ) -> None:
        self._clock = clock or Clock()
        name, hint = f"budgets/pace/{account}.json", "delete it: a run writes it anew"
        self._record = VersionedRecord(
            store, name, _SHAPE, sleep=self._clock.sleep, source=source, stage="scrape", hint=hint
        )
        self._me = secrets.token_hex(6)
        limits = [rate.per_second or math.inf, (rate.per_minute or math.inf) / 60]
        self._between = dt.timedelta(seconds=1 / min(limits))
        self._most_calls = max(1, math.floor(LONGEST_TURN_S * min(limits))) if min(limits) < math.inf else 0
        # A process that makes a call now and then keeps nobody waiting.
        first = max(_FIRST_TURN_CALLS, math.floor(_FIRST_TURN_S * self._most_calls / LONGEST_TURN_S))
        self._calls = self._first_calls = min(first, self._most_calls)
        self._left = 0
        self._seen: Version[_Timeline] | None = None
        self._window = dt.timedelta(seconds=60 if rate.per_minute else max(1.0, 1 / (rate.per_second or 1.0)))
        self._begins = self._ends = self._last_call = self._others_until = _NEVER
        self._is_used_up = False
        self._held_until = _NEVER
        self._look_at_s = -math.inf

    def wait_s(self) -> float:
        """Seconds until this process may make one call, 0 for now; takes a turn where it has none."""
        if not self._most_calls:
            return self.held_s()
        if not self._left or self._clock.now() > self._ends - self._between:
            self._take_turn()
        return max(0.0, (self._next_call() - self._clock.now()).total_seconds())

    def take(self) -> None:
        """Uses one call of the turn; ``wait_s`` comes first."""
        self._left -= 1
        self._last_call = self._clock.now()
        self._is_used_up = not self._left

    def hold(self, seconds: float) -> None:
        """No turn of any process begins for so long: the source asked to slow down."""
        self._held_until = held_until = self._clock.now() + dt.timedelta(seconds=seconds)
        self._left = 0
        self._update(lambda known: known.model_copy(update={"held_until": max(known.held_until, held_until)}))

    def close(self) -> None:
        """Gives the rest of the turn back, where nobody has taken the one after it."""
        ends, self._left, unused = self._ends, 0, self._left * self._between
        until = max(self._clock.now() + self._between, ends - unused)
        if until < ends:
            given_back = {"until": until, "by": ""}
            self._record.update(
                lambda known: known.model_copy(update=given_back) if known and self._is_mine(known, ends) else None,
                self._seen,
            )

    def held_s(self) -> float:
        """What is left of a pause of all, as it was known `HEARD_WITHIN_S` ago."""
        # By a clock that nobody sets: after a step back it would not look for as long.
        now, now_s = self._clock.now(), self._clock.monotonic()
        if now_s >= self._look_at_s:
            known = self._record.read() or _UNUSED
            self._held_until = max(self._held_until, known.held_until)
            self._look_at_s = now_s + HEARD_WITHIN_S
        return max(0.0, (self._held_until - now).total_seconds())

    def _take_turn(self) -> None:
        # Turns grow as long as they are used up, or nobody else takes one between them: each is a write to the store.
        longer, mine = min(self._most_calls, 2 * self._calls), self._ends

        def after_the_last(known: _Timeline) -> _Timeline:
            now = self._clock.now()
            is_alone = self._is_mine(known, mine) and now <= mine + _SOON
            self._calls = longer if self._is_used_up or is_alone else self._first_calls
            latest = now + max(dt.timedelta(seconds=_LONGEST_QUEUE_S), _LONGEST_QUEUE_CALLS * self._between)
            if self._is_mine(known, mine):
                # Its own turn is gone on with, and grows by what it may call.
                self._begins = max(now, known.held_until)
                ends = max(known.until, self._begins + self._between)
            else:
                self._others_until = min(known.until, latest)
                self._begins = max(now, self._others_until, known.held_until)
                # One call more than it may make: the last one may be late.
                ends = self._begins + self._between
            self._ends = ends + self._calls * self._between
            return known.model_copy(update={"until": self._ends, "by": self._me})

        self._update(after_the_last)
        self._left, self._is_used_up = self._calls, False

    def _next_call(self) -> dt.datetime:
        """The earliest instant for one; after another process evenly, as nobody knows how it spread its own."""
        evenly = self._clock.now() < self._others_until + self._window
        return max(self._begins, self._last_call + self._between) if evenly else self._begins

    def _is_mine(self, known: _Timeline, ends: dt.datetime) -> bool:
        return known.by == self._me and known.until == ends

    def _update(self, change: Callable[[_Timeline], _Timeline]) -> None:
        # As it was left: who else has written meanwhile costs one more round trip, nobody none.
        self._seen = self._record.update(lambda known: change(known or _UNUSED), self._seen)
