"""What comes first: a date waits until the sources that it requires are done with it, and no longer."""

from __future__ import annotations

import datetime as dt

import pytest
from toy_family import NOW, TOYS, ToyServices, days

from alerting.errors import ConfigurationError
from flows.ledger.ledger import LedgerEntry, Verdict
from flows.parameters import Mode
from flows.planning.plan import Path, Plan, PlanRules, make_plan
from flows.planning.requirements import Waiver, in_order
from flows.planning.stored_plan import StoredPlan
from scrapers.partition import Partition

FIVE = days("2025-01-01", 5)


def planned(
    services: ToyServices,
    source: str,
    partitions: list[Partition] | None = None,
    *,
    mode: Mode = Mode.INCREMENTAL,
    ignored: bool = False,
) -> Plan:
    scraper = TOYS[source]()
    entries = services.source_kit(source).ledger.refresh()
    plan = make_plan(scraper, partitions or FIVE, entries, PlanRules(mode=mode))
    return in_order(services, scraper, plan, entries, NOW, Waiver(ignored))


def test_a_date_waits_for_the_same_date_of_the_source_that_comes_first_and_the_others_go_on() -> None:
    services = ToyServices()
    services.record("games", ["2025-01-01", "2025-01-03"])
    services.record("games", ["2025-01-02"], Verdict.EMPTY_OK)
    services.record("games", ["2025-01-04"], Verdict.PARTIAL)
    plan = planned(services, "scores")
    assert [one.key for one in plan.to_fetch] == ["2025-01-01", "2025-01-02", "2025-01-03"]
    assert [(item.path, item.why) for item in plan.items[3:]] == [(Path.WAIT, "waits for games")] * 2
    (note,) = plan.notes
    assert note.startswith("Left out, 2 partitions, games is not done with 2025-01-04")
    assert "gapless run games 2025-01-04 2025-01-05 --reason never_collected, then this range again" in note
    assert "2 waiting for another source" in plan.describe()
    stored = StoredPlan.model_validate_json(plan.to_json())
    assert set(stored.waiting) == {"2025-01-04", "2025-01-05"}
    assert stored.notes == plan.notes


def test_a_run_of_which_every_date_waits_is_refused_with_the_command_that_comes_first() -> None:
    with pytest.raises(ConfigurationError) as refused:
        planned(ToyServices(), "scores")
    said = str(refused.value)
    assert "games is not done with 2025-01-01" in said
    assert "Nothing was done" in said
    assert "gapless run games 2025-01-01 2025-01-05 --reason never_collected" in said
    assert "-p ignore_requires=true" in said


def test_who_ignores_the_order_begins_all_and_it_is_noted() -> None:
    plan = planned(ToyServices(), "scores", ignored=True)
    assert len(plan.to_fetch) == 5
    (note,) = plan.notes
    assert note.startswith("ignore_requires: started anyway, ")
    assert "games is not done with" in note


def test_a_date_that_was_begun_once_is_tried_again_whatever_has_become_of_the_first_source() -> None:
    services = ToyServices()
    services.record("scores", ["2025-01-01"], Verdict.FAILED_RETRYABLE)
    services.record("scores", ["2025-01-02"], Verdict.LANDED)
    services.record("scores", ["2025-01-03"], Verdict.VERIFIED)
    paths = [item.path for item in planned(services, "scores").items]
    assert paths == [Path.FETCH, Path.RELOAD, Path.SKIP, Path.WAIT, Path.WAIT]
    full = [item.path for item in planned(services, "scores", mode=Mode.FULL).items]
    assert full == [Path.FETCH] * 3 + [Path.WAIT] * 2
    again = [item.path for item in planned(services, "scores", mode=Mode.REPROCESS).items]
    assert Path.WAIT not in again


def test_of_a_source_that_is_asked_by_entity_the_snapshot_that_speaks_of_the_date_is_enough() -> None:
    services = ToyServices()
    services.record("calendar", ["2024"])
    assert len(planned(services, "games").to_fetch) == 5
    both = [*days("2024-06-30", 1), *FIVE]
    plan = planned(services, "games", both)
    assert [item.path for item in plan.items] == [Path.WAIT] + [Path.FETCH] * 5
    assert "gapless run calendar --entities '2023' --reason never_collected" in plan.notes[0]


def test_a_newer_snapshot_that_failed_is_waited_for() -> None:
    services = ToyServices()
    services.record("calendar", ["2024"])
    services.record("calendar", ["2024"], Verdict.PARTIAL)
    with pytest.raises(ConfigurationError, match="calendar is not done with 2024"):
        planned(services, "games")


def test_what_the_first_source_can_never_have_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TOYS["games"], "floor", dt.date(2025, 1, 4))
    services = ToyServices()
    services.record("games", ["2025-01-04"])
    plan = planned(services, "scores")
    assert [item.path for item in plan.items] == [Path.FETCH] * 4 + [Path.WAIT]


def test_a_date_that_an_earlier_run_left_pending_was_not_begun() -> None:
    scores = TOYS["scores"]()
    pending = {"2025-01-01": LedgerEntry("scores", "2025-01-01", Verdict.PLANNED, "bf-0", NOW)}
    plan = make_plan(scores, FIVE[:1], pending)
    with pytest.raises(ConfigurationError, match="games is not done"):
        in_order(ToyServices(), scores, plan, pending, NOW)
