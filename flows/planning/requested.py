"""From the parameters of a run to the partitions that they mean. Pure."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import dataclass

from alerting.errors import ConfigurationError
from alerting.ranges import date_of, expand_dates
from alerting.wording import plural
from flows.calendar_dates import listed_dates
from flows.parameters import NO_DATE
from scrapers.base import Scraper
from scrapers.partition import VARIANT_MARK, Partition, partitions_between

ONE_DAY = dt.timedelta(days=1)
LIFETIME = dt.timedelta(days=36_525)

ALL = "all"
# Names become parts of object names, host names and command lines. An object name has room for 1,024 bytes, of which
# the layout takes about 250: https://cloud.google.com/storage/docs/objects#naming
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
MAX_NAME_CHARS = 200


@dataclass(frozen=True, slots=True)
class Selection:
    """What a person, or another flow, asks of a source.

    ``dates`` and ``exclude`` (ranges as in a mail) narrow the range from ``start_date`` to ``end_date`` (inclusive).
    """

    start_date: dt.date = NO_DATE
    end_date: dt.date = NO_DATE
    dates: str = ""
    exclude: str = ""
    entities: str = ""


# -- dates ------------------------------------------------------------------------------------------------------


def requested_partitions(scraper: Scraper, selected: Selection, now: dt.datetime) -> list[Partition]:
    """The partitions asked for, oldest first.

    A source that is asked by entity takes ``entities`` and ``exclude``, and no dates: see
    :func:`requested_entities`. One with series takes all of them: each of ``entities`` ("" is all) at each date, by
    entity; ``dates`` and ``exclude`` may then name a date of one entity (``entity@date``). Raises
    ``ConfigurationError`` for a start after the end, a range before the source's floor, a date that is not over and
    settled, or dates outside the range. Nothing was done then.
    """
    start_date, end_date = selected.start_date, selected.end_date
    if scraper.step == "whole":
        if selected.dates.strip() or (start_date, end_date) != (NO_DATE, NO_DATE):
            raise _refused(
                scraper, f"{scraper.source} is asked by entity and has no dates", "entities=all and no dates"
            )
        return requested_entities(scraper, selected.entities, selected.exclude)
    if selected.entities.strip() and not scraper.has_series:
        raise _refused(scraper, f"{scraper.source} is asked by date and has no entities", "leave entities empty")
    if NO_DATE in (start_date, end_date):
        raise _refused(
            scraper, "start_date and end_date are needed", "add -p start_date=2025-01-01 -p end_date=2025-01-31"
        )
    if start_date > end_date:
        raise _refused(scraper, f"start_date {start_date} is after end_date {end_date}", "swap them")
    if end_date < scraper.floor:
        begins = f"the source begins at {scraper.floor} {scraper.floor_evidence}".rstrip()
        raise _refused(scraper, f"{begins}, end_date is {end_date}", "ask for later dates")
    if end_date > now.date() + LIFETIME:
        # Named at once: the days of eight thousand years are no plan.
        last_settled = scraper.last_settled(now)
        raise _refused(
            scraper,
            f"end_date {end_date} lies in the future (it is {now:%Y-%m-%d}); the last settled date is {last_settled}",
            f"end_date={last_settled}",
        )
    names = _named_series(scraper, selected) if scraper.has_series else [""]
    partitions = [
        one for name in names for one in partitions_between(start_date, end_date, scraper.zone, scraper.step, name)
    ]
    unsettled = [partition for partition in partitions if scraper.settled_at(partition) > now]
    if unsettled:
        settled = [partition for partition in partitions if scraper.settled_at(partition) <= now]
        last = f"the last settled one is {date_of(settled[-1].key)}" if settled else "none of them is settled"
        what = "is not over and settled" if scraper.keeps_history else "does not begin"
        raise _refused(
            scraper,
            f"{date_of(unsettled[0].key)} {what} before {scraper.settled_at(unsettled[0]):%Y-%m-%d %H:%M} UTC "
            f"(it is {now:%Y-%m-%d %H:%M} UTC); {last}",
            f"end_date={settled[-1].end - ONE_DAY}" if settled else "wait, or request earlier dates",
        )
    keys = {partition.key for partition in partitions}
    wanted = _keys_of(scraper, "dates", selected.dates, names) or keys
    outside = sorted(wanted - keys)
    if outside:
        raise _refused(scraper, f"{outside[0]} lies outside {start_date} to {end_date}", "widen the range")
    excluded = _keys_of(scraper, "exclude", selected.exclude, names)
    like = date_of(partitions[0].key)
    # One outside of the range excludes nothing, rightly; one of another step never would.
    if odd := sorted(key for key in excluded if len(date_of(key)) != len(like) or ("@" in key and names == [""])):
        raise _refused(scraper, f"exclude: {odd[0]} is no {scraper.step} of {scraper.source}", f"write it as {like}")
    wanted -= excluded
    if not wanted:
        raise _refused(scraper, "every date is excluded", "exclude less")
    return [partition for partition in partitions if partition.key in wanted]


def _named_series(scraper: Scraper, selected: Selection) -> list[str]:
    """The entities asked for: those named, else those that ``dates`` names all of its dates of, else all."""
    listed = _listed(scraper, "dates", selected.dates)
    of_dates = {key.rpartition("@")[0] for key in listed} if all("@" in key for key in listed) else set()
    names = sorted(_keys(scraper, "entities", selected.entities.strip() or ", ".join(of_dates) or ALL))
    if not names:
        raise _unfit(scraper, f"no entity of {scraper.source} is known: see GAPLESS_SOURCE_ENTITIES", "")
    return names


def _keys_of(scraper: Scraper, parameter: str, dates: str, names: Sequence[str]) -> set[str]:
    """The keys of a list; a date alone is that date of each of ``names``."""
    listed = _listed(scraper, parameter, dates)
    return {key for one in listed for key in ([one] if "@" in one or names == [""] else _at(names, one))}


def _listed(scraper: Scraper, parameter: str, dates: str) -> list[str]:
    """What a list names, nothing where it was not given."""
    if not dates.strip():
        return []
    try:
        listed = listed_dates(dates)
        if not listed:
            # Commas alone are a list that somebody's script left empty, and not all there is.
            raise ValueError(f"no date in {dates!r}")
        return listed
    except ValueError as error:
        raise _refused(scraper, f"{parameter}: {error}", "write them as 2025-01-03, 2025-01-07..2025-01-09") from error


def _at(names: Sequence[str], date: str) -> list[str]:
    return [f"{name}@{date}" for name in names]


def _refused(scraper: Scraper, what: str, hint: str) -> ConfigurationError:
    return ConfigurationError(f"{what}. Nothing was done", source=scraper.source, stage="plan", hint=hint)


# -- entities ---------------------------------------------------------------------------------------------------


def requested_entities(scraper: Scraper, entities: str, exclude: str = "") -> list[Partition]:
    """The whole-entity partitions of ``entities``, sorted by key.

    Args:
        scraper: Declares what ``all`` means, and the variants (kinds of documents).
        entities: Names separated by commas, or ``all``. A name alone means all its variants, ``name~variant`` one of
            them; ``all~variant`` is that variant of every entity. The form in which mails name them is accepted.
        exclude: Written the same way; not these.

    Raises ``ConfigurationError`` for nothing, an impossible name or an unknown variant. A name that the scraper does
    not declare is taken: the source itself knows whether it exists.
    """
    wanted = _keys(scraper, "entities", entities)
    if not wanted:
        raise _unfit(scraper, f"{scraper.source} is asked by entity and not by date, and no entity was named", "all")
    excluded = _keys(scraper, "exclude", exclude)
    if exclude.strip() and not excluded:
        raise _unfit(scraper, f"exclude: no entity in {exclude[:60]!r}", entities)
    wanted -= excluded
    if not wanted:
        raise _unfit(scraper, "every entity is excluded", entities)
    return [Partition.whole(key, scraper.zone) for key in sorted(wanted)]


def names_all(entities: str) -> bool:
    """Whether the text asks for every entity, of one kind of document or of all.

    >>> names_all("all"), names_all("all~minutes"), names_all("allen.tx, alameda.ca")
    (True, True, False)
    """
    return any(item.partition(VARIANT_MARK)[0].strip() == ALL for item in entities.split(","))


def _keys(scraper: Scraper, parameter: str, text: str) -> set[str]:
    keys: set[str] = set()
    try:
        items = expand_dates(text)
    except ValueError as error:
        raise _unfit(scraper, f"{parameter}: {error}", "town.state, town.state") from error
    for item in items:
        name, _, variant = item.partition(VARIANT_MARK)
        _check_name(scraper, parameter, name)
        if variant and variant not in scraper.variants:
            known = ", ".join(scraper.variants) or "none"
            raise _unfit(scraper, f"{parameter}: {item!r} names no known kind of document (known: {known})", name)
        variants = (variant,) if variant else scraper.variants
        for entity in scraper.entities if name == ALL else (name,):
            # Those of the settings and of the scraper too: each becomes a path, whoever wrote it.
            _check_name(scraper, parameter if entity == name else f"{parameter}, from what `all` means", entity)
            keys.update(f"{entity}{VARIANT_MARK}{one}" for one in variants)
            if not variants:
                keys.add(entity)
    return keys


def _check_name(scraper: Scraper, parameter: str, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise _unfit(scraper, f"{parameter}: {name[:60]!r} cannot be the name of an entity", "town.state, town.state")
    if len(name) > MAX_NAME_CHARS:
        told = f"{name[:40]}... has {plural(len(name), 'character')}, {MAX_NAME_CHARS} are possible"
        raise _unfit(scraper, f"{parameter}: the name of an entity is too long: {told}", "town.state, town.state")


def _unfit(scraper: Scraper, what: str, example: str) -> ConfigurationError:
    hint = f"entities='{example}'" if example else ""
    return ConfigurationError(f"{what}. Nothing was done", source=scraper.source, stage="plan", hint=hint)
