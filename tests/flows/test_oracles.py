"""A calendar says which games a date must have: seen by plan, run, mail, gaps, audit and verify. On emulators."""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
from typing import Any

import pytest
from toy_family import PROCESSORS, TOYS, ToyServices

from alerting.errors import ConfigurationError
from alerting.instant import utc_now
from alerting.run_facts import RunFacts
from alerting.summary_rows import data_rows, table_state
from flows.asked import Asked
from flows.closing.finish import finish
from flows.ledger.verdicts import abort_reason
from flows.mapping import map_windows
from flows.parameters import Mode
from flows.planning.plan import Path
from flows.planning.planner import Planned, plan_asked
from flows.planning.stored_plan import read_plan
from flows.run.plain_orchestrator import PlainOrchestrator
from flows.run.run import Run
from flows.run.starting_facts import starting_facts
from flows.truth.deficits import Deficit, find_deficits, find_gaps
from flows.truth.inventory import Known, read_inventory
from flows.truth.recount import recount_range
from flows.wiring import Services

DAYS = [f"2025-01-0{number}" for number in range(1, 6)]
FIRST, LAST = DAYS[0], DAYS[-1]
PLAYED = {"2025-01-01": ["A-B", "C-D"], "2025-01-02": ["B-A"], "2025-01-04": ["A-C", "B-D"], "2025-01-05": ["D-A"]}
RUNS = (f"bf-toy{number:09d}" for number in itertools.count(1))


def game(day: str, teams: str) -> dict[str, Any]:
    home, visitor = teams.split("-")
    return {"game_id": f"{home}{visitor}", "game_date": day, "home": home, "visitor": visitor}


@pytest.fixture
def services(provisioned: Any) -> ToyServices:
    """The calendar of a season, and games as it says; nothing is fetched yet."""
    toys = ToyServices(provisioned("bdl_box_scores", "http://127.0.0.1:9", {}).settings)
    for name in TOYS:
        for table in PROCESSORS[name].tables:
            toys.warehouse.ensure_table(table)
    for day, games in PLAYED.items():
        toys.upstream.rows["games", day] = [game(day, teams) for teams in games]
    put_calendar(toys)
    return toys


def put_calendar(toys: ToyServices, played: dict[str, list[str]] = PLAYED, off: str = "") -> None:
    """``off`` is a game that was called off, beside the one of the third."""
    games = [
        game(day, teams)
        for day, all_teams in {**played, "2025-01-03": ["C-A", *played.get("2025-01-03", [])]}.items()
        for teams in all_teams
    ]
    games = [{**one, "is_off": one["game_id"] in ("CA", off)} for one in games]
    toys.upstream.rows["calendar", "2024"] = [{"season": "2024", **one} for one in games]


def asked_of(source: str, first: str = FIRST, last: str = LAST, **given: Any) -> Asked:
    what = {"entities": "2024"} if source == "calendar" else {"start_date": first, "end_date": last}
    return Asked.model_validate({"source": source, "max_concurrency": 2, **what, **given})


def planned(services: Services, source: str, *dates: str, **given: Any) -> Planned:
    return plan_asked(services, asked_of(source, *dates, **given), utc_now())


def ran(services: ToyServices, source: str, *dates: str, **given: Any) -> RunFacts:
    """A backfill from plan to mail, without Prefect."""
    run = Run(services, asked_of(source, *dates, **given), next(RUNS), PlainOrchestrator())
    try:
        plan = plan_asked(services, run.asked, utc_now(), run.backfill_id)
        run.begin(plan, starting_facts(services, plan.plan, {}, run.backfill_id, run.asked))
        asyncio.run(map_windows(run, plan.plan))
        return finish(run, abort_reason(run.stopped_by or run.loading_stopped_by))
    finally:
        run.close()


def inventory(services: Services, source: str = "games") -> list[Known]:
    return read_inventory(services, source, utc_now(), dt.date.fromisoformat(FIRST), dt.date.fromisoformat(LAST))


def deficits(services: Services, source: str = "games") -> dict[str, tuple[Deficit, str]]:
    ttl = dt.timedelta(days=180)
    found = find_deficits(source, inventory(services, source), utc_now(), empty_ttl=ttl, fresh_for=ttl)
    return {one.partition: (one.deficit, one.why) for one in found}


def entry(services: Services, day: str, source: str = "games") -> Any:
    return services.source_kit(source).ledger.refresh()[day]


def test_games_wait_for_the_calendar_and_then_every_date_is_judged_by_it(services: ToyServices) -> None:
    with pytest.raises(ConfigurationError, match="calendar is not done with 2024"):
        planned(services, "games")
    assert ran(services, "calendar").verdict == "COMPLETE"
    plan = planned(services, "games")
    assert plan.plan.counts() == {"fetch": 4, "empty": 1}
    assert plan.estimate.calls == 4
    assert "1 of which nothing is expected" in plan.describe()

    facts = ran(services, "games")
    assert (facts.verdict, facts.calls) == ("COMPLETE", 4)
    assert facts.items == {"expected": 6, "found": 6}
    assert ("expected items", "6 of 6 there") in data_rows(facts)
    # The one game of that date is off, so nobody was asked.
    assert services.upstream.asked["games 2025-01-03"] == 0
    empty = entry(services, "2025-01-03")
    assert empty.verdict.value == "empty_ok"
    calendar = entry(services, "2024", "calendar")
    assert f"calendar (2024, attempt {calendar.attempt} of {calendar.backfill_id}," in empty.evidence
    stored = read_plan(services.store, facts.backfill_id)
    assert {item.key: len(item.expected[0].items) for item in stored.items} == {
        day: len(PLAYED.get(day, ())) for day in DAYS
    }

    assert deficits(services) == {}
    assert find_gaps("games", inventory(services), ["toy_games"]) == []
    checks = {check.name: check for check in _recounted(services).checks}
    assert (checks["expected items"].passed, checks["expected items"].detail) == (True, "6 of 6 in 5 partitions")
    assert planned(services, "games").plan.counts() == {"skip": 5}


def _recounted(services: Services) -> Any:
    return recount_range(services, "games", utc_now(), dt.date.fromisoformat(FIRST), dt.date.fromisoformat(LAST))


def test_a_game_that_the_source_drops_is_partial_by_name_and_its_return_heals_it(services: ToyServices) -> None:
    ran(services, "calendar")
    rows = services.upstream.rows
    dropped = rows["games", "2025-01-04"].pop()
    rows["games", "2025-01-05"] = []
    rows["games", "2025-01-02"].append(game("2025-01-02", "C-B"))
    facts = ran(services, "games")
    assert facts.verdict_counts == {"verified": 2, "empty_ok": 1, "partial": 2}
    one = entry(services, "2025-01-04")
    assert one.verdict.value == "partial"
    assert "1 of 2 games in calendar not there: BD" in one.error
    assert "fetch the date again" in one.error
    assert one.items == {"expected": 2, "found": 1}
    # The source said "nothing", and proved it as it does on a day without games.
    assert "1 of 1 game in calendar not there: DA" in entry(services, "2025-01-05").error
    # What nobody expected is a note.
    assert any("2025-01-02 1 game not in calendar: CB" in note for note in facts.notes)
    assert facts.items == {"expected": 6, "found": 4}

    assert set(deficits(services)) == {"2025-01-04", "2025-01-05"}
    rows["games", "2025-01-04"].append(dropped)
    rows["games", "2025-01-05"] = [game("2025-01-05", "D-A")]
    assert planned(services, "games").plan.counts() == {"skip": 3, "fetch": 2}
    assert ran(services, "games").verdict == "COMPLETE"


def test_a_game_that_moves_reopens_its_new_date_and_is_told_of_the_old_one(services: ToyServices) -> None:
    ran(services, "calendar")
    ran(services, "games")
    put_calendar(services, {**PLAYED, "2025-01-01": ["A-B"], "2025-01-03": ["C-D"]})
    ran(services, "calendar", mode=Mode.FULL)
    found = deficits(services)
    assert found == {
        "2025-01-01": (Deficit.MOVED, "calendar has CD on 2025-01-03"),
        "2025-01-03": (Deficit.MISSING_ITEMS, "1 of 1 game in calendar not there: CD"),
    }
    (gap,) = find_gaps("games", inventory(services), ["toy_games"])
    assert (gap.partitions, gap.why) == (("2025-01-03",), "items of calendar are missing")
    result = _recounted(services)
    assert not result.passed
    assert result.problems == {"2025-01-03": "MISSING: 1 of 1 game in calendar not there: CD"}
    assert result.told == {"2025-01-01": "1 game not in calendar: CD"}

    services.upstream.rows["games", "2025-01-03"] = [game("2025-01-03", "C-D")]
    plan = planned(services, "games").plan
    work = {item.partition.key: (item.path, item.why) for item in plan.items if item.path.is_work}
    assert work == {
        "2025-01-01": (Path.FETCH, "calendar has CD on 2025-01-03"),
        "2025-01-03": (Path.FETCH, "1 of 1 game in calendar not there: CD"),
    }
    assert ran(services, "games").verdict == "COMPLETE"
    assert deficits(services) == {}
    # The source has it on both dates, which is told and not asked for again.
    assert planned(services, "games").plan.counts() == {"skip": 5}


def test_a_game_that_moved_leaves_its_old_date_by_the_word_of_the_calendar_and_nobody_has_to_accept_it(
    services: ToyServices,
) -> None:
    ran(services, "calendar")
    ran(services, "games")
    put_calendar(services, {**PLAYED, "2025-01-01": ["A-B"], "2025-01-03": ["C-D"]})
    ran(services, "calendar", mode=Mode.FULL)
    services.upstream.rows["games", "2025-01-01"] = [game("2025-01-01", "A-B")]
    services.upstream.rows["games", "2025-01-03"] = [game("2025-01-03", "C-D")]
    facts = ran(services, "games")
    assert (facts.verdict, facts.calls) == ("COMPLETE", 2)
    assert facts.items == {"expected": 6, "found": 6}
    old = entry(services, "2025-01-01")
    assert old.verdict.value == "verified"
    assert "calendar (2024, attempt " in old.accepted
    assert old.accepted.endswith("expects what came; gone: CD (calendar has it on 2025-01-03)")
    rows = services.warehouse.query(f"SELECT game_date FROM {services.warehouse.name_of('toy_games')} WHERE home = 'C'")
    assert [str(row["game_date"]) for row in rows] == ["2025-01-03"]
    assert deficits(services) == {}


def test_a_game_that_the_source_alone_takes_away_is_kept_and_named(services: ToyServices) -> None:
    ran(services, "calendar")
    ran(services, "games")
    services.upstream.rows["games", "2025-01-01"].pop()
    facts = ran(services, "games", "2025-01-01", "2025-01-01", mode=Mode.FULL)
    assert facts.verdict_counts == {"shrunk": 1}
    kept = entry(services, "2025-01-01")
    assert "toy_games: 2 rows before, 1 after; gone: CD (which calendar has on this date)" in kept.error
    assert len(services.warehouse.query(f"SELECT 1 FROM {services.warehouse.name_of('toy_games')}")) == 6


def test_a_date_that_lacks_an_item_has_its_rows_in_ledger_and_mail(services: ToyServices) -> None:
    ran(services, "calendar")
    services.upstream.rows["games", "2025-01-04"].pop()
    facts = ran(services, "games", "2025-01-04", "2025-01-04")
    one = entry(services, "2025-01-04")
    assert (one.verdict.value, dict(one.loaded)) == ("partial", {"toy_games": 1})
    (table,) = facts.tables
    assert (table.landed, table.loaded, table.verified) == (1, 1, 0)
    assert table_state(table) == "1 not verified"


def test_a_calendar_that_was_read_too_early_or_is_not_verified_proves_nothing(
    services: ToyServices,
) -> None:
    ran(services, "calendar")
    ledger = services.source_kit("calendar").ledger
    ledger.refresh()
    # As if it had been read in the evening of the third of January.
    early = entry(services, "2024", "calendar").attempt.replace(
        entry(services, "2024", "calendar").attempt[:16], "20250104T040000Z"
    )
    ledger.advance("2024", entry(services, "2024", "calendar").verdict, "bf-early", utc_now(), attempt=early)
    plan = planned(services, "games").plan
    assert plan.counts() == {"fetch": 5}
    (note,) = plan.notes
    assert note.startswith("Judged without calendar (3 dates: ")
    assert "calendar was read before the date was over" in note
    services.upstream.rows["games", "2025-01-04"].pop()
    facts = ran(services, "games")
    assert facts.verdict == "COMPLETE"
    assert note in facts.notes
    assert services.upstream.asked["games 2025-01-03"] == 1


def test_a_reload_and_a_run_that_is_begun_again_judge_by_what_the_run_was_told(services: ToyServices) -> None:
    ran(services, "calendar")
    services.upstream.rows["games", "2025-01-04"].pop()
    ran(services, "games")
    facts = ran(services, "games", mode=Mode.REPROCESS)
    assert facts.calls == 0
    assert facts.verdict_counts == {"verified": 3, "empty_ok": 1, "partial": 1}
    # The same flow run is started again after the calendar has changed: its plan stands.
    backfill_id = next(RUNS)
    asked = asked_of("games")
    first = plan_asked(services, asked, utc_now(), backfill_id)
    services.store.write(f"runs/backfill={backfill_id}/plan.json", first.plan.to_json())
    put_calendar(services, off="BD")
    ran(services, "calendar", mode=Mode.FULL)
    again = plan_asked(services, asked, utc_now(), backfill_id).plan.expected["2025-01-04"][0]
    fresh = plan_asked(services, asked, utc_now()).plan.expected["2025-01-04"][0]
    assert (sorted(again.items), sorted(fresh.items)) == (["AC", "BD"], ["AC"])


def test_across_sources_items_are_matched_by_their_teams_and_a_missing_one_may_only_be_told(
    services: ToyServices,
) -> None:
    ran(services, "calendar")
    ran(services, "games")
    for day, games in PLAYED.items():
        teams = [one.split("-") for one in games[:1]]
        services.upstream.rows["scores", day] = [{"game_date": day, "home": a, "guest": b} for a, b in teams]
    facts = ran(services, "scores")
    assert facts.verdict == "COMPLETE"
    told = next(note for note in facts.notes if note.startswith("Other than expected"))
    assert "2025-01-01 1 of 2 scores in games not there: C D" in told
    # It says nothing of emptiness.
    assert services.upstream.asked["scores 2025-01-03"] == 1
