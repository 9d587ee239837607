"""Mode full: all dates are fetched again, unchanged ones recounted, and old rows stay until new ones are good."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest

from alerting.instant import utc_now
from flows.ledger.ledger import LedgerEntry
from flows.parameters import Mode
from flows.truth.whole_history import history_of
from processors.receipt import read_receipt

if TYPE_CHECKING:
    from .conftest import Place, Ran

SOURCE = "bdl_box_scores"
# Two dates with games.
FIRST, LAST = "2025-01-10", "2025-01-11"


def rows(place: Place) -> list[dict[str, Any]]:
    return place.sql("SELECT TO_JSON_STRING(t) AS j FROM {lines} t ORDER BY j")


def entries(place: Place) -> dict[str, LedgerEntry]:
    return place.ledger.refresh()


def test_what_came_unchanged_is_fetched_and_recounted_and_not_loaded_again(place: Place, ran: Ran) -> None:
    place.fill(FIRST, 2)
    before, known = rows(place), entries(place)
    run, facts = ran(FIRST, LAST, mode=Mode.FULL)
    assert facts.verdict == "COMPLETE"
    assert (run.tally.calls, run.tally.receipts) == (2, [])
    assert rows(place) == before
    for key, entry in entries(place).items():
        assert entry.verdict == known[key].verdict
        # What it rests on is the newer answer; what loaded its rows stays.
        assert entry.attempt > known[key].attempt
        assert entry.receipt_id == known[key].receipt_id
        assert entry.backfill_id == run.backfill_id, "it was verified by this run"
        assert entry.updated_at > known[key].updated_at


def test_what_changed_is_loaded_and_only_that(place: Place, ran: Ran) -> None:
    place.upstream.trouble({"kind": "drop_last_player", "dates": [LAST]})
    place.fill(FIRST, 2)
    short = len(rows(place))
    place.upstream.trouble()
    run, facts = ran(FIRST, LAST, mode=Mode.FULL)
    assert facts.verdict == "COMPLETE"
    assert [receipt.partitions for receipt in run.tally.receipts] == [(LAST,)]
    assert len(rows(place)) > short
    assert facts.work_counts == facts.fetch_counts == {"verified": 2}
    _, facts = ran(FIRST, LAST)
    assert (facts.verdict_counts, facts.work_counts, facts.fetch_counts) == ({"verified": 2}, {}, {})


def test_rows_that_were_lost_behind_the_ledger_are_loaded_though_the_source_sent_the_same(
    place: Place, ran: Ran
) -> None:
    place.fill(FIRST, 2)
    before = rows(place)
    place.sql("DELETE FROM {lines} WHERE game_date = DATE '" + LAST + "'")
    run, facts = ran(FIRST, LAST, mode=Mode.FULL)
    assert facts.verdict == "COMPLETE"
    assert [receipt.partitions for receipt in run.tally.receipts] == [(LAST,)]
    assert rows(place) == before
    assert facts.verdict_counts == {"verified": 2}


def test_another_version_of_the_processor_loads_what_came_unchanged(
    place: Place, ran: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.fill(FIRST, 2)
    monkeypatch.setattr(type(place.services.source_kit(SOURCE).processor), "version", 99)
    run, facts = ran(FIRST, LAST, mode=Mode.FULL)
    assert facts.verdict == "COMPLETE"
    assert [receipt.partitions for receipt in run.tally.receipts] == [(FIRST, LAST)]


@pytest.mark.parametrize(
    ("damage", "error"),
    [
        ("drop_last_player", "CoverageLow"),
        ("500", "SourceUnavailable"),
        pytest.param("null_id", "RowRejected", marks=pytest.mark.long),
    ],
)
def test_old_rows_survive_a_full_run_whose_new_ones_are_not_good(
    place: Place, ran: Ran, monkeypatch: pytest.MonkeyPatch, damage: str, error: str
) -> None:
    ran(FIRST, LAST)
    before = rows(place)
    if damage == "drop_last_player":
        _expect_as_many_players_as_there_are(place, monkeypatch)
    place.upstream.trouble({"kind": damage, "dates": [LAST]})
    _, facts = ran(FIRST, LAST, mode=Mode.FULL)
    assert facts.verdict != "COMPLETE"
    assert rows(place) == before
    found = entries(place)
    assert found[LAST].error_type == error
    if damage == "500":
        # Nothing came, and nothing is missing.
        assert (found[LAST].keeps_verified_rows, facts.not_renewed) == (True, 1)
        newest = place.inbox.messages()[0]
        assert "1 of 2 not renewed" in newest["subject"]
        text = " ".join(str(place.inbox.message(newest["id"])["text"]).split())
        assert f"Not renewed, old rows kept ({LAST}): {LAST} verified" in text
        assert "missing" not in text.split("DO THIS NEXT")[0]
        (cell,) = (one for one in history_of(*_known(place)).cells if one.partition.key == LAST)
        assert cell.why == "SourceUnavailable, old rows kept"


def _known(place: Place) -> tuple[Any, ...]:
    known = entries(place)
    return place.services.source_kit(SOURCE).scraper, known, set(known), utc_now()


def _expect_as_many_players_as_there_are(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The smallest box score of the last date is the smallest that is believed; the first date may have less."""
    (found,) = place.sql(
        "SELECT MIN(n) AS fewest FROM (SELECT COUNT(*) AS n FROM {lines} WHERE game_date = DATE '" + LAST + "' "
        "GROUP BY game_key)"
    )
    processor = place.services.source_kit(SOURCE).processor
    games, lines = processor.tables
    strict = dataclasses.replace(lines, per_parent=(found["fewest"], 80))
    monkeypatch.setattr(type(processor), "tables", (games, strict))


def test_a_full_run_that_was_stopped_is_not_complete_though_old_rows_are_good(place: Place, ran: Ran) -> None:
    from alerting.errors import CriticalError

    place.fill(FIRST, 2)
    before = entries(place)
    stop = CriticalError("told to", source=SOURCE)
    run, facts = ran(FIRST, LAST, then=lambda run: run.stop(stop, "scrape"), mode=Mode.FULL)
    assert facts.verdict == "ABORTED(critical)"
    assert run.tally.calls == 0
    assert any("2 of 2 planned partitions not done again" in note for note in facts.notes)
    assert (facts.work_counts, facts.fetch_counts) == ({}, {}), "what a resume needs is not divided by them"
    assert entries(place) == before


def test_canaries_of_a_full_run_may_come_unchanged(place: Place, ran: Ran) -> None:
    place.fill(FIRST, 2)
    run, facts = ran(FIRST, LAST, mode=Mode.FULL, canary=1)
    assert facts.verdict == "COMPLETE"
    assert run.stopped_by is None
    assert run.tally.receipts == []


@pytest.mark.parametrize("is_lost", [False, True])
def test_a_recount_believes_what_the_load_of_a_date_dropped_and_not_what_an_earlier_one_did(
    place: Place, ran: Ran, *, is_lost: bool
) -> None:
    place.fill(FIRST, 2)
    earlier = read_receipt(place.store, SOURCE, place.entry(LAST).receipt_id)
    # A line came twice then; FIRST still rests on that receipt.
    earlier.model_copy(update={"dropped": {LAST: {"nba_bdl_player_stats": 1}}}).put(place.store)
    place.load(place.land(LAST))
    if is_lost:
        place.sql(
            "DELETE FROM {lines} WHERE game_date = DATE '" + LAST + "' AND player_id = "
            "(SELECT MIN(player_id) FROM {lines} WHERE game_date = DATE '" + LAST + "')"
        )
    _, facts = ran(FIRST, LAST, mode=Mode.VALIDATE)
    assert (facts.verdict == "COMPLETE") is not is_lost
    assert place.entry(LAST).verdict.is_good is not is_lost
