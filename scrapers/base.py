"""What a source declares about its upstream: facts, requests, and what a good answer looks like."""

from __future__ import annotations

import datetime as dt
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from zoneinfo import ZoneInfo

from pydantic import ValidationError

from alerting.errors import ConfigurationError, PipelineError, SourceContractError, writable
from scrapers.auth import Auth
from scrapers.bands import Band
from scrapers.entity_facts import EntityFacts
from scrapers.oracle import Oracle
from scrapers.partition import VARIANT_MARK, Partition, Step
from scrapers.rate import QuotaHeaders, Rate, Tier
from scrapers.rests import Rests
from scrapers.seasons import Seasons

if TYPE_CHECKING:
    from scrapers.answers import Answer


ABSENT = 404
ERRORS_FROM = 400
"""Statuses that are no answer, unless one says that what was asked for is rightly not there."""


@dataclass(frozen=True, slots=True)
class Request:
    """One call, relative to the scraper's ``base_url``. Never holds a secret: the client adds the key.

    A GET, or with ``json_body`` (a text of JSON, see `post`) a POST of it: for APIs that are asked by a document, as
    GraphQL ones are. It must only read, because a call is repeated; a page is known by it as by path and parameters.

    ``cursor`` is the source's own position of this page; it is kept in the manifest so that a killed partition
    resumes there. ``site`` takes the place of ``{site}`` in a ``base_url`` that has one, for sources with a host per
    entity; without one the host above them is asked. An ``Accept`` in ``headers`` wins over the scraper's.

    ``item`` is what the source calls what is asked for (the name of a file), where neither address nor answer says it;
    it is kept with the page and given to the processor, and never sent.

    ``absent_ok``: a 404, or what ``Scraper.says_absent``, is an answer to be read, because what was listed may rightly
    be gone; ``inspect`` gets it with its status, unless ``Scraper.problem`` knows better.
    """

    path: str
    params: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    cursor: str = ""
    site: str = ""
    absent_ok: bool = False
    json_body: str = ""
    item: str = ""

    def __post_init__(self) -> None:
        """Raises ``SourceContractError`` for a cursor that no URL can hold."""
        texts = (self.path, self.cursor, self.site, self.json_body, self.item)
        for text in (*texts, *(value for _, value in self.params)):
            if writable(text) != text:
                raise SourceContractError(f"the source names its next page by a text that is no Unicode: {text!a:.80}")

    @classmethod
    def post(cls, path: str, document: Mapping[str, Any], **rest: Any) -> Request:
        """A POST of ``document``, written in one way whatever the order of its names.

        >>> Request.post("/graphql", {"variables": {"offset": 50}, "query": "{ sales }"}).json_body
        '{"query":"{ sales }","variables":{"offset":50}}'
        """
        text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return cls(path, json_body=text, **rest)

    @property
    def method(self) -> Literal["GET", "POST"]:
        """Of HTTP."""
        return "POST" if self.json_body else "GET"

    def asks_as(self, other: Request) -> bool:
        """Whether both ask the source for the same, whatever else is kept with them."""
        return all(getattr(self, name) == getattr(other, name) for name in ("site", "path", "params", "json_body"))


@dataclass(frozen=True, slots=True)
class Page:
    """One complete answer: body decompressed, text of a labelled set in UTF-8, as the source sent it otherwise.

    ``packed`` are the bytes that it came in, where the source packed it; a key may be masked in the body alone.
    """

    request: Request
    number: int
    status: int
    headers: Mapping[str, str]
    body: bytes
    fetched_at: dt.datetime
    elapsed_s: float
    packed: bytes = b""

    @property
    def is_absent(self) -> bool:
        """Whether the source rightly does not have what was asked for: it holds no rows."""
        return self.request.absent_ok and self.status >= ERRORS_FROM


@dataclass(frozen=True, slots=True)
class Dated:
    """What a page has of one date: rows per table, items that will still change, and a hash over its rows, "" for none.

    By the hash a date is known to be unchanged, though other dates of the same answer are not.
    """

    counts: Mapping[str, int]
    unsettled: tuple[str, ...] = ()
    digest: str = ""

    def __post_init__(self) -> None:
        """Names are kept in a form that manifests can hold."""
        object.__setattr__(self, "unsettled", tuple(map(writable, self.unsettled)))


@dataclass(frozen=True, slots=True)
class Swept:
    """One row on a page of a sweep.

    Attributes:
        key: The key of its row in the first table, as text; several columns are joined by ``|``.
        date: Local date that says to which partition it belongs.
        digest: Over its content: tells two forms of it apart.
        where: Its step on each of ``Scraper.axes``, None where it has none.
    """

    key: str
    date: dt.date
    digest: str
    where: tuple[int | None, ...] = ()

    def __post_init__(self) -> None:
        """The key is kept in a form that manifests can hold."""
        object.__setattr__(self, "key", writable(self.key))


@dataclass(frozen=True, slots=True)
class Findings:
    """What a scraper reads off one page, by code that the processor does not share.

    ``counts`` is rows per table that this page must become in the warehouse. ``source_total`` is what the source
    itself announces for the whole partition (None when it does not), ``at_least`` what it announces where it stops
    counting ("more than 10,000"). ``empty_evidence`` is the positive sign that
    an empty answer is true ("" when it is not empty or not proven). ``unsettled`` names items that will still change.
    ``next_request`` continues the partition, None ends it.

    Only for sources that paginate, where the upstream can change between two pages: every ``source_total`` of a
    partition must be the same, and no key may come twice in ``keys``, the identities of the rows of this page. A page
    with ``confirms`` holds no rows for the warehouse, but identities read a second time: together they must be exactly
    the ``keys`` of the others. Two equal readings one after the other prove what was there between them.

    ``lists`` is for pages that name items which are fetched one by one, whether they have rows of their own or not: at
    the end the items of all lists must be the ``keys`` of the others, or ``absent``: listed, and rightly not there.
    Both are for people too: what is absent is named in ledger and mail.

    ``versions`` says of which version (a hash, the time of the last change) each listed item is, for sources whose
    items are changed after they were read: see :class:`scrapers.platforms.catalogue.Versioned`.

    ``where`` is for sources with a ``result_cap``: for each row of the page, in its order, the step of the partition
    (see ``Scraper.parts``) that it belongs to.

    ``dates`` is for partitions of several dates (see ``Scraper.days_per_call``): what the page has of each date that it
    has rows of, in the order in which they came. ``empty_evidence`` is there the sign that the dates it has no rows of
    are empty.

    ``swept`` is for sources that are read as a whole (see ``Scraper.sweeps``): every row of the page.
    """

    counts: Mapping[str, int]
    source_total: int | None = None
    at_least: int = 0
    empty_evidence: str = ""
    unsettled: tuple[str, ...] = ()
    next_request: Request | None = None
    keys: tuple[str, ...] = ()
    confirms: bool = False
    lists: tuple[str, ...] | None = None
    absent: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    where: tuple[int, ...] = ()
    dates: Mapping[dt.date, Dated] = field(default_factory=dict)
    swept: tuple[Swept, ...] = ()

    def __post_init__(self) -> None:
        """Names are kept in a form that manifests can hold. Raises ``TypeError`` for what is none of the above."""
        for name, kinds in _KINDS.items():
            value = getattr(self, name)
            if not isinstance(value, kinds) or isinstance(value, bool):
                raise TypeError(f"Findings.{name} is {type(value).__name__}, not {kinds[0].__name__}")
        for table, count in self.counts.items():
            if type(count) is not int or count < 0:
                shown = count if type(count) is int else type(count).__name__
                raise TypeError(f"Findings.counts of {table!r} is no number of rows: {shown}")
        for name in ("keys", "lists"):
            if strange := {type(one).__name__ for one in getattr(self, name) or () if not isinstance(one, str)}:
                raise TypeError(f"Findings.{name} has {', '.join(sorted(strange))} among its texts")
        object.__setattr__(self, "unsettled", tuple(map(writable, self.unsettled)))
        object.__setattr__(self, "absent", tuple(map(writable, self.absent)))


_KINDS: Mapping[str, tuple[type, ...]] = {
    "counts": (Mapping,),
    "source_total": (int, type(None)),
    "at_least": (int,),
    "empty_evidence": (str,),
    "unsettled": (tuple, list),
    "absent": (tuple, list),
    "next_request": (Request, type(None)),
}


class Scraper(ABC):
    """One source. A subclass declares facts and says how to ask and how to recognise a good answer.

    Class attributes:
        title: Its name for people.
        zone: IANA zone of the source's dates.
        base_url: Scheme and host, may hold ``{site}`` (see `Request`); a setting can replace it.
        tables: BigQuery tables that a page's ``counts`` names.
        floor, floor_evidence: First date the source can have, and how it was found; earlier partitions are
            ``unavailable`` without a call. ``scrapers.first_date_search`` can replace both.
        settles_after: Time after the end of the interval until its data no longer changes.
        settle_after_days: So many days after the end of a date its open items (a postponed game) block it no more: the
            others are loaded, and the open ones stay listed. 0 = they block it until they are final. ``counts`` and the
            processor's rows are then without the open items.
        accept: Media type asked for; a web page instead of JSON is then recognised as a block.
        charset: Character set of its text where neither a byte-order mark nor a header names it (cp1252); "" is UTF-8.
        has_checksums: False where those in the headers are not of the body; else one that differs means damage.
        headers: Sent with every request, where the source answers browsers only; one of the same name replaces our own.
            Never a secret.
        statuses: What an HTTP status means here, where it differs from ``scrapers.answers.STATUSES``.
        accepted_statuses: Statuses of a complete answer; the evidence of an empty one names its status.
        envelope: Fields of a JSON document without rows, those of a field as ``meta.per_page``: one that says anything
            beside them proves nothing. () = not known; then what speaks to people (a message) counts.
        step: Length of a partition; ``whole`` for a source that is asked by entity and not by date.
        entities: Of a source that is asked by entity, those that ``all`` means; a setting can replace them.
        variants: Kinds of documents of each entity; each is a partition of its own.
        has_series: Each entity has dates of its own (shops, regions): a partition is an entity at a date, and the form
            asks for both. Of a ``whole`` source it says nothing.
        entity_facts: What the settings have to say of each entity, in place of a list of names; None = nothing.
        domain: What a refusal, a wish to wait and the rate concern: the account, or with ``site`` each site (see
            `Request.site`) by itself. A site that is closed or refuses us is ``SiteClosed``, and the others are asked.
        hosts: Where ``{site}`` of ``base_url`` names one of a few hosts that sources of a platform share, and not the
            server of an entity: the account of each. A host that blocks us puts its account in cooldown. Is it the
            account of the source, the run ends; else it goes on with what the other hosts have. A host that is in
            cooldown is not asked, and its wish to wait pauses no other.
        told_facts: What the settings say, by entity: read it by ``facts_of``.
        fresh_for: How long a verified snapshot of a whole entity is good; a later run fetches it again. Of a sweep, how
            long other partitions are filled from it.
        is_paginated: A killed attempt is resumed at its last page; costs one listing a partition.
        page_size: Rows asked for per page; a setting can replace it, also between kill and resume.
        usd_per_call: US dollars that one call costs, for estimates and cost budgets; a setting can replace it.
        result_cap: Most rows of the first table that one request and its next pages give, where the source cuts in
            silence; 0 = none known. A partition that reaches it is asked in parts, or else ``truncated``.
        days_per_call: Most consecutive dates that one request can cover; ``first_request`` and ``inspect`` are then
            also given such a span as one partition, see :mod:`scrapers.spans`.
        sweeps: What is read one after the other by sources that cannot be asked for a date (regions, categories): one
            reading of all of it fills all partitions that are asked for, see :mod:`scrapers.sweeps`. A setting can
            replace it.
        axes: By what a sweep is narrowed where it reaches ``result_cap``: steps per axis, see
            :mod:`scrapers.sweep_reading`.
        grows: Rows may be added while a sweep reads for hours.
        feeds_on: The source of the same step whose landed items are asked for here one by one, see
            :mod:`scrapers.feeding`; it is one of ``requires``.
        rests: How long the source rightly has no rows (weekends, holidays, off-season); None = not known. More empty
            dates in a row are not called empty, whatever proves them: an outage answers "nothing" too.
        family: Name of the sources that one parent deployment runs and `gapless coverage` shows side by side; "" where
            the source stands alone.
        seasons: When a family of sports has its seasons, so that a run can be asked for one by its name; None where
            years and months are all that people name.
        requires: Sources that come before this one. A date is begun for the first time when each of them is done with
            it (verified, or rightly without rows); of a source that is asked by entity, when its newest snapshots are
            verified. Until then it waits, unless the run has ``ignore_requires``.
        oracles: Which items each date must have, as other sources say.
        compared: The same, where no run waits for it or judges by it: only `gapless coverage` asks.
        account: Name of the login or plan that several sources share; "" where the source has it alone. Rate, quota,
            cooldown and pauses are those of the account: its sources keep them together, also from several processes,
            see :mod:`scrapers.pace.account_pace`. All of them declare the same rate, auth and quota headers.
        tiers: The plans that an account can have, the cheapest first; each opens what those before it open. A setting
            says which one the account has, or a limit a month that the settings state; without them the last one with
            the rate that is declared as ``rate`` is taken for granted, and said to be. () = one plan.
        needs_tier: Name of the cheapest tier that may ask the source; "" = every one may.
        entity_tiers: The same by entity, where it differs.
        cost_unit: What the source counts instead of calls, as one word in the singular (credit); "" is calls. Quotas,
            ``max_calls``, estimates and mails count such units then, see ``cost``.
        calls_guess, units_guess: Calls and units that a partition takes, for the first estimate, which says that it is
            a guess; 0 units are as many as calls.
        horizon: How far back the source answers; None = as far as its floor. It limits fetching only: what was landed
            in time is loaded, and what is verified stays verified when it gets older than that.
        keeps_history: False where the source only shows how things are at this moment. A date is asked for while it
            lasts, and ``settles_after`` says nothing; one that is over is loaded from what was landed, never fetched.
        may_repeat: Two partitions may rightly have the same payload, or the same round number of rows; elsewhere both
            are quarantined and not loaded.
        narrowed_by: By what it can be asked for a part of what it has, as one word in the singular (region); "" where
            it cannot.
        only: The parts that are asked for, in lower case and sorted; () is all there is. A setting says so, and what
            was landed by it is done for these parts and no others.
        raw_days: Days after which its landed pages are deleted by the bucket's lifecycle, where they hold what must not
            be kept for ever (personal data); 0 = never. Manifests stay, and errors, which then quote nothing of a page
            that ``inspect`` refuses. A setting can replace it.
        rate, auth, quota_headers, timeout_s, max_body_bytes: As their types say.
    """

    source: ClassVar[str] = ""
    title: ClassVar[str] = ""
    zone: ClassVar[str]
    base_url: ClassVar[str]
    tables: ClassVar[tuple[str, ...]]
    envelope: ClassVar[tuple[str, ...]] = ()
    step: ClassVar[Step] = "day"
    entities: tuple[str, ...] = ()
    variants: ClassVar[tuple[str, ...]] = ()
    fresh_for: ClassVar[dt.timedelta] = dt.timedelta(hours=20)
    is_paginated: ClassVar[bool] = False
    page_size: int = 0
    result_cap: ClassVar[int] = 0
    days_per_call: ClassVar[int] = 1
    sweeps: tuple[str, ...] = ()
    axes: ClassVar[tuple[range, ...]] = ()
    grows: ClassVar[bool] = False
    feeds_on: ClassVar[str] = ""
    narrowed_by: ClassVar[str] = ""
    only: tuple[str, ...] = ()
    raw_days: ClassVar[int] = 0
    rests: ClassVar[Rests | None] = None
    family: ClassVar[str] = ""
    seasons: ClassVar[Seasons | None] = None
    requires: ClassVar[tuple[str, ...]] = ()
    oracles: ClassVar[tuple[Oracle, ...]] = ()
    compared: ClassVar[tuple[Oracle, ...]] = ()
    account: ClassVar[str] = ""
    tiers: ClassVar[tuple[Tier, ...]] = ()
    needs_tier: ClassVar[str] = ""
    entity_tiers: ClassVar[Mapping[str, str]] = MappingProxyType({})
    horizon: ClassVar[dt.timedelta | None] = None
    keeps_history: ClassVar[bool] = True
    cost_unit: ClassVar[str] = ""
    calls_guess: ClassVar[float] = 1.0
    units_guess: ClassVar[float] = 0.0
    may_repeat: ClassVar[bool] = False
    has_series: ClassVar[bool] = False
    entity_facts: ClassVar[type[EntityFacts] | None] = None
    told_facts: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
    domain: ClassVar[Literal["account", "site"]] = "account"
    hosts: ClassVar[Mapping[str, str]] = MappingProxyType({})
    floor: dt.date = dt.date(1970, 1, 1)
    floor_evidence: str = ""
    settles_after: ClassVar[dt.timedelta] = dt.timedelta(hours=6)
    settle_after_days: ClassVar[int] = 0
    auth: ClassVar[Auth | None] = None
    rate: ClassVar[Rate] = Rate()
    usd_per_call: ClassVar[float] = 0.0
    quota_headers: ClassVar[QuotaHeaders | None] = None
    accept: ClassVar[str] = "application/json"
    charset: ClassVar[str] = ""
    has_checksums: ClassVar[bool] = True
    headers: ClassVar[Mapping[str, str]] = MappingProxyType({})
    statuses: ClassVar[Mapping[int, type[PipelineError]]] = MappingProxyType({})
    accepted_statuses: ClassVar[frozenset[int]] = frozenset({200})
    timeout_s: ClassVar[float] = 120.0
    max_body_bytes: ClassVar[int] = 64 * 1024 * 1024

    @abstractmethod
    def first_request(self, partition: Partition) -> Request:
        """The request that begins the partition."""

    @abstractmethod
    def inspect(self, partition: Partition, page: Page) -> Findings:
        """Reads a page's facts. Called before the page counts as landed, but after it was stored.

        Raises ``SourceContractError`` for another shape, ``BlockedBySource`` for a challenge,
        ``NothingPublished`` for an empty answer that proves nothing, ``Truncated`` at a cap.
        """

    def problem(self, answer: Answer) -> PipelineError | None:  # noqa: ARG002 - a source whose statuses say it all
        """What an answer says in its body about why it is none; None where its status says enough.

        Asked of every answer, before ``statuses``. A ``BudgetExhausted`` with the fact ``unit`` (day, month) closes the
        account until that unit ends, or until its ``resets_at``: no run makes a call before. An ``AuthenticationError``
        with the fact ``lacks_tier`` names the cheapest of ``tiers`` that would do: runs that need it are refused when
        they are planned, until the account changes.
        """
        return None

    def says_absent(self, answer: Answer) -> bool:  # noqa: ARG002 - a 404 says it by itself
        """Whether an answer says in its body that what was asked for is not there, whatever its status.

        Asked where the request has ``absent_ok``, before a page of a bot defence is looked for.
        """
        return False

    def cost(self, request: Request) -> int:  # noqa: ARG002 - a source that counts calls
        """Units that the request takes from the quota."""
        return 1

    def parts(self, partition: Partition) -> range:  # noqa: ARG002 - a source that cannot be asked for less
        """The smallest steps that one request can name, numbered from 0: see :mod:`scrapers.parts`.

        ``partition.steps(dt.timedelta(minutes=1))`` where the source can be asked from an instant to another.
        """
        return range(1)

    def part_request(self, partition: Partition, part: range) -> Request:
        """Begins exactly the steps of ``part`` (half-open, at least one); only where ``parts`` has several."""
        raise ConfigurationError(
            f"{self.source} has {len(self.parts(partition))} parts and no request for {part}; no call was made",
            hint="give the scraper a part_request, or remove its parts",
        )

    def item_request(self, partition: Partition, item: str) -> Request:  # noqa: ARG002 - see feeds_on
        """Asks for one item that the source named in ``feeds_on`` has listed; only where there is one.

        ``inspect`` names the item of the answer in ``Findings.keys``, or in ``absent``.
        """
        raise ConfigurationError(
            f"{self.source} feeds on {self.feeds_on or 'nothing'} and has no request for {item}; no call was made",
            hint="give the scraper an item_request",
        )

    def band_request(self, band: Band) -> Request:
        """Begins exactly the rows of ``band``; only where there are ``sweeps``."""
        raise ConfigurationError(
            f"{self.source} is swept and has no request for {band}; no call was made",
            hint="give the scraper a band_request",
        )

    @property
    def takes_several_calls(self) -> bool:
        """Whether a partition can take more than one call, so that a killed one is resumable."""
        return self.is_paginated or self.result_cap > 0 or bool(self.sweeps or self.feeds_on)

    @property
    def account_name(self) -> str:
        """Whose rate, quota and cooldown count: the declared account, else the source itself."""
        return self.account or self.source

    @classmethod
    def tier(cls, name: str) -> Tier:
        """The tier of that name. Raises ``ConfigurationError`` where the account cannot have it."""
        for tier in cls.tiers:
            if tier.name == name:
                return tier
        known = ", ".join(tier.name for tier in cls.tiers) or "none"
        raise ConfigurationError(
            f"{cls.account or cls.source} has no tier {name!r}, only {known}. Nothing was done",
            source=cls.source,
            stage="settings",
            hint="fix GAPLESS_ACCOUNT_TIERS",
        )

    @classmethod
    def tier_needed(cls, partition: Partition) -> Tier | None:
        """The cheapest tier that may ask for the partition; None where every one may."""
        name = cls.entity_tiers.get(partition.entity.partition(VARIANT_MARK)[0], cls.needs_tier)
        return cls.tier(name) if name else None

    @property
    def takes_entities(self) -> bool:
        """Whether it is asked by entity, be that as a whole or at a date."""
        return self.step == "whole" or self.has_series

    def entities_of(self, today: dt.date) -> tuple[str, ...]:  # noqa: ARG002 - a source whose entities all live on
        """The entities that may still change on ``today``, a date of its zone: what the daily run reads anew.

        Of a source that is asked by entity; its kinds of documents are named as `names_of_entities` does.
        """
        return self.names_of_entities

    @property
    def names_of_entities(self) -> tuple[str, ...]:
        """Every entity, and each of its kinds of documents."""
        return tuple(
            f"{name}{VARIANT_MARK}{variant}" if variant else name
            for name in self.entities
            for variant in self.variants or ("",)
        )

    def facts_of(self, entity: str) -> Any:
        """What the settings say of ``entity`` (without its variant), as ``entity_facts``.

        Raises ``ConfigurationError`` for an entity that they do not have, and for facts that are missing or wrong.
        """
        name = entity.partition(VARIANT_MARK)[0]
        assert self.entity_facts is not None
        where = f"GAPLESS_SOURCE_ENTITIES, {self.source}, {name}"
        wanted = ", ".join(self.entity_facts.model_fields)
        hint = f"fix GAPLESS_SOURCE_ENTITIES: each entity of {self.source} has {wanted}"
        if name not in self.told_facts:
            raise ConfigurationError(
                f"{where}: nothing is said of it. Nothing was done", source=self.source, stage="plan", hint=hint
            )
        try:
            return self.entity_facts.model_validate(dict(self.told_facts[name]))
        except ValidationError as error:
            told = "; ".join(
                f"{'.'.join(map(str, one['loc']))}: {one['msg']}"
                for one in error.errors(include_input=False, include_url=False)
            )
            raise ConfigurationError(
                f"{where}: {told}. Nothing was done", source=self.source, stage="plan", hint=hint
            ) from None

    def site_of(self, key: str) -> str:
        """The site that answers for the partition of this key: what its entity begins with."""
        return key.partition("@")[0].partition(VARIANT_MARK)[0]

    @property
    def has_sites(self) -> bool:
        """Whether each entity is answered by a host of its own, so that a block by one says nothing of the others."""
        return "{site}" in self.base_url and not self.hosts

    def account_of_host(self, site: str) -> str:
        """Whose cooldown counts for calls to ``site``; "" is the source's usual host."""
        return self.hosts.get(site, self.account_name)

    @classmethod
    def earliest(cls, now: dt.datetime) -> dt.date:
        """The first date, in the source's zone, that can be asked for at ``now`` (aware): by ``horizon`` or today."""
        if not cls.keeps_history:
            today = now.astimezone(ZoneInfo(cls.zone)).date()
            return today.replace(day=1) if cls.step == "month" else today
        if cls.horizon is None:
            return dt.date.min
        return (now - cls.horizon).astimezone(ZoneInfo(cls.zone)).date()

    @classmethod
    def settled_at(cls, partition: Partition) -> dt.datetime:
        """The instant (aware, UTC) from which the partition may be asked for; a whole entity always may."""
        if partition.is_whole:
            return dt.datetime.min.replace(tzinfo=dt.UTC)
        return partition.ends_at + cls.settles_after if cls.keeps_history else partition.begins_at

    @classmethod
    def blocks_at(cls, partition: Partition, now: dt.datetime) -> bool:
        """Whether items that are still open at ``now`` (aware) keep the partition from being loaded."""
        if partition.is_whole or not cls.settle_after_days:
            return True
        return now < partition.ends_at + dt.timedelta(days=cls.settle_after_days)

    @classmethod
    def last_settled(cls, now: dt.datetime) -> dt.date:
        """The last date, in the source's zone, that may be asked for at ``now`` (aware); of months the end of one.

        Where only the present can be asked for it is today.
        """
        day = now.date() + dt.timedelta(days=1)
        is_by_month = cls.step == "month" and cls.keeps_history
        while True:
            one = Partition.month(day.year, day.month, cls.zone) if is_by_month else Partition.day(day, cls.zone)
            if cls.settled_at(one) <= now:
                return one.end - dt.timedelta(days=1)
            day = one.start - dt.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class SourceAccess:
    """Where and with what to reach one source: the settings' side of a scraper's declared facts.

    ``renewed`` keeps a secret that the source has replaced, given by name and new value, for later processes.
    """

    base_url: str
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    rate: Rate = field(default_factory=Rate)
    timeout_s: float = 120.0
    renewed: Callable[[str, str], None] | None = None
