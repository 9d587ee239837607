"""What becomes of one answer of a source: fetched over a socket, landed, read by the processor, admitted or refused.

The whole way but for BigQuery, so that thousands of answers can be tried.
"""

from __future__ import annotations

import datetime as dt
import re
import time
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from raw_server import Pieces, RawServer, http

from alerting.errors import PipelineError
from alerting.instant import utc_now
from alerting.memory_store import MemoryObjectStore
from deployments.local.upstreams.drive_key import key_file
from processors.batch_reading import BatchRows, read_batch
from processors.registry import processor
from scrapers.auth import TokenAuth
from scrapers.base import Scraper, SourceAccess
from scrapers.client import SourceClient
from scrapers.landing import Landing
from scrapers.pace.budget import Budget, Clock
from scrapers.partition import Partition
from scrapers.rate import Rate
from scrapers.registry import scraper
from scrapers.scrape import ScrapeContext, scrape

PAYLOADS = Path(__file__).parent / "payloads"
"""``<source>/<partition>.json``: one good answer that makes the contract try its mutants on the source.

``<source>/items/<name>``: the good answer to a call whose path has that name, of a source whose answer lists items;
``<name>~<parameter>=<value>`` only where that is asked for.
"""


Answer = bytes | Callable[[int, bytes], Pieces]


@dataclass
class Lines:
    """As much of a spool as the reading of a batch needs, in memory."""

    lines: list[bytes] = field(default_factory=list)
    marked: int = 0

    def mark(self) -> None:
        self.marked = len(self.lines)

    def roll_back(self) -> None:
        del self.lines[self.marked :]

    def append(self, line: bytes) -> None:
        self.lines.append(line)


@dataclass(frozen=True)
class Judged:
    """What became of an answer, and the rows that would be loaded.

    ``kind`` is the class of error that refused it, or ``loaded``, ``empty``, ``open`` (all but what may still change).
    """

    kind: str
    rows: dict[str, list[bytes]]
    error: PipelineError | None = None


def with_entities(source: Scraper) -> Scraper:
    """A source whose entities only the settings know, with one of them and the example facts of its declaration."""
    if source.entities or source.entity_facts is None:
        return source
    source = copy(source)
    assert source.entity_facts is not None
    fields = source.entity_facts.model_fields.items()
    source.entities = ("a.example",)
    source.told_facts = {"a.example": {name: field.examples[0] for name, field in fields if field.examples}}
    return source


def partition_of(source: Scraper, key: str) -> Partition:
    entity, _, date = key.rpartition("@")
    if source.has_series and re.fullmatch(r"\d{4}-\d\d", date):
        return Partition.month(int(date[:4]), int(date[5:]), source.zone, entity)
    if source.has_series:
        return Partition.day(dt.date.fromisoformat(date), source.zone, entity)
    if source.step == "whole":
        return Partition.whole(key, source.zone)
    if re.fullmatch(r"\d{4}-\d\d", key):
        return Partition.month(int(key[:4]), int(key[5:]), source.zone)
    return Partition.day(dt.date.fromisoformat(key), source.zone)


def access_to(source: Scraper, url: str, timeout_s: float = 5.0) -> SourceAccess:
    names = source.auth.secrets if source.auth else ()
    secrets = {name: f"planted-key-{number}-0123456789" for number, name in enumerate(names)}
    if isinstance(source.auth, TokenAuth):
        secrets = {source.auth.secret: key_file(f"{url}{TOKEN_PATH}")}
    return SourceAccess(url, secrets, timeout_s=timeout_s)


def item_type(body: bytes) -> str:
    """The header with which an item is sent: JSON, or else CSV."""
    return f"Content-Type: {'application/json' if body.lstrip().startswith(b'{') else 'text/csv'}"


TOKEN_PATH = "/token"
_TOKEN = b'{"access_token":"planted-token-0123456789","expires_in":3600,"token_type":"Bearer"}'


class Judge:
    """One source, one client, one server: every answer is judged by itself. Use as a context manager.

    No call waits for an earlier one: a limit that is asked for is the verdict on its own answer only.
    """

    def __init__(self, name: str, key: str, *, timeout_s: float = 5.0) -> None:
        self.name, self.source = name, with_entities(scraper(name))
        self.partition = partition_of(self.source, key)
        self._timeout_s = timeout_s
        self._answer: Answer = b""
        folder = PAYLOADS / name / "items"
        self.items: dict[str, bytes] = (
            {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}
        )
        self._item_answer: Callable[[bytes], bytes] | None = None
        self._hours = 0
        self.server = RawServer(self._pieces)

    def __enter__(self) -> Self:
        self.server.__enter__()
        clock = Clock(monotonic=lambda: time.monotonic() + 1e9 * self._hours)
        access = access_to(self.source, self.server.url, self._timeout_s)
        self.client = SourceClient(self.source, access, Budget(Rate(), clock=clock), patience_s=0.0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.client.close()
        self.server.__exit__(None, None, None)

    def of(self, answer: Answer, item: Callable[[bytes], bytes] | None = None) -> Judged:
        """Lets the server answer every call with ``answer`` and tells what became of the partition.

        Calls for items are answered well, or with what ``item`` makes of the good body.
        """
        self._answer, self._item_answer = answer, item
        self._hours += 1
        return judged_by(self.name, self.partition, self.client)

    def _pieces(self, number: int, asked: bytes) -> Pieces:
        path, _, query = asked.split(b" ", 2)[1].decode().partition("?")
        if path == TOKEN_PATH:
            return [http("200 OK", _TOKEN, "Content-Type: application/json")]
        name = next((name for name in self.items if _is_of(name, path, query)), None)
        if name is not None:
            body = self.items[name]
            return [self._item_answer(body) if self._item_answer else http("200 OK", body, item_type(body))]
        return self._answer(number, asked) if callable(self._answer) else [self._answer]


def _is_of(name: str, path: str, query: str) -> bool:
    part, _, parameter = name.partition("~")
    return part in path.split("/") and (not parameter or parameter in query.split("&"))


def judged_by(name: str, partition: Partition, client: SourceClient) -> Judged:
    """What one call of ``client`` comes to."""
    source, of, landing = with_entities(scraper(name)), processor(name), Landing(MemoryObjectStore())
    spools = {table.name: Lines() for table in of.tables}
    # A date of a source that keeps no history is asked for while it lasts, and one that is gone after a while before.
    now = utc_now
    if not source.keeps_history:
        now = lambda: partition.begins_at + dt.timedelta(hours=12)  # noqa: E731
    elif source.horizon:
        now = lambda: partition.ends_at + dt.timedelta(days=7)  # noqa: E731
    try:
        manifest = scrape(partition, ScrapeContext(source, client, landing, "b", "0", now=now))
        batch = BatchRows("hash", spools)  # type: ignore[arg-type]
        read_batch(batch, [manifest], of, landing)
        if partition.key in batch.failures:
            raise batch.failures[partition.key]
    except PipelineError as error:
        return Judged(type(error).__name__, {table: [] for table in spools}, error)
    kind = "empty" if manifest.empty_evidence else "open" if manifest.open_items else "loaded"
    return Judged(kind, {name: one.lines for name, one in spools.items()})
