"""What landed pages and attempts say about themselves: records, manifests, and the names of their objects. Pure."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
import secrets
import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict

from alerting.object_store import StoredObject
from alerting.wording import plural
from scrapers.base import ERRORS_FROM, Findings, Page, Request
from scrapers.partition import SPAN_MARK, SWEEP_KEY, Partition

_LANDED = re.compile(r"landing/source=([^/]+)/partition=([^/]+)/")
_SPAN = re.compile(rf"{SWEEP_KEY}|(?:.*@)?\d{{4}}-\d\d(?:-\d\d)?{re.escape(SPAN_MARK)}\d{{4}}-\d\d(?:-\d\d)?")


class PageRecord(BaseModel):
    """One landed page: where it is, what was asked (redacted), and what came back.

    Two kinds hold no rows for the warehouse: one that ``confirms``, see :class:`scrapers.base.Findings`, and one whose
    answer reached a cap, so that smaller parts took its place (``is_cut``, known when the manifest is written).

    ``covers`` are the first date, and the one after the last, of an answer that several partitions share: each has a
    record of the same object, with its own ``counts`` and its share of ``elapsed_s``. ``superseded`` are keys of rows
    on it that a later page of the same sweep has in another form: here they are not loaded.
    """

    model_config = ConfigDict(frozen=True)

    object_name: str
    sha256: str
    size_bytes: int
    method: str = "GET"
    absent_ok: bool = False
    site: str = ""
    item: str = ""
    path: str
    params: tuple[tuple[str, str], ...] = ()
    json_body: str = ""
    cursor: str = ""
    next_cursor: str = ""
    status: int
    headers: dict[str, str] = {}
    fetched_at: dt.datetime
    elapsed_s: float
    counts: dict[str, int] = {}
    confirms: bool = False
    is_cut: bool = False
    covers: tuple[dt.date, dt.date] | None = None
    superseded: tuple[str, ...] = ()

    @property
    def holds_rows(self) -> bool:
        """Whether its rows are loaded."""
        return not (self.confirms or self.is_cut or self.is_absent)

    @property
    def is_absent(self) -> bool:
        """Whether the source said that it rightly has no such item."""
        return self.absent_ok and self.status >= ERRORS_FROM

    @property
    def request(self) -> Request:
        """What was asked for."""
        return Request(
            self.path,
            self.params,
            cursor=self.cursor,
            site=self.site,
            absent_ok=self.absent_ok,
            json_body=self.json_body,
            item=self.item,
        )

    def as_page(self, number: int, body: bytes) -> Page:
        """The page as it was fetched."""
        return Page(self.request, number, self.status, self.headers, body, self.fetched_at, self.elapsed_s)

    def leading_to(self, request: Request | None) -> PageRecord:
        """The record with the cursor of the next page."""
        return self.model_copy(update={"next_cursor": request.cursor if request else ""})


def checkpoint_of(record: PageRecord, most_bytes: int) -> str:
    """``record`` without what its page tells again, in at most ``most_bytes`` as a text of JSON; "" when it has more.

    A long cursor (a list of what is still to be asked for) is left out as well: the page before it leads to it.
    """
    for known in ({"next_cursor"}, {"next_cursor", "cursor"}):
        line = record.model_dump_json(exclude_defaults=True, exclude=known)
        if len(json.dumps(line, ensure_ascii=False).encode()) <= most_bytes:
            return line
    return ""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a killed attempt has landed: its pages in order, at least one, as `checkpoint_of` keeps them."""

    attempt: str
    pages: tuple[PageRecord, ...]


class Manifest(BaseModel):
    """Proof that one attempt landed one partition completely; everything later reads only this and its pages.

    ``counts`` is rows per table as the scraper counted them. ``unsettled`` names items that will still change:
    such a partition is landed, but not to be loaded. ``open_items`` are such, too, but of a date so long ago that they
    block it no more: it is loaded without them. ``absent`` are items that were listed and rightly not there.
    ``versions`` are those of the listed items, where the source tells them. ``fed_by`` is the ``content_hash`` of what
    another source had listed (`scrapers.feeding`). ``only`` are the parts that were asked for (`Scraper.only`).
    ``content_hash`` is over the pages' bytes, so that an equal
    payload fetched twice is recognised. ``resumed_pages`` is how many pages a killed run of the same attempt had
    landed already.
    """

    model_config = ConfigDict(frozen=True)

    source: str
    partition: str
    start: dt.date
    end: dt.date
    zone: str
    entity: str = ""
    attempt: str
    backfill_id: str
    code_version: str
    landed_at: dt.datetime
    pages: tuple[PageRecord, ...]
    counts: dict[str, int]
    source_total: int | None = None
    empty_evidence: str = ""
    unsettled: tuple[str, ...] = ()
    open_items: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    versions: dict[str, str] = {}
    fed_by: str = ""
    only: tuple[str, ...] = ()
    resumed_pages: int = 0
    content_hash: str

    @property
    def last_cursor(self) -> str:
        """Cursor of the last page of rows that has one, "" when nothing was paginated."""
        return next((page.cursor for page in reversed(self.pages) if page.cursor and not page.confirms), "")

    @property
    def open_text(self) -> str:
        """How many items are open, and the first of them; "" when none is.

        >>> Manifest.model_construct(open_items=("BOS-TOR (Postponed)",)).open_text
        '1 open: BOS-TOR (Postponed)'
        """
        return _told(self.open_items, "open")

    @property
    def absent_text(self) -> str:
        """How many items were listed and are rightly not there, and the first of them; "" when none is."""
        return _told(self.absent, "absent")

    @property
    def statuses(self) -> frozenset[int]:
        """Statuses of the answers that it rests on."""
        return frozenset(page.status for page in self.pages if not page.is_absent)

    @property
    def object_name(self) -> str:
        """Where this manifest lies in the store."""
        return f"{attempt_prefix(self.source, self.partition, self.attempt)}manifest.json"

    @property
    def size_bytes(self) -> int:
        """Decompressed bytes of all pages."""
        return sum(page.size_bytes for page in self.pages)

    def as_partition(self) -> Partition:
        """The partition this manifest covers."""
        return Partition(self.start, self.end, self.zone, self.partition, self.entity)


def _told(items: Sequence[str], what: str) -> str:
    more = "" if len(items) <= 3 else " ..."
    return f"{len(items)} {what}: {', '.join(items[:3])}{more}" if items else ""


def open_or_blocking(items: Sequence[str], *, blocks: bool, has_rows: bool) -> dict[str, Any]:
    """The fields of a manifest with unfinished items, whether they block it or not; ``has_rows`` of finished ones."""
    if blocks or not items:
        return {"unsettled": tuple(items)}
    nothing_else = {} if has_rows else {"empty_evidence": f"{plural(len(items), 'open item')}, none has become final"}
    return {"unsettled": (), "open_items": tuple(items), **nothing_else}


def no_evidence(statuses: Collection[int], accepted: Collection[int]) -> str:
    """Why what was landed with these statuses proves nothing of a source, "" where it does.

    >>> no_evidence({200, 206}, {200}), no_evidence({200}, {200})
    ('landed from an answer with status 206, which is no complete one of this source', '')
    """
    wrong = sorted(set(statuses) - set(accepted))
    if not wrong:
        return ""
    return f"landed from an answer with status {', '.join(map(str, wrong))}, which is no complete one of this source"


_MOST_AHEAD = dt.timedelta(days=1)


def new_attempt_id(now: dt.datetime, behind: str = "") -> str:
    """Sorts by time, to the microsecond, and behind the attempt ``behind``; unique without coordination.

    That one may be of a machine whose clock is ahead of this one's: by a day at most, beyond it is no clock to follow.

    >>> earlier, later = (new_attempt_id(dt.datetime(2025, 1, 3, 4, 5, 6, us, tzinfo=dt.UTC)) for us in (90, 100))
    >>> earlier[:23], earlier < later
    ('20250103T040506Z-000090', True)
    >>> new_attempt_id(dt.datetime(2025, 1, 3, 3, 5, tzinfo=dt.UTC), behind=later)[:23]
    '20250103T040507Z-000000'
    """
    begun = begun_at(behind) if _time_in_id(now) <= behind else None
    if begun is not None and begun - now <= _MOST_AHEAD:
        now = begun + dt.timedelta(seconds=1)
    return f"{_time_in_id(now)}{secrets.token_hex(4)}"


def begun_at(attempt_id: str) -> dt.datetime | None:
    """When the attempt was begun (aware), as its id says; None for an id that says nothing.

    >>> begun_at("20250103T040506Z-1f"), begun_at("a1")
    (datetime.datetime(2025, 1, 3, 4, 5, 6, tzinfo=datetime.timezone.utc), None)
    """
    try:
        return dt.datetime.strptime(attempt_id.partition("-")[0], "%Y%m%dT%H%M%SZ").replace(tzinfo=dt.UTC)
    except ValueError:
        return None


def order_of(attempt_id: str, manifest: StoredObject) -> tuple[str, str]:
    """Sorts attempts that landed by time: none was begun after the store took its manifest, whatever its id says.

    >>> at = dt.datetime(2025, 1, 3, 4, 11, tzinfo=dt.UTC)
    >>> ahead, right = "20250103T050000Z-000000ab", "20250103T041000Z-000000cd"
    >>> [order_of(one, StoredObject("", 1, 0, updated_at=at))[0] for one in (ahead, right)]
    ['20250103T041100Z-000000', '20250103T041000Z-000000cd']
    """
    begun, taken_at = begun_at(attempt_id), manifest.updated_at
    is_ahead = begun is not None and taken_at is not None and taken_at < begun
    return _time_in_id(taken_at) if taken_at is not None and is_ahead else attempt_id, attempt_id


def _time_in_id(at: dt.datetime) -> str:
    return f"{at.astimezone(dt.UTC):%Y%m%dT%H%M%SZ-%f}"


def source_prefix(source: str) -> str:
    """All landed objects of one source."""
    return f"landing/source={source}/"


def partition_prefix(source: str, partition: str) -> str:
    """All attempts of one partition; those of a span or sweep lie beside them, where nobody takes it for one.

    >>> partition_prefix("s", "2025-01-03"), partition_prefix("s", "2025-01-03..2025-01-09")
    ('landing/source=s/partition=2025-01-03/', 'landing/source=s/run=2025-01-03..2025-01-09/')
    """
    return f"{source_prefix(source)}{'run' if _SPAN.fullmatch(partition) else 'partition'}={partition}/"


def attempt_prefix(source: str, partition: str, attempt: str) -> str:
    """All objects of one attempt; see the module docstring."""
    return f"{partition_prefix(source, partition)}attempt={attempt}/"


def content_hash(records: Sequence[PageRecord]) -> str:
    """One hash over the bytes of the pages with rows, in order."""
    return hashlib.sha256("".join(record.sha256 for record in records if record.holds_rows).encode()).hexdigest()


def page_name(number: int) -> str:
    """Name of a page within its attempt, counted from 1."""
    return f"page-{number:04d}.json.gz"


def fetch_again(object_name: str) -> str:
    """The command that asks the source once more for what that landed object holds.

    >>> fetch_again("landing/source=s/partition=2025-01-02/attempt=a/page-0001.json.gz")
    'gapless run s 2025-01-02 2025-01-02 --mode full --reason corrupted'
    """
    found = _LANDED.match(object_name)
    if found is None:
        return "run its dates again with --mode full"
    source, key = found.groups()
    entity, _, interval = key.rpartition("@")
    words = ["gapless run", source]
    is_dated = re.fullmatch(r"\d{4}-\d\d(-\d\d)?", interval)
    words += [interval, interval] if is_dated and len(interval) == 10 else [interval] if is_dated else []
    entity = entity if is_dated else key
    words += ["--entities", shlex.quote(entity)] if entity else []
    return " ".join([*words, "--mode full --reason corrupted"])


def record_of(source: str, partition: Partition, attempt: str, page: Page, findings: Findings | None) -> PageRecord:
    """The record under which ``page`` is landed; without ``findings`` it was refused."""
    request, digest = page.request, hashlib.sha256(page.body).hexdigest()
    # A refused page must not take the place of the one that a resumed attempt will get there.
    name = page_name(page.number) if findings else f"refused-{page.number:04d}-{digest[:12]}.json.gz"
    return PageRecord(
        object_name=f"{attempt_prefix(source, partition.key, attempt)}{name}",
        sha256=digest,
        size_bytes=len(page.body),
        method=request.method,
        absent_ok=request.absent_ok,
        site=request.site,
        item=request.item,
        path=request.path,
        params=request.params,
        json_body=request.json_body,
        cursor=request.cursor,
        next_cursor=findings.next_request.cursor if findings and findings.next_request else "",
        status=page.status,
        headers=dict(page.headers),
        fetched_at=page.fetched_at,
        elapsed_s=page.elapsed_s,
        counts=dict(findings.counts) if findings else {},
        confirms=findings.confirms if findings else False,
    )
