"""Day and month quotas that all processes and runs of a source share, kept in object storage by compare-and-swap.

A process takes calls in blocks, so that the shared object is written once per block and not once per call; what it
did not use it gives back at its end. A process that is killed loses a block and a quarter at most, which then counts as
spent.

    budgets/<account>.json   {"day": "2026-11-22", "day_spent": {"backfill": 700, "live": 12}, "month": ...,
                              "day_by_source": {"racing_cards": 712}, ...}

An account is the source itself, unless several sources share a login.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Mapping
from typing import Literal
from zoneinfo import ZoneInfo

from pydantic import AwareDatetime, BaseModel, TypeAdapter

from alerting.errors import BudgetExhausted
from alerting.object_store import ObjectStore
from alerting.redaction import redact
from alerting.store_clock import StoreClock
from alerting.versioned_record import VersionedRecord
from alerting.wording import plural
from scrapers.pace.budget import Clock, closed
from scrapers.pace.rate_limits import next_reset
from scrapers.rate import QuotaHeaders, Rate

Purpose = Literal["backfill", "live"]
Unit = Literal["day", "month"]
LARGEST_BLOCK = 100
_MOST_AHEAD = dt.timedelta(hours=1)
"""So soon after its beginning a day may not have begun yet: of clocks that are further ahead nobody knows."""
_BLOCKS_PER_ALLOWANCE = 20
_LOW = LARGEST_BLOCK // 4
"""Eight calls at once of 50 ms use them up in 150 ms, and the next block takes two round trips."""
# What the source's own counter says beyond ours: another program with the same key.
OTHER = "other"


class Counts(BaseModel):
    """Calls of the current day (``2026-11-22``) and month (``2026-11``), by purpose and by source.

    Until ``closed_until`` nobody makes one, because the source said why.
    """

    day: str
    month: str
    day_spent: dict[str, int] = {}
    month_spent: dict[str, int] = {}
    day_by_source: dict[str, int] = {}
    month_by_source: dict[str, int] = {}
    closed_until: AwareDatetime | None = None
    closed_why: str = ""

    @classmethod
    def of(cls, today: dt.date) -> Counts:
        """Nothing spent yet."""
        return cls(day=today.isoformat(), month=f"{today:%Y-%m}")

    def on(self, today: dt.date) -> Counts:
        """Without the counts of a period that is over; one that lies ahead (a clock set back) is kept."""
        counts, kept = Counts.of(today), self.model_copy(deep=True)
        if self.day < counts.day:
            kept.day, kept.day_spent, kept.day_by_source = counts.day, {}, {}
        if self.month < counts.month:
            kept.month, kept.month_spent, kept.month_by_source = counts.month, {}, {}
        return kept

    @property
    def period(self) -> dict[Unit, str]:
        """The day and the month that it counts."""
        return {"day": self.day, "month": self.month}

    @property
    def spent(self) -> dict[Unit, dict[str, int]]:
        """Calls by purpose, of each period; to be changed in place."""
        return {"day": self.day_spent, "month": self.month_spent}

    @property
    def by_source(self) -> dict[Unit, dict[str, int]]:
        """Calls by source, of each period; to be changed in place."""
        return {"day": self.day_by_source, "month": self.month_by_source}

    def add(self, purpose: str, source: str, calls: int) -> None:
        """Counts ``calls`` (negative gives back) to day and month."""
        for spent, by_source in zip(self.spent.values(), self.by_source.values(), strict=True):
            spent[purpose] = max(0, spent.get(purpose, 0) + calls)
            by_source[source] = max(0, by_source.get(source, 0) + calls)


_SHAPE = TypeAdapter(Counts)


class SharedQuota:
    """This process's part of the day and month quota. Not thread-safe by itself: ``Budget`` calls it under its lock.

    Args:
        store: Where the counts lie.
        source: Who calls, and whose quota it is unless it belongs to an account.
        rate: Its limits and reset zone; without day and month limit the calls are counted all the same.
        purpose: ``backfill`` may use ``share`` of each limit, ``live`` all of it.
        share: See ``purpose``.
        account: Whose quota, where several sources share one.
        cost_unit: What is counted, for messages; "" is calls.
        clock: Replaced in tests.
    """

    def __init__(  # noqa: PLR0913 - all but three have a usual value
        self,
        store: ObjectStore,
        source: str,
        rate: Rate,
        *,
        purpose: Purpose = "backfill",
        share: float = 0.7,
        account: str = "",
        cost_unit: str = "",
        clock: Clock | None = None,
    ) -> None:
        self.store, self.source, self.rate, self.purpose, self.share = store, source, rate, purpose, share
        self._unit = cost_unit or "call"
        self._clock = clock or Clock()
        self._zone = ZoneInfo(rate.reset_zone)
        hint = "look at that object; delete it to count from zero: the source's own limit still holds"
        name = f"budgets/{account or source}.json"
        self._record = VersionedRecord(
            store, name, _SHAPE, sleep=self._clock.sleep, source=source, stage="scrape", hint=hint
        )
        self._there = StoreClock(store, self._clock.now)
        self._block = 0
        self._block_of = ""
        self._is_ample = False
        self._told: dict[Unit, tuple[str, int, dt.datetime | None]] = {}

    def ensure(self, units: int = 1) -> None:
        """Holds at least so many units, or raises ``BudgetExhausted`` with the instant of the reset."""
        counts = Counts.of(self.today)
        if self._block_of != counts.period["day"]:
            self._block, self._block_of = 0, counts.period["day"]
        for unit, (period, remaining, resets_at) in self._told.items():
            if period == counts.period[unit] and remaining < units:
                left = "none is left" if remaining <= 0 else f"{remaining:,} are left, {units:,} are needed"
                reset = resets_at or next_reset(unit, self._clock.now(), self._zone)
                # Every process would find it out by a call of its own.
                self.close_until(reset.astimezone(dt.UTC), f"the source says that {left}")
                raise self._exhausted(unit, f"the source says that {left}", reset)
        if self._block < units:
            self._block += self._next_block(units - self._block)

    @property
    def is_low(self) -> bool:
        """Whether the next block should be reserved by now; where the allowance is small, only when it is needed."""
        return self._is_ample and self._block < _LOW

    def reserve_ahead(self) -> Callable[[], None]:
        """Reserves a block beside the calls of other threads, or raises as `ensure`; what it returns then holds it."""
        day = self.today.isoformat()
        block = self._next_block()

        def hold() -> None:
            # Of a day that is over it is counted there, and of no use any more.
            if self._block_of == day:
                self._block += block

        return hold

    def _next_block(self, least: int = 1) -> int:
        block = self._update(lambda counts: self._reserve(counts, least))
        self._is_ample = block == LARGEST_BLOCK
        return block

    def take(self, units: int = 1) -> None:
        """Uses units of the block; ``ensure`` comes first."""
        self._block -= units
        for unit, (period, remaining, resets_at) in list(self._told.items()):
            self._told[unit] = (period, remaining - units, resets_at)

    def give_back(self, units: int = 1) -> None:
        """The source did no work and does not count it, or less of it; negative where a call cost more."""
        self._block += units
        for unit, (period, remaining, resets_at) in list(self._told.items()):
            self._told[unit] = (period, remaining + units, resets_at)

    def close_until(self, instant: dt.datetime, why: str) -> None:
        """Keeps that the source said nothing is left before ``instant`` (aware)."""

        def close(counts: Counts) -> int:
            counts.closed_until, counts.closed_why = instant, redact(why)
            return 0

        self._update(close)

    def settle(self) -> None:
        """Returns what is left of the block, and tells the others what the source said of other programs.

        Called at the end; the quota may be used again afterwards.
        """
        unused, self._block = (self._block if self._block_of == self.today.isoformat() else 0), 0
        self._is_ample = False
        if unused or self._told:
            self._update(lambda counts: self._settled(counts, unused))

    def believe(self, declared: QuotaHeaders, headers: Mapping[str, str]) -> None:
        """Takes over what the source says is left; it knows of calls that we did not make."""
        try:
            remaining = int(float(headers[declared.remaining]))
        except (KeyError, ValueError, OverflowError):
            return
        period = Counts.of(self.today).period[declared.unit]
        self._told[declared.unit] = (period, remaining, _instant(headers.get(declared.reset, ""), self._clock.now()))

    def counts(self) -> Counts:
        """What all processes together have spent or hold at this moment. Raises ``StateUnreadable``."""
        found, today = self._record.read(), self.today
        return found.on(today) if found else Counts.of(today)

    @property
    def today(self) -> dt.date:
        """In the reset zone."""
        return self._clock.now().astimezone(self._zone).date()

    def _begin_of(self, day: dt.date) -> dt.datetime:
        return dt.datetime.combine(day, dt.time(), self._zone).astimezone(dt.UTC)

    def left(self) -> int | None:
        """Units that this purpose may still spend before the nearer wall; None without a wall."""
        counts = self.counts()
        if counts.closed_until and self._clock.now() < counts.closed_until:
            return 0
        left = [self._allowed(unit, counts) for unit in ("day", "month") if self._limit(unit) is not None]
        return min(left) + self._block if left else None

    def _reserve(self, counts: Counts, least: int = 1) -> int:
        if counts.closed_until and self._clock.now() < counts.closed_until:
            raise closed(self.source, counts.closed_until, counts.closed_why)
        allowed: list[int] = []
        for unit in ("day", "month"):
            self._believe_in(counts, unit)
            if self._limit(unit) is None:
                continue
            allowed.append(self._allowed(unit, counts))
            if allowed[-1] < least:
                used = ", ".join(f"{calls:,} by {who}" for who, calls in sorted(counts.spent[unit].items()))
                limit = plural(self._limit(unit) or 0, self._unit, "is", "are")
                raise self._exhausted(unit, f"{limit} allowed, used: {used}", None)
        block = min(LARGEST_BLOCK, *(max(1, one // _BLOCKS_PER_ALLOWANCE) for one in allowed), LARGEST_BLOCK)
        block = max(block, least)
        counts.add(self.purpose, self.source, block)
        return block

    def _allowed(self, unit: Unit, counts: Counts) -> int:
        limit, spent = self._limit(unit) or 0, counts.spent[unit]
        left = limit - sum(spent.values())
        if self.purpose == "live":
            return left
        return min(left, math.floor(limit * self.share + 1e-9) - spent.get(self.purpose, 0))

    def _believe_in(self, counts: Counts, unit: Unit) -> None:
        period, remaining, _ = self._told.get(unit, ("", 0, None))
        limit = self._limit(unit)
        if limit is None or period != counts.period[unit]:
            return
        ours = sum(calls for who, calls in counts.spent[unit].items() if who != OTHER)
        counts.spent[unit][OTHER] = max(counts.spent[unit].get(OTHER, 0), limit - remaining - ours)

    def _settled(self, counts: Counts, unused: int) -> int:
        counts.add(self.purpose, self.source, -unused)
        for unit in self._told:
            self._believe_in(counts, unit)
        return 0

    def _limit(self, unit: Unit) -> int | None:
        return self.rate.per_day if unit == "day" else self.rate.per_month

    def _exhausted(self, unit: Unit, why: str, resets_at: dt.datetime | None) -> BudgetExhausted:
        reset = resets_at or next_reset(unit, self._clock.now(), self._zone)
        share = f" (a backfill may use {self.share:.0%})" if self.purpose == "backfill" and self._limit(unit) else ""
        return BudgetExhausted(
            f"the quota of this {unit} is used up{share}: {why}; no call was made",
            source=self.source,
            stage="scrape",
            hint=f"it resumes after {reset.isoformat()} ({self.rate.reset_zone})",
            resets_at=reset.astimezone(dt.UTC).isoformat(),
        )

    def _counted(self, found: Counts | None) -> Counts:
        today = self.today
        if found is None:
            return Counts.of(today)
        if found.day < today.isoformat() and self._clock.now() - _MOST_AHEAD < self._begin_of(today):
            # A machine whose clock is ahead would count the rest of the old day from nothing.
            today = min(today, self._there.about().astimezone(self._zone).date())
        return found.on(today)

    def _update(self, change: Callable[[Counts], int]) -> int:
        result = 0

        def changed(found: Counts | None) -> Counts:
            nonlocal result
            counts = self._counted(found)
            result = change(counts)
            return counts

        self._record.update(changed)
        return result


def account_period(rate: Rate) -> tuple[Unit, int | None]:
    """The period that people are told of, and its limit: that of the day, else of the month; the day without any.

    >>> account_period(Rate(per_month=500)), account_period(Rate(per_second=2))
    (('month', 500), ('day', None))
    """
    if rate.per_day is None and rate.per_month is not None:
        return "month", rate.per_month
    return "day", rate.per_day


def used_by_source(calls: Mapping[str, int]) -> str:
    """Who used how much of an account, most first.

    >>> used_by_source({"racing_results": 40, "racing_cards": 1200}), used_by_source({})
    ('1,200 by racing_cards, 40 by racing_results', 'none')
    """
    most_first = sorted(calls.items(), key=lambda one: (-one[1], one[0]))
    return ", ".join(f"{used:,} by {source}" for source, used in most_first if used) or "none"


def _instant(text: str, now: dt.datetime) -> dt.datetime | None:
    """A reset header: seconds from now, or seconds since 1970."""
    try:
        seconds = float(text)
        return dt.datetime.fromtimestamp(seconds, dt.UTC) if seconds > 1e9 else now + dt.timedelta(seconds=seconds)
    except (ValueError, OverflowError, OSError):
        return None
