"""The rate of an account across processes: turns, taken from one shared timeline by compare-and-swap.

Within its turn a process may call as fast as the account allows, outside of it not at all. Turns follow each other
without overlap, so that the calls of all processes together keep the rate, whatever runs them: a backfill in one
process, its windows in several, a daily run of another source.

    budgets/pace/<account>.json   {"until": the end of the last turn, "by": who has it, "held_until": a pause of all}

Measured by wall clocks: those of machines that share an account have to agree within the margin that the declared
rate leaves (0.1 s of 1.8 calls a second where 2 are allowed). A process that is killed loses the rest of its turn,
which is `LONGEST_TURN_S` at most.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import random
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from alerting.errors import LandingUnavailable, StateUnreadable
from alerting.object_store import GenerationConflict, ObjectMissing, ObjectStore
from scrapers.base import Rate
from scrapers.pace.budget import Clock

LONGEST_TURN_S = 5.0
"""Longer ones let the others wait, shorter ones write the shared object more often than once a second."""
_FIRST_TURN_CALLS = 2
# A clock that runs ahead on another machine must not close the account for as long as it is wrong.
_LONGEST_QUEUE_S = 120.0
_WRITE_TRIES = 20
_NEVER = dt.datetime.min.replace(tzinfo=dt.UTC)


@dataclass(frozen=True, slots=True)
class _Timeline:
    until: dt.datetime = _NEVER
    by: str = ""
    held_until: dt.datetime = _NEVER

    @classmethod
    def parse(cls, data: bytes) -> _Timeline:
        stored = json.loads(data)
        until, held = (dt.datetime.fromisoformat(stored[name]) for name in ("until", "held_until"))
        if until.tzinfo is None or held.tzinfo is None:
            raise ValueError("an instant without a zone")
        return cls(until, str(stored["by"]), held)

    def to_json(self) -> bytes:
        return json.dumps(
            {"until": self.until.isoformat(), "by": self.by, "held_until": self.held_until.isoformat()}
        ).encode()


class AccountPace:
    """This process's turns at one account. Not thread-safe by itself: ``Budget`` calls it under its lock.

    Args:
        store: Where the timeline lies.
        account: Whose.
        rate: Its limits; without one of second or minute every turn begins at once.
        source: For error messages.
        clock: Replaced in tests.
    """

    def __init__(
        self, store: ObjectStore, account: str, rate: Rate, *, source: str = "", clock: Clock | None = None
    ) -> None:
        self._store, self._account, self._source = store, account, source
        self._clock = clock or Clock()
        self._name = f"budgets/pace/{account}.json"
        self._me = secrets.token_hex(6)
        limits = [rate.per_second or math.inf, (rate.per_minute or math.inf) / 60]
        self._between = dt.timedelta(seconds=1 / min(limits))
        self._most_calls = max(1, math.floor(LONGEST_TURN_S * min(limits))) if min(limits) < math.inf else 0
        self._calls = min(_FIRST_TURN_CALLS, self._most_calls)
        self._left = 0
        self._begins = self._ends = _NEVER
        self._is_used_up = False

    def wait_s(self) -> float:
        """Seconds until this process may make one call, 0 for now; takes a turn where it has none."""
        if not self._most_calls:
            return 0.0
        if not self._left or self._clock.now() > self._ends - self._between:
            self._take_turn()
        return max(0.0, (self._begins - self._clock.now()).total_seconds())

    def take(self) -> None:
        """Uses one call of the turn; ``wait_s`` comes first."""
        self._left -= 1
        self._is_used_up = not self._left

    def hold(self, seconds: float) -> None:
        """No turn of any process begins for so long: the source asked to slow down."""
        held_until = self._clock.now() + dt.timedelta(seconds=seconds)
        self._left = 0
        self._update(lambda known: _Timeline(known.until, known.by, max(known.held_until, held_until)))

    def close(self) -> None:
        """Gives the rest of the turn back, where nobody has taken the one after it."""
        now, ends, self._left = self._clock.now(), self._ends, 0
        if now + self._between < ends:
            free = now + self._between
            self._update(lambda known: _Timeline(free, "", known.held_until) if self._is_mine(known, ends) else known)

    def _take_turn(self) -> None:
        # As long as turns are used up they grow; a process that makes a call now and then keeps nobody waiting.
        self._calls = (
            min(self._most_calls, 2 * self._calls) if self._is_used_up else min(_FIRST_TURN_CALLS, self._most_calls)
        )
        mine = self._ends

        def after_the_last(known: _Timeline) -> _Timeline:
            now = self._clock.now()
            latest = now + dt.timedelta(seconds=_LONGEST_QUEUE_S)
            # Its own turn is gone on with: the distance of calls within a process is its budget's part.
            begins = now if self._is_mine(known, mine) else max(now, min(known.until, latest))
            self._begins = max(begins, known.held_until)
            # One call more than it may make: the last one may be late.
            self._ends = self._begins + (self._calls + 1) * self._between
            return _Timeline(self._ends, self._me, known.held_until)

        self._update(after_the_last)
        self._left, self._is_used_up = self._calls, False

    def _is_mine(self, known: _Timeline, ends: dt.datetime) -> bool:
        return known.by == self._me and known.until == ends

    def _read(self) -> tuple[_Timeline, int]:
        try:
            data, generation = self._store.read(self._name)
            return _Timeline.parse(data), generation
        except ObjectMissing:
            return _Timeline(), 0
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StateUnreadable(
                f"state unreadable at {self._store.root_uri}/{self._name}; no call was made",
                source=self._source,
                stage="scrape",
                hint="delete it: a run writes it anew",
            ) from error

    def _update(self, change: Callable[[_Timeline], _Timeline]) -> None:
        for number in range(_WRITE_TRIES):
            known, generation = self._read()
            data = change(known).to_json()
            try:
                self._store.write(self._name, data, if_generation=generation, content_type="application/json")
            except GenerationConflict:
                self._clock.sleep(random.uniform(0.01, 0.05 * (number + 1)))  # noqa: S311 - spreads writers apart
            else:
                return
        raise LandingUnavailable(f"{self._name} changed under every of {_WRITE_TRIES} writes", source=self._source)
