"""What a run of a family of sources does: which of them, in which order, and what each is asked for.

The order and the entities follow from what the sources declare (`requires`, `oracles`), so that a new one takes its
place by itself. Reads what plans read; writes nothing.
"""

from __future__ import annotations

import datetime as dt
import heapq
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from alerting.errors import ConfigurationError
from alerting.wording import dollars, plural
from flows.asked import Asked, AskedFamily
from flows.calendar_dates import calendar_date
from flows.planning.known_first_date import known_scraper
from flows.planning.period import period_dates
from flows.planning.planner import Planned, plan_asked
from flows.planning.requested import ALL
from flows.wiring import Services
from scrapers.base import Scraper
from scrapers.registry import families, sources_of_family

ONE_DAY = dt.timedelta(days=1)


def step_id(family_run: str, source: str) -> str:
    """The backfill id of a step: known before it begins, in any process.

    >>> step_id("bf-0123456789ab", "racing_cards")
    'bf-0123456789ab-racing_cards'
    """
    return f"{family_run}-{source}"


@dataclass(frozen=True, slots=True)
class Step:
    """One source of a family run: what its backfill is asked for, and what it would do at this moment."""

    asked: Asked
    planned: Planned

    @property
    def source(self) -> str:
        """Name of the source."""
        return self.asked.source


@dataclass(frozen=True, slots=True)
class FamilyPlan:
    """Everything that a family run does, in order. ``left_out`` is why a source of the family takes no part."""

    family: str
    start_date: dt.date
    end_date: dt.date
    steps: tuple[Step, ...]
    left_out: Mapping[str, str]

    @property
    def sources(self) -> list[str]:
        """Names of those that take part, in order."""
        return [step.source for step in self.steps]

    def describe(self) -> str:
        """A paragraph a source, and their sum."""
        parts = [
            f"{number}. {step.source}\n{_indented(step.planned.describe())}"
            for number, step in enumerate(self.steps, start=1)
        ]
        parts += [f"-  {source} is left out: {why}" for source, why in self.left_out.items()]
        return "\n".join([*parts, self.summary()])

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "start_date": self.start_date,
            "end_date": self.end_date,
            "summary": self.summary(),
            "left_out": dict(self.left_out),
            "steps": [
                {
                    "source": step.source,
                    "dates": step.planned.plan.date_echo(),
                    "counts": dict(step.planned.plan.counts()),
                    "notes": list(step.planned.plan.notes),
                    "estimate": asdict(step.planned.estimate),
                }
                for step in self.steps
            ],
        }

    def summary(self) -> str:
        """What all of it costs, in one line; as many calls as they say at most, where an oracle is still to be read."""
        costs = [step.planned.estimate for step in self.steps]
        unknown = [step.source for step in self.steps if not step.planned.estimate.is_known]
        units: dict[str, int] = {}
        for cost in costs:
            if cost.cost_unit:
                units[cost.cost_unit] = units.get(cost.cost_unit, 0) + cost.units
        spent = [
            f"{sum(cost.calls for cost in costs):,} calls",
            *(plural(count, unit) for unit, count in units.items()),
        ]
        low, mid, high = (
            dt.timedelta(seconds=round(sum(getattr(cost, name) for cost in costs)))
            for name in ("optimistic_s", "realistic_s", "pessimistic_s")
        )
        lack = f"; not known yet: {', '.join(unknown)}" if unknown else ""
        return (
            f"{self.family} {self.start_date}..{self.end_date}: {plural(len(self.steps), 'source')}, one after the "
            f"other, {', '.join(spent)}, {dollars(sum(cost.cost_usd for cost in costs))}, {low} / {mid} / {high}{lack}"
        )


def _indented(text: str) -> str:
    return "\n".join(f"   {line}" for line in text.splitlines())


# -- order ------------------------------------------------------------------------------------------------------


def needs_of(scraper: Scraper) -> set[str]:
    """Sources that are to be read before this one."""
    return {*scraper.requires, *(oracle.source for oracle in scraper.oracles)} - {scraper.source}


def in_family_order(scrapers: Iterable[Scraper]) -> list[str]:
    """Their names, each after all that it needs; of those that could be next the one that others need, then the cheap.

    Raises ``ConfigurationError`` where sources need each other in a circle.
    """
    members = {one.source: one for one in scrapers}
    needs = {name: needs_of(one) & members.keys() for name, one in members.items()}
    is_needed = {name for needed in needs.values() for name in needed}

    def rank(name: str) -> tuple[bool, float, str]:
        return name not in is_needed, members[name].calls_guess, name

    waiting = {name: set(needed) for name, needed in needs.items()}
    ready = [rank(name) for name, needed in waiting.items() if not needed]
    heapq.heapify(ready)
    order: list[str] = []
    while ready:
        name = heapq.heappop(ready)[2]
        order.append(name)
        for other, needed in waiting.items():
            if name in needed:
                needed.discard(name)
                if not needed:
                    heapq.heappush(ready, rank(other))
    if len(order) < len(members):
        circle = sorted(members.keys() - set(order))
        raise ConfigurationError(
            f"{', '.join(circle)} need each other in a circle. Nothing was done", source=circle[0], stage="plan"
        )
    return order


# -- what each is asked for -------------------------------------------------------------------------------------


def chosen_sources(asked: AskedFamily) -> list[str]:
    """The family's sources and ``also``, without those to ``skip``; sorted.

    Raises ``ConfigurationError`` for an unknown family, for names that are not there to be skipped, and for none left.
    """
    known = sources_of_family(asked.family)
    if not known:
        raise _refused(f"there is no family {asked.family!r}", f"choose one of {', '.join(families())}")
    everything = sorted({*known, *asked.also})
    if strange := sorted(set(asked.skip) - set(everything)):
        raise _refused(f"{strange[0]} is no source of {asked.family}", f"skip some of {', '.join(everything)}")
    left = [name for name in everything if name not in asked.skip]
    if not left:
        raise _refused(f"every source of {asked.family} is skipped", "skip less")
    return left


def family_dates(asked: AskedFamily, scrapers: Collection[Scraper]) -> tuple[dt.date, dt.date]:
    """First and last date (inclusive) that were asked for: by the period, or as given.

    Raises ``ConfigurationError`` for both, for neither, and for dates that are none.
    """
    given = [asked.start_date, asked.end_date]
    if asked.period:
        if any(given):
            raise _refused("give a period or dates, not both", "give one of them")
        return period_dates(asked.period, next((one.seasons for one in scrapers if one.seasons), None))
    if not all(given):
        raise _refused("a period, or start_date and end_date, are needed", "period=2024, or two dates")
    try:
        first, last = map(calendar_date, given)
    except ValueError as error:
        raise _refused(str(error), "write them as 2025-01-31") from None
    if first > last:
        raise _refused(f"start_date {first} is after end_date {last}", "swap them")
    return first, last


def _refused(what: str, hint: str) -> ConfigurationError:
    return ConfigurationError(f"{what}. Nothing was done", stage="plan", hint=hint)


def entities_for(scraper: Scraper, readers: Iterable[Scraper], first: dt.date, last: dt.date) -> str:
    """What a source without dates is asked for, so that it speaks of these dates to its ``readers``: names or ``all``.

    Entities that it does not know are not asked for; where no reader names any, all are.
    """
    speakers = [one.entity for each in readers for one in each.oracles if one.source == scraper.source and one.entity]
    days = [first + at * ONE_DAY for at in range((last - first).days + 1)]
    named = {speaker(day) for speaker in speakers for day in days}
    return ", ".join(sorted(named & set(scraper.entities))) if named else ALL


def asked_of_step(scraper: Scraper, asked: AskedFamily, dates: tuple[dt.date, dt.date], entities: str) -> Asked:
    """The backfill of one source of the family."""
    shared: dict[str, Any] = {
        "source": scraper.source,
        "reason": asked.reason,
        "note": asked.note,
        "mode": asked.mode,
        "max_concurrency": asked.max_concurrency,
        "ignore_requires": asked.ignore_requires,
        "wait_for_lease_s": asked.wait_for_lease_s,
        "resume_of": step_id(asked.resume_of, scraper.source) if asked.resume_of else "",
    }
    if scraper.step == "whole":
        return Asked(**shared, entities=entities)
    return Asked(**shared, start_date=dates[0], end_date=dates[1])


def plan_family(services: Services, asked: AskedFamily, now: dt.datetime) -> FamilyPlan:
    """Plans every step as if those before it had ended well: what they need of each other is still to come.

    A source that has nothing of these dates, or not yet, is left out with the reason. Raises ``ConfigurationError``
    for parameters that make no sense, where every source is left out, and what a plan of one source raises.
    """
    scrapers = {name: known_scraper(services, name) for name in chosen_sources(asked)}
    first, last = family_dates(asked, scrapers.values())
    order = in_family_order(scrapers.values())
    steps, left_out = [], dict.fromkeys(sorted(asked.skip), "skipped")
    for name in order:
        scraper = scrapers[name]
        readers = [one for one in scrapers.values() if name in needs_of(one)]
        entities = ""
        if scraper.step == "whole":
            entities = entities_for(scraper, readers, first, last)
        elif why := _nothing_of(scraper, first, last, now):
            left_out[name] = why
            continue
        if scraper.step == "whole" and not entities:
            left_out[name] = f"it has nothing of {first}..{last}"
            continue
        wanted = asked_of_step(scraper, asked, (first, min(last, scraper.last_settled(now))), entities)
        coming = frozenset(order[: order.index(name)]) - left_out.keys()
        steps.append(Step(wanted, plan_asked(services, wanted, now, coming=coming)))
    if not steps:
        told = "; ".join(f"{name}: {why}" for name, why in left_out.items())
        raise _refused(f"no source of {asked.family} has anything of {first}..{last}: {told}", "ask for other dates")
    return FamilyPlan(asked.family, first, last, tuple(steps), left_out)


def _nothing_of(scraper: Scraper, first: dt.date, last: dt.date, now: dt.datetime) -> str:
    """Why a dated source cannot be asked for any of these dates; "" when it can."""
    if last < scraper.floor:
        return f"it begins at {scraper.floor} {scraper.floor_evidence}".rstrip()
    settled = scraper.last_settled(now)
    return f"its last settled date is {settled}" if settled < first else ""
