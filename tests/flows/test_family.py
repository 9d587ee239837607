"""A family of sources as one run: their order, one mail, and what becomes of the rest when one fails. On emulators."""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
from types import SimpleNamespace
from typing import Any

import pytest
from toy_family import PROCESSORS, TOYS, ToyServices

from alerting.errors import BudgetExhausted, ConfigurationError
from alerting.instant import utc_now
from alerting.outbox import Outbox
from deployments.local.inbox.server import InboxClient
from flows.asked import AskedFamily
from flows.backfill_family import run_family
from flows.closing.close import close_dead_runs
from flows.closing.close_family import told_steps
from flows.coordination.lease import Holder, Lease, read_lease
from flows.planning.family import plan_family, step_id
from flows.run.plain_orchestrator import PlainOrchestrator
from flows.run.starting_facts import family_starting_facts

DAYS = [f"2025-01-0{number}" for number in range(1, 4)]
PLAYED = {"2025-01-01": ["A-B", "C-D"], "2025-01-02": ["B-A"]}
RUNS = (f"bf-family{number:06d}" for number in itertools.count(1))


def game(day: str, teams: str) -> dict[str, Any]:
    home, visitor = teams.split("-")
    return {"game_id": f"{home}{visitor}", "game_date": day, "home": home, "visitor": visitor}


def score(day: str, teams: str) -> dict[str, Any]:
    home, guest = teams.split("-")
    return {"game_date": day, "home": home, "guest": guest}


@pytest.fixture
def services(provisioned: Any, inbox: InboxClient, monkeypatch: pytest.MonkeyPatch) -> ToyServices:
    """A calendar of three dates, games as it says and a score of each; nothing is fetched yet."""
    monkeypatch.setattr("flows.planning.family.sources_of_family", lambda name: sorted(TOYS) if name == "toys" else [])
    toys = ToyServices(
        provisioned(
            "bdl_box_scores",
            "http://127.0.0.1:9",
            {},
            GAPLESS_CONSOLE_ONLY="false",
            GAPLESS_SMTP_HOST="127.0.0.1",
            GAPLESS_SMTP_PORT=str(inbox.smtp_port),
            GAPLESS_SMTP_SECURITY="none",
            GAPLESS_MAIL_TO="you@example.org",
        ).settings
    )
    for name in TOYS:
        for table in PROCESSORS[name].tables:
            toys.warehouse.ensure_table(table)
    rows = toys.upstream.rows
    for day, games in PLAYED.items():
        rows["games", day] = [game(day, teams) for teams in games]
        rows["scores", day] = [score(day, teams) for teams in games]
    rows["calendar", "2024"] = [{"season": "2024", **one} for day in PLAYED for one in rows["games", day]]
    return toys


def asked(**given: Any) -> AskedFamily:
    return AskedFamily(**{"family": "toys", "start_date": DAYS[0], "end_date": DAYS[-1], "max_concurrency": 2, **given})


def ran(services: ToyServices, orchestrator: PlainOrchestrator | None = None, **given: Any) -> tuple[str, Any]:
    """Id and final state of a family run, without Prefect."""
    backfill_id, anew = next(RUNS), services.anew()
    return backfill_id, asyncio.run(run_family(anew, asked(**given), backfill_id, orchestrator or PlainOrchestrator()))


def mails(inbox: InboxClient) -> list[dict[str, Any]]:
    return inbox.messages()


@pytest.mark.parametrize(("period", "shown"), [("2024", """-p period='"2024"'"""), ("2024-02", "-p period=2024-02")])
def test_prefect_reads_the_period_of_the_command_for_all_of_it_as_text(
    services: ToyServices, period: str, shown: str
) -> None:
    wanted = AskedFamily(family="toys", period=period)
    facts = family_starting_facts(services, wanted, plan_family(services, wanted, utc_now()), "bf-1")
    assert shown in facts.range_command.split(" -p reason")[0]


def test_the_plan_of_all_is_known_before_anything_is_fetched(services: ToyServices) -> None:
    plan = plan_family(services, asked(), utc_now())
    assert plan.sources == ["calendar", "games", "scores"]
    assert [step.planned.plan.counts() for step in plan.steps] == [{"fetch": 1}, {"fetch": 3}, {"fetch": 3}]
    assert plan.steps[0].asked.entities == "2024", "the calendar of these dates, and no other"
    assert [step.planned.plan.notes for step in plan.steps] == [(), (), ()]
    assert "toys 2025-01-01..2025-01-03: 3 sources, one after the other, 7 calls" in plan.describe()
    assert services.upstream.asked == {}
    assert [one.name for one in services.store.list("")] == []


def test_each_source_runs_after_those_it_needs_and_one_mail_tells_of_all(
    services: ToyServices, inbox: InboxClient
) -> None:
    backfill_id, state = ran(services)
    assert (state.type.value, state.message) == ("COMPLETED", "COMPLETE: 3 of 3 sources complete")
    # The calendar has no game on the third, so nobody asks for one.
    asked_for = ["calendar 2024", *(f"games {day}" for day in PLAYED), *(f"scores {day}" for day in DAYS)]
    assert services.upstream.asked == dict.fromkeys(asked_for, 1)
    (mail,) = mails(inbox)
    assert mail["subject"] == "[backfill][OK 7/7] toys 2025-01-01…2025-01-03 · 3 sources"
    steps = told_steps(services, backfill_id)
    assert [(one.source, one.verdict, one.backfill_id) for one in steps] == [
        (source, "COMPLETE", step_id(backfill_id, source)) for source in ("calendar", "games", "scores")
    ]
    for name in ("toys", "calendar", "games", "scores"):
        lease = read_lease(services.store, name)
        assert lease is not None
        assert lease.state == "released"

    asked_before = dict(services.upstream.asked)
    again, state = ran(services)
    assert state.message == "COMPLETE: 3 of 3 sources complete"
    assert services.upstream.asked == asked_before, "a rerun makes no call"
    assert len(mails(inbox)) == 2
    assert again != backfill_id


def test_what_needs_a_source_that_failed_waits_and_the_mail_says_for_what(
    services: ToyServices, inbox: InboxClient
) -> None:
    services.upstream.rows["games", "2025-01-02"] = []
    _, state = ran(services)
    assert state.is_failed()
    assert state.message == "FAILED: 1 of 3 sources complete; games FAILED; scores FAILED"
    (mail,) = mails(inbox)
    text = inbox.message(mail["id"])["text"]
    assert "1 of 3 sources is complete: calendar." in text
    assert "games is not done with 2025-01-02" in " ".join(text.split())
    assert services.upstream.asked["scores 2025-01-02"] == 0

    services.upstream.rows["games", "2025-01-02"] = [game("2025-01-02", "B-A")]
    _, state = ran(services)
    assert state.message == "COMPLETE: 3 of 3 sources complete"


def test_a_source_that_cannot_begin_is_told_with_its_reason_and_the_others_go_on(
    services: ToyServices, inbox: InboxClient
) -> None:
    other = Holder("bf-other0000001", range_text="2024-12-01..2024-12-31")
    lease = Lease.acquire(services.store, "games", other, now=utc_now(), ttl_s=600)
    _, state = ran(services)
    lease.release(utc_now())
    assert state.message == "FAILED: 1 of 3 sources complete; games ABORTED(not_begun); scores ABORTED(not_begun)"
    (mail,) = mails(inbox)
    text = " ".join(inbox.message(mail["id"])["text"].split())
    assert "GAMES - Not started, 3 days missing" in text
    assert "the source is held by backfill bf-other0000001 (2024-12-01..2024-12-31)" in text
    assert "games is not done with 2025-01-01" in text
    assert services.upstream.asked == {"calendar 2024": 1}


def test_on_failure_stop_begins_nothing_after_the_first_source_that_is_not_complete(
    services: ToyServices, inbox: InboxClient
) -> None:
    services.upstream.rows["games", "2025-01-02"] = []
    backfill_id, state = ran(services, on_failure="stop")
    assert state.is_failed()
    assert [one.verdict for one in told_steps(services, backfill_id)] == ["COMPLETE", "FAILED", ""]
    text = " ".join(inbox.message(mails(inbox)[0]["id"])["text"].split())
    assert "scores and what comes after it were not started: games is not complete, and on_failure is stop" in text


def test_a_wall_of_one_source_leaves_the_others_and_the_family_goes_on_by_itself_with_a_mail_that_says_when(
    services: ToyServices, inbox: InboxClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduled: list[Any] = []

    async def schedule(backfill_id: str, parameters: Any, at: dt.datetime) -> tuple[str, str]:
        scheduled.append((backfill_id, parameters, at))
        return "1", "amber-otter"

    monkeypatch.setattr("flows.backfill_family.schedule_again", schedule)
    monkeypatch.setattr("flows.backfill_family.deployment", SimpleNamespace(id="1"))
    reset = dt.datetime(2031, 1, 1, tzinfo=dt.UTC)
    services.upstream.refuses["games"] = BudgetExhausted("500 of 500 calls are spent", resets_at=reset.isoformat())
    backfill_id, state = ran(services)
    assert state.is_failed()
    assert state.message.startswith("ABORTED(budget): 1 of 3 sources complete; games ABORTED(budget); scores ")
    assert state.message.endswith("; resumes automatically as flow run amber-otter")
    ((of, given, at),) = scheduled
    assert (of, given["advanced"]["resume_of"], given["start_date"]) == (backfill_id, backfill_id, DAYS[0])
    assert at >= reset
    (mail,) = mails(inbox)
    assert mail["subject"].startswith("[backfill][PAUSED, 3 of 7 done] toys")
    resumed = plan_family(services, AskedFamily.model_validate(given), utc_now())
    assert [step.asked.resume_of for step in resumed.steps] == [
        step_id(backfill_id, source) for source in ("calendar", "games", "scores")
    ]


class Dies(PlainOrchestrator):
    """The process is gone when the second source begins."""

    async def subflow(self, flow: Any, parameters: Any, part: Any) -> None:
        if parameters.get("source") == "games":
            raise SystemExit
        await super().subflow(flow, parameters, part)


def test_a_family_whose_process_died_is_closed_by_the_next_start_with_its_one_mail(
    services: ToyServices, inbox: InboxClient, monkeypatch: pytest.MonkeyPatch, at_the_store: Any
) -> None:
    # A killed process closes nothing itself.
    monkeypatch.setattr("flows.backfill_family.FamilyRun._close", lambda *_: None)
    with pytest.raises(SystemExit):
        ran(services, Dies())
    monkeypatch.undo()
    assert mails(inbox) == []
    (owed,) = list(Outbox(services.store).entries())
    assert close_dead_runs(services, utc_now()) == [], "its lease is still held"
    later = utc_now() + dt.timedelta(seconds=services.settings.lease_ttl_s + 1)
    assert close_dead_runs(services, later) == [], "the clock of this machine is ahead"
    at_the_store(later)
    assert close_dead_runs(services, later) == [owed.backfill_id]
    assert close_dead_runs(services, later) == []
    (mail,) = mails(inbox)
    assert mail["subject"].startswith("[backfill][STOPPED, 1 of 7 done] toys")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"family": "nobody"}, "there is no family 'nobody'"),
        ({"skip": ("elsewhere",)}, "elsewhere is no source of toys"),
        ({"skip": ("calendar", "games", "scores")}, "every source of toys is skipped"),
        ({"start_date": "2025-02-01"}, "start_date 2025-02-01 is after end_date 2025-01-03"),
        ({"start_date": "2025-02-30"}, "2025-02-30 is not a day"),
        ({"start_date": ""}, "a period, or start_date and end_date, are needed"),
        ({"period": "2025"}, "give a period or dates, not both"),
        ({"period": "2025-13", "start_date": "", "end_date": ""}, "'2025-13' is not a period"),
        (
            {"start_date": "2020-01-01", "end_date": "2020-01-02", "skip": ("calendar",)},
            "no source of toys has anything",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_before_any_effect(
    services: ToyServices, inbox: InboxClient, given: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigurationError, match=told):
        ran(services, **given)
    assert mails(inbox) == []
    assert [one.name for one in services.store.list("")] == [], "no lease, no outbox, no run"
