"""A season of all NBA sources as a user does it, with troubles at every sample and three kills in between.

Imported once the environment names the stack: Prefect reads its settings at import.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import signal
import time
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from alerting.errors import PipelineError
from alerting.outbox import Outbox
from alerting.run_facts import RunFacts
from alerting.wording import plural
from deployments.local.main_job import read_run, start_deployment_run
from deployments.local.stack import Stack
from flows.closing.close_family import told_steps
from flows.coordination.lease import read_lease
from flows.planning.period import period_dates
from flows.run_id import backfill_id_of
from flows.wiring import Services, build_services
from scrapers.platforms.nba_calendar import NBA_SEASONS

FAMILY, ALSO = "nba", "odds_history"
WORLDS = ("box_scores", "nba", "drive", "odds")
POLL_S = 1.0
ENVIRONMENT = {
    "GAPLESS_SOURCE_CALLS_PER_MONTH": json.dumps({"the_odds_api": 100_000}),
    # Killed runs leave leases; a minute is enough to notice.
    "GAPLESS_LEASE_TTL_S": "60",
    "GAPLESS_HEARTBEAT_S": "5",
    "GAPLESS_RETRY_DELAYS_S": "[0.5, 1, 2, 4]",
}
KINDS = ("500", "429", "reset", "truncated_gzip", "truncated_body", "slow")
_PRICED = """
SELECT COUNT(DISTINCT G.game_id) AS games, COUNT(DISTINCT IF(P.home_team IS NULL, NULL, G.game_id)) AS priced
FROM {nba_schedule} G
JOIN {nba_bdl_teams} T ON T.abbreviation = G.home_team_tricode
LEFT JOIN (SELECT DISTINCT game_date, home_team FROM {odds_h2h_lines}) P
ON P.game_date = G.game_date AND ENDS_WITH(P.home_team, T.name)
WHERE G.deleted_at IS NULL AND NOT G.is_postponed AND G.status = 3 AND G.game_kind IN ('regular', 'playoffs', 'play_in')
AND G.game_date BETWEEN DATE '{first}' AND DATE '{last}'
"""
"""Played games of the schedule, and how many of them have prices: joined by date and home team."""
_SIDE_BY_SIDE = """
SELECT COUNT(DISTINCT source) AS sources, IFNULL(SUM(expected), 0) AS expected, IFNULL(SUM(verified), 0) AS verified,
(SELECT COUNT(*) FROM {disagreements} WHERE date BETWEEN DATE '{first}' AND DATE '{last}') AS disagreements
FROM {coverage} WHERE date BETWEEN DATE '{first}' AND DATE '{last}'
"""


def run_season_of(stack: Stack, period: str, dates: Sequence[str] | None, kills: int) -> int:
    """`run_season` of a season by its name, or of two dates."""
    if dates:
        first, last = map(dt.date.fromisoformat, dates)
        return run_season(stack, {"start_date": str(first), "end_date": str(last)}, (first, last), kills)
    return run_season(stack, {"period": period}, period_dates(period, NBA_SEASONS), kills)


def run_season(stack: Stack, asked: Mapping[str, str], days: Sequence[dt.date], kills: int) -> int:
    """Runs the family over the season, killed ``kills`` times and begun again; says what came of it.

    Args:
        stack: Is up, with a worker.
        asked: A period, or two dates, as parameters of the deployment.
        days: First and last date, for the troubles.
        kills: How often the process of the run is killed.

    Returns 0 when every source is complete, every expected game is there, every played one has prices, and each run has
    exactly one mail. Raises ``ChildFailed`` when a child of the stack ends meanwhile.
    """
    services, urls, began = build_services(), stack.urls(), time.monotonic()
    _post(f"{urls['odds']}/gapless/plan", {"credits_a_month": 100_000, "has_history": True})
    before = {world: _calls(urls, world) for world in WORLDS}
    for world in WORLDS:
        _post(f"{urls[world]}/gapless/trouble", troubles(days))
    runs: list[str] = []
    for number in range(kills + 1):
        run_id = start_deployment_run(
            f"backfill/{FAMILY}", {**asked, "reason": "test", "note": "make season", "also": json.dumps([ALSO])}
        )
        state, told = _followed(stack, services, run_id, kill_after=2 * number + 2 if number < kills else None)
        runs.append(backfill_id_of(run_id, 1))
        _say(f"run {number + 1} of {kills + 1}: {state}: {told}")
    took_s = time.monotonic() - began
    steps = told_steps(services, runs[-1])
    is_priced = _report(services, steps, days)
    spent = {world: _calls(urls, world) - before[world] for world in WORLDS}
    _say(f"Calls     {sum(spent.values()):,}: {', '.join(f'{world} {count:,}' for world, count in spent.items())}")
    _say(f"Time      {dt.timedelta(seconds=round(took_s))}, {plural(kills, 'kill')}")
    mails = {run: _mails_of(urls, run) for run in runs}
    for run, subjects in mails.items():
        _say(f"Mail      {run}: {'; '.join(subjects) or 'none arrived'}")
    missing = sum(step.items.get("expected", 0) - step.items.get("found", 0) for step in steps)
    is_well = is_priced and not missing and all(step.verdict == "COMPLETE" for step in steps)
    return 0 if is_well and all(len(subjects) == 1 for subjects in mails.values()) else 1


def troubles(days: Sequence[dt.date]) -> list[dict[str, Any]]:
    """Every fifth date has one trouble that a retry heals, each kind in its turn."""
    first, last = days
    hit = [first + dt.timedelta(days=at) for at in range(0, (last - first).days + 1, 5)]
    return [
        {
            "kind": kind,
            "times_per_date": 1,
            "retry_after_s": 1 if kind == "429" else None,
            "delay_s": 1,
            "dates": dates,
        }
        for at, kind in enumerate(KINDS)
        if (dates := [day.isoformat() for day in hit[at :: len(KINDS)]])
    ]


def _followed(stack: Stack, services: Services, run_id: UUID, kill_after: int | None) -> tuple[str, str]:
    """State and message of the run at its end; it is killed when so many sources have begun, None for never."""
    outbox, family_run, shown = Outbox(services.store), backfill_id_of(run_id, 1), ""
    while True:
        entry = outbox.read(family_run)
        begun = [str(one["source"]) for one in entry.covers if outbox.read(str(one["backfill_id"]))] if entry else []
        run = asyncio.run(read_run(run_id))
        if run.state is not None and run.state.is_final():
            return run.state.name or "", run.state.message or ""
        if begun and begun[-1] != shown:
            shown = begun[-1]
            _say(f"  {len(begun)} of {len(entry.covers) if entry else 0}: {shown}")
        if kill_after is not None and len(begun) >= kill_after:
            time.sleep(2 * POLL_S)
            lease = read_lease(services.store, FAMILY)
            if lease is not None and lease.backfill_id == family_run and lease.state == "held":
                _say(f"  kill -9 of process {lease.pid}, in the middle of {shown}")
                os.kill(lease.pid, signal.SIGKILL)
                kill_after = None
        stack.refuse_ended()
        time.sleep(POLL_S)


def _report(services: Services, steps: Sequence[RunFacts], days: Sequence[dt.date]) -> bool:
    """Prints what came of each source; whether every played game has prices."""
    for step in steps:
        items = step.items
        games = f"{items['found']:,} of {items['expected']:,} expected" if items else "no oracle"
        counts = ", ".join(f"{count:,} {verdict}" for verdict, count in step.verdict_counts.items())
        took = f"; {step.wall_s:,.0f} s, {step.calls or 0:,} calls in the last run" if step.wall_s is not None else ""
        _say(f"{step.source:<24} {step.verdict:<12} games: {games}; partitions: {counts}{took}")
    name_of = services.warehouse.name_of
    tables = {name: name_of(f"gapless_{name}") for name in ("coverage", "disagreements")}
    (looked,) = services.warehouse.query(_SIDE_BY_SIDE.format(**tables, first=days[0], last=days[1]))
    _say(
        f"Side by side: {looked['verified']:,} of {looked['expected']:,} expected games verified in "
        f"{plural(looked['sources'], 'source')}, {plural(looked['disagreements'], 'disagreement')}"
    )
    if ALSO not in {step.source for step in steps}:
        return False
    tables = {name: name_of(name) for name in ("nba_schedule", "nba_bdl_teams", "odds_h2h_lines")}
    (found,) = services.warehouse.query(_PRICED.format(**tables, first=days[0], last=days[1]))
    _say(f"Prices    {found['priced']:,} of {found['games']:,} played games have prices")
    return bool(found["priced"] == found["games"])


def _mails_of(urls: Mapping[str, str], backfill_id: str) -> list[str]:
    found = _json(f"{urls['inbox']}/api/messages")
    return [str(one["subject"]) for one in found if one["headers"].get("X-Backfill-Id") == backfill_id]


def _calls(urls: Mapping[str, str], world: str) -> int:
    return int(_json(f"{urls[world]}/gapless/calls")["total"])


def _json(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - our own children on 127.0.0.1
        return json.load(answer)


def _post(url: str, body: Any) -> None:
    request = urllib.request.Request(  # noqa: S310 - as above
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            answer.read()
    except OSError as error:
        raise PipelineError(f"{url}: {error}", stage="season") from error


def _say(text: str) -> None:
    print(text, flush=True)
