"""What the oracles of a source (`scrapers.oracle.Oracle`) say of its partitions, and whether they are believed.

They are asked once, when a run is planned. What they say goes into the plan, and the run judges by that to its end.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from alerting.ranges import compress_dates
from alerting.wording import plural
from flows.ledger.ledger import LedgerEntry, Verdict
from flows.planning.known_first_date import known_scraper
from flows.planning.plan import Path, Plan, why_unaskable
from flows.wiring import Services
from processors.items import (
    Comparison,
    Expectation,
    between,
    by_date,
    compare_items,
    dates_of,
    days_of,
    expected_sql,
    nothing_expected,
)
from scrapers.base import Scraper
from scrapers.oracle import Oracle
from scrapers.partition import VARIANT_MARK, Partition, partitions_between

Expected = Mapping[str, Sequence[Expectation]]
"""By partition key, in the order of the scraper's oracles."""

_SAYS_SO = (Verdict.VERIFIED, Verdict.EMPTY_OK)


def taken_at(entry: LedgerEntry) -> dt.datetime:
    """When the answer behind ``entry`` was begun to be read; aware UTC.

    >>> at = dt.datetime(2025, 3, 1, tzinfo=dt.UTC)
    >>> taken_at(LedgerEntry("s", "k", Verdict.VERIFIED, "bf-1", at, attempt="20250103T040506Z-7d1f")).isoformat()
    '2025-01-03T04:05:06+00:00'
    """
    try:
        return dt.datetime.strptime(entry.attempt[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=dt.UTC)
    except ValueError:
        return dt.datetime.min.replace(tzinfo=dt.UTC)


def read_expectations(
    services: Services, scraper: Scraper, partitions: Sequence[Partition]
) -> dict[str, tuple[Expectation, ...]]:
    """What every oracle says of every one of ``partitions``: one listing and one query for each oracle."""
    dated = [one for one in partitions if not one.is_whole]
    if not scraper.oracles or not dated:
        return {}
    said = [ask_oracle(services, oracle, dated, scraper.only) for oracle in scraper.oracles]
    return {one.key: tuple(each[one.key] for each in said) for one in dated}


def ask_oracle(
    services: Services, oracle: Oracle, partitions: Sequence[Partition], only: Sequence[str] = ()
) -> dict[str, Expectation]:
    """What one oracle says of every one of ``partitions``: one listing of its ledger, and one query.

    ``only`` are the parts of them that are asked for (`Scraper.only`).
    """
    source = known_scraper(services, oracle.source)
    kit = services.source_kit(oracle.source)
    known: defaultdict[str, list[LedgerEntry]] = defaultdict(list)
    for key, entry in kit.ledger.refresh().items():
        known[key.partition(VARIANT_MARK)[0]].append(entry)
    believed = {one.key: belief(oracle, source, known, one, only) for one in partitions}
    asked = [one for one in partitions if not believed[one.key].doubt]
    if not asked:
        return believed
    deleted = next((table.deleted_field for table in kit.processor.tables if table.name == oracle.table), "")
    warehouse = services.warehouse
    sql = expected_sql(oracle, deleted, warehouse.name_of)
    items = by_date(warehouse.query(sql, between(map(dates_of, asked))))
    return believed | {
        one.key: Expectation(
            oracle,
            {item: label for day in days_of(dates_of(one)) for item, label in items[day].items()},
            believed[one.key].by,
        )
        for one in asked
    }


def belief(
    oracle: Oracle,
    source: Scraper,
    known: Mapping[str, Sequence[LedgerEntry]],
    partition: Partition,
    only: Sequence[str] = (),
) -> Expectation:
    """Whether the oracle may be asked about ``partition``, and in whose name it answers; without its items.

    Its source has to have verified all that speaks of the partition's dates, and to have read it when they were over:
    a schedule of last week does not know which of today's games were moved. It has to speak of the same parts.
    """
    names = _speaking(oracle, source, partition)
    speaking = [entry for name in names for entry in known.get(name, ())]
    silent = [name for name in names if not known.get(name)]
    unproven = sorted({*silent, *(one.partition for one in speaking if one.verdict not in _SAYS_SO)})
    if unproven or not names:
        return Expectation(oracle, doubt=f"{oracle.source} is not verified there")
    other = next((one.only for one in speaking if source.narrowed_by and one.only != tuple(only)), None)
    if other is not None:
        mine, its = (", ".join(parts) or "all of it" for parts in (only, other))
        return Expectation(oracle, doubt=f"{oracle.source} has {its} there, and {mine} is asked for")
    oldest = min(speaking, key=taken_at)
    if taken_at(oldest) < partition.ends_at:
        return Expectation(oracle, doubt=f"{oracle.source} was read before the date was over")
    who = oldest.partition if len(speaking) == 1 else f"{oldest.partition} and {len(speaking) - 1} more"
    read = f"{taken_at(oldest):%Y-%m-%d %H:%M} UTC"
    return Expectation(oracle, by=f"{oracle.source} ({who}, attempt {oldest.attempt} of {oldest.backfill_id}, {read})")


def _speaking(oracle: Oracle, source: Scraper, partition: Partition) -> list[str]:
    """Names of the oracle's partitions, or of its entities, that speak of the partition's dates."""
    if source.step != "whole":
        last = partition.end - dt.timedelta(days=1)
        return [one.key for one in partitions_between(partition.start, last, source.zone, source.step)]
    if oracle.entity is None:
        return sorted(source.entities)
    return sorted({oracle.entity(day) for day in days_of(dates_of(partition))})


# -- what a plan does with it ----------------------------------------------------------------------------------------


def by_oracles(
    services: Services,
    scraper: Scraper,
    plan: Plan,
    entries: Mapping[str, LedgerEntry],
    now: dt.datetime,
    stored: Expected | None = None,
) -> Plan:
    """``plan`` with what is expected of its partitions, and with the paths that follow from it.

    Where nothing is expected no call is made; a date that is done, and of which something is expected by now that is
    not among its rows, is asked for again. ``stored`` is what the run was told before it was begun again.
    """
    if not scraper.oracles:
        return plan
    asked = [item.partition for item in plan.items if item.path.is_work or item.path is Path.SKIP]
    told = {one.key: stored[one.key] for one in asked if stored and one.key in stored}
    expected: Expected = {**read_expectations(services, scraper, [one for one in asked if one.key not in told]), **told}
    plan = plan.expecting(expected)
    plan = plan.emptied({one.key: proof for one in plan.to_fetch if (proof := _proof(expected, entries, one))})
    skipped = [item.partition for item in plan.items if item.path is Path.SKIP]
    done = [one for one in skipped if not why_unaskable(scraper, one, scraper.earliest(now))]
    if plan.mode.may_fetch and done:
        plan = plan.reopened(otherwise_now(services, scraper, done, expected, entries))
    return plan.noting(*_doubted(plan, expected))


def _proof(expected: Expected, entries: Mapping[str, LedgerEntry], partition: Partition) -> str:
    entry = entries.get(partition.key)
    if entry is not None and any((*entry.loaded.values(), *entry.landed.values())):
        # The source had something once: it is asked what has become of it.
        return ""
    return nothing_expected(expected.get(partition.key, ()))


def items_now(
    services: Services, scraper: Scraper, partitions: Collection[Partition], expected: Expected
) -> dict[str, tuple[Comparison, ...]]:
    """Every one of ``partitions`` against the rows that are there now."""
    dates = {one.key: dates_of(one) for one in partitions if not one.is_whole}
    return compare_items(expected, dates, services.source_kit(scraper.source).processor.tables, services.warehouse)


def otherwise_now(
    services: Services,
    scraper: Scraper,
    partitions: Collection[Partition],
    expected: Expected,
    entries: Mapping[str, LedgerEntry],
) -> dict[str, str]:
    """Those of ``partitions`` that lack an item which has to be there, or have one that was moved away, each with it.

    Of a date that was read since the oracle was, an item that is there all the same is no reason to read it again.
    """
    found = items_now(services, scraper, partitions, expected)
    away = moved_away(services, found, expected, entries)
    texts = {
        key: [*(one.missing_text for one in comparisons if one.is_short), *([away[key]] if key in away else [])]
        for key, comparisons in found.items()
    }
    return {key: "; ".join(told) for key, told in texts.items() if told}


def moved_away(
    services: Services,
    found: Mapping[str, Sequence[Comparison]],
    expected: Expected,
    entries: Mapping[str, LedgerEntry],
) -> dict[str, str]:
    """Dates with rows of an item that its oracle has on another one by now, with item and date.

    Of a date that was read since the oracle was, the item is there all the same, and nothing is said.
    """
    due: defaultdict[str, list[str]] = defaultdict(list)
    for key, said in expected.items():
        for item in {item for one in said for item in one.items}:
            due[item].append(key)
    texts: defaultdict[str, list[str]] = defaultdict(list)
    for key, comparisons in found.items():
        for one in comparisons:
            moved = [item for item in one.unexpected if item in due]
            if moved and _is_older(services, one.oracle, entries.get(key)):
                texts[key] += [f"{one.oracle.source} has {item} on {', '.join(sorted(due[item]))}" for item in moved]
    return {key: "; ".join(told) for key, told in texts.items()}


def _is_older(services: Services, oracle: Oracle, entry: LedgerEntry | None) -> bool:
    """Whether the source last answered for the date before it did for the oracle's newest snapshot."""
    told = services.source_kit(oracle.source).ledger.refresh().values()
    return entry is not None and entry.answered_at < max((one.answered_at for one in told), default=entry.answered_at)


def _doubted(plan: Plan, expected: Expected) -> list[str]:
    """A sentence for each reason why an oracle is not believed, about what the run works on."""
    keys: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for item in plan.items:
        for said in expected.get(item.partition.key, ()):
            if item.path.is_work and said.doubt:
                keys[said.oracle.source, said.doubt].append(item.partition.key)
    return [
        f"Judged without {source} ({plural(len(set(of_it)), 'date')}: {compress_dates(of_it)}): {doubt}. When it is, "
        f"`gapless audit {plan.source}` finds what is missing"
        for (source, doubt), of_it in keys.items()
    ]
