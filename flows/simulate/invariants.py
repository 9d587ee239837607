"""What must hold of a schedule, between two of its processes and at its end."""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import gzip
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

from prefect.client.schemas.objects import State

from alerting.outbox import Outbox
from flows.ledger.ledger import Ledger, LedgerEntry, Verdict
from flows.parameters import Engine
from flows.simulate.evidence import misled, still_held, unproven, untold
from flows.simulate.faults import AHEAD, Fault, Process, Surroundings, Trace
from flows.simulate.memory_warehouse import STAGING, Content
from flows.simulate.subject import Subject, rows_of
from flows.simulate.world import World, has_rates_of_sites
from flows.wiring import SourceKit
from scrapers.rate import Rate

_LOST = Verdict.UNAVAILABLE.value
_DONE = (Verdict.VERIFIED.value, Verdict.EMPTY_OK.value)


@dataclasses.dataclass(frozen=True)
class Ending:
    """What is left when nothing runs any more.

    Attributes:
        idle_calls: What a run asks that has nothing to do: a catalogue.
        passing: Columns by table that tell when it was asked, and are no part of the truth.
    """

    verdicts: Mapping[str, str]
    tables: Mapping[str, Content]
    operations: tuple[str, ...]
    met: tuple[str, ...]
    runs: int
    broken: tuple[str, ...] = ()
    calls: int = 0
    idle_calls: int = 0
    passing: Mapping[str, frozenset[str]] = dataclasses.field(default_factory=dict)


class Invariants:
    """Looks at the world of one schedule, and notes what does not hold.

    Attributes:
        truth: How it ends without faults; without it only what was landed is looked at.
        broken: What did not hold.
        runs: How many have begun, for the texts.
    """

    def __init__(self, subject: Subject, world: World, truth: Ending | None, surroundings: Surroundings) -> None:
        self._subject, self._world, self.truth = subject, world, truth
        services = world.services(subject.settings, Process(Trace(), surroundings))
        self._kit: SourceKit = services.source_kit(subject.asked.source)
        self._true_rows: dict[str, dict[str, list[str]]] = {}
        self._landed: dict[str, int] = {}
        self._new_landed: list[str] = []
        self._done: dict[str, dt.datetime] = {}
        self._once_done: set[str] = set()
        self._mails_seen = 0
        self._begun_before = _runs_in(world)
        self.broken: list[str] = []
        self.runs = 0

    @property
    def rate(self) -> Rate:
        """How often the source may be asked, by these settings."""
        return self._kit.access.rate

    @property
    def has_all(self) -> bool:
        """Whether everything that can be done was called done when it was last looked at."""
        return self.truth is not None and self._done.keys() >= self._good_in_truth()

    def tell(self, what: str, told: object) -> None:
        """Notes what did not hold."""
        self.broken.append(f"{what}: {told} (after run {self.runs})")

    # -- between two processes ---------------------------------------------------------------------------------------

    def look(self, state: State[Any] | None, *, is_clean: bool) -> None:
        """After a process: ``state`` of its run, None when it was killed or refused; ``is_clean`` without a fault."""
        self.look_at_landing()
        if self.truth is None:
            return
        good = self.look_at_verdicts()
        true = self._good_in_truth()
        lost = self._lost()
        if state is not None and state.is_completed() and not good | lost >= true:
            self.tell("a run ended well without its dates", sorted(true - good - lost))
        if is_clean and state is not None and not state.is_completed() and good >= true:
            self.tell("a run that had all of its dates, and met no fault, did not end well", state.message)
        new, self._mails_seen = self._world.mailbox.mails[self._mails_seen :], len(self._world.mailbox.mails)
        if not good | lost >= true and any(mail["X-Backfill-Outcome"] == "OK" for mail in new):
            self.tell("a mail says that all is well without its dates", sorted(true - good - lost))
        wrong = [key for key in sorted(good & true) if self._rows(key) != self._rows_in_truth(key)]
        if wrong:
            self.tell("a date is called done and its rows are not those of the source", wrong)
        before = [key for key in sorted(self._once_done - good) if self._rows(key) != self._rows_in_truth(key)]
        if before:
            self.tell("a newer reading is not good, and the rows of the one before are gone or others", before)

    def look_at_landing(self) -> None:
        """What was landed stays as it was landed."""
        now = {one.name: one.generation for one in self._world.bucket.list("landing/")}
        changed = [name for name, generation in self._landed.items() if now.get(name) != generation]
        if changed:
            self.tell("what was landed is gone or another", changed[:3])
        self._new_landed = sorted(now.keys() - self._landed.keys())
        self._landed = now

    @property
    def _grows_old(self) -> bool:
        """Whether it is snapshots or sweeps, which are read again after a day."""
        return self._kit.scraper.step == "whole" or bool(self._kit.scraper.sweeps)

    def look_at_verdicts(self) -> set[str]:
        """What is called done; nothing of it may ever be undone, but by a newer reading of what grows old."""
        if self.truth is None:
            return set()
        entries = self._entries()
        good = {key for key, one in entries.items() if one.verdict.value in _DONE}
        undone = self._done.keys() - good
        if unasked := sorted(key for key in undone if key not in entries or not self._is_read_again(entries[key])):
            self.tell("a date that was done is called something else", unasked)
        self._done = {key: entries[key].answered_at for key in good}
        self._once_done |= good
        return good

    def _is_read_again(self, entry: LedgerEntry) -> bool:
        """Whether a newer reading was due, whose verdict it is from then on; the rows of the one before stay."""
        scraper = self._kit.scraper
        if scraper.step == "whole":
            return entry.updated_at - self._done[entry.partition] > scraper.fresh_for
        return bool(scraper.sweeps) and entry.verdict.value in ("landed", "loaded")

    def look_at_calls(self, backfill_id: str) -> None:
        """After a run that met no fault: what it tells of its calls, those of its windows included."""
        entry = Outbox(self._world.bucket).read(backfill_id)
        told = entry.run_facts.calls if entry else None
        asked = (one for one in self._world.answers.asked if not one.is_for_a_token)
        made = sum(one.by.backfill_id == backfill_id for one in asked)
        if told is not None and told != made:
            self.tell("a run tells of another number of calls than it made", (told, made))

    def look_at_telling(self, backfill_id: str, *, is_clean: bool) -> None:
        """After a run that came to its end, and met no fault but of the source."""
        entries = self._entries()
        if silent := untold(self._world.bucket, entries, backfill_id):
            self.tell("a date failed and no incident tells of it", silent)
        if is_clean and (wrong := misled(self._world.bucket, entries, backfill_id)):
            self.tell("a mail tells of another verdict than the ledger", wrong)

    def look_at_idle_run(self, calls: int, operations: Sequence[str]) -> None:
        """After a run that had nothing left to do."""
        # A list of files may be asked for, and is no page of a date.
        landed = [] if self._grows_old else self._new_landed
        written = [what for what in operations if what.startswith(("stage ", "replace "))]
        if written and not self._grows_old:
            self.tell("rows were loaded again though nothing was left to do", written[:3])
        is_asked = self.truth is not None and (landed or calls > self.truth.idle_calls)
        if is_asked and self.verdicts() == dict(self._true_verdicts):
            self.tell("a date that was done is asked for again", landed[:3] or calls)

    def verdicts(self) -> dict[str, str]:
        """As the ledger has them."""
        return {key: entry.verdict.value for key, entry in sorted(self._entries().items())}

    def _entries(self) -> dict[str, LedgerEntry]:
        return Ledger(self._world.bucket, self._subject.asked.source).refresh()

    def _good_in_truth(self) -> set[str]:
        assert self.truth is not None
        return {key for key, verdict in self.truth.verdicts.items() if verdict in _DONE}

    def _lost(self) -> set[str]:
        """Dates that could be asked for on one day only, which is over, and are called lost."""
        if not self._subject.loses_a_day:
            return set()
        now = self._world.clock.now()
        over = {key for key in self._true_verdicts if self._subject.partition(key).ends_at <= now}
        return {key for key, verdict in self.verdicts().items() if key in over and verdict == _LOST}

    @property
    def _passing(self) -> Mapping[str, frozenset[str]]:
        return self.truth.passing if self.truth else {}

    @property
    def _true_verdicts(self) -> Mapping[str, str]:
        return self.truth.verdicts if self.truth else {}

    def _rows(self, key: str) -> dict[str, list[str]]:
        return self._rows_in(self._world.tables.tables, key)

    def _rows_in_truth(self, key: str) -> dict[str, list[str]]:
        assert self.truth is not None
        if key not in self._true_rows:
            self._true_rows[key] = self._rows_in(self.truth.tables, key)
        return self._true_rows[key]

    def _rows_in(self, tables: Mapping[str, Content], key: str) -> dict[str, list[str]]:
        return rows_of(tables, self._kit.processor.tables, self._subject.partition(key), self._passing)

    # -- at the end --------------------------------------------------------------------------------------------------

    def ending(self, trace: Trace) -> Ending:
        """What is left, compared with the truth."""
        verdicts, tables = self.verdicts(), self._tables()
        if self.truth is not None:
            lost = self._lost()
            if verdicts != {**self.truth.verdicts, **dict.fromkeys(lost, _LOST)}:
                other = {key: value for key, value in verdicts.items() if self._true_verdicts.get(key) != value}
                missing = sorted(set(self.truth.verdicts) - set(verdicts))
                self.tell("verdicts are not those of a run without faults", other or missing)
            if not lost:
                self._compare(tables)
            self._look_at_evidence()
            self._look_at_mails()
            self._look_at_budget(trace)
            self._look_for_secrets()
        calls = len(self._world.answers.asked)
        return Ending(verdicts, tables, tuple(trace.operations), tuple(trace.met), self.runs, tuple(self.broken), calls)

    def _compare(self, tables: Mapping[str, Content]) -> None:
        assert self.truth is not None
        for name, content in self.truth.tables.items():
            passing = self._passing.get(name, frozenset())
            found = tables.get(name, Content(content.columns))
            if found.digest != content.digest and found.without(passing) != content.without(passing):
                self.tell("a table is not that of a run without faults", name)

    def _look_at_evidence(self) -> None:
        if without := dict(unproven(self._world.bucket, self._entries())):
            self.tell("a date is called done without evidence", without)
        if still_held(self._world.bucket, self._subject.asked.source):
            self.tell("a run is over and has kept its source", self._subject.asked.source)

    def _tables(self) -> dict[str, Content]:
        return {name: one for name, one in self._world.tables.tables.items() if not name.startswith(STAGING)}

    def _look_at_mails(self) -> None:
        by_run: dict[str, Counter[str]] = defaultdict(Counter)
        for mail in self._world.mailbox.mails:
            if run := mail["X-Backfill-Id"]:
                by_run[str(run)][str(mail["Message-ID"])] += 1
        for run, ids in by_run.items():
            summaries = {one: count for one, count in ids.items() if "human" not in one}
            if len(summaries) > 1 or len(ids) - len(summaries) > 1:
                self.tell("one run has mails with several Message-IDs", (run, dict(ids)))
        if silent := _runs_in(self._world) - self._begun_before - set(by_run):
            self.tell("a run ended without a mail", sorted(silent))

    def _look_at_budget(self, trace: Trace) -> None:
        rate, answers = self.rate, self._world.answers
        if early := answers.too_early:
            self.tell("asked before Retry-After was over", early[0])
        # Each site has a rate of its own where the source says so; day and month are those of all of them. Processes
        # share a rate by wall clocks: of one that is set while they live, each process keeps it alone.
        is_set = any(words in met for met in trace.met for words in (Fault.SKEW, Fault.SKEW_BACK, AHEAD))
        each_alone = is_set and self._subject.asked.engine is Engine.DISTRIBUTED
        by_site: dict[tuple[str, int], list[float]] = defaultdict(list)
        for asked in answers.asked:
            site = asked.site if has_rates_of_sites(self._kit.scraper) else ""
            if not asked.is_for_a_token:
                by_site[site, id(asked.by) if each_alone else 0].append(asked.at_s)
        for allowed, width_s in ((rate.per_second, 1), (rate.per_minute, 60)):
            if not allowed:
                continue
            # 1.8 a second are 9 in any 5 seconds.
            most, seconds = Fraction(allowed).limit_denominator(60).as_integer_ratio()
            worst = max((most_within(sorted(at), seconds * width_s) for at in by_site.values()), default=0)
            if worst > most:
                self.tell(f"more calls than {most} in {seconds * width_s} s", worst)
        for limit, unit, shape in ((rate.per_day, "day", "%Y-%m-%d"), (rate.per_month, "month", "%Y-%m")):
            spent: Counter[str] = Counter()
            for asked in answers.asked:
                spent[f"{self._day_of(asked.at_s):{shape}}"] += asked.units
            if limit and max(spent.values(), default=0) > limit:
                self.tell(f"more units than {limit} in a {unit}", max(spent.values()))

    def _day_of(self, second: float) -> dt.date:
        zone = ZoneInfo(self._kit.access.rate.reset_zone)
        return (self._subject.begins_at + dt.timedelta(seconds=second)).astimezone(zone).date()

    def _look_for_secrets(self) -> None:
        secrets = [one.get_secret_value() for one in self._subject.settings.source_secrets.values()]
        found = tuple(secret.encode() for secret in secrets if len(secret) >= 6)
        for one in self._world.bucket.list(""):
            data, _ = self._world.bucket.read(one.name)
            if _holds_one(data, found):
                self.tell("a secret is in storage", one.name)
        for mail in self._world.mailbox.mails:
            # As it is read: in transit a secret may be cut by the ends of lines.
            read = [value.encode("utf-8", "replace") for value in mail.values()]
            read += [part.get_payload(decode=True) or b"" for part in mail.walk()]
            if any(secret in one for secret in found for one in read):
                self.tell("a secret is in a mail", mail["Subject"])


@functools.lru_cache(maxsize=2_000)
def _holds_one(data: bytes, secrets: tuple[bytes, ...]) -> bool:
    """Whether what is stored holds a secret; most of it is the same bytes in every schedule."""
    plain = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    return any(secret in plain for secret in secrets)


def _runs_in(world: World) -> set[str]:
    """Runs that have begun."""
    return {one.name.split("=")[1].removesuffix(".json") for one in world.bucket.list("outbox/")}


def most_within(seconds: Sequence[float], width_s: float) -> int:
    """The most of the sorted instants that lie within any half-open stretch of that width."""
    most = first = 0
    for last, second in enumerate(seconds):
        # 540.05 - 480.05 is less than 60 in binary: a microsecond is what the pace keeps.
        while second - seconds[first] >= width_s - 1e-6:
            first += 1
        most = max(most, last - first + 1)
    return most
