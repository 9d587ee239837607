"""The judgement over an inventory: pure, so every state a partition can be in is tried."""

from __future__ import annotations

import datetime as dt

from hypothesis import given
from hypothesis import strategies as st

from alerting.ranges import expand_dates
from flows.ledger.ledger import LedgerEntry, Verdict
from flows.truth.deficits import Deficit, find_deficits, find_gaps, summarised
from flows.truth.inventory import Known, span_of, whole_partitions
from flows.truth.landed import LandedAttempt
from flows.truth.row_counts import count_sql
from processors.registry import processor
from scrapers.partition import Partition
from scrapers.registry import scraper

NOW = dt.datetime(2025, 6, 1, 12, tzinfo=dt.UTC)
TTL = dt.timedelta(days=180)
FRESH = dt.timedelta(hours=20)
TABLES = ("games", "lines")

counts = st.fixed_dictionaries({name: st.integers(0, 3) for name in TABLES})
attempts = st.lists(st.sampled_from("abcd"), unique=True, max_size=3).map(
    lambda ids: tuple(LandedAttempt(one, f"hash-{one}", "bf-0", f"{one}/manifest.json") for one in sorted(ids))
)


@st.composite
def inventories(draw: st.DrawFn) -> list[Known]:
    found = []
    for day in draw(st.lists(st.integers(0, 40), unique=True, max_size=8).map(sorted)):
        partition = Partition.day(dt.date(2025, 1, 1) + dt.timedelta(days=day), "UTC")
        entry = None
        if draw(st.booleans()):
            attempt = draw(st.sampled_from("abcd"))
            entry = LedgerEntry(
                "s",
                partition.key,
                draw(st.sampled_from(list(Verdict))),
                "bf-1",
                NOW - dt.timedelta(days=draw(st.integers(0, 400))),
                attempt=attempt,
                content_hash=f"hash-{attempt}",
                loaded=draw(st.one_of(st.just({}), counts)),
            )
        found.append(Known(partition, entry, draw(attempts), draw(counts)))
    return found


@given(inventories())
def test_every_gap_is_a_deficit_so_repair_closes_it(inventory: list[Known]) -> None:
    gaps = {key for gap in find_gaps("s", inventory, TABLES) for key in gap.partitions}
    deficits = {one.partition for one in find_deficits("s", inventory, NOW, empty_ttl=TTL, fresh_for=FRESH)}
    assert gaps <= deficits


@given(inventories())
def test_each_partition_has_at_most_one_deficit_and_the_summary_loses_none(inventory: list[Known]) -> None:
    findings = find_deficits("s", inventory, NOW, empty_ttl=TTL, fresh_for=FRESH)
    keys = [one.partition for one in findings]
    assert len(keys) == len(set(keys))
    lines = summarised(findings)
    assert sorted(key for line in lines for key in expand_dates(line["ranges"])) == sorted(keys)
    assert sum(line["count"] for line in lines) == len(keys)


@given(inventories())
def test_an_accepted_loss_is_never_asked_for_again(inventory: list[Known]) -> None:
    accepted = {
        known.partition.key for known in inventory if known.entry and known.entry.verdict is Verdict.UNAVAILABLE
    }
    found = find_deficits("s", inventory, NOW, empty_ttl=TTL, fresh_for=FRESH, below=10)
    assert accepted.isdisjoint(one.partition for one in found)
    assert accepted.isdisjoint(key for gap in find_gaps("s", inventory, TABLES) for key in gap.partitions)


def test_only_a_good_verdict_is_done_however_well_landing_and_rows_agree() -> None:
    rows = dict.fromkeys(TABLES, 1)
    landed = (LandedAttempt("a", "hash-a", "bf-1", "a/manifest.json"),)
    inventory = []
    for day, verdict in enumerate(Verdict):
        partition = Partition.day(dt.date(2025, 1, 1) + dt.timedelta(days=day), "UTC")
        entry = LedgerEntry(
            "s", partition.key, verdict, "bf-1", NOW, attempt="a", content_hash="hash-a", landed=rows, loaded=rows
        )
        inventory.append(Known(partition, entry, landed, rows))
    found = {one.partition for one in find_deficits("s", inventory, NOW, empty_ttl=TTL, fresh_for=FRESH)}
    open_ones = [one for one in inventory if one.entry and not one.entry.verdict.is_good]
    assert {one.partition.key for one in open_ones} <= found
    verified = [one for one in inventory if one.entry and one.entry.verdict is Verdict.VERIFIED]
    assert found.isdisjoint(one.partition.key for one in verified)
    assert len(open_ones) == len(Verdict) - 3


def test_v25_entities_that_were_never_asked_for_are_listed_and_old_snapshots_are_stale() -> None:
    civic = scraper("civic_band")
    known = whole_partitions(civic, ["extra.town~agendas"])
    assert [one.key for one in known] == sorted({one.key for one in known})
    assert "extra.town~agendas" in {one.key for one in known}
    old = LedgerEntry("civic_band", "extra.town~agendas", Verdict.VERIFIED, "bf-1", NOW - 2 * FRESH, attempt="a")
    landed = (LandedAttempt("a", "", "bf-1", "a/manifest.json"),)
    inventory = [
        Known(Partition.whole("extra.town~agendas", "UTC"), old, landed, {}),
        Known(Partition.whole("other.town~agendas", "UTC"), None, (), {"civic_pages": 0}),
    ]
    found = find_deficits("civic_band", inventory, NOW, empty_ttl=TTL, fresh_for=FRESH)
    assert [(one.partition, one.deficit) for one in found] == [
        ("extra.town~agendas", Deficit.STALE),
        ("other.town~agendas", Deficit.NEVER_ATTEMPTED),
    ]


def test_pages_that_are_gone_do_not_count_and_entities_without_rows_do() -> None:
    (table,) = processor("civic_band").tables
    sql, parameters = count_sql("`d.civic_pages`", table, dt.date(2025, 1, 1), dt.date(2025, 1, 2), ["a~x", "b~x"])
    assert "T.`deleted_at` IS NULL" in sql.partition(" ON ")[2]
    assert "LEFT JOIN" in sql
    assert parameters == {"entities": ["a~x", "b~x"]}


def test_the_smallest_range_that_holds_some_dates_has_inclusive_ends() -> None:
    daily = scraper("bdl_box_scores")
    assert span_of(daily, ["2025-01-09", "2025-01-03"]) == (dt.date(2025, 1, 3), dt.date(2025, 1, 9))
