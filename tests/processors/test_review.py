"""Rows that wait for approval: tried and recounted beside the tables, compared, and published as they were compared."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from processors.process import LoadContext, process
from processors.receipt import Receipt
from processors.review import Stale, Trial
from processors.review_dataset import ReviewDataset
from processors.verification import verify
from scrapers.manifest import Manifest

from .conftest import Bench, game

DAYS = ("2025-01-03", "2025-01-04", "2025-02-01")


class Tried:
    """A bench with rows of three dates, and a review beside them."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.loaded = bench.process(*(bench.land(day, [game(day), game(day, 2)]) for day in DAYS))
        self.dataset = ReviewDataset(bench.warehouse, "bf-1", dt.timedelta(days=7), endpoint=bench.warehouse._endpoint)

    def load(self, *manifests: Manifest) -> Receipt:
        context = LoadContext(self.bench.processor, self.bench.landing, self.dataset, "bf-1")
        return process(manifests, context, accept_shrink=True)

    def trial(self, *manifests: Manifest) -> Trial:
        return Trial("bf-1", manifests, self.bench.processor, self.bench.warehouse, self.dataset)


@pytest.fixture
def tried(bench: Bench) -> Tried:
    return Tried(bench)


def corrected(bench: Bench) -> list[Manifest]:
    """One game has another score, one is new, one is gone."""
    return [
        bench.land(DAYS[0], [game(DAYS[0], score=200), game(DAYS[0], 2), game(DAYS[0], 3)]),
        bench.land(DAYS[2], [game(DAYS[2], 2)]),
    ]


def test_a_review_is_recounted_beside_the_tables_and_shows_what_it_would_change(tried: Tried, bench: Bench) -> None:
    before = bench.content()
    manifests = corrected(bench)
    receipt = tried.load(*manifests)
    found = verify(manifests, processor=bench.processor, warehouse=tried.dataset, dropped=receipt.dropped)
    assert all(one.is_ok for one in found.values()), found

    diff = tried.trial(*manifests).compare({day: {"games": 2, "player_lines": 4} for day in DAYS})
    games, lines = diff.tables
    assert {month: one.model_dump() for month, one in games.months.items()} == {
        "2025-01": {"created": 1, "updated": 1, "unchanged": 1, "removed": 0},
        "2025-02": {"created": 0, "updated": 0, "unchanged": 1, "removed": 1},
    }
    assert (lines.total.created, lines.total.updated, lines.total.removed) == (2, 2, 2)
    told = {(one.kind, one.text) for one in games.samples}
    assert ("changed", "game_key=2025-01-03:1: score 100 -> 200") in told
    assert {kind for kind, _ in told} == {"added", "changed", "removed"}
    assert diff.losses == {"2025-02-01": "games: 2 rows before, 1 after; player_lines: 4 rows before, 2 after"}
    assert bench.content() == before, "nobody sees what waits"


def test_published_rows_are_those_that_were_compared_and_other_dates_stay(tried: Tried, bench: Bench) -> None:
    manifests = corrected(bench)
    tried.load(*manifests)
    trial = tried.trial(*manifests)
    diff = trial.compare({})
    assert len(trial.publish(diff)) == 2
    assert bench.rows("games", "game_key", "score") == [
        ("2025-01-03:1", 200), ("2025-01-03:2", 100), ("2025-01-03:3", 100),
        ("2025-01-04:1", 100), ("2025-01-04:2", 100), ("2025-02-01:2", 100),
    ]  # fmt: skip
    assert all(one.is_ok for one in bench.verify(*manifests).values())
    after = bench.content()
    assert trial.publish(diff) == [], "a repeat finds everything in place"
    assert bench.content() == after


class Killed(BaseException):
    """The process is gone."""


def test_a_kill_between_two_tables_is_mended_by_the_same_call(
    tried: Tried, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifests = corrected(bench)
    tried.load(*manifests)
    trial = tried.trial(*manifests)
    diff = trial.compare({})
    publish = bench.warehouse.publish

    def dying(batch: Any, *given: Any) -> str:
        if batch.table.name == "player_lines":
            raise Killed
        return publish(batch, *given)

    monkeypatch.setattr(bench.warehouse, "publish", dying)
    with pytest.raises(Killed):
        trial.publish(diff)
    assert not all(one.is_ok for one in bench.verify(*manifests).values())
    monkeypatch.setattr(bench.warehouse, "publish", publish)
    assert len(trial.publish(diff)) == 1
    assert all(one.is_ok for one in bench.verify(*manifests).values())


def test_rows_that_changed_since_they_were_compared_are_not_published_over(tried: Tried, bench: Bench) -> None:
    manifests = corrected(bench)
    tried.load(*manifests)
    trial = tried.trial(*manifests)
    diff = trial.compare({})
    bench.sql("UPDATE {games} SET score = 300 WHERE game_key = '2025-01-03:2'")
    before = bench.content()
    with pytest.raises(Stale, match="games: the table has other rows of these dates"):
        trial.publish(diff)
    assert bench.content() == before


def test_a_change_of_other_dates_makes_no_review_stale(tried: Tried, bench: Bench) -> None:
    manifests = corrected(bench)
    tried.load(*manifests)
    trial = tried.trial(*manifests)
    diff = trial.compare({})
    bench.process(bench.land(DAYS[1], [game(DAYS[1], score=7)]))
    trial.publish(diff)
    assert ("2025-01-04:1", 7) in bench.rows("games", "game_key", "score")


def test_a_key_that_came_to_another_date_meanwhile_is_noticed(tried: Tried, bench: Bench) -> None:
    manifests = corrected(bench)
    tried.load(*manifests)
    trial = tried.trial(*manifests)
    diff = trial.compare({})
    bench.sql("UPDATE {games} SET game_key = '2025-01-03:3' WHERE game_key = '2025-01-04:2'")
    with pytest.raises(Stale, match="games: rows of 2025-01-03 stand in another partition"):
        trial.publish(diff)


def test_what_waits_and_was_changed_by_others_is_not_published(tried: Tried, bench: Bench) -> None:
    manifests = corrected(bench)
    tried.load(*manifests)
    trial = tried.trial(*manifests)
    diff = trial.compare({})
    tried.dataset.query(f"DELETE FROM {tried.dataset.name_of('games')} WHERE TRUE")
    with pytest.raises(Stale, match="games: the rows that wait are not those"):
        trial.publish(diff)


def test_a_date_that_has_become_empty_is_emptied_by_its_publishing(tried: Tried, bench: Bench) -> None:
    manifest = bench.land(DAYS[0], [])
    tried.load(manifest)
    trial = tried.trial(manifest)
    diff = trial.compare({})
    assert diff.tables[0].total.removed == 2
    trial.publish(diff)
    assert [key for (key,) in bench.rows("games", "game_key") if key.startswith(DAYS[0])] == []


def test_a_review_of_a_source_without_tables_yet_makes_them(bench: Bench) -> None:
    dataset = ReviewDataset(bench.warehouse, "bf-2", dt.timedelta(days=7), endpoint=bench.warehouse._endpoint)
    manifest = bench.land(DAYS[0], [game(DAYS[0])])
    process([manifest], LoadContext(bench.processor, bench.landing, dataset, "bf-2"))
    assert bench.table_ids() == set()
    trial = Trial("bf-2", [manifest], bench.processor, bench.warehouse, dataset)
    trial.publish(trial.compare({}))
    assert bench.rows("games", "game_key") == [("2025-01-03:1",)]
    dataset.drop_dataset()
    assert bench.rows("games", "game_key") == [("2025-01-03:1",)]
