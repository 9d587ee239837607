"""``entities=all``: the source's own list, read once a day, and never a reason to stop."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest

from flows.run.plain_orchestrator import PlainOrchestrator

pytest.importorskip("datasette")

from alerting.errors import StateUnreadable
from alerting.memory_store import MemoryObjectStore
from alerting.smart_alert_manager import SmartAlertManager
from deployments.local.upstreams.civic_towns import LOCAL_CIVIC_KEY
from deployments.local.upstreams.civic_upstream import CivicUpstream
from flows.asked import Asked
from flows.parameters import Mode
from flows.planning.catalogue import FRESH_FOR, read_catalogue, refresh_catalogue
from flows.planning.planner import plan_asked
from flows.run.run import Run
from flows.settings import Settings
from flows.wiring import Services
from scrapers.registry import scraper

NOW = dt.datetime(2026, 1, 10, 12, tzinfo=dt.UTC)
DECLARED = scraper("civic_band").entities
TOWNS = {f"{name}.ca": (1, 0) for name in ("alameda", "berkeley", "oakland", "fremont", "hayward", "vallejo", "napa")}


class Place:
    """An upstream with its feed, and services whose storage is in memory."""

    def __init__(self, upstream: CivicUpstream, **settings: Any) -> None:
        self.upstream = upstream
        self.services = Services(
            Settings(
                project="p",
                console_only=True,
                source_urls={"civic_band": upstream.base_url},
                source_secrets={"civic_band_api_key": LOCAL_CIVIC_KEY},
                **settings,
            )
        )
        store = MemoryObjectStore()
        self.services.__dict__.update(store=store, alerts=SmartAlertManager(store=store, channels=[]))

    def refreshed(self, now: dt.datetime = NOW, **asked: Any) -> Run:
        run = Run(
            self.services, Asked(source="civic_band", **{"entities": "all", **asked}), "bf-1", PlainOrchestrator()
        )
        for told in refresh_catalogue(self.services, run.kit.scraper, run.client, run.asked.entities, now):
            run.note(told)
        run.close()
        return run

    def planned(self, entities: str = "all~agendas") -> set[str]:
        asked = Asked(source="civic_band", entities=entities)
        return {one.partition("~")[0] for one in plan_asked(self.services, asked, NOW).plan.keys}


@pytest.fixture
def place(tmp_path: Any) -> Any:
    with CivicUpstream(data_dir=tmp_path, towns=TOWNS) as upstream:
        yield Place(upstream)


def test_v08_all_means_every_town_that_the_source_lists_and_planning_makes_no_call(place: Place) -> None:
    assert place.planned() == set(DECLARED)
    assert place.upstream.calls == {}
    run = place.refreshed()
    assert place.planned() == set(TOWNS)
    assert place.planned("all") == set(TOWNS)
    assert place.planned("elsewhere.or") == {"elsewhere.or"}
    assert place.upstream.calls == {"feed": 1}
    assert "4 entities are new in the source's list: fremont.ca, hayward.ca" in run.notes[0]


def test_the_list_is_read_once_a_day_and_only_by_a_run_that_asks_for_all(place: Place) -> None:
    for asked in ({"entities": "alameda.ca"}, {"mode": Mode.VALIDATE}, {"mode": Mode.REPROCESS}):
        place.refreshed(**asked)
    assert place.upstream.calls == {}
    place.refreshed()
    place.refreshed(NOW + FRESH_FOR / 2, entities="all~minutes")
    assert place.upstream.calls == {"feed": 1}
    assert place.refreshed(NOW + FRESH_FOR).notes == []
    assert place.upstream.calls == {"feed": 2}


def test_a_list_that_cannot_be_had_or_has_shrunk_leaves_the_last_one_in_force_and_is_told(place: Place) -> None:
    place.services.settings.source_urls["civic_band"] = "http://127.0.0.1:9/{site}"
    run = place.refreshed()
    assert f"the one of the scraper is used: {len(DECLARED)} names" in run.notes[0]
    assert place.planned() == set(DECLARED)

    place.services.settings.source_urls["civic_band"] = place.upstream.base_url
    place.refreshed()
    del place.upstream._apps["napa.ca"]
    run = place.refreshed(NOW + 2 * FRESH_FOR)
    assert "6 names in the list, 7 in the last one" in run.notes[0]
    assert "the one of 2026-01-10 is used: 7 names" in run.notes[0]
    assert place.planned() == set(TOWNS)


def test_the_entities_of_the_settings_win_and_the_list_is_not_read(place: Place) -> None:
    mine = Place(place.upstream, source_entities={"civic_band": ["alameda.ca"]})
    mine.refreshed()
    assert mine.planned() == {"alameda.ca"}
    assert place.upstream.calls == {}


def test_an_unreadable_list_stops_the_plan_and_is_not_taken_for_none(place: Place) -> None:
    place.services.store.write("catalogue/source=civic_band/entities.json", json.dumps({"entities": 1}).encode())
    with pytest.raises(StateUnreadable, match="state unreadable"):
        place.planned()
    assert read_catalogue(MemoryObjectStore(), "civic_band") is None
