"""The plan: pure function of source, dates, ledger and mode. Nothing here talks to anything."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from alerting.wording import plural
from flows.ledger.entry import NARROWED
from flows.ledger.ledger import LedgerEntry, Verdict
from flows.parameters import NO_DATE, Mode, Order
from processors.items import Expectation
from scrapers.base import Scraper
from scrapers.partition import Partition
from scrapers.scrape import NOBODY_LOOKED, begun_at

NEVER = dt.timedelta.max
BEFORE_FIRST = "before the source's first date"
TOO_OLD = "older than the source answers for"
IN_REVIEW = "waits for approval in"
REJECTED = "not approved: "
LEFT_ALONE = "waits until"
_LANDED = (Verdict.LANDED, Verdict.LOADED)


class Path(StrEnum):
    """The cheapest way to bring one partition to a good verdict.

    ``leave``: it needs work that the mode does not do, so it stays as it is and counts as it is.
    ``wait``: a source that has to come first is not done with it, or the site that answers for it has blocked us.
    ``empty``: an oracle says that there is nothing, which is landed as such without a call.
    """

    FETCH = "fetch"
    EMPTY = "empty"
    RELOAD = "reload"
    REPARSE = "reparse"
    RECOUNT = "recount"
    SKIP = "skip"
    UNAVAILABLE = "unavailable"
    LEAVE = "leave"
    WAIT = "wait"

    @property
    def is_work(self) -> bool:
        """Whether the run does something about the partition."""
        return self in (Path.FETCH, Path.EMPTY, Path.RELOAD, Path.REPARSE, Path.RECOUNT)


@dataclass(frozen=True, slots=True)
class PlannedPartition:
    """One partition, how it will be brought to a good verdict, and why."""

    partition: Partition
    path: Path
    why: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Every partition that was asked for, in the order of work, each with its path.

    Whole entities have no dates: ``start_date`` and ``end_date`` are ``NO_DATE`` then. ``since`` is the instant (aware)
    from which on verdicts count as this run's own: what a run that goes on after a pause does not do twice.
    ``settled_up_to`` is the last date of the source that could be asked for when the plan was made. ``notes`` are
    sentences that mail and record show, too. ``expected`` is what the source's oracles say of the partitions.
    """

    source: str
    start_date: dt.date
    end_date: dt.date
    zone: str
    items: tuple[PlannedPartition, ...]
    mode: Mode = Mode.INCREMENTAL
    since: dt.datetime | None = None
    settled_up_to: dt.date | None = None
    notes: tuple[str, ...] = ()
    expected: Mapping[str, Sequence[Expectation]] = field(default_factory=dict)

    @property
    def to_fetch(self) -> list[Partition]:
        """Partitions that cost calls to the upstream."""
        return [item.partition for item in self.items if item.path is Path.FETCH]

    @property
    def to_call_empty(self) -> dict[Partition, str]:
        """Partitions of which nothing is expected, with the evidence; they cost no call."""
        return {item.partition: item.why for item in self.items if item.path is Path.EMPTY}

    @property
    def to_reload(self) -> list[Partition]:
        """Partitions whose landed payloads are loaded (again), without a call."""
        return [item.partition for item in self.items if item.path in (Path.RELOAD, Path.REPARSE)]

    @property
    def to_recount(self) -> list[Partition]:
        """Partitions whose rows are counted again and nothing else."""
        return [item.partition for item in self.items if item.path is Path.RECOUNT]

    @property
    def left_to_a_person(self) -> dict[str, str]:
        """By key, what waits for approval or was rejected, and why it is left as it is."""
        decisions = (IN_REVIEW, REJECTED)
        left = {item.partition.key: item.why for item in self.items if item.path is Path.LEAVE}
        return {key: why for key, why in left.items() if why.startswith(decisions)}

    @property
    def keys(self) -> list[str]:
        """Keys of all partitions, skipped ones too."""
        return [item.partition.key for item in self.items]

    def to_json(self) -> bytes:
        """The plan as stored in ``runs/backfill=<id>/plan.json``: what a later process recounts against."""
        rows = [
            {
                "key": item.partition.key,
                "path": item.path.value,
                "why": item.why,
                "expected": [_as_stored(said) for said in self.expected.get(item.partition.key, ())],
            }
            for item in self.items
        ]
        head = {
            "source": self.source,
            "start_date": str(self.start_date),
            "end_date": str(self.end_date),
            "zone": self.zone,
            "mode": self.mode.value,
            "since": self.since.isoformat() if self.since else "",
            "hash": self.hash,
            "notes": list(self.notes),
        }
        return json.dumps({**head, "items": rows}, indent=0).encode()

    @property
    def hash(self) -> str:
        """Twelve characters that differ when source, mode, partitions or paths do."""
        paths = [f"{item.partition.key}={item.path.value}" for item in self.items]
        return hashlib.sha256("\n".join([self.source, self.mode.value, *paths]).encode()).hexdigest()[:12]

    def fetching(self, keys: Container[str]) -> Plan:
        """The plan with calls for ``keys``, whose landed payloads turned out to be no evidence."""
        why = "landed from an incomplete response"
        items = [
            PlannedPartition(one.partition, Path.FETCH, why) if one.partition.key in keys else one for one in self.items
        ]
        return replace(self, items=tuple(items))

    def waiting(self, whys: Mapping[str, str]) -> Plan:
        """The plan without calls for the keys of ``whys``: each waits, for that reason."""
        return self._taking(Path.WAIT, whys)

    def emptied(self, whys: Mapping[str, str]) -> Plan:
        """The plan without calls for the keys of ``whys``: nothing is expected of them, with that evidence."""
        return self._taking(Path.EMPTY, whys)

    def reopened(self, whys: Mapping[str, str]) -> Plan:
        """The plan with calls for the keys of ``whys``, which lack something by now."""
        return self._taking(Path.FETCH, whys)

    def expecting(self, expected: Mapping[str, Sequence[Expectation]]) -> Plan:
        """The plan with what oracles say of its partitions."""
        return replace(self, expected=expected)

    def _taking(self, path: Path, whys: Mapping[str, str]) -> Plan:
        items = [
            PlannedPartition(one.partition, path, whys[one.partition.key]) if one.partition.key in whys else one
            for one in self.items
        ]
        return replace(self, items=tuple(items))

    def noting(self, *notes: str) -> Plan:
        """The plan with more sentences for mail and record."""
        return replace(self, notes=(*self.notes, *notes))

    def counts(self) -> Counter[str]:
        """Partitions per path."""
        return Counter(item.path.value for item in self.items)

    def date_echo(self) -> str:
        """The range in words and zone, and how far one could go.

        >>> january = dt.date(2025, 1, 1), dt.date(2025, 1, 31)
        >>> Plan("s", *january, "UTC", (), settled_up_to=dt.date(2026, 11, 21)).date_echo()
        '2025-01-01 to 2025-01-31 inclusive, UTC, 31 days; last settled date 2026-11-21'
        """
        if self.start_date == NO_DATE:
            return plural(len(self.items), "entity")
        days = (self.end_date - self.start_date).days + 1
        entities = {item.partition.entity for item in self.items} - {""}
        of = f", {plural(len(entities), 'entity')}" if entities else ""
        last = f"; last settled date {self.settled_up_to}" if self.settled_up_to else ""
        return f"{self.start_date} to {self.end_date} inclusive, {self.zone}, {plural(days, 'day')}{of}{last}"

    def describe(self) -> str:
        """Date echo and counts, one line."""
        counts = self.counts()
        parts = [
            f"{counts[Path.FETCH]:,} to fetch",
            f"{counts[Path.RELOAD] + counts[Path.REPARSE]:,} to load from landed payloads",
            f"{counts[Path.SKIP]:,} done already",
        ]
        gone = [item.why for item in self.items if item.path is Path.UNAVAILABLE]
        too_old = sum(why.startswith(TOO_OLD) for why in gone)
        left_alone = sum(one.path is Path.WAIT and one.why.startswith(LEFT_ALONE) for one in self.items)
        unseen = sum(why.startswith(NOBODY_LOOKED) for why in gone)
        for count, words in (
            (counts[Path.EMPTY], "of which nothing is expected"),
            (counts[Path.RECOUNT], "to recount"),
            (len(gone) - too_old - unseen, BEFORE_FIRST),
            (too_old, TOO_OLD),
            (unseen, f"gone: {NOBODY_LOOKED}"),
            (counts[Path.WAIT] - left_alone, "waiting for another source"),
            (left_alone, "waiting for a site that blocked us"),
            (counts[Path.LEAVE], f"left as they are by mode {self.mode.value}"),
        ):
            if count:
                parts.append(f"{count:,} {words}")
        return f"{self.source}: {self.date_echo()}. {plural(len(self.items), 'partition')}: {', '.join(parts)}"


def _as_stored(said: Expectation) -> dict[str, Any]:
    return {"doubt": said.doubt} if said.doubt else {"items": dict(said.items), "by": said.by}


@dataclass(frozen=True, slots=True)
class PlanRules:
    """What a run was asked to do with its partitions, and from when on.

    Args:
        mode: See :class:`flows.parameters.Mode`.
        order: Of the items of the plan.
        retry_failed: Only partitions whose last verdict is a failure are in the plan at all.
        accept_shrink: Only partitions whose last answer had fewer rows than before are in the plan: it is loaded.
        only: Keys of an earlier run; others are not in the plan.
        since: When the run began (aware), or the one that it goes on with.
        goes_on: Good verdicts from ``since`` on are its own, and not made again, whatever the mode. A run that only
            begins has none, though another machine, whose clock is ahead, may have written later ones.
        empty_ttl: A proof of emptiness that was older than this at ``since`` is none any more.
        settled_up_to: The last date of the source that may be asked for now.
        earliest: The first one that it still answers for: what is older is not fetched, and loaded where it is landed.
        changed: Keys of which the source has other items than landed, and why: they are fetched again.
        review: Whose rows of the source wait for approval, "" for nobody's.
        continues_review: That review is this run's own.
        is_reviewed: Nothing is published until a person approves: what was rejected may be tried again.
    """

    mode: Mode = Mode.INCREMENTAL
    order: Order = Order.OLDEST_FIRST
    retry_failed: bool = False
    accept_shrink: bool = False
    only: Container[str] | None = None
    since: dt.datetime | None = None
    goes_on: bool = False
    empty_ttl: dt.timedelta = NEVER
    settled_up_to: dt.date | None = None
    earliest: dt.date = dt.date.min
    changed: Mapping[str, str] = field(default_factory=dict)
    review: str = ""
    continues_review: bool = False
    is_reviewed: bool = False


AS_USUAL = PlanRules()


def make_plan(
    scraper: Scraper, partitions: Sequence[Partition], ledger: Mapping[str, LedgerEntry], rules: PlanRules = AS_USUAL
) -> Plan:
    """Chooses the cheapest path per partition that the mode allows.

    Args:
        scraper: The source's facts.
        partitions: Everything in question, oldest first.
        ledger: What is known about them.
        rules: What is asked of the run.
    """
    items = []
    for partition in partitions:
        entry = ledger.get(partition.key)
        if rules.retry_failed and not (entry and entry.has_failed):
            continue
        if rules.only is not None and partition.key not in rules.only:
            continue
        if rules.accept_shrink:
            if entry is not None and entry.verdict is Verdict.SHRUNK:
                items.append(PlannedPartition(partition, Path.RELOAD, "fewer rows than before, accepted"))
            continue
        path, why = _path(scraper, partition, entry, rules)
        items.append(PlannedPartition(partition, path, why))
    if rules.order is Order.NEWEST_FIRST:
        items.reverse()
    dated = [partition for partition in partitions if not partition.is_whole]
    return Plan(
        scraper.source,
        min((partition.start for partition in dated), default=NO_DATE),
        max((partition.end for partition in dated), default=NO_DATE) - dt.timedelta(days=bool(dated)),
        scraper.zone,
        tuple(items),
        rules.mode,
        rules.since,
        rules.settled_up_to if dated else None,
    )


def why_unaskable(scraper: Scraper, partition: Partition, earliest: dt.date) -> str:
    """Why no call is made for that date: the source never had it, or answers for it no more; "" where it is asked.

    ``earliest`` is as `Scraper.earliest` says.

    What plan, ledger and inventory say of such a date of which nothing is there.
    """
    if partition.is_whole:
        return ""
    if partition.start < scraper.floor:
        return f"{BEFORE_FIRST} {scraper.floor} {scraper.floor_evidence}".rstrip()
    if partition.start >= earliest:
        return ""
    if not scraper.keeps_history:
        return f"{NOBODY_LOOKED}, and the source keeps no history"
    return f"{TOO_OLD}, which begins at {earliest}"


def unless_askable_again(entry: LedgerEntry | None, why: str) -> LedgerEntry | None:
    """The entry; None where it says "before the first date" of a source whose first date is earlier by now."""
    if (
        entry is None
        or entry.verdict is not Verdict.UNAVAILABLE
        or not entry.evidence.startswith((BEFORE_FIRST, TOO_OLD, NOBODY_LOOKED))
    ):
        return entry
    return entry if why else None


def _without_call(entry: LedgerEntry | None, mode: Mode, why: str) -> tuple[Path, str] | None:
    """No call is made; what is landed is still loaded, and what is done stays done. None: as any other date."""
    if entry is not None and entry.verdict is Verdict.SHRUNK:
        return Path.LEAVE, f"{entry.verdict.value}, and {why}"
    if entry is None or not entry.attempt:
        last = f"; its last try failed: {entry.error_type}" if entry and entry.verdict.is_failed else ""
        return Path.UNAVAILABLE, f"{why}{last}"
    if mode not in (Mode.INCREMENTAL, Mode.FULL):
        return None
    if _has_rows_called_unavailable(entry) or not (entry.verdict.is_good or entry.verdict in _LANDED):
        return _by_what_is_there(entry, why)
    if entry.verdict.is_good:
        return Path.SKIP, f"{entry.verdict.value}, and {why}"
    return (Path.RELOAD, f"{entry.verdict.value} by {entry.backfill_id}") if mode is Mode.FULL else None


def _has_rows_called_unavailable(entry: LedgerEntry) -> bool:
    return entry.verdict is Verdict.UNAVAILABLE and any(entry.loaded.values())


def _by_what_is_there(entry: LedgerEntry, why: str) -> tuple[Path, str]:
    """What failed after something of it had landed is not unavailable, whatever the source still answers.

    What was verified stands where a recount says so again. What landed since then, was never verified, or did not agree
    with its rows is loaded.
    """
    if entry.error_type == NARROWED:
        return Path.LEAVE, f"{entry.error}, and {why}"
    at, landed_at = entry.verified_at, begun_at(entry.attempt)
    if at is None or (landed_at is not None and landed_at > at) or entry.verdict is Verdict.PARTIAL:
        return Path.RELOAD, f"{entry.verdict.value} after it was landed, and {why}"
    return Path.RECOUNT, f"{entry.verdict.value} after it was verified on {at:%Y-%m-%d}, and {why}"


def _held_by_rejection(entry: LedgerEntry, mode: Mode) -> Path | None:
    """What became of a partition of which somebody did not approve what came last; None: as any other.

    Nothing is asked of the source, lest the same comes again and is loaded unseen. Old rows are still loaded from their
    own payload. What never had rows is loaded by nothing but a review, and a full run.
    """
    if mode is Mode.INCREMENTAL and entry.verdict.is_good:
        return Path.SKIP
    never_had_rows = entry.verdict is Verdict.FAILED_PERMANENT and mode is Mode.REPROCESS
    asks = mode is Mode.INCREMENTAL and entry.verdict not in _LANDED
    return Path.LEAVE if never_had_rows or asks else None


def _path(
    scraper: Scraper,
    partition: Partition,
    entry: LedgerEntry | None,
    rules: PlanRules,
) -> tuple[Path, str]:
    mode, since = rules.mode, rules.since
    if entry is not None and entry.verdict is Verdict.STAGED:
        if rules.review:
            told = f"{IN_REVIEW} {rules.review}"
            return (Path.SKIP if rules.continues_review else Path.LEAVE), told
        # The review is gone, and its rows with it.
        entry = replace(entry, verdict=Verdict.LANDED)
    if entry is not None and entry.rejected and not rules.is_reviewed:
        held = _held_by_rejection(entry, mode)
        if held is not None:
            return held, f"{REJECTED}{entry.rejected}"
    why = why_unaskable(scraper, partition, rules.earliest)
    entry = unless_askable_again(entry, why)
    if why:
        without_call = _without_call(entry, mode, why)
        if without_call is not None:
            return without_call
    is_own = rules.goes_on and entry is not None and since is not None and entry.updated_at >= since
    if mode is not Mode.INCREMENTAL and entry and entry.verdict.is_good and is_own:
        return Path.SKIP, f"{entry.verdict.value} by this run before its pause"
    if mode is Mode.REPROCESS:
        return (Path.REPARSE, "landed") if entry and entry.attempt else (Path.LEAVE, "nothing is landed")
    if mode is Mode.VALIDATE:
        is_loaded = entry is not None and entry.attempt and (entry.receipt_id or entry.loaded)
        return (Path.RECOUNT, "loaded") if is_loaded else (Path.LEAVE, "nothing is loaded")
    if entry is None:
        return Path.FETCH, "never attempted"
    is_landed = entry.verdict in _LANDED
    if mode is Mode.FULL and not (is_landed and is_own):
        return Path.FETCH, f"{entry.verdict.value}, fetched again"
    if (entry.verdict.is_good or is_landed) and partition.key in rules.changed:
        return Path.FETCH, rules.changed[partition.key]
    if entry.verdict.is_good and partition.is_whole and since and since - entry.answered_at > scraper.fresh_for:
        return Path.FETCH, f"{entry.verdict.value} on {entry.answered_at:%Y-%m-%d}, a fresh snapshot is due"
    if entry.verdict is Verdict.EMPTY_OK and since and since - entry.answered_at > rules.empty_ttl:
        return (
            Path.FETCH,
            f"proven empty on {entry.answered_at:%Y-%m-%d}, more than {plural(rules.empty_ttl.days, 'day')} ago",
        )
    if entry.verdict.is_good:
        return Path.SKIP, entry.verdict.value
    if is_landed:
        return Path.RELOAD, f"{entry.verdict.value} by {entry.backfill_id}, not verified"
    return Path.FETCH, f"{entry.verdict.value}: {entry.error_type}" if entry.error_type else entry.verdict.value
