"""One schedule: a backfill, its deaths and its repetitions under a plan of faults, and what must hold of all of it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime as dt
import gzip
import math
import random
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from prefect.client.schemas.objects import State
from prefect.settings import PREFECT_API_URL, temporary_settings

from alerting.delivery import owed_summaries
from alerting.errors import PipelineError, TransientError
from alerting.memory_store import MemoryObjectStore
from flows.asked import Asked
from flows.backfill import run_backfill
from flows.closing.close import close_dead_runs
from flows.coordination.lease import read_lease
from flows.ledger.ledger import Ledger
from flows.run.orchestrator import Child, Decision, Part
from flows.settings import Settings
from flows.simulate.faults import OUTAGE_S, Killed, Outside, Planned, Process, Trace
from flows.simulate.memory_warehouse import Content, Engine, MemoryWarehouse
from flows.simulate.virtual_time import VirtualLoop, virtual_time
from flows.simulate.world import Answers, Mailbox, World
from scrapers.rate import Rate
from scrapers.scrape import utc_now
from scrapers.threads import in_turn

R = TypeVar("R")

MOST_RUNS = 10
_BETWEEN_RUNS_S = 26 * 3_600.0
_SHARE_TOMORROW = 0.6
_SHARE_RESTLESS = 0.3
_SETTLED_AFTER = dt.timedelta(days=10)
_STAGING = "stg_"


class SimulatedOrchestrator:
    """See `flows.run.orchestrator.Orchestrator`: parts and steps as plain calls, waits on the virtual clock."""

    async def subflow(self, flow: Any, parameters: Mapping[str, Any], part: Part) -> None:
        """What a part raises stops nobody beside it."""
        with contextlib.suppress(Exception):
            await part()

    async def step(
        self,
        name: str,
        label: str,
        work: Callable[[], Awaitable[R]],
        retry_delays_s: Sequence[float],
    ) -> R | BaseException:
        """As Prefect's: again after each delay while it fails for a passing reason."""
        delays = list(retry_delays_s)
        while True:
            try:
                return await work()
            except Exception as error:
                if not delays or not isinstance(error, TransientError):
                    return error
                await asyncio.sleep(delays.pop(0))

    async def decision(self, round_: int, told: Sequence[str], timeout_s: float) -> Decision | None:
        """Nobody decides in a simulated run."""
        return None

    async def workers(self, deployment: str) -> int | None:
        """There are no other processes."""
        return 0

    async def child(
        self,
        deployment: str,
        parameters: Mapping[str, Any],
        label: str,
        idempotency_key: str,
        given_up: Callable[[str], str],
    ) -> Child:
        """There are no other processes."""
        raise ValueError(f"{deployment}: a simulated run has no children")


@dataclasses.dataclass(frozen=True)
class Subject:
    """What is simulated: a range of one source, with the settings of whoever asks."""

    asked: Asked
    settings: Settings
    begins_at: dt.datetime
    engine: Engine
    answers: Answers


def subject_of(settings: Settings, asked: Asked) -> Subject:
    """What is asked for, with an engine and a memory of its own, on the day after which all of it is settled."""
    begins = dt.datetime.combine(asked.end_date + _SETTLED_AFTER, dt.time(6), dt.UTC)
    return Subject(asked, settings, begins, Engine(), Answers())


@dataclasses.dataclass(frozen=True)
class Ending:
    """What is left when nothing runs any more."""

    verdicts: Mapping[str, str]
    tables: Mapping[str, Content]
    operations: tuple[str, ...]
    met: tuple[str, ...]
    runs: int
    broken: tuple[str, ...] = ()
    calls: int = 0


@dataclasses.dataclass
class _Watch:
    """What is looked at from one process to the next."""

    broken: list[str] = dataclasses.field(default_factory=list)
    landed: dict[str, int] = dataclasses.field(default_factory=dict)
    done: set[str] = dataclasses.field(default_factory=set)
    """Dates that were called done at any time."""
    away_until_s: dict[Outside, float] = dataclasses.field(default_factory=dict)


@contextlib.contextmanager
def without_server() -> Iterator[None]:
    """Prefect is not talked to. Entered once around many schedules: it takes longer than one of them."""
    if PREFECT_API_URL.value() is None:
        yield
        return
    with temporary_settings({PREFECT_API_URL: None}):
        yield


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
    answers = Answers(known=subject.answers.known)
    with virtual_time(subject.begins_at, seed) as clock, in_turn(), without_server():
        bucket = MemoryObjectStore("gs://simulated")
        world = World(clock, bucket, MemoryWarehouse(bucket, subject.engine), Mailbox(), answers)
        return _Schedule(subject, world, Trace(planned), random.Random(seed), truth).run()  # noqa: S311 - no secret


@dataclasses.dataclass
class _Schedule:
    subject: Subject
    world: World
    trace: Trace
    chance: random.Random
    truth: Ending | None
    watch: _Watch = dataclasses.field(default_factory=_Watch)
    runs: int = 0
    depth: int = 0

    def run(self) -> Ending:
        """See `run_schedule`."""
        idle = failed = False
        self.world.answers.is_restless = self.truth is not None and self.chance.random() < _SHARE_RESTLESS
        while self.runs < MOST_RUNS:
            met, calls, is_quiet = len(self.trace.met), len(self.world.answers.asked), self._is_all_there()
            state = self._backfill()
            self.world.clock.unskew()
            self._look(state)
            is_clean = state is not None and is_quiet and len(self.trace.met) == met
            is_well = is_clean and state is not None and state.is_completed()
            if is_clean and idle and len(self.world.answers.asked) > calls and self._all_good():
                self._tell("a date that was done is asked for again", len(self.world.answers.asked) - calls)
            if is_clean and (idle or failed or self.truth is None):
                break
            # What is left by a run that nothing has disturbed, a day later, stays as it is: a quota has a new day then.
            idle, failed = is_well, is_clean and not is_well
            if failed:
                self.world.clock.sleep(_BETWEEN_RUNS_S)
            self.world.clock.sleep(self._until_next_run_s())
            self._watchdog()
        else:
            self._tell("no end", f"{MOST_RUNS} runs and not one that ended without a fault")
        return self._ending()

    def _until_next_run_s(self) -> float:
        """Till tomorrow, or as soon as somebody may have noticed that the run is over."""
        if self.truth is None or self.chance.random() < _SHARE_TOMORROW:
            return _BETWEEN_RUNS_S
        return self.chance.choice((1.0, 3.0)) * self.subject.settings.lease_ttl_s

    # -- processes ---------------------------------------------------------------------------------------------------

    def _process(self, backfill_id: str = "") -> Process:
        return Process(self.trace, self, backfill_id)

    def _backfill(self) -> State[Any] | None:
        """One process from its beginning to its end; None when it was killed or refused."""
        self.runs += 1
        backfill_id = f"bf-simulated{self.runs:02}"
        services = self.world.services(self.subject.settings, self._process(backfill_id))
        try:
            work = run_backfill(services, self.subject.asked, backfill_id, SimulatedOrchestrator())
            ended: State[Any] = self._on_loop(work)
            return ended
        except Killed:
            return None
        except PipelineError as error:
            self.trace.operations.append(f"({backfill_id} ended by {type(error).__name__}: {error.message})")
            return None

    def _watchdog(self) -> None:
        """Looks once, when nobody lives; whoever died must have been told of then, unless it met a fault itself."""
        met, services = len(self.trace.met), self.world.services(self.subject.settings, self._process())
        try:
            close_dead_runs(services, utc_now())
        except (Killed, PipelineError):
            return
        held = read_lease(self.world.bucket, self.subject.asked.source)
        if len(self.trace.met) > met or not self._is_all_there() or (held and held.is_alive(utc_now())):
            return
        if dead := [one.backfill_id for one in owed_summaries(self.world.bucket, utc_now()) if one.is_due]:
            self._tell("the watchdog leaves a dead run without its mail", dead)

    # -- around a process in the middle of an operation --------------------------------------------------------------

    def stall(self) -> None:
        """See `flows.simulate.faults.Surroundings`."""
        with self._beside() as is_first:
            if is_first:
                self.world.clock.sleep(3 * self.subject.settings.lease_ttl_s)
                self._watchdog()
                self._backfill()
                self._look_at_landing()
                self._look_at_verdicts()

    def overlap(self, process: Process) -> None:
        """See `flows.simulate.faults.Surroundings`."""
        held = read_lease(self.world.bucket, self.subject.asked.source)
        is_its_own = held is not None and held.is_alive(utc_now()) and held.backfill_id == process.backfill_id
        with self._beside() as is_first:
            if not is_first or not is_its_own:
                return
            calls, mails = len(self.world.answers.asked), len(self.world.mailbox.mails)
            self._watchdog()
            self._backfill()
            if calls < len(self.world.answers.asked):
                self._tell("a second run worked beside a living one", process.backfill_id)
            new = {str(mail["X-Backfill-Id"]) for mail in self.world.mailbox.mails[mails:]}
            if process.backfill_id in new:
                self._tell("a living run was told of as dead", process.backfill_id)

    def skew(self) -> None:
        """See `flows.simulate.faults.Surroundings`."""
        self.world.clock.skew(3_600.0)

    def outage(self, part: Outside) -> None:
        """See `flows.simulate.faults.Surroundings`."""
        self.watch.away_until_s[part] = self.world.clock.now_s + OUTAGE_S

    def is_away(self, part: Outside) -> bool:
        """See `flows.simulate.faults.Surroundings`."""
        return self.world.clock.now_s < self.watch.away_until_s.get(part, -math.inf)

    def _is_all_there(self) -> bool:
        return not any(self.is_away(part) for part in self.watch.away_until_s)

    @contextlib.contextmanager
    def _beside(self) -> Iterator[bool]:
        """Other processes may run while one is in the middle of its loop; False where that is so already."""
        if self.depth:
            yield False
            return
        self.depth += 1
        before = asyncio._get_running_loop()
        asyncio._set_running_loop(None)
        try:
            yield True
        finally:
            asyncio._set_running_loop(before)
            self.depth -= 1

    def _on_loop(self, work: Any) -> Any:
        loop = VirtualLoop(self.world.clock, self.chance if self.truth is not None else None)
        loop.set_exception_handler(lambda *_: None)
        try:
            return loop.run_until_complete(work)
        finally:
            for task in asyncio.all_tasks(loop):
                task.cancel()
            with contextlib.suppress(BaseException):
                loop.run_until_complete(asyncio.gather(*asyncio.all_tasks(loop), return_exceptions=True))
            loop.close()

    # -- what must hold ----------------------------------------------------------------------------------------------

    def _tell(self, what: str, told: object) -> None:
        self.watch.broken.append(f"{what}: {told} (after run {self.runs})")

    def _verdicts(self) -> dict[str, str]:
        ledger = Ledger(self.world.bucket, self.subject.asked.source)
        return {key: entry.verdict.value for key, entry in sorted(ledger.refresh().items())}

    def _all_good(self) -> bool:
        assert self.truth is not None
        return self._verdicts() == dict(self.truth.verdicts)

    def _look(self, state: State[Any] | None) -> None:
        """Between two processes."""
        self._look_at_landing()
        if self.truth is None:
            return
        good = self._look_at_verdicts()
        if state is not None and state.is_completed() and not good >= self._good_in_truth():
            self._tell("a run ended well without its dates", sorted(self._good_in_truth() - good))
        wrong = [key for key in sorted(good & self._good_in_truth()) if self._rows_of(key) != self._true_rows_of(key)]
        if wrong:
            self._tell("a date is called done and its rows are not those of the source", wrong)

    def _look_at_verdicts(self) -> set[str]:
        """What is called done; nothing of it may ever be undone."""
        if self.truth is None:
            return set()
        good = {key for key, verdict in self._verdicts().items() if verdict in ("verified", "empty_ok")}
        if undone := self.watch.done - good:
            self._tell("a date that was done is called something else", sorted(undone))
        self.watch.done = good
        return good

    def _good_in_truth(self) -> set[str]:
        assert self.truth is not None
        return {key for key, verdict in self.truth.verdicts.items() if verdict in ("verified", "empty_ok")}

    def _rows_of(self, key: str) -> dict[str, list[str]]:
        return _rows_of(self.world.tables.tables, key)

    def _true_rows_of(self, key: str) -> dict[str, list[str]]:
        assert self.truth is not None
        return _rows_of(self.truth.tables, key)

    def _look_at_landing(self) -> None:
        now = {one.name: one.generation for one in self.world.bucket.list("landing/")}
        changed = [name for name, generation in self.watch.landed.items() if now.get(name) != generation]
        if changed:
            self._tell("what was landed is gone or another", changed[:3])
        self.watch.landed = now

    def _ending(self) -> Ending:
        verdicts, tables = self._verdicts(), self._tables()
        if self.truth is not None:
            if verdicts != dict(self.truth.verdicts):
                other = {key: value for key, value in verdicts.items() if self.truth.verdicts.get(key) != value}
                missing = sorted(set(self.truth.verdicts) - set(verdicts))
                self._tell("verdicts are not those of a run without faults", other or missing)
            for name, content in self.truth.tables.items():
                if tables.get(name, Content(content.columns)).rows != content.rows:
                    self._tell("a table is not that of a run without faults", name)
            self._look_at_mails()
            self._look_at_budget()
            self._look_for_secrets()
        return Ending(
            verdicts,
            tables,
            tuple(self.trace.operations),
            tuple(self.trace.met),
            self.runs,
            tuple(self.watch.broken),
            len(self.world.answers.asked),
        )

    def _tables(self) -> dict[str, Content]:
        return {name: one for name, one in self.world.tables.tables.items() if not name.startswith(_STAGING)}

    def _look_at_mails(self) -> None:
        by_run: dict[str, Counter[str]] = defaultdict(Counter)
        for mail in self.world.mailbox.mails:
            if run := mail["X-Backfill-Id"]:
                by_run[str(run)][str(mail["Message-ID"])] += 1
        for run, ids in by_run.items():
            summaries = {one: count for one, count in ids.items() if "human" not in one}
            if len(summaries) > 1:
                self._tell("one run has mails with several Message-IDs", (run, dict(ids)))
        begun = {one.name.split("=")[1].removesuffix(".json") for one in self.world.bucket.list("outbox/")}
        if silent := begun - set(by_run):
            self._tell("a run ended without a mail", sorted(silent))

    def _rate(self) -> Rate:
        services = self.world.services(self.subject.settings, Process(Trace(), self))
        return services.source_kit(self.subject.asked.source).access.rate

    def _look_at_budget(self) -> None:
        asked = sorted(second for second, _ in self.world.answers.asked)
        rate = self._rate()
        if early := self.world.answers.too_early:
            self._tell("asked before Retry-After was over", early[0])
        for name, most, width_s in (
            ("second", rate.per_second, 1.0),
            ("minute", rate.per_minute, 60.0),
        ):
            if most and (worst := _most_within(asked, width_s)) > most:
                self._tell(f"more calls than {most} in a {name}", worst)

        by_day = Counter(self._day_of(second) for second in asked)
        by_day.subtract(self._day_of(second) for second in self.world.answers.refused)
        if rate.per_day and by_day and max(by_day.values()) > rate.per_day:
            self._tell(f"more calls than {rate.per_day} in a day", max(by_day.values()))

    def _day_of(self, second: float) -> dt.date:
        zone = ZoneInfo(self._rate().reset_zone)
        return (self.subject.begins_at + dt.timedelta(seconds=second)).astimezone(zone).date()

    def _look_for_secrets(self) -> None:
        secrets = [one.get_secret_value() for one in self.subject.settings.source_secrets.values()]
        found = [secret.encode() for secret in secrets if len(secret) >= 6]
        for one in self.world.bucket.list(""):
            data, _ = self.world.bucket.read(one.name)
            data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
            if any(secret in data for secret in found):
                self._tell("a secret is in storage", one.name)
        for mail in self.world.mailbox.mails:
            if any(secret in mail.as_bytes() for secret in found):
                self._tell("a secret is in a mail", mail["Subject"])


def _rows_of(tables: Mapping[str, Content], key: str) -> dict[str, list[str]]:
    """The rows of a date, by table."""
    day = dt.date.fromisoformat(key[-10:]) if key[-10:-6].isdecimal() else None
    found = {}
    for name, content in tables.items():
        if name.startswith(_STAGING):
            continue
        found[name] = [repr(row) for row in content.rows if day is None or day in row]
    return found


def _most_within(seconds: Sequence[float], width_s: float) -> int:
    """The most of the sorted instants that lie within any half-open stretch of that width."""
    most = first = 0
    for last, second in enumerate(seconds):
        while second - seconds[first] >= width_s:
            first += 1
        most = max(most, last - first + 1)
    return most
