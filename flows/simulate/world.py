"""The outside of simulated runs: storage, warehouse, source and mail, each a place where a fault can strike."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import math
import random
import re
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from email.message import EmailMessage
from functools import cached_property
from typing import IO, Any

from time_machine import escape_hatch

from alerting.channels import Channel, Delivery, DeliveryFailed, Kind
from alerting.errors import ConfigurationError, LandingUnavailable, SourceUnavailable, WarehouseBusy
from alerting.incident import Severity
from alerting.memory_store import MemoryObjectStore
from alerting.object_store import StoredObject
from alerting.redaction import redact_value
from flows.prices import Usage
from flows.settings import Settings
from flows.simulate.faults import (
    OF_CHANNEL,
    OF_READ,
    OF_REPLACE,
    OF_SOURCE,
    OF_STORAGE_WRITE,
    STORM_S,
    Fault,
    Killed,
    Process,
)
from flows.simulate.machine import Machines
from flows.simulate.memory_warehouse import MemoryWarehouse
from flows.simulate.server_limit import ServerLimits, SimulatedWorkerKit
from flows.simulate.virtual_time import VirtualClock, real_monotonic, real_sleep
from flows.wiring import Services
from processors.base import Table
from processors.load_plan import QueryValue, TableBatch, TableLoad
from processors.state_views import StateView
from processors.views import View
from scrapers.answers import Answer
from scrapers.auth import SecretParam, TokenAuth
from scrapers.base import Request, Scraper, SourceAccess
from scrapers.client import SourceClient
from scrapers.pace.account_pace import HEARD_WITHIN_S
from scrapers.pace.budget import Budget
from scrapers.rate import Rate
from scrapers.scrape import nothing
from scrapers.service_account import ServiceAccount
from scrapers.transport import Call, Transport

OF_WAREHOUSE = OF_STORAGE_WRITE
_RETRY_AFTER_S = 7.0
_WORD_OF_A_PAUSE = "write budgets/pace"
_OF_PAGE = re.compile("_?(page|cursor|offset|skip|next|pagetoken)", re.IGNORECASE)
_OF_TOTAL = re.compile(r"(^|[-_])total($|[-_])", re.IGNORECASE)
_BUSY = (429, 500, 502, 503, 504)
_MOST_BUSY = 20


class SimulatedStore:
    """See `alerting.object_store.ObjectStore`: the bucket of the world, as one process sees it."""

    def __init__(self, bucket: MemoryObjectStore, process: Process) -> None:
        self._bucket, self._process = bucket, process

    @property
    def root_uri(self) -> str:
        """Of the bucket."""
        return self._bucket.root_uri

    @property
    def calls(self) -> Mapping[str, int]:
        """Nothing here is paid for."""
        return {}

    def read(self, name: str) -> tuple[bytes, int]:
        """See the protocol."""
        with self._process.doing("storage", f"read {name}", OF_READ, _no_storage):
            return self._bucket.read(name)

    def write(
        self,
        name: str,
        data: bytes | IO[bytes],
        *,
        if_generation: int | None = None,
        content_type: str = "application/octet-stream",
        metadata: Mapping[str, str] | None = None,
    ) -> int:
        """See the protocol."""
        with self._process.doing("storage", f"write {name}", OF_STORAGE_WRITE, _no_storage):
            return self._bucket.write(
                name, data, if_generation=if_generation, content_type=content_type, metadata=metadata
            )

    def list(
        self, prefix: str, *, start_offset: str | None = None, end_offset: str | None = None
    ) -> Iterator[StoredObject]:
        """See the protocol."""
        with self._process.doing("storage", f"list {prefix}", OF_READ, _no_storage):
            return self._bucket.list(prefix, start_offset=start_offset, end_offset=end_offset)

    def delete(self, name: str) -> None:
        """See the protocol."""
        with self._process.doing("storage", f"delete {name}", OF_STORAGE_WRITE, _no_storage):
            self._bucket.delete(name)


class SimulatedWarehouse:
    """See `processors.load_plan.Warehouse`: the tables of the world, as one process sees them."""

    billed_bytes = 0

    def __init__(self, tables: MemoryWarehouse, process: Process) -> None:
        self._tables, self._process = tables, process

    def ensure_dataset(self) -> None:
        """It is there."""

    def ensure_table(self, table: Table) -> None:
        """See the protocol."""
        self._tables.ensure_table(table)

    def ensure_view(self, view: View | StateView) -> None:
        """See the protocol."""
        self._tables.ensure_view(view)

    def stage(self, batch: TableBatch) -> TableLoad:
        """See the protocol."""
        with self._process.doing("warehouse", f"stage {batch.table.name}", OF_WAREHOUSE, _no_warehouse):
            return self._tables.stage(batch)

    def compare(self, batch: TableBatch, staged: TableLoad) -> TableLoad:
        """See the protocol."""
        with self._process.doing("warehouse", f"compare {batch.table.name}", OF_READ, _no_warehouse):
            return self._tables.compare(batch, staged)

    def replace(self, batch: TableBatch, staged: TableLoad, may_write: Callable[[], None] = nothing) -> TableLoad:
        """See the protocol."""
        may_write()
        with self._process.doing("warehouse", f"replace {batch.table.name}", OF_REPLACE, _no_warehouse) as fault:
            if fault is Fault.NOT_DONE:
                return dataclasses.replace(staged, replace_job_id="replace")
            # Nothing tells a statement that is on its way that its run was taken for dead.
            if fault is not Fault.STALL:
                self._process.surroundings.replaces(self._process, batch.table.name)
            return self._tables.replace(batch, staged)

    def drop_staging(self, batch: TableBatch) -> None:
        """See the protocol."""
        with self._process.doing("warehouse", f"drop {batch.table.name}", OF_WAREHOUSE, _no_warehouse):
            self._tables.drop_staging(batch)

    def name_of(self, table: str) -> str:
        """See the protocol."""
        return self._tables.name_of(table)

    def query(self, sql: str, parameters: Mapping[str, QueryValue] | None = None) -> list[dict[str, Any]]:
        """See the protocol."""
        with self._process.doing("warehouse", "query", OF_READ, _no_warehouse):
            return self._tables.query(sql, parameters)

    def dry_run(self, sql: str, parameters: Mapping[str, QueryValue] | None = None) -> int:
        """Nothing is billed."""
        return 0


@dataclasses.dataclass
class Mailbox:
    """Every mail that was taken."""

    mails: list[EmailMessage] = dataclasses.field(default_factory=list)


class SimulatedChannel:
    """See `alerting.channels.Channel`."""

    name = "simulated"
    kind: Kind = "mail"

    def __init__(self, mailbox: Mailbox, process: Process) -> None:
        self._mailbox, self._process = mailbox, process

    def preflight(self) -> None:
        """It would take a mail."""

    def send(self, mail: EmailMessage, *, severity: Severity = "INFO") -> Delivery:
        """See the protocol."""
        with self._process.doing("mail", f"mail {mail['Subject']}", OF_CHANNEL, _no_mail):
            self._mailbox.mails.append(mail)
            return Delivery("taken")


@dataclasses.dataclass(frozen=True)
class Quiet:
    """The wish of the source, told to one process at ``since_s`` of the virtual clock: no call before ``until_s``."""

    since_s: float
    until_s: float
    told: Process

    def is_broken_by(self, allowed_s: float) -> bool:
        """Whether a call of that instant did not wait. What is kept in the bucket has microseconds."""
        return self.since_s <= allowed_s < self.until_s - 1e-5

    def is_known_to(self, process: Process, allowed_s: float) -> bool:
        """Others hear of it by the bucket: not from one that stands still or has died before it could write it down."""
        is_heard = allowed_s >= self.since_s + HEARD_WITHIN_S
        return self.told is process or (is_heard and not self.told.silenced_at.startswith(_WORD_OF_A_PAUSE))


@dataclasses.dataclass(frozen=True)
class Asked:
    """One simulated call: when it was allowed, by the virtual clock, what it asked, of which site, for how many units,
    and which process asked.

    A refusal with 429 takes no unit.
    """

    at_s: float
    what: str
    site: str
    units: int
    by: Process
    is_for_a_token: bool = False


class Answers:
    """What the source answered, by what was asked: each question is asked of the real source once."""

    def __init__(self, known: dict[str, Answer] | None = None, *, is_closed: bool = False) -> None:
        self.known: dict[str, Answer] = {} if known is None else known
        self.is_closed = is_closed
        """The real source is not asked: a process that wants to know something new dies of it."""
        self.unanswered: list[str] = []
        self.asked: list[Asked] = []
        self.too_early: list[str] = []
        """What was asked before a wish of the source to wait was over."""
        self.quiet: dict[str, list[Quiet]] = {}
        """By site where each has a rate of its own, else of ""."""
        self.storm_until_s = -math.inf
        self.is_restless = False
        """No two answers to a question have the same bytes, though they say the same."""
        self.busy = 0
        """How often the real source said that it is busy."""
        self._next_s = 0.0

    def for_a_schedule(self) -> Answers:
        """Another one that has been asked nothing yet, with the same memory."""
        made = Answers(self.known, is_closed=self.is_closed)
        made.unanswered = self.unanswered
        return made

    def wait_for_the_source(self, rate: Rate) -> None:
        """Until the real source may be asked, by the real clock: one call after the other, spread evenly."""
        real_sleep(max(0.0, self._next_s - real_monotonic()))
        limits = [rate.per_second or math.inf, (rate.per_minute or math.inf) / 60]
        self._next_s = real_monotonic() + max(1 / min(limits), rate.pause_s[1])


def question(
    method: str,
    url: str,
    params: Sequence[tuple[str, str]] = (),
    form: Mapping[str, str] | None = None,
    content: bytes = b"",
) -> str:
    """What is asked by a call, without keys: the same text for the same question."""
    return f"{method} {url}?{tuple(params) or ''} {redact_value(form) if form else ''} {content!r}"


def has_rates_of_sites(scraper: Scraper) -> bool:
    """Whether each site, or host of another account, has a rate of its own."""
    return scraper.domain == "site" or bool(scraper.hosts)


class SimulatedTransport:
    """See `scrapers.transport.Transport`: answers come from memory, and from the source what nobody asked before."""

    def __init__(
        self, source: Transport, scraper: Scraper, access: SourceAccess, process: Process, world: World
    ) -> None:
        self._source, self._rate, self._process = source, access.rate, process
        self._has_sites = has_rates_of_sites(scraper)
        self._scraper = scraper
        self._auth, self._secrets = scraper.auth, access.secrets
        self._key = scraper.auth.param if isinstance(scraper.auth, SecretParam) else ""
        self._answers, self._clock = world.answers, world.clock
        self._last: dict[str, tuple[Sequence[tuple[str, str]], Answer]] = {}
        """By address: the parameters of the last call, and its answer."""

    @property
    def received_bytes(self) -> int:
        """See the protocol."""
        return self._source.received_bytes

    def close(self) -> None:
        """See the protocol."""
        self._source.close()

    def exchange(self, call: Call) -> Answer:
        """See the protocol."""
        params = [(name, value) for name, value in call.params if name != self._key]
        what = question(call.method, call.url, params, call.form, call.content or b"")
        # When it was allowed: one that stands still just before it is sent is late, and not too many.
        allowed_s = self._clock.now_s
        with self._process.doing("source", f"call {call.url}?{params or ''}", OF_SOURCE, _no_source) as fault:
            if what not in self._answers.known:
                if self._answers.is_closed:
                    self._answers.unanswered.append(what)
                    raise Killed
                self._answers.known[what] = self._really_asked(call)
            now = dt.datetime.now(dt.UTC)
            units = self._units(call, self._answers.known[what])
            asked = Asked(allowed_s, what, _site_of(call.url), units, self._process, self._is_for_a_token(call))
            place = len(self._answers.asked)
            self._answers.asked.append(asked)
            wishes = self._answers.quiet.get(self._domain_of(call), [])
            if any(quiet.is_broken_by(allowed_s) and quiet.is_known_to(self._process, allowed_s) for quiet in wishes):
                self._answers.too_early.append(what)
            self._clock.sleep(0.05)
            answer = self._in_other_bytes(dataclasses.replace(self._answers.known[what], received_at=now))
            params_before, before = self._last.get(call.url, ((), None))
            self._last[call.url] = params, answer
            if fault is Fault.STORM:
                self._answers.storm_until_s = self._clock.now_s + STORM_S
            if fault is Fault.RATE_LIMITED or self._clock.now_s < self._answers.storm_until_s:
                # Others may have asked while this call was on its way.
                self._answers.asked[place] = dataclasses.replace(asked, units=0)
                return self._refused(call, answer)
            if fault is Fault.DRIFT and before is not None and _is_next_page(params_before, params):
                return dataclasses.replace(answer, body=drifted(before.body, answer.body))
            return self._spoiled(answer, fault, before)

    def _really_asked(self, call: Call) -> Answer:
        """What the source says; what says only that it is busy is no answer to keep."""
        while True:
            if urllib.parse.urlsplit(call.url).hostname not in ("127.0.0.1", "localhost", "::1"):
                self._answers.wait_for_the_source(self._rate)
                call = self._signed_now(call)
            try:
                answer = self._source.exchange(call)
                if answer.status not in _BUSY:
                    return answer
                said, wished_s = f"answers {answer.status} to", _wished_s(answer)
            except SourceUnavailable as error:
                said, wished_s = f"cannot be asked ({error.message}):", 2.0
            self._answers.busy += 1
            if self._answers.busy > _MOST_BUSY:
                raise ConfigurationError(
                    f"the source {said} {call.url}, {_MOST_BUSY} times: there is nothing to simulate with",
                    stage="simulate",
                    hint="wait until it answers, then the same command again",
                )
            real_sleep(wished_s)

    def _units(self, call: Call, answer: Answer) -> int:
        """What it costs: as the answer says, else as the source declares; a token costs nothing."""
        declared = self._scraper.quota_headers
        if declared and (said := answer.headers.get(declared.last, "")).isdigit():
            return int(said)
        path = "/" + call.url.split("/", 3)[-1] if call.url.count("/") > 2 else "/"
        return 0 if self._is_for_a_token(call) else self._scraper.cost(Request(path, call.params))

    def _is_for_a_token(self, call: Call) -> bool:
        return isinstance(self._auth, TokenAuth) and "assertion" in (call.form or {})

    def _signed_now(self, call: Call) -> Call:
        """Who signs by the simulated clock gets no token of a service that has the real one."""
        if not isinstance(self._auth, TokenAuth) or not self._is_for_a_token(call):
            return call
        account = ServiceAccount.from_key(self._secrets[self._auth.secret], self._auth.secret)
        signed = account.assertion(self._auth.scope, escape_hatch.datetime.datetime.now(dt.UTC))
        return dataclasses.replace(call, form={**(call.form or {}), "assertion": signed})

    def _in_other_bytes(self, answer: Answer) -> Answer:
        """White space at the end says nothing in JSON and HTML."""
        if not self._answers.is_restless or not re.search("json|html", answer.headers.get("content-type", "")):
            return answer
        return dataclasses.replace(answer, body=answer.body + b"\n" * len(self._answers.asked))

    def _domain_of(self, call: Call) -> str:
        return _site_of(call.url) if self._has_sites else ""

    def _refused(self, call: Call, answer: Answer) -> Answer:
        now_s = self._clock.now_s
        wish = Quiet(now_s, now_s + _RETRY_AFTER_S, self._process)
        self._answers.quiet.setdefault(self._domain_of(call), []).append(wish)
        return dataclasses.replace(answer, status=429, headers={"retry-after": f"{_RETRY_AFTER_S:g}"}, body=b"{}")

    def _spoiled(self, answer: Answer, fault: Fault | None, before: Answer | None) -> Answer:
        body, headers = answer.body, dict(answer.headers)
        if fault is Fault.SERVER_ERROR:
            return dataclasses.replace(answer, status=503, headers={"content-type": "text/plain"}, body=b"busy")
        if fault is Fault.TIMEOUT:
            self._clock.sleep(30.0)
            raise SourceUnavailable("no response within 30 s", reason="ReadTimeout")
        if fault is Fault.CUT:
            return dataclasses.replace(answer, body=body[: len(body) // 2])
        if fault is Fault.PART:
            return dataclasses.replace(answer, body=first_half(body, headers))
        if fault is Fault.EMPTY:
            return dataclasses.replace(answer, body=b"")
        if fault is Fault.CHALLENGE:
            page = b"<!DOCTYPE html><html><head><title>Just a moment...</title></head><body>checking</body></html>"
            return dataclasses.replace(answer, status=403, headers={"content-type": "text/html"}, body=page)
        # Nobody could tell an empty page of another date from one of this.
        if fault is Fault.STALE and before is not None and len(before.body) > len(body) // 2:
            return dataclasses.replace(before, received_at=answer.received_at, headers=headers)
        return answer


@dataclasses.dataclass
class World:
    """What stays when a process dies. ``chance`` is of what befalls machines and their clocks."""

    clock: VirtualClock
    bucket: MemoryObjectStore
    tables: MemoryWarehouse
    mailbox: Mailbox
    answers: Answers
    machines: Machines
    chance: random.Random = dataclasses.field(default_factory=random.Random)

    @cached_property
    def limits(self) -> ServerLimits:
        """Of the rates that windows share by Prefect's server."""
        return ServerLimits(self.clock)

    def services(self, settings: Settings, process: Process, *, of_window: bool = False) -> Services:
        """The services of one simulated process."""
        settings = settings.model_copy(update={"spool_folder": str(self.machines.spool_folder)})

        def client(scraper: Scraper, access: SourceAccess, budget: Budget, **of_hosts: Any) -> SourceClient:
            def transport(source: Transport) -> Transport:
                return SimulatedTransport(source, scraper, access, process, self)

            return SourceClient(scraper, access, budget, transport=transport, **of_hosts)

        kind = SimulatedWorkerServices if of_window else SimulatedServices
        return kind(settings, clock=self.clock.for_budgets, client_type=client, world=self, process=process)


@dataclasses.dataclass
class SimulatedServices(Services):
    """See `flows.wiring.Services`."""

    world: World = None  # type: ignore[assignment]
    process: Process = None  # type: ignore[assignment]

    @cached_property
    def store(self) -> Any:
        """As one process sees it."""
        return SimulatedStore(self.world.bucket, self.process)

    @cached_property
    def warehouse(self) -> Any:
        """As one process sees it."""
        return SimulatedWarehouse(self.world.tables, self.process)

    @cached_property
    def channels(self) -> list[Channel]:
        """One mailbox."""
        return [SimulatedChannel(self.world.mailbox, self.process)]

    @property
    def code_version(self) -> str:
        """Not that of this code: asking for its commit takes real time."""
        return "simulated"

    def warehouse_within(self, wait_s: float) -> Any:
        """The same."""
        return self.warehouse

    def cloud_usage(self) -> Usage:
        """Nothing here is paid for."""
        return Usage()


class SimulatedWorkerServices(SimulatedServices):
    """See `flows.child_runs.window.WorkerServices`."""

    kit_type = SimulatedWorkerKit


def _is_next_page(before: Sequence[tuple[str, str]], params: Sequence[tuple[str, str]]) -> bool:
    """Whether two calls to one address differ in nothing but the page."""
    other = {name for name, _ in {*before} ^ {*params}}
    return bool(other) and all(_OF_PAGE.fullmatch(name) for name in other)


def drifted(before: bytes, body: bytes) -> bytes:
    """A page of JSON after a row came in before it, so that its rows are one further on.

    >>> drifted(b'{"rows": [{"id": 1}, {"id": 2}]}', b'{"rows": [{"id": 3}, {"id": 4}]}')
    b'{"rows": [{"id": 2}, {"id": 3}]}'
    >>> drifted(b"a", b"b")
    b'b'
    """
    try:
        pages = json.loads(before), json.loads(body)
    except ValueError:
        return body
    rows_before, rows = map(_rows_in, pages)
    if not rows_before or not rows:
        return body
    rows[:] = [rows_before[-1], *rows[:-1]]
    return json.dumps(pages[1]).encode()


def first_half(body: bytes, headers: Mapping[str, str]) -> bytes:
    """A page of JSON with the first half of its rows, where it or its headers say how many there are.

    Nobody could tell half of a page from a whole one that announces nothing.

    >>> first_half(b'{"total": 2, "rows": [{"id": 1}, {"id": 2}]}', {})
    b'{"total": 2, "rows": [{"id": 1}]}'
    >>> first_half(b'{"rows": [{"id": 1}, {"id": 2}]}', {})
    b'{"rows": [{"id": 1}, {"id": 2}]}'
    """
    try:
        page = json.loads(body)
    except ValueError:
        return body
    names = [*headers, *(page if isinstance(page, dict) else ())]
    rows = _rows_in(page)
    if not rows or not any(_OF_TOTAL.search(name) for name in names):
        return body
    del rows[len(rows) // 2 :]
    return json.dumps(page).encode()


def _rows_in(page: Any) -> list[Any]:
    """The longest list of objects, at the top or right below it."""
    lists = [page, *page.values()] if isinstance(page, dict) else [page]
    found = (one for one in lists if isinstance(one, list) and one and isinstance(one[0], dict))
    return max(found, key=len, default=[])


def _wished_s(answer: Answer) -> float:
    """How long a busy source wants to be left alone, a minute at most."""
    wish = answer.headers.get("retry-after", "")
    return min(float(wish), 60.0) if wish.isdigit() else 2.0


def _site_of(url: str) -> str:
    """Its host; samples on one host tell their sites apart by the first part of the path."""
    return "/".join(url.split("/")[2:4])


def _no_storage() -> Exception:
    return LandingUnavailable("storage does not answer (simulated)", stage="storage")


def _no_warehouse() -> Exception:
    return WarehouseBusy("BigQuery does not answer (simulated)", stage="load")


def _no_source() -> Exception:
    return SourceUnavailable("the source does not answer (simulated)")


def _no_mail() -> Exception:
    return DeliveryFailed("the mail server does not answer (simulated)", stage="alert")
