"""State that cannot be read stops its own source, and keeps no mail of another one back."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from alerting.errors import StateUnreadable
from flows.closing.close import close_dead_runs
from flows.run.run import Run
from scrapers.scrape import utc_now

SOURCE, OTHER = "bdl_box_scores", "bdl_games"
DAMAGED = {
    "outbox/backfill=bf-other.json": {"state": "open", "source": OTHER},
    f"leases/{OTHER}.json": {},
    "reviews/bf-other.json": {"state": "waiting", "source": OTHER},
}


@pytest.fixture
def dead(place: Any, ran: Any) -> Any:
    """A run that died before it closed itself."""

    def die(run: Run) -> None:
        raise SystemExit

    with pytest.raises(SystemExit):
        ran("2025-01-01", "2025-01-01", die)
    return place


@pytest.mark.parametrize("name", DAMAGED)
def test_an_object_of_another_source_that_cannot_be_read_keeps_no_mail_back(dead: Any, name: str) -> None:
    dead.store.write(name, b"{", metadata=DAMAGED[name])
    later = utc_now() + dt.timedelta(hours=2)
    assert len(close_dead_runs(dead.services, later, SOURCE)) == 1
    assert len(dead.inbox.messages()) == 1


@pytest.mark.parametrize("name", DAMAGED)
def test_who_looks_after_all_sources_hears_of_it_when_the_others_are_closed(dead: Any, name: str) -> None:
    dead.store.write(name, b"{", metadata=DAMAGED[name])
    with pytest.raises(StateUnreadable, match=name):
        close_dead_runs(dead.services, utc_now() + dt.timedelta(hours=2))
    assert len(dead.inbox.messages()) == 1


def test_a_start_of_that_source_is_refused(dead: Any) -> None:
    for name, metadata in DAMAGED.items():
        dead.store.write(name, b"{", metadata=metadata)
    with pytest.raises(StateUnreadable):
        close_dead_runs(dead.services, utc_now(), OTHER)
