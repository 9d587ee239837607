"""From errors to causes: which incidents are the same fault, and which are only its echo. Pure, one pass.

The version is part of every fingerprint, so that a better algorithm never moves the causes of an old run.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from alerting.incident import SEVERITIES, Incident
from alerting.ranges import compress_dates

VERSION = "v2"
MAX_WORDINGS = 50
"""More wordings than these of one error class at one place are one cause: the mask did not know what varies."""

_Rank = tuple[int, bool, dt.datetime, str]
_NEVER = dt.datetime.min.replace(tzinfo=dt.UTC)
_EVER = dt.datetime.max.replace(tzinfo=dt.UTC)

NOT_ATTEMPTED = ("NotAttempted", "BreakerOpen", "CircuitOpen")
"""Error types of partitions that were not tried because a breaker was open. Not errors, only work left."""

_MASKED = re.compile(
    r"""[a-z][a-z0-9+.-]{1,10}://[^\s"'<>)]+          # URL
      | (?<![\w.+-])[\w.+-]+@[\w.-]+                  # mail address, entity@date
      | (?:/[\w.@=%~+-]+){2,}/?                       # path
      | \b[0-9a-f]{8,}\b                              # hex
      | \b\w*\d[\w.:/+-]*                             # whatever carries a digit: dates, ids, numbers
      | (?-i:\b[A-Z]{2,4}(?:-[A-Z]{2,4})+\b)          # codes of things: LAL-BOS, EUR-USD
      | \b(?:jan|feb|mar|apr|may|jun|jul|aug|sept?|oct|nov|dec)(?:uary|ruary|ch|il|e|y|ust|tember|ober|ember)?\b
      | \b(?:mon|tues?|wednes|thurs?|fri|satur|sun)day\b
    """,
    re.IGNORECASE | re.VERBOSE,
)
_COUNTED = re.compile(r"(?<=<\*> )[a-z]+s\b")
_VERBS_OF_MANY = {"are": "is", "were": "was", "have": "has"}
_VERB = re.compile(rf"\b(?:{'|'.join(_VERBS_OF_MANY)})\b")
_REPEATED = re.compile(r"<\*>(?:[\s,;:./|+-]*<\*>)+")


def normalise(message: str) -> str:
    """The message without what changes from partition to partition.

    >>> normalise("Game 0022400123 on 2024-01-05: https://x.test/a?b=1 gave 17 rows")
    'game <*> on <*> gave <*> row'
    >>> normalise("final game LAL-BOS has 17 + 0 players")
    'final game <*> has <*> player'
    >>> normalise("1 entity was lost") == normalise("27 entities were lost")
    True
    """
    masked = _REPEATED.sub("<*>", _MASKED.sub("<*>", message[:500])).lower()
    counted = _COUNTED.sub(lambda found: _one_of(found.group()), masked)
    return " ".join(_VERB.sub(lambda found: _VERBS_OF_MANY[found.group()], counted).split())


def _one_of(nouns: str) -> str:
    if nouns in _VERBS_OF_MANY.values():
        return nouns
    if nouns.endswith("ies"):
        return f"{nouns[:-3]}y"
    return nouns[:-2] if nouns.endswith(("sses", "xes", "zes", "ches", "shes")) else nouns.removesuffix("s")


def endpoint_template(endpoint: str) -> str:
    """The path with its ids masked and its query dropped.

    >>> endpoint_template("https://x.test/v1/games/0022400123/box?date=2024-01-05")
    '/v1/games/<*>/box'
    """
    path = re.sub(r"^[a-z][a-z0-9+.-]*://[^/]*", "", endpoint.partition("?")[0])
    return "/".join("<*>" if re.search(r"^\d+$|\d{3,}|\d-\d|@", part) else part for part in path.split("/"))


def fingerprint(incident: Incident) -> str:
    """``v2:`` and 16 hex digits over source, exception chain, own frame, masked message, status class, endpoint.

    A fingerprint that the incident already carries is kept, whatever its version.
    """
    return incident.fingerprint or _hash(incident, normalise(incident.message))


def _hash(incident: Incident, wording: str) -> str:
    status = "" if incident.status is None else f"{incident.status // 100}xx"
    if incident.status in (401, 403, 429):
        status = str(incident.status)
    parts = (
        incident.source,
        "<".join(incident.exception_chain or (incident.error_type,)),
        incident.error_type,
        incident.frame,
        wording,
        status,
        endpoint_template(incident.endpoint),
    )
    return f"{VERSION}:{hashlib.sha256(chr(31).join(parts).encode('utf-8', 'replace')).hexdigest()[:16]}"


@dataclass(slots=True)
class IncidentGroup:
    """One cause: what happened, how often, to which partitions. ``cause_id`` is ``C1`` for the biggest."""

    fingerprint: str
    sample: Incident
    cause_id: str = ""
    count: int = 0
    partitions: set[str] = field(default_factory=set)
    first_at: dt.datetime = _EVER
    last_at: dt.datetime = _NEVER
    attempts: int = 0
    messages: list[str] = field(default_factory=list)
    echoes: int = 0
    many_wordings: bool = False
    rank: _Rank | None = None

    @property
    def ranges(self) -> str:
        """The partitions as ``compress_dates`` writes them."""
        return compress_dates(self.partitions, counts=True)

    @property
    def critical(self) -> bool:
        """Whether a person is needed."""
        return self.sample.severity == "CRITICAL"

    def add(self, incident: Incident) -> None:
        """Counts one incident in; keeps at most ten different messages."""
        self.count += 1
        if incident.partition:
            self.partitions.add(incident.partition)
        when = incident.occurred_at
        if when < self.first_at:
            self.first_at = when
        if when > self.last_at:
            self.last_at = when
        self.attempts += incident.attempts
        if len(self.messages) < 10 and incident.message not in self.messages:
            self.messages.append(incident.message)
        # Most incidents cannot be the better sample, and a rank costs as much as all the rest of this.
        sample = self.sample
        worse = incident.severity != sample.severity or (incident.traceback and not sample.traceback)
        if self.rank is None or worse or when <= sample.occurred_at:
            rank = _sample_rank(incident)
            if self.rank is None or rank < self.rank:
                self.sample, self.rank = incident, rank

    def absorb(self, other: IncidentGroup) -> None:
        """Takes in a group of the same cause; the worse sample stays."""
        self.count += other.count
        self.partitions |= other.partitions
        self.first_at, self.last_at = min(self.first_at, other.first_at), max(self.last_at, other.last_at)
        self.attempts += other.attempts
        self.messages = [*self.messages, *(text for text in other.messages if text not in self.messages)][:10]
        if other.rank is not None and (self.rank is None or other.rank < self.rank):
            self.sample, self.rank = other.sample, other.rank


def _sample_rank(incident: Incident) -> _Rank:
    """Worst first, then one with a traceback, then the earliest: whatever the order of arrival, the same sample."""
    severity = SEVERITIES.index(incident.severity)
    return severity, not incident.traceback, incident.occurred_at, incident.partition


@dataclass(frozen=True, slots=True)
class Causes:
    """``groups`` biggest impact first, criticals before all; ``not_attempted`` are partition keys, not errors."""

    groups: tuple[IncidentGroup, ...] = ()
    not_attempted: frozenset[str] = frozenset()
    incidents: int = 0


def group_incidents(incidents: Iterable[Incident]) -> Causes:
    """Groups a stream in one pass; memory grows with causes and partitions, not with incidents or wordings.

    Echoes go to their root first, per source: 401 and 403 to a dead key (AuthenticationError), 429 to a spent
    budget (BudgetExhausted); what an open breaker kept from being tried is no error at all.
    """
    groups = _Groups()
    not_attempted: set[str] = set()
    total = 0
    for incident in incidents:
        if incident.error_type in NOT_ATTEMPTED or incident.facts.get("not_attempted"):
            not_attempted.add(incident.partition)
            continue
        total += 1
        groups.of(incident).add(incident)
    found = groups.by_fingerprint
    _inhibit(found)
    ordered = sorted(
        found.values(), key=lambda each: (not each.critical, -len(each.partitions), -each.count, each.fingerprint)
    )
    for number, group in enumerate(ordered, start=1):
        group.cause_id = f"C{number}"
    failed = {key for group in ordered for key in group.partitions}
    return Causes(tuple(ordered), frozenset(not_attempted - failed - {""}), total)


class _Groups:
    """Groups by fingerprint, until a class at a place has too many wordings: then it is one group for all of them.

    Whatever the order of arrival, the same groups come out.
    """

    def __init__(self) -> None:
        self.by_fingerprint: dict[str, IncidentGroup] = {}
        self._wordings: dict[str, list[str]] = {}

    def of(self, incident: Incident) -> IncidentGroup:
        key = fingerprint(incident)
        if known := self.by_fingerprint.get(key):
            return known
        place = _hash(incident, "ANY")  # no wording: those are in small letters
        if known := self.by_fingerprint.get(place):
            return known
        wordings = self._wordings.setdefault(place, [])
        wordings.append(key)
        if len(wordings) <= MAX_WORDINGS:
            self.by_fingerprint[key] = IncidentGroup(key, incident)
            return self.by_fingerprint[key]
        merged = self.by_fingerprint[place] = IncidentGroup(place, incident, many_wordings=True)
        for each in self._wordings.pop(place):
            if each in self.by_fingerprint:
                merged.absorb(self.by_fingerprint.pop(each))
        return merged


def _inhibit(groups: dict[str, IncidentGroup]) -> None:
    for root_type, echo_types, statuses in (
        ("AuthenticationError", ("AuthenticationError",), (401, 403)),
        ("BudgetExhausted", ("BudgetExhausted", "RateLimited"), (429,)),
    ):
        for source in {group.sample.source for group in groups.values()}:
            own = [group for group in groups.values() if group.sample.source == source]
            roots = [group for group in own if group.sample.error_type == root_type]
            if not roots:
                continue
            root = min(roots, key=lambda group: (group.first_at, group.fingerprint))
            for group in own:
                echo = group.sample.error_type in echo_types or group.sample.status in statuses
                if group is not root and echo:
                    _mute(root, groups.pop(group.fingerprint))


def _mute(root: IncidentGroup, echo: IncidentGroup) -> None:
    # The root speaks for itself: an echo changes neither its sample nor its messages.
    sample, rank, messages = root.sample, root.rank, root.messages
    root.absorb(echo)
    root.sample, root.rank, root.messages = sample, rank, messages
    root.echoes += echo.count
