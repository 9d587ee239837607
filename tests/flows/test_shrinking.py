"""Verified rows stay when the source comes with fewer: in every mode, until a person accepts it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from alerting.instant import utc_now
from flows.ledger.ledger import LedgerEntry, Verdict
from flows.parameters import Mode
from processors.base import Table

from .test_late_rows import live

if TYPE_CHECKING:
    from .conftest import Place, Ran

SOURCE = "bdl_box_scores"
FIRST, LAST, DAYS = "2025-01-10", "2025-01-11", 2


def rows(place: Place) -> list[dict[str, Any]]:
    return place.sql("SELECT TO_JSON_STRING(t) AS j FROM {lines} t ORDER BY j")


def games(place: Place, date: str) -> int:
    return int(place.sql(f"SELECT COUNT(*) AS n FROM {{games}} WHERE game_date = DATE '{date}'")[0]["n"])


def entries(place: Place) -> dict[str, LedgerEntry]:
    return place.ledger.refresh()


def text_of_mail(place: Place) -> str:
    newest = place.inbox.messages()[0]
    return str(place.inbox.message(newest["id"])["text"])


@pytest.fixture
def filled(place: Place) -> Place:
    place.fill(FIRST, DAYS)
    return place


@pytest.mark.parametrize("kind", ["empty", "one_game"])
def test_a_full_run_keeps_verified_rows_when_the_source_comes_with_less_and_one_command_accepts_it(
    filled: Place, ran: Ran, gapless: Any, kind: str
) -> None:
    before, had = rows(filled), games(filled, LAST)
    filled.upstream.trouble({"kind": kind, "dates": [LAST]})
    left = 0 if kind == "empty" else 1
    _, facts = ran(FIRST, LAST, mode=Mode.FULL)
    assert facts.verdict == "FAILED"
    assert rows(filled) == before
    entry = entries(filled)[LAST]
    assert (entry.verdict, entry.error_type) == (Verdict.SHRUNK, "Shrunk")
    assert f"nba_bdl_games: {had} rows before, {left} after" in entry.error
    assert f"gapless run {SOURCE} {FIRST} {LAST} --accept-shrink --reason WHY" in entry.error

    first_screen = text_of_mail(filled).split("DO THIS NEXT")[0]
    assert f"{LAST} nba_bdl_games {had} -> {left}" in " ".join(first_screen.split())
    assert "Rows removed" not in first_screen
    # The command below it is the retry.
    (step,) = text_of_mail(filled).split("DO THIS NEXT")[1].split("CAUSES")[:1]
    told, _, command = " ".join(step.split()).partition("prefect deployment run")
    assert "if it is wrong, retry; if it is right: gapless run" in told
    assert "accept_shrink" not in command
    status = gapless("status", SOURCE)
    assert f"{LAST} shrunk, old rows kept: nba_bdl_games {had} -> {left}" in status.out
    assert gapless("audit", SOURCE, "--json").data["deficits"][0]["deficit"] == "failed"

    # Asked again it is no better, and nothing is lost by asking.
    ran(FIRST, LAST)
    assert rows(filled) == before
    calls = filled.upstream.calls.report()["total"]
    run, facts = ran(FIRST, LAST, accept_shrink=True, reason="other", note="postponed by snow")
    assert facts.verdict == "COMPLETE"
    assert filled.upstream.calls.report()["total"] == calls, "what is landed was accepted, and not another answer"
    assert games(filled, LAST) == left
    entry = entries(filled)[LAST]
    assert entry.verdict is (Verdict.VERIFIED if left else Verdict.EMPTY_OK)
    assert f"in {run.backfill_id}: other: postponed by snow" in entry.accepted
    first_screen = " ".join(text_of_mail(filled).split("DATA")[0].split())
    assert f"Rows removed: {had - left} of nba_bdl_games ({LAST})" in first_screen
    assert "postponed by snow" in gapless("status", SOURCE).out


def test_the_daily_run_keeps_them(filled: Place) -> None:
    from . import test_late_rows

    before = rows(filled)
    filled.upstream.trouble({"kind": "empty", "dates": [LAST]})
    run = live(filled, FIRST, DAYS)
    assert rows(filled) == before
    assert entries(filled)[LAST].verdict is Verdict.SHRUNK
    assert run.work.unchanged == {FIRST}
    assert f"1 not well: {LAST}" in str(test_late_rows._verdict(run).message)


def test_reprocessing_with_a_processor_that_finds_less_keeps_them(
    filled: Place, ran: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = rows(filled)
    processor = filled.services.source_kit(SOURCE).processor
    read = type(processor).rows

    def fewer(self: Any, partition: Any, page: Any) -> Any:
        seen: dict[str, int] = {}
        for table, row in read(self, partition, page):
            seen[table] = seen.get(table, 0) + 1
            # Under another key it is a row like any other, and the old one would go.
            if table == "nba_bdl_player_stats" and seen[table] % 3 == 0:
                row = {**row, "player_id": row["player_id"] + 10_000_000}
            yield table, row

    monkeypatch.setattr(type(processor), "rows", fewer)
    _, facts = ran(FIRST, LAST, mode=Mode.REPROCESS)
    assert facts.verdict == "FAILED"
    assert rows(filled) == before
    assert {entry.verdict for entry in entries(filled).values()} == {Verdict.SHRUNK}


def test_an_incremental_run_of_a_date_that_was_given_back_keeps_them(filled: Place, ran: Ran) -> None:
    before = rows(filled)
    filled.ledger.advance(LAST, Verdict.PLANNED, "repair", utc_now())
    filled.upstream.trouble({"kind": "one_game", "dates": [LAST]})
    ran(FIRST, LAST)
    assert rows(filled) == before
    assert entries(filled)[LAST].verdict is Verdict.SHRUNK
    # The source is itself again: the same rows, and the date is done.
    filled.upstream.trouble()
    _, facts = ran(FIRST, LAST)
    assert facts.verdict == "COMPLETE"
    assert rows(filled) == before


def test_a_mail_never_says_that_nothing_changed_when_rows_were_removed(
    filled: Place, ran: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    _allow_any_loss(filled, monkeypatch)
    ran(FIRST, LAST, mode=Mode.FULL)
    filled.upstream.trouble({"kind": "empty", "dates": [LAST]})
    had = games(filled, LAST)
    _, facts = ran(FIRST, LAST, mode=Mode.FULL)
    assert facts.verdict == "COMPLETE"
    text = text_of_mail(filled)
    assert f"Rows removed: {had} of nba_bdl_games ({LAST})" in " ".join(text.split("DATA")[0].split())
    assert "nothing changed" not in text


def _allow_any_loss(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    import dataclasses

    processor = place.services.source_kit(SOURCE).processor
    loose: tuple[Table, ...] = tuple(dataclasses.replace(table, usual_removal=1.0) for table in processor.tables)
    monkeypatch.setattr(type(processor), "tables", loose)


def test_there_is_nothing_to_accept_where_nothing_shrank_and_no_other_mode_accepts(filled: Place, gapless: Any) -> None:
    nothing = gapless("plan", SOURCE, FIRST, LAST, "-p", "accept_shrink=true")
    assert (nothing.code, "is shrunk" in nothing.err) == (1, True)
    refused = gapless("plan", SOURCE, FIRST, LAST, "--mode", "full", "-p", "accept_shrink=true")
    assert refused.code == 1
    assert "accept_shrink loads what is landed, and mode full does something else" in refused.err


def test_what_a_source_has_no_more_stays_verified_where_its_rows_are_and_is_still_counted(
    place: Any, ran: Any, gapless: Any
) -> None:
    place.fill("2025-01-01", 2)
    gone = ["2025-01-02", "2025-01-03"]
    place.upstream.trouble({"kind": "status", "code": 410, "dates": gone})
    _, facts = ran("2025-01-01", "2025-01-03", mode=Mode.FULL)
    assert facts.verdict_counts == {"verified": 2, "unavailable": 1}
    before = place.entry(gone[0])
    assert (before.verdict, before.error_type) == (Verdict.VERIFIED, "PartitionUnavailable")
    # Nor is it gone where it failed before the source has it no more: its landed payload is loaded.
    place.fail(gone[0])
    _, facts = ran("2025-01-01", "2025-01-03")
    assert facts.verdict_counts == {"verified": 1, "loaded": 1, "unavailable": 1}
    _, facts = ran("2025-01-01", "2025-01-03")
    assert facts.verdict_counts == {"verified": 2, "unavailable": 1}
    place.sql("DELETE FROM {lines} WHERE game_date = DATE '2025-01-02'")
    found = gapless("audit", SOURCE, "--from", "2025-01-01", "--to", "2025-01-03", "--json").data["deficits"]
    assert [(one["deficit"], one["ranges"]) for one in found] == [("short", gone[0])]
    calls = place.upstream.calls.report()["total"]
    assert ran("2025-01-01", "2025-01-03")[1].verdict == "COMPLETE"
    assert place.upstream.calls.report()["total"] == calls
