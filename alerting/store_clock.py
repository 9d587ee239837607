"""Whether the time that another process has set itself is over, by the one clock that all machines share: the store's.

A lease or a claim says until when it lasts by the clock of the machine that wrote it, and is judged by that of another
one. Where it looks over, the store is asked what time it is, and when it took the object: nobody who is alive is taken
for dead because a clock is wrong. A clock that errs the other way only lets the dead be found later.
"""

from __future__ import annotations

import datetime as dt
import logging
import time

from alerting.errors import PipelineError
from alerting.object_store import ObjectStore
from alerting.redaction import redact

_log = logging.getLogger("gapless.alerting")
NAME = "clock.json"
_ASKED_AGAIN_AFTER_S = 60.0


def utc_now() -> dt.datetime:
    """Aware UTC, by the clock of this machine."""
    return dt.datetime.now(dt.UTC)


class StoreClock:
    """The clock of a store that tells when it took an object; of another one, the machine's own. Blocking."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._ahead = dt.timedelta()
        self._asked_s: float | None = None

    def ahead(self) -> dt.timedelta:
        """How far the clock of this machine is ahead of the store's, as it was a minute ago at most."""
        now_s = time.monotonic()
        if self._asked_s is None or now_s - self._asked_s > _ASKED_AGAIN_AFTER_S:
            # Whoever writes it between our write and our listing makes the answer newer, and no less right.
            self._store.write(NAME, b"{}", content_type="application/json")
            at = self.written_at(NAME)
            self._ahead, self._asked_s = utc_now() - at if at is not None else dt.timedelta(), now_s
        return self._ahead

    def now(self, here: dt.datetime) -> dt.datetime:
        """What the store's clock says, to the second, when that of this machine says ``here`` (aware UTC).

        Raises nothing: while the store cannot be asked, the difference is the last that is known.
        """
        try:
            ahead = self.ahead()
        except (PipelineError, OSError) as error:
            _log.warning("what time it is at the store is not known: %s", redact(str(error)))
            ahead, self._asked_s = self._ahead, time.monotonic()
        # The way to the store and back takes a part of one.
        return here - dt.timedelta(seconds=round(ahead.total_seconds()))

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
        now -= self.ahead()
        written_at = self.written_at(name)
        return now - (until if written_at is None else max(until, written_at + lasts))

    def is_over(self, name: str, until: dt.datetime, lasts: dt.timedelta, now: dt.datetime) -> bool:
        """Whether `late` is not negative."""
        return self.late(name, until, lasts, now) >= dt.timedelta()
