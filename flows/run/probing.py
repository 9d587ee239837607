"""When a source that is down is tried again: pauses and probes of one run."""

from __future__ import annotations

import datetime as dt


class Probing:
    """Pauses and probes of one run; times are aware UTC.

    Args:
        pause_s: The first pause; each further one is twice as long as the one before.
        most: Probes until the run ends. They are counted anew after ``calm_after`` dates have landed since the last
            one, so that a source that answers once in a while does not keep a run waiting for ever.
    """

    def __init__(self, pause_s: float = 0.0, most: int = 0, calm_after: int = 20) -> None:
        self.most = most
        self._pause_s = pause_s
        self._calm_after = calm_after
        self._count = 0
        self._serial = 0
        self._landed = 0
        self._until: dt.datetime | None = None

    @property
    def is_on(self) -> bool:
        """No date begins but a probe: open or half-open."""
        return self._until is not None

    @property
    def until(self) -> dt.datetime | None:
        """When the pause is over (aware UTC), None when there is none."""
        return self._until

    def begin(self, at: dt.datetime) -> float:
        """Opens, for so many seconds; 0.0 when no probe is left, and nothing is changed then."""
        if self._count >= self.most:
            return 0.0
        pause_s = self._pause_s * float(2**self._count)
        self._count += 1
        self._serial += 1
        self._landed = 0
        self._until = at + dt.timedelta(seconds=pause_s)
        return pause_s

    def due(self, now: dt.datetime) -> int:
        """The number of the probe that may be tried, 0 while none may. No number comes twice."""
        return self._serial if self._until is not None and now >= self._until else 0

    def close(self) -> None:
        """The source answered."""
        self._until = None

    def landed(self) -> None:
        """A date landed."""
        self._landed += 1
        if self._until is None and self._landed >= self._calm_after:
            self._count = 0
