"""One object that cannot be read costs one line: which, what is wrong, and the command. Everything else is shown."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from alerting.instant import utc_now
from flows.coordination.lease import Holder, Lease
from flows.ledger.reviews import Review, ReviewState, review_record
from flows.truth.whole_history import read_histories
from flows.views.calendar_page import Links, calendar_page

SOURCE, OTHER = "bdl_box_scores", "bdl_games"
ENTRY = f"ledger/source={SOURCE}/2025-01-02.json"
LEASE = f"leases/{OTHER}.json"


@pytest.fixture
def world(place: Any, ran: Any) -> Any:
    """A backfill that is done, and a review."""
    ran("2025-01-01", "2025-01-03")
    now = utc_now()
    review = Review(
        review_id="bf-good", source=SOURCE, backfill_id="bf-good", state=ReviewState.OPEN, begun_at=now, expires_at=now
    )
    review_record(place.store, "bf-good").put(review)
    Lease.acquire(place.store, OTHER, Holder("bf-2"), now=now, ttl_s=600)
    return place


def damage(world: Any, name: str) -> str:
    metadata = {one.name: dict(one.metadata) for one in world.store.list(name)}.get(name, {})
    world.store.write(name, b"{", metadata={"verdict": "verified"} if name == ENTRY else metadata)
    return name


def complained(answered: Any, name: str, command: str) -> None:
    assert answered.code == 1
    lines = [line for line in answered.err.splitlines() if line]
    assert len(lines) == 1, answered.err
    assert name in lines[0]
    assert "unreadable" in lines[0]
    assert command in lines[0]


def test_status_shows_all_but_the_entry_that_cannot_be_read(world: Any, gapless: Any) -> None:
    name = damage(world, ENTRY)
    for command in (["status"], ["status", "nba"], ["status", SOURCE]):
        answered = gapless(*command)
        complained(answered, name, f"gapless reconcile {SOURCE}")
        assert ("2 of 2" if SOURCE not in command else "2 partitions: 2 verified") in answered.out
        assert gapless(*command, "--json").data


def test_what_judges_or_changes_dates_refuses_and_says_which_object_and_what_to_do(world: Any, gapless: Any) -> None:
    name, dates = damage(world, ENTRY), ("2025-01-01", "2025-01-03")
    for command in (
        ["coverage", "nba", *dates],
        ["plan", "nba", *dates],
        *([word, SOURCE, *dates] for word in ("plan", "estimate", "gaps", "verify")),
        ["audit", SOURCE, "--from", dates[0], "--to", dates[1]],
        ["repair", SOURCE, *dates, "--dry-run"],
        ["retry-failed", SOURCE],
        ["accept-open", SOURCE, "2025-01-02", "--reason", "never played"],
        ["cleanup", SOURCE],
    ):
        answered = gapless(*command)
        complained(answered, name, f"gapless reconcile {SOURCE} --apply")
        assert answered.out == "", "nothing that could be taken for an answer"
    assert gapless("reconcile", SOURCE, "--apply").code == 0
    assert gapless("gaps", SOURCE, *dates).code == 0


@pytest.mark.parametrize("name", [LEASE, f"ledger/pending/source={OTHER}.json"])
def test_status_shows_the_other_sources_where_nothing_can_be_said_of_one(world: Any, gapless: Any, name: str) -> None:
    world.fail("2025-01-05")
    damage(world, name)
    for command in (["status"], ["status", "--failed"], ["status", "nba"]):
        answered = gapless(*command)
        complained(answered, name, "look at that object")
        assert SOURCE in answered.out or "2025-01-05" in answered.out
        assert gapless(*command, "--json").data[SOURCE]
    assert gapless("status", "--incomplete").code == (name != LEASE), "it reads no lease"


def test_calendar_shows_which_date_cannot_be_read_and_all_others(world: Any, gapless: Any) -> None:
    name = damage(world, ENTRY)
    for command in (["calendar"], ["calendar", SOURCE], ["calendar", "--in", "2025-01"]):
        answered = gapless(*command)
        complained(answered, name, f"gapless reconcile {SOURCE}")
        assert re.search(rf"{SOURCE}: 2 of \d+ partitions done.*; 1 object cannot be read", answered.out)
    assert "1 partition unreadable (its ledger object cannot be read): 2025-01-02" in answered.out
    document = gapless("calendar", SOURCE, "--json").data
    assert document["states"] == {"verified": "2025-01-01, 2025-01-03", "unreadable": "2025-01-02"}
    assert name in document["unreadable"][0]
    page = calendar_page(read_histories(world.services, [SOURCE], utc_now()), Links(), utc_now())
    assert "1 object cannot be read" in page
    assert f"gapless reconcile {SOURCE} --apply" in page


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("runs/backfill=bf-broken/plan.json", "look at that object"),
        (f"facts/source={OTHER}/first_date.json", f"gapless first-date {OTHER} --forget"),
    ],
)
def test_other_state_that_cannot_be_read_is_named_by_the_calendar(
    world: Any, gapless: Any, name: str, command: str
) -> None:
    world.store.write(name, b"{", metadata={"source": SOURCE})
    answered = gapless("calendar")
    complained(answered, name, command)
    assert f"{SOURCE}: 3 of 3 partitions done" in answered.out


@pytest.mark.parametrize("name", [LEASE, "outbox/backfill=bf-broken.json"])
def test_runs_shows_every_run_but_the_one_that_cannot_be_read(world: Any, gapless: Any, name: str) -> None:
    metadata = {"source": OTHER, "backfill_id": "bf-broken", "state": "open"} if name != LEASE else {}
    world.store.write(name, b"{", metadata=metadata)
    answered = gapless("runs")
    complained(answered, name, "that object")
    assert "COMPLETE" in answered.out
    assert [one["source"] for one in gapless("runs", "--json").data] == [SOURCE]


def test_the_mail_of_another_source_that_cannot_be_read_does_not_concern_this_one(world: Any, gapless: Any) -> None:
    metadata = {"source": OTHER, "backfill_id": "bf-broken", "state": "open"}
    world.store.write("outbox/backfill=bf-broken.json", b"{", metadata=metadata)
    assert gapless("status", SOURCE).code == 0
    assert gapless("runs", "--source", SOURCE).code == 0


def test_reviews_shows_every_review_but_the_one_that_cannot_be_read(world: Any, gapless: Any) -> None:
    name = "reviews/bf-broken.json"
    world.store.write(name, b"{", metadata={"source": OTHER, "state": "open"})
    answered = gapless("reviews")
    complained(answered, name, "look at that object")
    assert "bf-good" in answered.out


def test_errors_are_counted_without_the_object_that_cannot_be_read(world: Any, gapless: Any) -> None:
    name = "alerts/backfill=bf-broken/incidents/run-0-x.json.gz"
    world.store.write(name, b"no gzip")
    answered = gapless("errors", "--json")
    complained(answered, name, "look at that object")
    assert json.loads(answered.out)["errors"] == 0
