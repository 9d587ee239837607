"""Mutants: each damage done behind the loader's back is found, named, and pinned on its date."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from processors.base import LandedPage, Processor, Row, Table
from scrapers.partition import Partition

DAY, NEXT, OTHER = "2025-01-03", "2025-01-04", "2025-02-01"


@pytest.fixture
def loaded(bench):
    """Two verified dates, two games of two players each."""
    manifests = [bench.land(day, [bench.game(day, 1), bench.game(day, 2)]) for day in (DAY, NEXT)]
    bench.process(*manifests)
    assert {found.verdict for found in bench.verify(*manifests).values()} == {"OK"}
    return manifests


MUTANTS = [
    ("the last row is lost", "DELETE FROM {player_lines} WHERE game_key = '2025-01-03:2' AND player_id = 1", "SHORT"),
    ("a game is lost with its players", "DELETE FROM {player_lines} WHERE game_key = '2025-01-03:2'", "SHORT"),
    (
        "the date is loaded twice",
        "INSERT INTO {games} SELECT * FROM {games} WHERE game_date = DATE '2025-01-03'",
        "DUPLICATE",
    ),
    (
        "a row comes from nowhere",
        "INSERT INTO {player_lines} (game_key, player_id, game_date, pts) "
        "VALUES ('2025-01-03:1', 99, DATE '2025-01-03', 1)",
        "EXTRA",
    ),
    (
        "a row moves to another date",
        "UPDATE {games} SET game_date = DATE '2025-02-01' WHERE game_key = '2025-01-03:1'",
        "ORPHAN",  # its players stay behind
    ),
    (
        "a game stands under two dates",
        "INSERT INTO {games} SELECT game_key, DATE '2025-02-01' AS game_date, score, note FROM {games} "
        "WHERE game_key = '2025-01-03:1'",
        "DUPLICATE",
    ),
    ("a parent is lost", "DELETE FROM {games} WHERE game_key = '2025-01-03:1'", "ORPHAN"),
    (
        "a reference becomes null",
        "UPDATE {player_lines} SET game_key = NULL WHERE game_key = '2025-01-03:1' AND player_id = 1",
        "ORPHAN",
    ),
    (
        "a critical value becomes null",
        "UPDATE {player_lines} SET pts = NULL WHERE game_key = '2025-01-03:1' AND player_id = 1",
        "SHORT",
    ),
    (
        "one row is swapped for another",
        "UPDATE {player_lines} SET player_id = 0 WHERE game_key = '2025-01-03:1' AND player_id = 1",
        "DUPLICATE",
    ),
    (
        "one game took the players of the other",
        "UPDATE {player_lines} SET game_key = '2025-01-03:1', player_id = player_id + 10 "
        "WHERE game_key = '2025-01-03:2'",
        "SHORT",
    ),
]


def test_names_of_our_own_numbers_may_be_columns_of_a_key(bench: Any) -> None:
    class Counted(Row):
        n: str
        the_day: dt.date

    class Line(Counted):
        null_rows: str = "x"

    class Numbered(Processor):
        source = "toy"
        tables: ClassVar[tuple[Table, ...]] = (
            Table("games", Counted, ("n",), "the_day"),
            Table("lines", Line, ("n", "null_rows"), "the_day", parent=("games", ("n",)), per_parent=(1, 3)),
        )

        def rows(self, partition: Partition, page: LandedPage) -> Iterator[tuple[str, dict[str, Any]]]:
            for table in ("games", "lines"):
                yield table, {"n": page.body.decode(), "the_day": partition.start}

    bench.processor = Numbered()
    counts = {"games": 1, "lines": 1}
    for body in (b"a", b"b"):
        manifest = bench.land_body(Partition.day(dt.date(2025, 1, 3), "UTC"), body, counts=counts, empty_evidence="")
        bench.process(manifest)
        assert bench.verify(manifest)["2025-01-03"].is_ok


def test_a_mutant_is_found_and_pinned_on_its_date(bench):
    first = dt.date.fromisoformat(DAY)
    days = [str(first + dt.timedelta(days=number)) for number in range(2 * len(MUTANTS))]
    damaged = days[::2]
    manifests = [bench.land(day, [bench.game(day, 1), bench.game(day, 2)]) for day in days]
    bench.process(*manifests)
    assert {found.verdict for found in bench.verify(*manifests).values()} == {"OK"}

    for day, (_, damage, _) in zip(damaged, MUTANTS, strict=True):
        bench.sql(damage.replace(DAY, day))
    found = bench.verify(*manifests)

    names = [name for name, _, _ in MUTANTS]
    assert {name: found[day].verdict for name, day in zip(names, damaged, strict=True)} == {
        name: verdict for name, _, verdict in MUTANTS
    }
    assert {day for day in days if not found[day].is_ok} == set(damaged)


def test_the_evidence_names_source_landing_and_warehouse(bench, loaded):
    found = bench.verify(*loaded)[DAY]
    assert "games source 2 = landed 2 = loaded 2" in found.evidence
    assert found.loaded == {"games": 2, "player_lines": 4}


def test_fewer_rows_than_the_source_announced_are_short(bench):
    bench.process(bench.land(DAY, [bench.game(DAY)]))
    manifest = bench.land(DAY, [bench.game(DAY)], source_total=3)
    found = bench.verify(manifest)[DAY]
    assert found.verdict == "SHORT"
    assert "source 3, landed 1" in found.evidence


def test_a_date_without_a_count_is_unverified_and_not_green(bench):
    manifest = bench.land(DAY, [bench.game(DAY)], counts={"games": 1})
    bench.process(manifest)
    found = bench.verify(manifest)[DAY]
    assert found.verdict == "UNVERIFIED"
    assert not found.is_ok


def test_an_empty_date_without_proof_is_unverified(bench, loaded):
    manifest = bench.land(OTHER, [], empty_evidence="")
    assert bench.verify(manifest)[OTHER].verdict == "UNVERIFIED"


def test_stale_rows_on_a_proven_empty_date_are_extra(bench, loaded):
    manifest = bench.land(DAY, [])
    assert bench.verify(manifest)[DAY].verdict == "EXTRA"


def test_no_partitions_ask_nothing(bench):
    assert bench.verify() == {}


class Visit(Row):
    """A price seen in a shop on a day."""

    shop: str
    sku: str
    seen_on: dt.date


class Shops(Processor):
    source = "shops"
    tables: ClassVar[tuple[Table, ...]] = (
        Table("visits", Visit, ("shop", "sku", "seen_on"), "seen_on", entity_field="shop"),
    )

    def rows(self, partition: Partition, page: LandedPage) -> Iterator[tuple[str, dict[str, Any]]]:
        for row in json.loads(page.body):
            yield "visits", row


def test_partitions_of_entity_and_date_are_kept_apart(bench):
    bench.processor = Shops()
    manifests = []
    for shop, count in (("elm", 1), ("oak", 2)):
        rows = [{"shop": shop, "sku": str(number), "seen_on": DAY} for number in range(count)]
        partition = Partition.day(dt.date.fromisoformat(DAY), "UTC", shop)
        manifests.append(bench.land_body(partition, json.dumps(rows).encode(), counts={"visits": count}))
    bench.process(*manifests)
    found = bench.verify(*manifests)
    assert {key: dict(one.loaded) for key, one in found.items()} == {
        f"elm@{DAY}": {"visits": 1},
        f"oak@{DAY}": {"visits": 2},
    }
    assert all(one.is_ok for one in found.values())


def test_a_row_of_another_entity_is_refused(bench):
    bench.processor = Shops()
    rows = [{"shop": "elm", "sku": "1", "seen_on": DAY}]
    partition = Partition.day(dt.date.fromisoformat(DAY), "UTC", "oak")
    receipt = bench.process(bench.land_body(partition, json.dumps(rows).encode(), counts={"visits": 1}))
    assert "shop 'elm' is not 'oak'" in receipt.failures[f"oak@{DAY}"].message


@pytest.mark.long
@given(
    cases=st.lists(
        st.tuples(
            st.integers(1, 3), st.integers(0, 2), st.integers(0, 3), st.sampled_from(["all", "distinct", "short"])
        ),
        min_size=12,
        max_size=24,
    )
)
@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_the_loader_takes_the_recount_calls_right_however_repeats_are_counted(bench, cases):
    manifests, good = [], set()
    for number, (games, repeats, rejects, counted) in enumerate(cases):
        day = str(dt.date(2025, 3, 1) + dt.timedelta(days=number))
        rows = [bench.game(day, one, players=1) for one in range(games)]
        sent = [*rows, *(bench.game(day, 0, players=0) for _ in range(repeats))]
        sent += [bench.game(day, 100 + one, players=0, score="x") for one in range(rejects)]
        count = {"all": len(sent), "distinct": games, "short": games - 1}[counted]
        manifests.append(bench.land(day, sent, counts={"games": count, "player_lines": games}))
        if rejects <= 2 and counted != "short":
            good.add(day)
    receipt = bench.process(*manifests, tolerated_rejects=2)
    assert set(receipt.partitions) == good
    found = bench.verify(*[one for one in manifests if one.partition in good], receipt=receipt)
    assert {key: one.evidence for key, one in found.items() if not one.is_ok} == {}


class Watched:
    """A warehouse that says which keys a table has only when keys are asked for elsewhere, or nobody does."""

    def __init__(self, warehouse: Any) -> None:
        self._warehouse = warehouse
        self._asked_elsewhere = threading.Event()
        self.asked_meanwhile: list[bool] = []
        self.keys: list[set[Any]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._warehouse, name)

    def query(self, sql: str, parameters: Any = None) -> list[dict[str, Any]]:
        if sql.startswith("SELECT DISTINCT"):
            self.asked_meanwhile.append(self._asked_elsewhere.wait(5))
        elif "keys" in (parameters or {}):
            self.keys.append(set(parameters["keys"]))
            self._asked_elsewhere.set()
        found: list[dict[str, Any]] = self._warehouse.query(sql, parameters)
        return found


def test_keys_elsewhere_are_asked_for_while_the_table_says_which_it_has(bench):
    manifests = [bench.land(day, [bench.game(day, 1), bench.game(day, 2)]) for day in (DAY, NEXT)]
    receipt = bench.process(*manifests)
    bench.warehouse = watched = Watched(bench.warehouse)
    assert all(one.is_ok for one in bench.verify(*manifests, receipt=receipt).values())
    assert (watched.asked_meanwhile, len(watched.keys)) == ([True, True], 2)


def test_a_key_that_nobody_supposed_is_asked_for_too(bench):
    manifest = bench.land(DAY, [bench.game(DAY, 1), bench.game(DAY, 2)])
    receipt = bench.process(manifest)
    bench.sql("UPDATE {games} SET game_key = 'x' WHERE game_key = '2025-01-03:2'")
    bench.sql("UPDATE {player_lines} SET game_key = 'x' WHERE game_key = '2025-01-03:2'")
    bench.sql("INSERT INTO {games} (game_key, game_date, score) VALUES ('x', DATE '2025-02-01', 1)")
    bench.warehouse = watched = Watched(bench.warehouse)
    found = bench.verify(manifest, receipt=receipt)[DAY]
    assert (found.verdict, "1 key is also outside the partition" in found.evidence) == ("DUPLICATE", True)
    assert Counter(map(frozenset, watched.keys)) == {
        frozenset({f"{DAY}:1", f"{DAY}:2"}): 2,
        frozenset({f"{DAY}:1", "x"}): 2,
    }


@pytest.mark.long
@pytest.mark.parametrize("parent_elsewhere", [False, True])
def test_verifying_a_date_reads_the_same_bytes_before_and_after_nine_years_are_added(bench, parent_elsewhere):
    games, lines = bench.processor.tables
    bench.processor.tables = (games, dataclasses.replace(lines, parent_elsewhere=parent_elsewhere))
    manifest = bench.land(DAY, [bench.game(DAY, 1), bench.game(DAY, 2)])
    bench.process(manifest)

    def read_bytes() -> int:
        warehouse = bench.weighed()
        assert bench.verify(manifest)[DAY].is_ok
        return warehouse.size_bytes

    before = read_bytes()
    years = "UNNEST(GENERATE_DATE_ARRAY(DATE '2016-01-01', DATE '2024-12-31')) AS day"
    bench.sql(
        "INSERT INTO {games} (game_key, game_date, score) "
        f"SELECT CONCAT(CAST(day AS STRING), ':1') AS game_key, day AS game_date, 1 AS score FROM {years}"
    )
    bench.sql(
        "INSERT INTO {player_lines} (game_key, player_id, game_date, pts) "
        f"SELECT CONCAT(CAST(day AS STRING), ':1') AS game_key, 1 AS player_id, day AS game_date, 2 AS pts FROM {years}"
    )

    assert before > 0
    assert read_bytes() == before


def test_a_load_is_compared_at_the_same_bytes_before_and_after_nine_years_are_added(bench):
    def read_bytes(attempt: str) -> int:
        warehouse = bench.weighed()
        bench.process(bench.land(DAY, [bench.game(DAY, 1)], attempt=attempt), backfill_id=attempt)
        return warehouse.size_bytes

    bench.process(bench.land(DAY, [bench.game(DAY, 1)]))
    before = read_bytes("before")
    bench.sql(
        "INSERT INTO {games} (game_key, game_date, score) SELECT CONCAT(CAST(day AS STRING), ':1') AS game_key, "
        "day AS game_date, 1 AS score FROM UNNEST(GENERATE_DATE_ARRAY(DATE '2016-01-01', DATE '2024-12-31')) AS day"
    )

    assert read_bytes("after") == before > 0
