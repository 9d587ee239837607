"""A person's hand in the state of a source: what is kept of it."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Intervention:
    """Who, why, and when (aware UTC)."""

    who: str
    reason: str
    at: dt.datetime
