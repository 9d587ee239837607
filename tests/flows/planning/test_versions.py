"""A file that is changed after it was landed opens its date again, and nothing else does."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from typing import Any

import pytest

from alerting.memory_store import MemoryObjectStore
from alerting.smart_alert_manager import SmartAlertManager
from deployments.local.upstreams.drive_upstream import DriveUpstream
from deployments.local.upstreams.league import Calendar
from flows.asked import Asked
from flows.ledger.ledger import Verdict
from flows.planning.plan import Path
from flows.planning.planner import plan_asked
from flows.planning.versions import changed_partitions, refresh_versions
from flows.settings import Settings
from flows.truth.deficits import Deficit, find_deficits, find_gaps
from flows.truth.inventory import Known
from flows.truth.landed import landed_attempts
from flows.wiring import Services
from scrapers.partition import Partition
from scrapers.scrape import ScrapeContext, scrape

NAME = "bigdataball_playbyplay"
NOW = dt.datetime(2025, 3, 20, 12, tzinfo=dt.UTC)
DATES = [date for date in (dt.date(2025, 1, 7) + dt.timedelta(days=n) for n in range(40))
         if 1 < len(Calendar().listed_on(date)) < 4][:2]  # fmt: skip
DAYS = [Partition.day(date, "America/New_York") for date in DATES]
GAMES = [[one.game for one in Calendar().listed_on(date)] for date in DATES]


class Place:
    """A sample of Drive, and services whose storage is in memory."""

    def __init__(self, upstream: DriveUpstream) -> None:
        self.upstream = upstream
        settings = Settings(
            project="p",
            console_only=True,
            source_urls={NAME: upstream.url},
            source_secrets={"drive_service_account": upstream.key_file},
        )
        self.services = Services(settings)
        store = MemoryObjectStore()
        self.services.__dict__.update(store=store, alerts=SmartAlertManager(store=store, channels=[]))
        self.kit = self.services.source_kit(NAME)

    def land(self, *days: Partition, now: dt.datetime = NOW) -> None:
        """Lands the dates and calls them done."""
        context = ScrapeContext(
            scraper=self.kit.scraper,
            client=self.kit.client,
            landing=self.services.landing,
            backfill_id="b1",
            code_version="0",
            now=lambda: now,
        )
        self.kit.ledger.refresh()
        for day in days:
            manifest = scrape(day, context)
            self.kit.ledger.advance(
                day.key, Verdict.VERIFIED, "b1", now, attempt=manifest.attempt, content_hash=manifest.content_hash
            )

    def refreshed(self, now: dt.datetime) -> list[str]:
        self.upstream.now = now
        return refresh_versions(self.services, self.kit.scraper, self.kit.client, now)

    def changed(self) -> dict[str, str]:
        return changed_partitions(self.services, self.kit.scraper, self.kit.ledger.refresh())

    def planned(self) -> dict[str, Path]:
        asked = Asked(source=NAME, start_date=DATES[0], end_date=DATES[1], ignore_requires=True)
        items = plan_asked(self.services, asked, NOW + dt.timedelta(days=9)).plan.items
        return {item.partition.key: item.path for item in items if item.partition in DAYS}

    def known(self) -> list[Known]:
        entries, landed, changed = self.kit.ledger.refresh(), landed_attempts(self.services.store, NAME), self.changed()
        return [Known(day, entries[day.key], landed[day.key], {}, changed=changed.get(day.key, "")) for day in DAYS]


@pytest.fixture
def shared() -> Iterator[DriveUpstream]:
    with DriveUpstream(now=NOW) as server:
        yield server


@pytest.fixture
def place(shared: DriveUpstream) -> Iterator[Place]:
    found = Place(shared)
    found.land(*DAYS)
    shared.calls.clear()
    yield found
    found.kit.close()


def _later(days: float) -> dt.datetime:
    return NOW + dt.timedelta(days=days)


def _lists(place: Place) -> int:
    return sum("modifiedTime" in call["query"] for call in place.upstream.calls.report()["requests"])


def test_a_changed_file_opens_its_date_for_plan_gaps_and_audit_until_it_is_fetched_again(place: Place) -> None:
    place.upstream.now = _later(1)
    place.upstream.revise(GAMES[0][0].nba_id)
    assert set(place.planned().values()) == {Path.SKIP}, "nobody has asked yet"
    (told,) = place.refreshed(_later(2))
    assert f"1 date has other items at the source than landed: {DATES[0]}" in told
    calls = place.kit.client.calls
    assert place.planned() == {str(DATES[0]): Path.FETCH, str(DATES[1]): Path.SKIP}
    why = place.changed()[str(DATES[0])]
    assert GAMES[0][0].nba_id in why
    assert [gap.why for gap in find_gaps(NAME, place.known()[:1], ["nba_bigdataball_games"])] == [why]
    limits: dict[str, Any] = {"empty_ttl": dt.timedelta(days=180), "fresh_for": dt.timedelta(days=1)}
    found = [one for one in find_deficits(NAME, place.known(), NOW, **limits) if one.deficit is Deficit.CHANGED]
    assert [(one.partition, one.why) for one in found] == [(str(DATES[0]), why)]
    assert place.kit.client.calls == calls, "plan, gaps and audit make no call"
    place.land(DAYS[0], now=_later(3))
    assert place.changed() == {}
    assert set(place.planned().values()) == {Path.SKIP}
    assert place.refreshed(_later(3)) == []


def test_one_list_a_run_tells_of_all_changes_and_unchanged_dates_stay_done(place: Place) -> None:
    assert place.refreshed(_later(1)) == []
    assert place.refreshed(_later(2)) == []
    assert _lists(place) == place.kit.client.calls - 2 - sum(map(len, GAMES)) == 2
    stored = json.loads(place.services.store.read(f"catalogue/source={NAME}/versions.json")[0])
    assert stored["versions"] == {}


def test_a_game_whose_file_comes_later_opens_its_date(shared: DriveUpstream) -> None:
    place = Place(shared)
    shared.trouble({"kind": "lost_file", "path": "/drive/v3/files", "dates": [str(DATES[1])], "times": 1})
    place.land(DAYS[1])
    landed = place.services.landing.read_manifest(place.kit.ledger.refresh()[str(DATES[1])].manifest_name).versions
    (late,) = [game for game in GAMES[1] if not any(game.nba_id in name for name in landed)]
    shared.now = _later(1)
    shared.revise(late.nba_id)
    assert place.refreshed(_later(1))
    assert late.nba_id in place.changed()[str(DATES[1])]
    place.kit.close()


def test_a_list_that_cannot_be_had_stops_nothing_and_forgets_nothing(place: Place) -> None:
    place.upstream.now = _later(1)
    place.upstream.revise(GAMES[1][0].nba_id)
    place.refreshed(_later(1))
    place.upstream.trouble({"kind": "500", "path": "/drive/v3/files"})
    (told,) = place.refreshed(_later(2))
    assert "was not read" in told
    assert list(place.changed()) == [str(DATES[1])]


def test_a_source_without_versions_is_not_asked(place: Place) -> None:
    other = place.services.source_kit("racing_cards")
    assert refresh_versions(place.services, other.scraper, place.kit.client, NOW) == []
    assert changed_partitions(place.services, other.scraper, {}) == {}


def test_before_anything_is_landed_no_list_is_asked_for(shared: DriveUpstream) -> None:
    empty = Place(shared)
    shared.calls.clear()
    assert empty.refreshed(NOW) == []
    assert shared.calls.report()["total"] == 0
    empty.kit.close()
