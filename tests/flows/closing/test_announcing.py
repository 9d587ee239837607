"""What other deployments hear of a run: its end, and exactly the dates that it verified."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from alerting.instant import utc_now
from flows.closing.announcing import Origin, announce, run_events, verified_event
from flows.closing.close import close_backfill

if TYPE_CHECKING:
    from .conftest import Place, Ran

SOURCE = "bdl_box_scores"


class Hearing(http.server.BaseHTTPRequestHandler):
    """The one route of a Prefect server that events go to."""

    heard: list[dict[str, Any]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.endswith("/events"):
            self.heard.extend(json.loads(body))
        self.send_response(204)
        self.end_headers()

    def do_GET(self) -> None:
        """Prefect's client asks for a token against forged requests, which most servers do without."""
        self.send_response(404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def heard() -> Iterator[list[dict[str, Any]]]:
    """Events that reached the server, in order."""
    found: list[dict[str, Any]] = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Heard", (Hearing,), {"heard": found}))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{server.server_port}/api"}):
        yield found
    server.shutdown()
    server.server_close()


def test_a_run_tells_its_end_and_exactly_the_dates_that_it_verified(place: Place, ran: Ran, heard: list[Any]) -> None:
    ran("2025-01-03", "2025-01-03")
    place.upstream.trouble({"kind": "500", "dates": ["2025-01-05"]})
    heard.clear()
    run, facts = ran("2025-01-03", "2025-01-06")
    ended, verified = heard
    assert ended["event"] == "gapless.backfill.failed"
    assert ended["resource"] == {"prefect.resource.id": f"gapless.source.{SOURCE}", "prefect.resource.name": SOURCE}
    assert ended["payload"]["verdict"] == facts.verdict
    assert (ended["payload"]["dates"], ended["payload"]["open"]) == ("2025-01-03..2025-01-06", "2025-01-05")
    assert verified["event"] == "gapless.partitions.verified"
    assert verified["payload"]["run"] == run.backfill_id
    # The third was done before, and is no news to those who build on it.
    assert verified["payload"]["dates"] == "2025-01-04, 2025-01-06"
    assert verified["payload"]["tables"] == [
        f"{place.services.settings.dataset}.{name}" for name in ("nba_bdl_games", "nba_bdl_player_stats")
    ]
    assert verified["payload"]["rows"]["nba_bdl_games"] > 0
    assert {one["prefect.resource.role"] for one in verified["related"]} == {"table"}


@pytest.mark.parametrize("why", ["user", "rejected"])
def test_what_a_person_ended_is_cancelled_and_not_failed(place: Place, ran: Ran, why: str) -> None:
    _, facts = ran("2025-01-03", "2025-01-03")
    (ended, _) = run_events(facts.merged(type(facts)(verdict=f"ABORTED({why})")), place.ledger.entries(), ["d.games"])
    assert ended.event == "gapless.backfill.cancelled"


def test_what_came_unchanged_is_verified_and_not_changed(place: Place, ran: Ran, heard: list[Any]) -> None:
    ran("2025-01-03", "2025-01-03")
    assert [one["payload"].get("changed") for one in heard] == [None, "2025-01-03"]
    heard.clear()
    ran("2025-01-03", "2025-01-03", mode="full")
    assert [one["event"] for one in heard] == ["gapless.backfill.completed", "gapless.partitions.verified"]
    assert (heard[1]["payload"]["dates"], heard[1]["payload"]["changed"]) == ("2025-01-03", "")


def test_rows_of_a_run_that_was_killed_before_their_verdict_are_told_as_changed_by_the_next_one(
    place: Place, ran: Ran, heard: list[Any]
) -> None:
    # Landed and loaded; no verdict was written.
    place.load(place.land("2025-01-03", 2), record=False)
    _, facts = ran("2025-01-03", "2025-01-05")
    _, verified = heard
    assert facts.tables[0].changes.keys() == {"created", "unchanged"}
    assert verified["payload"]["changed"] == verified["payload"]["dates"] == "2025-01-03..2025-01-05"
    heard.clear()
    ran("2025-01-03", "2025-01-05", mode="reprocess")
    assert heard[1]["payload"]["changed"] == "", "all of it was told"


def test_a_run_that_goes_on_by_itself_or_is_suspended_is_paused(place: Place, ran: Ran) -> None:
    _, facts = ran("2025-01-03", "2025-01-03")
    ledger = place.ledger.entries()
    (later, _) = run_events(facts.merged(type(facts)(resumes_at=utc_now())), ledger, ["d.games"])
    assert later.event == "gapless.backfill.paused"
    assert later.payload["resumes_at"]
    (suspended,) = run_events(facts, ledger, ["d.games"], is_paused=True)
    assert (suspended.event, suspended.payload["verdict"]) == ("gapless.backfill.paused", "PAUSED")


def test_whoever_closes_a_run_gives_its_events_the_same_id_and_a_closed_run_tells_nothing(
    place: Place, ran: Ran, heard: list[Any]
) -> None:
    run, facts = ran("2025-01-03", "2025-01-03")
    again = run_events(facts, place.ledger.entries(), place.services.table_names(SOURCE))
    assert [str(one.id) for one in again] == [one["id"] for one in heard]
    assert close_backfill(place.services, run.backfill_id, aborted="crashed", now=utc_now()) is None
    assert len(heard) == 2


def test_a_run_that_verified_nothing_tells_of_no_partition() -> None:
    assert verified_event(Origin(SOURCE, "bf-1", "", ["d.games"]), []) is None


def test_a_server_that_does_not_answer_is_logged_and_nothing_more(
    place: Place, ran: Ran, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _, facts = ran("2025-01-03", "2025-01-03")
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        announce(run_events(facts, place.ledger.entries(), ["d.games"]))
    assert "gapless.backfill.completed, gapless.partitions.verified: nobody was told" in caplog.text
