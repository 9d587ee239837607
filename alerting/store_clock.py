"""Whether the time that another process has set itself is over, by the one clock that all machines share: the store's.

A lease or a claim says until when it lasts by the clock of the machine that wrote it, and is judged by that of another
one. Where it looks over, the store is asked what time it is, and when it took the object: nobody who is alive is taken
for dead because a clock is wrong, or is set at that moment. A clock that errs the other way only lets the dead be found
later.
"""

from __future__ import annotations

import datetime as dt
import logging
import time
from collections.abc import Callable
from typing import NamedTuple

from alerting.errors import PipelineError
from alerting.instant import Instant, utc_now
from alerting.object_store import ObjectStore
from alerting.redaction import redact

_log = logging.getLogger("gapless.alerting")
NAME = "clock.json"
_ASKED_AGAIN_AFTER_S = 60.0


class _Told(NamedTuple):
    """``at`` is of the store, None where it does not tell; ``since`` is when its answer was there."""

    at: dt.datetime | None
    since: Instant


class StoreClock:
    """The clock of a store that tells when it took an object; of another one, the machine's own. Blocking.

    Between two answers it goes on by the monotonic clock, which nobody sets. It is never ahead of the store: an answer
    takes a while, and a machine may sleep.

    Args:
        store: Whose.
        here: The wall clock of this machine; replaced in tests.
    """

    def __init__(self, store: ObjectStore, here: Callable[[], dt.datetime] | None = None) -> None:
        self._store, self._here = store, here or (lambda: utc_now())
        self._told: _Told | None = None
        self._rests_until_s = 0.0

    def now(self) -> dt.datetime:
        """So late it is at least (aware UTC). Asks no oftener than once a minute, and when a clock was set."""
        told = self._told
        if told is None or told.since.since_s > _ASKED_AGAIN_AFTER_S or not told.since.is_certain(self._here()):
            told = self._told = self._asked()
        return self._by(told)

    def about(self) -> dt.datetime:
        """As `now`. Raises nothing: while the store cannot be asked, by what is known, if only by this machine."""
        if time.monotonic() >= self._rests_until_s:
            try:
                return self.now()
            except (PipelineError, OSError) as error:
                _log.warning("what time it is at the store is not known: %s", redact(str(error)))
                self._rests_until_s = time.monotonic() + _ASKED_AGAIN_AFTER_S
        return self._by(self._told) if self._told else self._here()

    def written_at(self, name: str) -> dt.datetime | None:
        """When the store took the object (aware); None where it does not tell, or has none of that name."""
        return next((one.updated_at for one in self._store.list(name) if one.name == name), None)

    def late(self, name: str, until: dt.datetime, lasts: dt.timedelta, now: dt.datetime) -> dt.timedelta:
        """For how long what the object says to last until ``until`` has been over; negative while it lasts.

        The store is asked only where it looks over by the clock of this machine.

        Args:
            name: The object, whose last write was the sign of life that lasts for ``lasts``.
            until: As its writer's clock has it.
            lasts: From its write on.
            now: By the clock of this machine.
        """
        if until > now:
            return now - until
        # First: a sign of life that comes while the store is asked is not counted as older than it is.
        at = self.now()
        written_at = self.written_at(name)
        return now - until if written_at is None else at - max(until, written_at + lasts)

    def is_over(self, name: str, until: dt.datetime, lasts: dt.timedelta, now: dt.datetime) -> bool:
        """Whether `late` is not negative."""
        return self.late(name, until, lasts, now) >= dt.timedelta()

    def _asked(self) -> _Told:
        # Whoever writes it between our write and our listing makes the answer newer, and no less right.
        self._store.write(NAME, b"{}", content_type="application/json")
        return _Told(self.written_at(NAME), Instant.now(self._here()))

    def _by(self, told: _Told) -> dt.datetime:
        return self._here() if told.at is None else told.at + dt.timedelta(seconds=told.since.since_s)
