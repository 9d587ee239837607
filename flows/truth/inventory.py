"""Everything that is known about a source, side by side: ledger, landed manifests, and rows counted in BigQuery.

Reads only. The count is a generated list of dates (and entities) LEFT JOINed with the table, so that a date without
rows is a line with 0 and not a line that is missing. Cost for ten years of days: about 12 listings and one query per
table; and one read for each manifest whose listing does not say the statuses of its answers.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterable, Mapping

from alerting.errors import LandingDamaged, Truncated, WrongUsage
from flows.ledger.ledger import LedgerEntry, Verdict
from flows.ledger.pending import CANCELLED
from flows.ledger.rests import long_rests
from flows.planning.expectations import items_now, moved_away, read_expectations
from flows.planning.known_first_date import known_scraper
from flows.planning.plan import unless_askable_again, why_unaskable
from flows.planning.versions import changed_partitions
from flows.truth.landed import LandedAttempt, wanted_attempts
from flows.truth.row_counts import loaded_since, rows_by_partition
from flows.wiring import Services
from processors.items import Comparison
from scrapers.base import Scraper
from scrapers.manifest import no_evidence
from scrapers.partition import Partition, partitions_between
from scrapers.threads import threads

_READERS = 8


@dataclasses.dataclass(frozen=True, slots=True)
class Known:
    """All that is known about one partition. ``rows`` is per table, as counted in BigQuery now.

    ``doubt`` says why its emptiness is not believed, whatever proved it. ``is_askable``: the source still has it.
    ``refused`` says why the answer on which its good verdict rests is no evidence, ``changed`` what is other at the
    source by now, as it last said. ``items`` is what the source's oracles expect now, those that are believed, against
    the rows that are there now; ``moved`` are rows of items that one of them has on another date by now.
    """

    partition: Partition
    entry: LedgerEntry | None
    attempts: tuple[LandedAttempt, ...]
    rows: Mapping[str, int]
    doubt: str = ""
    is_askable: bool = True
    refused: str = ""
    changed: str = ""
    items: tuple[Comparison, ...] = ()
    moved: str = ""

    @property
    def missing_items(self) -> str:
        """What an oracle expects and is not there; "" when nothing is missing."""
        return "; ".join(one.missing_text for one in self.items if one.is_short)

    @property
    def told_items(self) -> str:
        """What oracles say besides, and is no fault."""
        return "; ".join(one.told for one in self.items if one.told)

    @property
    def is_missed(self) -> bool:
        """The source has it no more, and no run has said so in the ledger."""
        return self.entry is not None and self.entry.verdict is Verdict.UNAVAILABLE and not self.entry.backfill_id

    @property
    def newest(self) -> LandedAttempt | None:
        """The last attempt that was landed completely."""
        return self.attempts[-1] if self.attempts else None

    @property
    def has_rows(self) -> bool:
        """Whether any table holds rows of this partition."""
        return any(self.rows.values())


def entity_of(key: str) -> str:
    """The entity inside a partition key, "" without one.

    >>> entity_of("lakers@2025-01-03"), entity_of("2025-01-03")
    ('lakers', '')
    """
    return key.rpartition("@")[0]


def read_inventory(
    services: Services,
    source: str,
    now: dt.datetime,
    first: dt.date | None = None,
    last: dt.date | None = None,
) -> list[Known]:
    """Every settled partition from ``first`` to ``last`` (inclusive), by entity and date.

    Without ``first`` it begins at the oldest date that ledger, landing, tables or ``audit_from`` know, other than those
    of a run that a person cancelled before it began them; without ``last``
    it ends at the last settled date. What lies before the source's first date, and of which nothing is there, is
    ``unavailable`` as every plan says. Raises ``StateUnreadable`` for a broken ledger object.
    """
    scraper = known_scraper(services, source)
    ledger = services.source_kit(source).ledger.refresh()
    landed = wanted_attempts(services.store, source, ledger)
    # What a person cancelled before it began is looked at inside of what is known, and makes nobody look further.
    keys = {*(key for key, entry in ledger.items() if not _is_cancelled(entry)), *landed}
    if scraper.step == "whole":
        wanted = whole_partitions(scraper, keys)
    else:
        begin = first or _oldest(services, source, keys)
        end = min(last or dt.date.max, scraper.last_settled(now))
        wanted = dated_partitions(scraper, keys, begin, end, now) if begin else []
    if not wanted:
        return []
    rows = rows_by_partition(services, source, wanted)
    doubts = long_rests(ledger, wanted, scraper)
    expected = read_expectations(services, scraper, wanted)
    items = items_now(services, scraper, wanted, expected)
    moved = moved_away(services, items, expected, ledger)
    changed = changed_partitions(services, scraper, ledger)
    whys = {one.key: why_unaskable(scraper, one, scraper.earliest(now)) for one in wanted}
    known = [
        Known(
            one,
            unless_askable_again(ledger.get(one.key), whys[one.key]),
            landed.get(one.key, ()),
            rows[one.key],
            doubts.get(one.key, ""),
            is_askable=not whys[one.key],
            items=items.get(one.key, ()),
            changed=changed.get(one.key, ""),
            moved=moved.get(one.key, ""),
        )
        for one in wanted
    ]
    known = [_or_unavailable(one, scraper.source, whys[one.partition.key], now) for one in known]
    with threads(_READERS) as pool:
        refused = list(pool.map(lambda one: _refused(services, scraper, one), known))
    known = [dataclasses.replace(one, refused=why) if why else one for one, why in zip(known, refused, strict=True)]
    # That a run wanted to begin it says less than what is there.
    return [dataclasses.replace(one, entry=None) if _is_more_than_pending(one) else one for one in known]


def _refused(services: Services, scraper: Scraper, known: Known) -> str:
    """Why the answer behind a good verdict is none; reads the manifest only where the listing leaves it open."""
    entry = known.entry
    if entry is None or not entry.verdict.is_good or not entry.attempt:
        return ""
    mine = next((one for one in known.attempts if one.attempt == entry.attempt), None)
    if mine is None:
        return ""
    if mine.statuses:
        return no_evidence(mine.statuses, scraper.accepted_statuses)
    try:
        services.landing.take_up(mine.manifest_name, scraper)
    except (Truncated, LandingDamaged) as error:
        return error.message
    return ""


def refuse_unsettled(scraper: Scraper, first: dt.date | None, last: dt.date | None, now: dt.datetime) -> None:
    """Raises ``WrongUsage`` for a range in which nothing can be there: of it nothing may be called right.

    ``first`` to ``last`` (inclusive), as a person asked of one source.
    """
    where = {"source": scraper.source, "stage": "audit"}
    if scraper.step == "whole":
        if first or last:
            told = f"{scraper.source} is asked by entity and has no dates. Nothing was looked at"
            raise WrongUsage(told, **where, hint="leave the dates out")
        return
    # Whatever entities are known.
    for begun in partitions_between(first, first, scraper.zone, scraper.step) if first else ():
        if (at := scraper.settled_at(begun)) > now:
            what = "is not over and settled" if scraper.keeps_history else "does not begin"
            told = f"{begun.key} {what} before {at:%Y-%m-%d %H:%M} UTC, and nothing after it. Nothing was looked at"
            raise WrongUsage(told, **where, hint="begin earlier")


def _is_cancelled(entry: LedgerEntry) -> bool:
    return entry.is_pending and CANCELLED in entry.evidence


def _or_unavailable(known: Known, source: str, why: str, now: dt.datetime) -> Known:
    if known.is_askable or known.entry or known.attempts or known.has_rows:
        return known
    entry = LedgerEntry(source, known.partition.key, Verdict.UNAVAILABLE, "", now, evidence=why)
    return dataclasses.replace(known, entry=entry)


def _is_more_than_pending(known: Known) -> bool:
    return known.entry is not None and known.entry.is_pending and bool(known.attempts or known.has_rows)


def whole_partitions(scraper: Scraper, known_keys: Iterable[str]) -> list[Partition]:
    """Every entity (and variant) that the source declares or that anything is known of, sorted."""
    return [Partition.whole(name, scraper.zone) for name in sorted({*scraper.names_of_entities, *known_keys})]


def dated_partitions(
    scraper: Scraper, known_keys: Iterable[str], first: dt.date, last: dt.date, now: dt.datetime
) -> list[Partition]:
    """The settled partitions of ``first`` to ``last`` (inclusive), for every known entity."""
    return [
        one
        for entity, end in last_dates(scraper, known_keys, last).items()
        for one in (partitions_between(first, end, scraper.zone, scraper.step, entity) if first <= end else [])
        if scraper.settled_at(one) <= now
    ]


def last_dates(scraper: Scraper, known_keys: Iterable[str], last: dt.date) -> dict[str, dt.date]:
    """Each entity of a dated source, "" for one without, with its last date, sorted.

    That is ``last``; of an entity that the settings do not have any more it is the last that is known, so that it is
    not missed on the dates since.
    """
    if not scraper.has_series:
        return dict.fromkeys(sorted({entity_of(key) for key in known_keys}) or [""], last)
    ends = dict.fromkeys(scraper.names_of_entities, last)
    former: dict[str, dt.date] = {}
    for key in known_keys:
        if (name := entity_of(key)) not in ends and (date := first_date_of(key)):
            former[name] = min(last, max(date, former.get(name, date)))
    return dict(sorted({**ends, **former}.items()))


def _oldest(services: Services, source: str, keys: Iterable[str]) -> dt.date | None:
    dated = [date for key in keys if (date := first_date_of(key))]
    since = (loaded_since(services, source), services.settings.audit_from.get(source))
    return min([*dated, *(date for date in since if date)], default=None)


def span_of(scraper: Scraper, keys: Iterable[str]) -> tuple[dt.date, dt.date]:
    """First and last date (inclusive) of the smallest range that holds the keys, which all must have a date."""
    dates = [date for key in keys if (date := first_date_of(key))]
    last = max(dates)
    if scraper.step == "month":
        last = (last.replace(day=1) + dt.timedelta(days=32)).replace(day=1) - dt.timedelta(days=1)
    return min(dates), last


def first_date_of(key: str) -> dt.date | None:
    """The first date of a dated key, None for a whole entity."""
    text = key.rpartition("@")[2]
    try:
        return dt.date.fromisoformat(text if len(text) == 10 else f"{text}-01")
    except ValueError:
        return None
