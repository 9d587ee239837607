"""Dates of the generated season through all NBA sources, with troubles and kills: every game in every source.

Two dates, or as many as GAPLESS_SEASON_DAYS says. A whole season on the whole stack is `make season`.
"""

from __future__ import annotations

import datetime as dt
import os
from contextlib import ExitStack
from typing import Any

import pytest
from killed_family import FamilyPlace, troubles

from alerting.ranges import compress_dates
from deployments.local.inbox.server import InboxClient
from deployments.local.upstreams.box_scores_upstream import Upstream
from deployments.local.upstreams.drive_upstream import DriveUpstream
from deployments.local.upstreams.nba_upstream import NbaUpstream
from deployments.local.upstreams.odds_upstream import ODDS_KEY, OddsUpstream
from flows.closing.close_family import told_steps
from scrapers.registry import scraper, sources_of_family

FIRST = dt.date(2025, 1, 8)
DAYS = int(os.environ.get("GAPLESS_SEASON_DAYS", "2"))
KEY = "sample-key-7d1f"


@pytest.mark.long
@pytest.mark.timeout(14_400)
def test_every_game_of_the_schedule_is_verified_in_every_source_through_troubles_and_three_kills(
    provisioned: Any, inbox: InboxClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = [FIRST + dt.timedelta(days=at) for at in range(DAYS)]
    asked = {"family": "nba", "start_date": str(days[0]), "end_date": str(days[-1]), "also": ("odds_history",)}
    with ExitStack() as worlds:
        bdl = worlds.enter_context(Upstream(api_key=KEY, has_postponements=True))
        nba, drive, odds = (worlds.enter_context(kind()) for kind in (NbaUpstream, DriveUpstream, OddsUpstream))
        urls = dict.fromkeys((name for name in sources_of_family("nba") if name.startswith("bdl_")), bdl.url)
        urls |= {"bigdataball_playbyplay": drive.url, "odds_history": odds.url}
        for name in sources_of_family("nba"):
            if name.startswith("nba_"):
                stats = f"{nba.url}/stats" if "{site}" not in scraper(name).base_url else f"{nba.url}/{{site}}"
                urls[name] = stats
        secrets = {"bdl_api_key": KEY, "odds_api_key": ODDS_KEY, "drive_service_account": drive.key_file}
        place = FamilyPlace(provisioned, inbox, monkeypatch, urls, secrets)
        everything = (bdl, nba, drive, odds)
        for world in everything:
            world.trouble(*troubles(days))
        for at in (6, 12, 18):
            place.killed(at, **asked)
        run_id, told = place.completed(2, **asked)
        steps = told_steps(place.services, run_id)
        assert told == f"COMPLETE: {len(urls)} of {len(urls)} sources complete", told
        calls = {type(world).__name__: world.calls.report()["total"] for world in everything}
        assert place.ran(**asked)[1] == told
    expected = {step.source: step.items for step in steps if step.items}
    assert {name: items["expected"] - items["found"] for name, items in expected.items()} == dict.fromkeys(expected, 0)
    played = max(items["expected"] for items in expected.values())
    assert len(expected) >= 5
    assert played >= DAYS, expected
    name_of = place.warehouse.name_of
    (found,) = place.warehouse.query(
        "SELECT COUNT(DISTINCT G.game_id) AS games, COUNT(DISTINCT IF(P.home_team IS NULL, NULL, G.game_id)) AS priced "
        f"FROM {name_of('nba_schedule')} G JOIN {name_of('nba_bdl_teams')} T ON T.abbreviation = G.home_team_tricode "
        f"LEFT JOIN (SELECT DISTINCT game_date, home_team FROM {name_of('odds_h2h_lines')}) P "
        f"ON P.game_date = G.game_date AND ENDS_WITH(P.home_team, T.name) "
        f"WHERE G.deleted_at IS NULL AND NOT G.is_postponed AND G.status = 3 "
        f"AND G.game_date BETWEEN DATE '{days[0]}' AND DATE '{days[-1]}'"
    )
    assert found["priced"] == found["games"] > 0
    (looked,) = place.warehouse.query(
        f"SELECT COUNT(DISTINCT source) AS sources, SUM(expected) AS expected, SUM(verified) AS verified, "
        f"(SELECT COUNT(*) FROM {name_of('gapless_disagreements')}) AS disagreements FROM {name_of('gapless_coverage')}"
    )
    assert looked["sources"] >= len(expected)
    assert looked["verified"] == looked["expected"] > 0
    assert looked["disagreements"] == 0
    mails = place.mails()
    assert set(mails.values()) == {1}, mails
    print(f"{compress_dates([str(day) for day in days])}: {found['games']} games, {calls} calls, {len(mails)} mails")
