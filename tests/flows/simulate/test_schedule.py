"""One schedule of faults: the same seed gives the same trace, and the promise holds at each kind of fault."""

from __future__ import annotations

import dataclasses

import pytest

from alerting.errors import ConfigurationError
from flows.parameters import Engine
from flows.simulate import world
from flows.simulate.explore import explore
from flows.simulate.faults import Fault, Planned, plan_of
from flows.simulate.invariants import Ending
from flows.simulate.schedule import run_schedule
from flows.simulate.subject import Subject
from flows.simulate.world import Answers


def at(undisturbed: Ending, beginning: str, fault: Fault) -> Planned:
    """``fault`` at the first operation that begins so."""
    number = next(number for number, what in enumerate(undisturbed.operations) if what.startswith(beginning))
    kinds = {"call": world.OF_SOURCE, "read": world.OF_READ, "mail": world.OF_CHANNEL, "replace": world.OF_REPLACE}
    of = kinds.get(beginning.split(" ", 1)[0], world.OF_STORAGE_WRITE)
    return Planned(number, (of.index(fault) + 0.5) / len(of))


def test_without_a_fault_every_date_is_good_and_one_mail_is_sent(truth: Ending) -> None:
    assert truth.verdicts == {"2025-06-05": "verified", "2025-06-06": "empty_ok"}
    assert truth.broken == ()
    assert sum(what.startswith("mail ") for what in truth.operations) == 1
    assert len(truth.tables["nba_bdl_player_stats"].rows) > 20


def test_the_same_seed_gives_the_same_trace_and_another_seed_another(subject: Subject, truth: Ending) -> None:
    plan = plan_of(11, truth.operations)
    once = run_schedule(subject, 11, plan, truth=truth)
    assert run_schedule(subject, 11, plan, truth=truth) == once
    other = run_schedule(subject, 12, plan_of(12, truth.operations), truth=truth)
    assert other.operations != once.operations


def test_a_worker_never_asks_the_source_and_leaves_the_schedule_to_whoever_may(subject: Subject, truth: Ending) -> None:
    (first, second) = sorted(subject.answers.known)
    answers = Answers({first: subject.answers.known[first]}, is_closed=True)
    run_schedule(dataclasses.replace(subject, answers=answers), 1, truth=truth)
    assert set(answers.unanswered) == {second}
    assert set(answers.known) == {first}


@pytest.mark.parametrize(
    ("beginning", "fault"),
    [
        *(("call", fault) for fault in world.OF_SOURCE),
        ("write landing", Fault.KILL_AFTER),
        ("write ledger", Fault.LOST_ANSWER),
        ("stage", Fault.UNAVAILABLE),
        ("replace", Fault.KILL_AFTER),
        ("replace", Fault.STALL),
        ("replace", Fault.NOT_DONE),
        ("write receipts", Fault.KILL_BEFORE),
        ("mail", Fault.LOST_ANSWER),
        ("mail", Fault.KILL_AFTER),
    ],
)
def test_a_backfill_ends_as_without_the_fault(subject: Subject, truth: Ending, beginning: str, fault: Fault) -> None:
    # The seed gives the order, and with it the number of an operation.
    as_it_is = run_schedule(subject, 1, truth=truth)
    ending = run_schedule(subject, 1, [at(as_it_is, beginning, fault)], truth=truth)
    assert [met.rpartition(": ")[2] for met in ending.met] == [fault.value]
    assert ending.broken == ()


@pytest.mark.parametrize(
    ("behind_at", "stalled_at"),
    [("write landing", "read leases"), ("replace", "write alerts/backfill=bf-simulated01/mail-1.eml")],
    ids=["its own", "that of who has claimed the mail"],
)
def test_a_watchdog_may_find_the_dead_later_because_a_clock_is_behind(
    subject: Subject, truth: Ending, behind_at: str, stalled_at: str
) -> None:
    seed = 10  # All processes are on one machine.
    behind = at(run_schedule(subject, seed, truth=truth), behind_at, Fault.SKEW_BACK)
    operations = run_schedule(subject, seed, [behind], truth=truth).operations
    stalled = next(n for n, what in enumerate(operations) if n > behind.number and what.startswith(stalled_at))
    kinds = world.OF_READ if stalled_at.startswith("read") else world.OF_STORAGE_WRITE
    stall = Planned(stalled, (kinds.index(Fault.STALL) + 0.5) / len(kinds))
    ending = run_schedule(subject, seed, [behind, stall], truth=truth)
    assert [met.rpartition(": ")[2] for met in ending.met] == [Fault.SKEW_BACK.value, Fault.STALL.value]
    assert ending.broken == ()


def test_the_source_is_really_asked_once_for_each_question_however_many_schedules_there_are(
    subject: Subject, truth: Ending
) -> None:
    known = len(subject.answers.known)
    found = explore(subject, seed=500, schedules=3, faults=True)
    assert (found.schedules, found.broken) == (3, [])
    assert len(subject.answers.known) == known == 2


def test_a_source_that_fails_without_any_fault_is_refused_because_there_is_nothing_to_compare_with(
    subject: Subject,
) -> None:
    settings = subject.settings.model_copy(update={"source_secrets": {}})
    without_key = Subject(subject.asked, settings, subject.begins_at, subject.engine, subject.answers)
    with pytest.raises(ConfigurationError, match="without any fault 2 of 2 dates cannot be loaded") as caught:
        explore(without_key, seed=0, schedules=1, faults=True)
    assert caught.value.hint.endswith("if that passes, a run of these dates names the cause")


@pytest.mark.parametrize(
    ("beginning", "process", "fault"),
    [
        ("write runs/backfill=bf-simulated01/windows/", "a window", Fault.KILL_AFTER),
        ("write landing", "a window", Fault.KILL_BEFORE),
        ("list runs/backfill=bf-simulated01/windows/", "the parent", Fault.KILL_BEFORE),
        ("write runs/backfill=bf-simulated01/orders", "the parent", Fault.STALL),
        ("call", "a window", Fault.OVERLAP),
    ],
)
def test_a_parent_and_windows_of_which_one_dies_end_as_all_of_them_would(
    subject: Subject, beginning: str, process: str, fault: Fault
) -> None:
    asked = subject.asked.model_copy(update={"engine": Engine.DISTRIBUTED, "parallel": 2})
    spread = dataclasses.replace(subject, asked=asked)
    truth = run_schedule(spread, 0)
    windows = {what.rpartition("/")[2] for what in truth.operations if what.startswith("write") and "/window-" in what}
    assert len(windows) == 2
    ending = run_schedule(spread, 1, [at(truth, beginning, fault)], truth=truth)
    assert ending.broken == ()
    assert [met.rpartition(": ")[2] for met in ending.met] == [fault.value]
    if process == "a window" and "killed" in fault.value:
        assert any(what.endswith("-2.json") for what in ending.operations), "its parent begins another in its place"


def test_windows_that_may_call_once_a_minute_keep_their_source_and_end_as_quick_ones_would(
    subject: Subject, truth: Ending
) -> None:
    asked = subject.asked.model_copy(update={"engine": Engine.DISTRIBUTED, "parallel": 2})
    slow = subject.settings.model_copy(update={"source_rate_per_minute": {"balldontlie": 1}})
    ending = run_schedule(dataclasses.replace(subject, asked=asked, settings=slow), 0)
    assert ending.verdicts == truth.verdicts
    beats = [what for what in ending.operations if what == f"write leases/{subject.asked.source}.json"]
    assert len(beats) > 4, "the parent is heard of while its windows wait"
