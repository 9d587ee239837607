"""One schedule: a backfill, its deaths and its repetitions under a plan of faults, and what must hold of all of it."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import dataclasses
import datetime as dt
import functools
import math
import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from prefect.client.schemas.objects import State
from prefect.settings import PREFECT_API_URL, temporary_settings

from alerting.delivery import owed_summaries
from alerting.errors import ConfigurationError, PipelineError
from alerting.instant import utc_now
from alerting.machine import is_process_gone
from alerting.outbox import CLAIM_S, OutboxEntry
from flows.backfill import run_backfill
from flows.closing.close import close_dead_runs
from flows.coordination.lease import LeaseRecord, lease_name, read_lease
from flows.simulate.faults import AHEAD, AN_HOUR_S, OUTAGE_S, Killed, Outside, Planned, Process, Trace
from flows.simulate.invariants import Ending, Invariants
from flows.simulate.machine import Machines, process_here
from flows.simulate.memory_warehouse import MemoryWarehouse
from flows.simulate.subject import Before, Subject, required_first, told_by_runs
from flows.simulate.virtual_threads import Deadlock
from flows.simulate.virtual_time import Endless, VirtualLoop, cancel_all, virtual_time
from flows.simulate.windows import SimulatedOrchestrator
from flows.simulate.world import Mailbox, World
from flows.wiring import Services
from scrapers.threads import in_turn

MOST_RUNS = 10
_BETWEEN_RUNS_S = 26 * 3_600.0
_BETWEEN_RUNS_OF_A_DAY_S = 1.5 * 3_600.0
_SHARE_TOMORROW = 0.6
_SHARE_RESTLESS = 0.3
_SHARE_ONE_MACHINE = 0.5
_SHARE_ASLEEP = _SHARE_AHEAD = 0.5
_SET_RIGHT_AFTER, _NEVER = (1, 16), 1_000_000
"""So many operations of its machine later a clock is set right."""
_MONTH_S = 31 * 86_400.0
_LATER = dt.timedelta(hours=1)
_LONGEST_RUN_S = 6 * 3_600.0
_BEFORE = dt.timedelta(days=1)
"""So long before the first run, other sources have done what they have to do first."""


@contextlib.contextmanager
def without_server() -> Iterator[None]:
    """Prefect is not talked to. Entered once around many schedules: it takes longer than one of them."""
    if PREFECT_API_URL.value() is None:
        yield
        return
    with temporary_settings({PREFECT_API_URL: None}):
        yield


def prepared(subject: Subject) -> Subject:
    """``subject`` after other sources have done, without a fault, what must be done before it.

    Raises ``ConfigurationError`` when one of them cannot.
    """
    begins_at = subject.begins_at - _BEFORE
    with _world_of(dataclasses.replace(subject, begins_at=begins_at), 0) as world:
        asks = _Schedule(subject, world, Trace(), random.Random(0), None)  # noqa: S311 - no secret
        services = world.services(subject.settings, Process(Trace(), asks))
        for number, asked in enumerate(required_first(services, subject.asked, subject.begins_at), start=1):
            one = dataclasses.replace(subject, asked=asked, begins_at=begins_at)
            trace = Trace()
            state = _Schedule(one, world, trace, random.Random(0), None).backfill(f"bf-before{number:05}")  # noqa: S311
            if state is None or not state.is_completed():
                # The last operation of a run that is refused says why.
                why = state.message if state else (trace.operations or ["refused"])[-1]
                raise ConfigurationError(
                    f"{asked.source} {asked.range_text} has to be done first, and does not become good without any "
                    f"fault: {why}",
                    source=subject.asked.source,
                    stage="simulate",
                    hint=f"gapless simulate {asked.source} {asked.range_text.replace('..', ' ')}",
                )
            world.clock.sleep(60)
    return dataclasses.replace(subject, before=Before(world.bucket, world.tables.tables, world.tables.views))


def truth_of(subject: Subject) -> Ending:
    """How it ends without faults, which columns are other ones an hour later, and what is asked when all is done."""
    truth = run_schedule(subject, 0)
    later = dataclasses.replace(subject, begins_at=subject.begins_at + _LATER)
    with _world_of(later, 1) as world:
        world.answers.is_restless = True
        schedule = _Schedule(later, world, Trace(), random.Random(1), None)  # noqa: S311 - no secret
        schedule.repeats = True
        other = schedule.run()
    passing = told_by_runs(truth.tables, other.tables)
    return dataclasses.replace(truth, passing=passing, idle_calls=schedule.idle_calls)


@contextlib.contextmanager
def _world_of(subject: Subject, seed: int) -> Iterator[World]:
    """As it is when a schedule begins."""
    answers = subject.answers.for_a_schedule()
    of_machines = random.Random(f"machines {seed}")  # noqa: S311 - no secret
    is_one = of_machines.random() < _SHARE_ONE_MACHINE
    with (
        tempfile.TemporaryDirectory(prefix="gapless-simulated-") as disk,
        virtual_time(subject.begins_at, seed) as clock,
        in_turn(),
        without_server(),
    ):
        machines = Machines(clock, Path(disk), is_one=is_one)
        bucket = subject.before.bucket.copy(clock.right)
        tables = MemoryWarehouse(bucket, subject.engine, subject.before.tables, subject.before.views)
        with machines.in_place_of_this_one():
            yield World(clock, bucket, tables, Mailbox(), answers, machines, of_machines)


def run_schedule(
    subject: Subject, seed: int, planned: Sequence[Planned] = (), *, truth: Ending | None = None
) -> Ending:
    """Runs the backfill until it has ended well without a fault, and again: that one must find nothing to do.

    Args:
        subject: What is done; its memory of answers grows.
        seed: Of chance, of names and of the order of whatever is ready at once.
        planned: The faults, by the number of the operation that they strike.
        truth: How it ends without faults; None asks for just that, and compares nothing.
    """
    chance = random.Random(seed)  # noqa: S311 - no secret
    with _world_of(subject, seed) as world:
        world.answers.is_restless = truth is not None and chance.random() < _SHARE_RESTLESS
        return _Schedule(subject, world, Trace(planned), chance, truth).run()


class _Schedule:
    def __init__(
        self, subject: Subject, world: World, trace: Trace, chance: random.Random, truth: Ending | None
    ) -> None:
        self.subject, self.world, self.trace, self.chance, self.truth = subject, world, trace, chance, truth
        self.repeats = truth is not None
        self.idle_calls = 0
        self.away_until_s: dict[Outside, float] = {}
        self.is_beside = False
        self.must = Invariants(subject, world, truth, self)
        self._loop: VirtualLoop | None = None
        """Of windows that have outlived their parent."""

    def run(self) -> Ending:
        """See `run_schedule`."""
        try:
            return self._run()
        finally:
            if self._loop is not None:
                _close(self._loop)

    def _run(self) -> Ending:
        idle = failed = False
        while self.must.runs < MOST_RUNS:
            met, calls, is_quiet = len(self.trace.met), len(self.world.answers.asked), self._is_all_there()
            # Who has everything has nothing to do, however the run before came to its end.
            idle = idle or self.must.has_all
            begun = len(self.trace.operations)
            state = self.backfill()
            self.world.machines.set_right()
            is_clean = state is not None and is_quiet and len(self.trace.met) == met
            self.must.look(state, is_clean=is_clean)
            if is_clean:
                self.must.look_at_calls(self._run_id)
            if state is not None and self.truth is not None and self._is_heard(met):
                self.must.look_at_telling(self._run_id, is_clean=is_clean)
            is_well = is_clean and state is not None and state.is_completed()
            self.idle_calls = len(self.world.answers.asked) - calls
            if is_clean and idle:
                self.must.look_at_idle_run(self.idle_calls, self.trace.operations[begun:])
            if is_clean and (idle or failed or not self.repeats):
                break
            # What is left by a run that nothing has disturbed, a day later, stays as it is: a quota has a new day then.
            idle, failed = is_well, is_clean and not is_well
            if failed:
                self._let_pass(self._until_new_quota_s)
            self._let_pass(self._until_next_run_s())
            self._watchdog()
        else:
            self.must.tell("no end", f"{MOST_RUNS} runs and not one that ended without a fault")
        self._send_what_is_claimed()
        return self.must.ending(self.trace)

    def _is_heard(self, met: int) -> bool:
        """Whether nothing but the source was away since so many faults had been met."""
        away = [part for part in self.away_until_s if self.is_away(part)]
        return set(away) <= {"source"} and all(" call " in fault for fault in self.trace.met[met:])

    def _send_what_is_claimed(self) -> None:
        """Whoever died with a mail in its hands has claimed it for some minutes: the watchdog sends it after them."""
        while self.truth is not None and owed_summaries(self.world.bucket, self.world.clock.right()):
            met = len(self.trace.met)
            self._let_pass(self._long_after_s)
            self._watchdog()
            if len(self.trace.met) == met:
                return

    @property
    def _long_after_s(self) -> float:
        return _BETWEEN_RUNS_OF_A_DAY_S if self.subject.loses_a_day else _BETWEEN_RUNS_S

    @property
    def _until_new_quota_s(self) -> float:
        return _MONTH_S if self.must.rate.per_month else self._long_after_s

    def _until_next_run_s(self) -> float:
        """Till tomorrow, or as soon as somebody may have noticed that the run is over."""
        # Runs that come too soon, one after the other, may all find the source away.
        is_late = self.must.runs > MOST_RUNS // 2
        if self.truth is None or self.chance.random() < _SHARE_TOMORROW or is_late:
            return self._long_after_s
        return self.chance.choice((1.0, 3.0)) * self._lease_ttl_s

    @property
    def _lease_ttl_s(self) -> float:
        return self.subject.settings.lease_ttl_s

    @property
    def _run_id(self) -> str:
        """Of the run that began last."""
        return f"bf-simulated{self.must.runs:02}"

    # -- processes ---------------------------------------------------------------------------------------------------

    def _services(self, backfill_id: str = "") -> Services:
        """Of one more process."""
        return self.world.services(self.subject.settings, Process(self.trace, self, backfill_id))

    def _services_of_window(self, backfill_id: str) -> Services:
        """Of one more process."""
        return self.world.services(self.subject.settings, Process(self.trace, self, backfill_id), of_window=True)

    def backfill(self, backfill_id: str = "") -> State[Any] | None:
        """One process from its beginning to its end; None when it was killed or refused."""
        self.must.runs += 1
        backfill_id = backfill_id or self._run_id
        orchestrator = SimulatedOrchestrator(self.world.machines, self._services_of_window)
        process = Process(self.trace, self, backfill_id)
        services = self.world.services(self.subject.settings, process)
        try:
            with self.world.machines.process():
                work = run_backfill(services, self.subject.asked, backfill_id, orchestrator)
                ended: State[Any] = self._on_loop(work)
            return ended
        except Killed:
            return None
        except (Deadlock, Endless) as error:
            if not process.is_alive:
                # What is left of it waits for those of its tasks that have noticed.
                return None
            self.must.tell("a run does not end", error)
            return None
        except PipelineError as error:
            self.trace.operations.append(f"({backfill_id} ended by {type(error).__name__}: {error.message})")
            return None

    def _watchdog(self) -> None:
        """Looks once, when nobody lives; whoever died must have been told of then, unless it met a fault itself."""
        met = len(self.trace.met)
        try:
            with self.world.machines.process():
                by_its_clock = utc_now()
                close_dead_runs(self._services(), by_its_clock)
        except (Killed, PipelineError):
            return
        # A watchdog whose clock is behind finds the dead later, which keeps nobody's mail for good.
        now = min(by_its_clock, self.world.clock.right())
        held = read_lease(self.world.bucket, self.subject.asked.source)
        if len(self.trace.met) > met or not self._is_all_there() or (held and self._lives(held, now)):
            return
        owed = [one for one in owed_summaries(self.world.bucket, now) if one.is_due]
        if dead := [one.backfill_id for one in owed if not self._is_claimed(one.entry)]:
            self.must.tell("the watchdog leaves a dead run without its mail", dead)

    # -- around a process in the middle of an operation --------------------------------------------------------------

    def stall(self) -> None:
        """See `flows.simulate.faults.Surroundings`."""
        with self.world.machines.standstill(asleep=self.world.chance.random() < _SHARE_ASLEEP):
            self._beside(self._take_over)

    def _take_over(self) -> None:
        self.world.clock.sleep(3 * self._lease_ttl_s)
        self._watchdog()
        self.backfill()
        self.must.look_at_landing()
        self.must.look_at_verdicts()

    def overlap(self, process: Process) -> None:
        """See `flows.simulate.faults.Surroundings`."""
        held = read_lease(self.world.bucket, self.subject.asked.source)
        if held is None or held.state != "held" or held.backfill_id != process.backfill_id:
            return
        if self._lives(held, self.world.clock.right()):
            self._beside(functools.partial(self._try_to_take_over, process))
        elif len(self.trace.met) == 1 and self._age_s(lease_name(held.source)) < self._lease_ttl_s:
            # It has told that it lives, by a clock that nobody has set.
            self.must.tell("a living run lets its source go", process.backfill_id)

    def _age_s(self, name: str) -> float:
        """Since the store took the object, whatever the clocks of machines say."""
        (stored,) = self.world.bucket.list(name)
        assert stored.updated_at
        return (self.world.clock.right() - stored.updated_at).total_seconds()

    def _lives(self, held: LeaseRecord, now: dt.datetime) -> bool:
        """Whether nobody may take its source whose clock says ``now``, or one that is ahead of it."""
        if held.state != "held" or is_process_gone(held.machine, held.pid):
            return False
        return held.expires_at > now or self._age_s(lease_name(held.source)) < held.lasts.total_seconds()

    def _is_claimed(self, entry: OutboxEntry) -> bool:
        """Whether one sender alone may send it, by the time that has passed and no clock of a machine."""
        if entry.claimed_until is None:
            return False
        age_s = self._age_s(f"outbox/backfill={entry.backfill_id}.json")
        return entry.claimed(entry.claimed_until + dt.timedelta(seconds=age_s - CLAIM_S))

    def _try_to_take_over(self, process: Process) -> None:
        calls, mails = len(self.world.answers.asked), len(self.world.mailbox.mails)
        is_ahead = self.world.chance.random() < _SHARE_AHEAD
        self.trace.met[-1] += AHEAD if is_ahead else ""
        for begins in (self._watchdog, self.backfill):
            if is_ahead:
                self.world.machines.next_clock(AN_HOUR_S, self.world.chance.randrange(*_SET_RIGHT_AFTER))
            begins()
        if calls < len(self.world.answers.asked):
            self.must.tell("a second run worked beside a living one", process.backfill_id)
        new = {str(mail["X-Backfill-Id"]) for mail in self.world.mailbox.mails[mails:]}
        if process.backfill_id in new:
            self.must.tell("a living run was told of as dead", process.backfill_id)

    def died(self) -> None:
        """See `flows.simulate.faults.Surroundings`."""
        self.world.machines.died()

    def skew(self, seconds: float) -> None:
        """See `flows.simulate.faults.Surroundings`."""
        self.world.machines.set_clock(seconds, self.world.chance.choice((*_SET_RIGHT_AFTER, _NEVER)))

    def operates(self) -> None:
        """See `flows.simulate.faults.Surroundings`."""
        self.world.machines.operates()

    def outage(self, part: Outside) -> None:
        """See `flows.simulate.faults.Surroundings`."""
        self.away_until_s[part] = self.world.clock.now_s + OUTAGE_S

    def replaces(self, process: Process, table: str) -> None:
        """See `flows.simulate.faults.Surroundings`."""
        held = read_lease(self.world.bucket, self.subject.asked.source)
        if held and held.backfill_id != process.backfill_id:
            self.must.tell("a run writes rows of a source that another run has taken", table)
        elif held and held.state == "released":
            self.must.tell("a run writes rows after it has given its source back", table)

    def is_away(self, part: Outside) -> bool:
        """See `flows.simulate.faults.Surroundings`."""
        return self.world.clock.now_s < self.away_until_s.get(part, -math.inf)

    def _is_all_there(self) -> bool:
        return not any(self.is_away(part) for part in self.away_until_s)

    def _beside(self, others: Callable[[], None]) -> None:
        """Lets other processes run while one is in the middle of its loop; not where that is so already."""
        if self.is_beside:
            return
        self.is_beside = True
        try:
            # A thread has one running loop and, as of Python 3.14, one current task. This one is real, with its locks.
            nowhere, here = contextvars.Context(), contextvars.copy_context()
            with nowhere.run(ThreadPoolExecutor, 1) as elsewhere:
                nowhere.run(elsewhere.submit, lambda: here.run(others)).result()
        finally:
            self.is_beside = False

    def _on_loop(self, work: Any) -> Any:
        """The work of the process that is at work, whose tasks end with it; those of its windows do not."""
        loop = self._loop if self._loop and not self.is_beside else self._new_loop()
        loop.may_take(_LONGEST_RUN_S)
        try:
            return loop.run_until_complete(work)
        finally:
            with contextlib.suppress(BaseException):
                loop.run_until_complete(cancel_all(process_here()))
            if self.is_beside or not (asyncio.all_tasks(loop) or loop.threads.all()):
                _close(loop)
                self._loop = None if self._loop is loop else self._loop
            else:
                self._loop = loop

    def _new_loop(self) -> VirtualLoop:
        chance = self.chance if self.truth is not None else None
        loop = VirtualLoop(self.world.clock, chance, owner=process_here)
        loop.set_exception_handler(lambda *_: None)
        return loop

    def _let_pass(self, seconds: float) -> None:
        """Nobody begins anything; windows that live go on."""
        if self._loop is None or not asyncio.all_tasks(self._loop):
            self.world.clock.sleep(seconds)
            return
        self._loop.may_take(seconds + _LONGEST_RUN_S)
        self._loop.run_until_complete(asyncio.sleep(seconds))


def _close(loop: VirtualLoop) -> None:
    """Whoever is still on it is gone."""
    for task in asyncio.all_tasks(loop):
        task.cancel()
    with contextlib.suppress(BaseException):
        loop.run_until_complete(asyncio.gather(*asyncio.all_tasks(loop), return_exceptions=True))
    for thread in loop.threads.all():
        thread.end()
    loop.close()
