"""`gapless verify`: counts again what is called done. Fetches nothing, writes nothing, creates no run."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from alerting.errors import LandingDamaged, Truncated
from alerting.object_store import ObjectStore
from alerting.ranges import compress_dates
from alerting.wording import plural
from flows.ledger.ledger import LedgerEntry, Verdict
from flows.truth.deficits import not_at_source
from flows.truth.inventory import Known, read_inventory, refuse_unsettled
from flows.wiring import Services
from processors.receipt import dropped_rightly, receipts_of
from processors.verification import Finding, Verification, verify
from scrapers.manifest import Manifest
from scrapers.threads import threads

_BATCH = 366
_READERS = 8


@dataclasses.dataclass(frozen=True, slots=True)
class Check:
    """One line of the report: what was compared, whether it holds, and the numbers."""

    name: str
    passed: bool
    detail: str


@dataclasses.dataclass(frozen=True, slots=True)
class Recount:
    """Checks in a fixed order; ``tables`` is rows per table, ``problems`` partition -> what the recount found.

    ``unavailable`` is what the source does not have, by reason; ``told`` what oracles say beside that and is no fault.
    """

    checks: tuple[Check, ...]
    tables: dict[str, dict[str, int]]
    problems: dict[str, str]
    by_year: dict[str, dict[str, float]]
    by_month: dict[str, dict[str, float]]
    unavailable: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    told: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether every check holds."""
        return all(check.passed for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**dataclasses.asdict(self), "passed": self.passed}


def recount_landed(
    services: Services, source: str, manifests: Sequence[Manifest], dropped: Mapping[str, Mapping[str, int]]
) -> dict[str, Verification]:
    """The verification of landed partitions against BigQuery, a year at a time."""
    found: dict[str, Verification] = {}
    for at in range(0, len(manifests), _BATCH):
        found |= verify(
            manifests[at : at + _BATCH],
            processor=services.source_kit(source).processor,
            warehouse=services.warehouse,
            dropped=dropped,
        )
    return found


def recount_range(
    services: Services, source: str, now: dt.datetime, first: dt.date | None, last: dt.date | None
) -> Recount:
    """Source says = landed = loaded, per table and partition, for all that the range (or the ledger) calls done.

    Five checks: every partition done; one manifest per landed partition, of complete answers; totals of landed and
    loaded rows equal; every recount agrees (keys unique, dates inside, references, children per parent); none failed.
    A sixth where the source has oracles: every item that they expect is there.
    """
    refuse_unsettled(services.source_kit(source).scraper, first, last, now)
    inventory = read_inventory(services, source, now, first, last)
    done = {known.partition.key: known for known in inventory if known.entry and known.entry.verdict in _LOADED}
    manifests, unreadable = _manifests(services, [known.entry for known in done.values() if known.entry])
    dropped = _dropped(services.store, source, done)
    found = recount_landed(services, source, manifests, dropped)
    problems = {key: f"{one.verdict}: {one.evidence}" for key, one in found.items() if not one.is_ok} | unreadable
    problems |= {
        key: f"{Finding.UNVERIFIED}: {known.doubt}"
        for key, known in done.items()
        if known.doubt and known.entry and known.entry.verdict is Verdict.EMPTY_OK
    }
    short = {key: known.missing_items for key, known in done.items() if known.missing_items}
    problems |= {key: f"{Finding.MISSING}: {text}" for key, text in short.items()}
    told = {key: known.told_items for key, known in done.items() if known.told_items}
    tables = _tables(services, source, manifests, found, dropped)
    open_keys = [known.partition.key for known in inventory if known.entry is None or not known.entry.verdict.is_good]
    done_keys = len(inventory) - len(open_keys)
    failed = Counter(known.entry.verdict.value for known in inventory if known.entry and known.entry.has_failed)
    checks = (
        _check("partitions done", bool(done_keys) and not open_keys, f"{done_keys} of {len(inventory)}", open_keys),
        _check("manifests there", not unreadable, f"{len(manifests)} of {len(done)}", unreadable),
        Check("rows in all", all(t["expected"] == t["loaded"] for t in tables.values()), _totals(tables)),
        _check("recount agrees", not problems, f"{len(done) - len(problems)} of {len(done)}", problems),
        Check("nothing failed", not failed, ", ".join(f"{n} {name}" for name, n in failed.items()) or "0 failed"),
        *_expected_items(done, short),
    )  # fmt: skip
    by_year, by_month = (_by_period(services, source, inventory, chars) for chars in (4, 7))
    return Recount(checks, tables, problems, by_year, by_month, not_at_source(inventory), told)


def _expected_items(done: Mapping[str, Known], short: Mapping[str, str]) -> Iterator[Check]:
    items = [one for known in done.values() for one in known.items if one.oracle.is_strict]
    judged = sum(any(one.oracle.is_strict for one in known.items) for known in done.values())
    if items:
        found, expected = sum(one.found for one in items), sum(one.expected for one in items)
        numbers = f"{found:,} of {expected:,} in {plural(judged, 'partition')}"
        yield _check("expected items", not short, numbers, short)


_LOADED = frozenset({Verdict.VERIFIED, Verdict.EMPTY_OK})


def _manifests(services: Services, entries: Sequence[LedgerEntry]) -> tuple[list[Manifest], dict[str, str]]:
    def read(entry: LedgerEntry) -> Manifest | str:
        try:
            return services.landing.take_up(entry.manifest_name, services.source_kit(entry.source).scraper)
        except (LandingDamaged, Truncated) as error:
            return error.message

    with threads(_READERS) as pool:
        read_all = list(zip(entries, pool.map(read, entries), strict=True))
    return (
        [one for _, one in read_all if isinstance(one, Manifest)],
        {entry.partition: one for entry, one in read_all if isinstance(one, str)},
    )


def _dropped(store: ObjectStore, source: str, done: Mapping[str, Known]) -> dict[str, Mapping[str, int]]:
    rests_on = {key: known.entry.receipt_id for key, known in done.items() if known.entry}
    return dropped_rightly(rests_on, {one.receipt_id: one for one in receipts_of(store, source)})


def _tables(
    services: Services,
    source: str,
    manifests: Sequence[Manifest],
    found: Mapping[str, Verification],
    dropped: Mapping[str, Mapping[str, int]],
) -> dict[str, dict[str, int]]:
    tables = {}
    for table in services.source_kit(source).scraper.tables:
        landed = sum(one.counts.get(table, 0) for one in manifests)
        repeats = sum(counts.get(table, 0) for counts in dropped.values())
        loaded = sum(one.loaded.get(table, 0) for one in found.values())
        tables[table] = {"landed": landed, "repeats": repeats, "expected": landed - repeats, "loaded": loaded}
    return tables


def _by_period(services: Services, source: str, inventory: Sequence[Known], chars: int) -> dict[str, dict[str, float]]:
    """Per year (4 ``chars`` of a date) or month (7): partitions, how many are done, the percentage, rows by table.

    ``<child>_per_<parent>`` is how many rows of the one come to a row of the other, where there are any: far fewer
    runners a race than in other months mean that some are missing, whatever the source announced.
    """
    kit, periods = services.source_kit(source), dict[str, list[Known]]()
    for known in inventory:
        if not known.partition.is_whole:
            periods.setdefault(known.partition.start.isoformat()[:chars], []).append(known)
    found: dict[str, dict[str, float]] = {}
    for period, members in sorted(periods.items()):
        done = sum(bool(known.entry and known.entry.verdict.is_good) for known in members)
        numbers: dict[str, float] = {"partitions": len(members), "done": done}
        numbers["percent"] = round(100 * done / len(members), 1)
        rows = {table: sum(known.rows.get(table, 0) for known in members) for table in kit.scraper.tables}
        numbers |= rows
        for table in kit.processor.tables:
            if table.parent and not table.parent_elsewhere and rows.get(table.parent[0]):
                parent = table.parent[0]
                numbers[f"{table.name}_per_{parent}"] = round(rows.get(table.name, 0) / rows[parent], 2)
        found[period] = numbers
    return found


def _totals(tables: Mapping[str, Mapping[str, int]]) -> str:
    return ", ".join(f"{name} {counts['loaded']:,} of {counts['expected']:,}" for name, counts in tables.items())


def _check(name: str, passed: bool, numbers: str, wrong: Sequence[str] | Mapping[str, str]) -> Check:
    ranges = compress_dates(wrong)
    return Check(name, passed, f"{numbers}; not: {ranges[:400]}" if wrong else numbers)
