"""Canaries: the others are fetched when these are read, and written when these are verified."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from alerting.errors import AuthenticationError, CoverageLow, WarehouseBusy
from flows import process
from flows.parameters import Publish
from flows.process import process_landed
from flows.run.plain_orchestrator import PlainOrchestrator
from flows.run.recording import record_failure
from flows.run.run import Run
from processors.verification import Finding, verify
from processors.warehouse import BigQueryWarehouse

if TYPE_CHECKING:
    from .conftest import Place, Ran

FIRST, LAST = "2025-01-03", "2025-01-06"
OTHERS = ["2025-01-04", "2025-01-05", "2025-01-06"]
PATIENCE_S = 20.0
GAMES = "nba_bdl_games"


class Watched:
    """MERGEs by date, with the canary's verdict then. That of the canary waits until the others have landed."""

    def __init__(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        self.merges: list[tuple[str, str]] = []
        self.then: Callable[[], None] = lambda: None
        self.place, self._landed = place, threading.Event()
        real = BigQueryWarehouse.replace

        def replace(warehouse: Any, batch: Any, *given: Any) -> Any:
            date = str(batch.scope[0].values[0])
            if batch.table.name == GAMES:
                if date == FIRST:
                    self._until_all_have_landed()
                    self.then()
                self.merges.append((date, place.entry(FIRST).verdict.value))
            return real(warehouse, batch, *given)

        monkeypatch.setattr(BigQueryWarehouse, "replace", replace)

    def _until_all_have_landed(self) -> None:
        for _ in range(int(PATIENCE_S / 0.05)):
            found = self.place.ledger.entries()
            if all(key in found for key in OTHERS):
                return
            self._landed.wait(0.05)
        pytest.fail("the others wait until the canary is verified")

    def fails_by(self, error: Exception) -> None:
        def fail() -> None:
            raise error

        self.then = fail


@pytest.fixture
def watched(place: Place, monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(place, monkeypatch)


def verdicts(place: Place) -> dict[str, str]:
    return {key: entry.verdict.value for key, entry in place.ledger.refresh().items()}


def rows(place: Place) -> int:
    (found,) = place.sql("SELECT COUNT(*) AS n FROM {games}")
    return int(found["n"])


def test_the_others_are_fetched_beside_the_canarys_load_and_written_after_its_verdict(
    place: Place, ran: Ran, watched: Watched
) -> None:
    _, facts = ran(FIRST, LAST, canary=1)
    assert facts.verdict == "COMPLETE"
    assert watched.merges == [(FIRST, "landed"), (OTHERS[0], "verified")]
    assert not [note for note in facts.notes if "canary" in note]


def test_a_canary_that_is_refused_by_its_table_stops_the_run_before_another_date_is_written(
    place: Place, ran: Ran, watched: Watched
) -> None:
    watched.fails_by(AuthenticationError("bigquery.tables.updateData is missing", stage="load"))
    run, facts = ran(FIRST, LAST, canary=1)
    assert facts.verdict == "ABORTED(red_flag)"
    assert run.stopped_by is not None
    (note,) = [one for one in facts.notes if "red flag, canary" in one]
    assert "1 of 1 canary dates failed (2025-01-03: AuthenticationError)" in note
    assert "what was landed meanwhile is kept" in note
    assert verdicts(place) == dict.fromkeys([FIRST, *OTHERS], "landed")
    assert rows(place) == 0
    # Whoever mends it calls nothing again.
    watched.then = lambda: None
    again, facts = ran(FIRST, LAST)
    assert (facts.verdict, again.tally.calls) == ("COMPLETE", 0)


def test_a_canary_that_is_recounted_wrong_stops_the_run_before_another_date_is_written(
    place: Place, ran: Ran, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    def recounts(*given: Any, **more: Any) -> Any:
        found = verify(*given, **more)
        return {key: dataclasses.replace(one, verdict=Finding.MISSING) for key, one in found.items()}

    monkeypatch.setattr(process, "verify", recounts)
    _, facts = ran(FIRST, LAST, canary=1)
    assert facts.verdict == "ABORTED(red_flag)"
    assert [date for date, _ in watched.merges] == [FIRST]
    assert verdicts(place) == {FIRST: "partial", **dict.fromkeys(OTHERS, "landed")}


def test_while_bigquery_is_not_to_be_had_for_the_canary_landing_continues_and_nothing_is_written(
    place: Place, ran: Ran, watched: Watched
) -> None:
    watched.fails_by(WarehouseBusy("backendError", stage="load"))
    run, facts = ran(FIRST, LAST, canary=1)
    assert facts.verdict == "ABORTED(red_flag)"
    assert run.stopped_by is None
    assert run.loading_stopped_by is not None
    assert any("loading stops, landing continues" in note for note in facts.notes)
    assert verdicts(place) == dict.fromkeys([FIRST, *OTHERS], "landed")
    assert rows(place) == 0


def test_a_canary_that_another_date_shows_not_to_be_believed_is_no_red_flag(
    place: Place, ran: Ran, watched: Watched
) -> None:
    found: list[Run] = []

    def disbelieve() -> None:
        record_failure(found[0], FIRST, CoverageLow("the payload of another date"), "load", OTHERS[0])
        found[0].work.quarantine(FIRST)

    watched.then = disbelieve
    run, _ = ran(FIRST, LAST, found.append, canary=1)
    assert run.stopped_by is None
    assert verdicts(place) == {FIRST: "partial", **dict.fromkeys(OTHERS, "verified")}


def test_a_canary_that_cannot_be_read_stops_the_run_before_another_date_is_asked_for(place: Place, ran: Ran) -> None:
    place.upstream.trouble({"kind": "null_id"})
    run, facts = ran(FIRST, LAST, canary=2)
    assert facts.verdict == "ABORTED(red_flag)"
    assert run.tally.calls == 2
    assert any("2 of 4 dates tried, no other one" in note for note in facts.notes)
    assert {key for key, verdict in verdicts(place).items() if verdict == "planned"} == set(OTHERS[:-1])


def test_canaries_whose_rows_wait_for_approval_are_no_red_flag(place: Place, ran: Ran) -> None:
    run, _ = ran(FIRST, LAST, canary=1, publish=Publish.AFTER_APPROVAL)
    assert run.stopped_by is None
    assert len(run.tally.receipts) == 2
    assert run.tally.calls == 4


def test_what_the_canarys_load_raises_ends_the_run_and_is_raised(place: Place, ran: Ran) -> None:
    class Broken(PlainOrchestrator):
        async def subflow(self, flow: Any, parameters: Any, part: Any) -> None:
            await part()
            if flow is process_landed:
                raise OSError("the server is away")

    with pytest.raises(OSError, match="the server is away"):
        ran(FIRST, LAST, orchestrator=Broken(), canary=1)
    assert [key for key, verdict in verdicts(place).items() if verdict == "verified"] == [FIRST]
