"""How often a source may be asked, what a paid plan changes in that, and how its answers tell what is left."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from alerting.wording import dollars


@dataclass(frozen=True, slots=True)
class Rate:
    """How often the upstream may be asked; None = no limit of that kind. Day and month end in ``reset_zone``.

    ``pause_s`` is the shortest and the longest pause between two calls of a process, each drawn anew, for sites that
    want no steady beat.
    """

    per_second: float | None = None
    per_minute: int | None = None
    per_day: int | None = None
    per_month: int | None = None
    reset_zone: str = "UTC"
    pause_s: tuple[float, float] = (0.0, 0.0)

    @property
    def of_site(self) -> Rate:
        """What holds for each site by itself: calls a second and minute, and pauses."""
        return replace(self, per_day=None, per_month=None)

    @property
    def of_all_sites(self) -> Rate:
        """What holds for all of them together: day and month."""
        return replace(self, per_second=None, per_minute=None, pause_s=(0.0, 0.0))


@dataclass(frozen=True, slots=True)
class Tier:
    """A plan that the owner of an account pays for.

    Attributes:
        name: As its source writes it, in lower case.
        rate: What it allows, in place of ``Scraper.rate``.
        usd_per_month: What it costs; None where that is not known.
        without: What is not in it and people would look for, as one word; "" for nothing worth a word.
    """

    name: str
    rate: Rate
    usd_per_month: float | None = None
    without: str = ""

    @property
    def shown(self) -> str:
        """With its price, for people.

        >>> Tier("goat", Rate(), 39.99).shown, Tier("free", Rate(), 0.0).shown, Tier("pro", Rate()).shown
        ('goat (39.99 USD a month)', 'free', 'pro')
        """
        return f"{self.name} ({dollars(self.usd_per_month)} a month)" if self.usd_per_month else self.name


@dataclass(frozen=True, slots=True)
class QuotaHeaders:
    """Answer headers (lower case) in which the source says what is left of a ``unit``'s quota, and when it resets.

    ``reset`` holds seconds from now or since 1970; "" where the source does not say. ``last`` holds what this call
    cost, which counts in place of ``Scraper.cost``.
    """

    remaining: str
    unit: Literal["day", "month"] = "day"
    reset: str = ""
    last: str = ""
