"""Why a run that is alive begins nothing for a while: what shuts its gate, as its lease tells others. Pure."""

from __future__ import annotations

import datetime as dt

from pydantic import BaseModel, ConfigDict

BLACKOUT, LIVE = "blackout", "live work"
# As leases and orders have it.
SOURCE_DOWN = "trouble at the source"


class Standstill(BaseModel):
    """What a run that is alive waits for. ``until`` is aware UTC; ``live_id`` is the live run it yields to."""

    model_config = ConfigDict(frozen=True)

    why: str
    until: dt.datetime | None = None
    live_id: str = ""

    def describe(self) -> str:
        """What it waits for, and until when.

        >>> Standstill(why=BLACKOUT, until=dt.datetime(2025, 1, 1, 12, tzinfo=dt.UTC)).describe()
        'paused for a blackout window until 2025-01-01 12:00 UTC'
        """
        at = f"{self.until.astimezone(dt.UTC):%Y-%m-%d %H:%M} UTC" if self.until else ""
        if self.why == BLACKOUT:
            return f"paused for a blackout window until {at}"
        if self.why == SOURCE_DOWN:
            return f"paused because the source is down; one date is tried again at {at or 'once'}"
        return f"paused for live run {self.live_id}" if self.live_id else "paused for live work"
