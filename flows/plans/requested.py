"""From the parameters of a run to the partitions that they mean. Pure."""

from __future__ import annotations

import datetime as dt

from alerting.errors import ConfigurationError
from flows.calendar_dates import listed_dates
from flows.parameters import NO_DATE
from flows.plans.entities import requested_entities
from scrapers.base import Scraper
from scrapers.partition import Partition, partitions_between

ONE_DAY = dt.timedelta(days=1)
LIFETIME = dt.timedelta(days=36_525)


def requested_partitions(
    scraper: Scraper,
    start_date: dt.date,
    end_date: dt.date,
    dates: str,
    now: dt.datetime,
    *,
    exclude: str = "",
    entities: str = "",
) -> list[Partition]:
    """The partitions asked for, oldest first; ``dates`` and ``exclude`` (ranges as in a mail) narrow the range.

    A source that is asked by entity takes ``entities`` and ``exclude``, and no dates: see
    :func:`flows.plans.entities.requested_entities`. Raises ``ConfigurationError`` for a start after the end, a range
    before the source's floor, a date that is not over and settled, or dates outside the range. Nothing was done then.
    """
    if scraper.step == "whole":
        if dates.strip() or (start_date, end_date) != (NO_DATE, NO_DATE):
            raise _bad(scraper, f"{scraper.source} is asked by entity and has no dates", "entities=all and no dates")
        return requested_entities(scraper, entities, exclude)
    if entities.strip():
        raise _bad(scraper, f"{scraper.source} is asked by date and has no entities", "leave entities empty")
    if NO_DATE in (start_date, end_date):
        raise _bad(scraper, "start_date and end_date are needed", "start_date=2025-01-01 end_date=2025-01-31")
    if start_date > end_date:
        raise _bad(scraper, f"start_date {start_date} is after end_date {end_date}", "swap them")
    if end_date < scraper.floor:
        begins = f"the source begins at {scraper.floor} {scraper.floor_evidence}".rstrip()
        raise _bad(scraper, f"{begins}, end_date is {end_date}", "ask for later dates")
    if end_date > now.date() + LIFETIME:
        # Named at once: the days of eight thousand years are no plan.
        last_settled = scraper.last_settled(now)
        raise _bad(
            scraper,
            f"end_date {end_date} lies in the future (it is {now:%Y-%m-%d}); the last settled date is {last_settled}",
            f"end_date={last_settled}",
        )
    partitions = partitions_between(start_date, end_date, scraper.zone, scraper.step)
    unsettled = [partition for partition in partitions if scraper.settled_at(partition) > now]
    if unsettled:
        settled = [partition for partition in partitions if scraper.settled_at(partition) <= now]
        last = f"the last settled one is {settled[-1].key}" if settled else "none of them is settled"
        raise _bad(
            scraper,
            f"{unsettled[0].key} is not over and settled before {scraper.settled_at(unsettled[0]):%Y-%m-%d %H:%M} UTC "
            f"(it is {now:%Y-%m-%d %H:%M} UTC); {last}",
            f"end_date={settled[-1].end - ONE_DAY}" if settled else "wait, or ask for earlier dates",
        )
    keys = {partition.key for partition in partitions}
    wanted = _keys_of(scraper, "dates", dates) or keys
    outside = sorted(wanted - keys)
    if outside:
        raise _bad(scraper, f"{outside[0]} lies outside {start_date} to {end_date}", "widen the range")
    wanted -= _keys_of(scraper, "exclude", exclude)
    if not wanted:
        raise _bad(scraper, "every date is excluded", "exclude less")
    return [partition for partition in partitions if partition.key in wanted]


def _keys_of(scraper: Scraper, parameter: str, dates: str) -> set[str]:
    if not dates.strip():
        return set()
    try:
        return set(listed_dates(dates))
    except ValueError as error:
        raise _bad(scraper, f"{parameter}: {error}", "write them as 2025-01-03, 2025-01-07..2025-01-09") from error


def _bad(scraper: Scraper, what: str, hint: str) -> ConfigurationError:
    return ConfigurationError(f"{what}. Nothing was done", source=scraper.source, stage="plan", hint=hint)
