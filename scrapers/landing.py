"""The raw zone: write-once payloads, and a manifest written last. No manifest means not landed.

Layout (the scrapers' promise to everyone above)::

    landing/source=<s>/partition=<p>/attempt=<id>/page-0001.json.gz   immutable, created with if_generation=0
    landing/source=<s>/partition=<p>/attempt=<id>/manifest.json       written last
"""

from __future__ import annotations

import datetime as dt
import gzip
import hashlib
import zlib
from collections.abc import Iterator, Sequence

from pydantic import BaseModel, ConfigDict

from alerting.errors import LandingUnavailable, StateUnreadable
from alerting.object_store import GenerationConflict, ObjectMissing, ObjectStore
from scrapers.base import Findings, Page
from scrapers.partition import Partition


class PageRecord(BaseModel):
    """One landed page: where it is, what was asked (redacted), and what came back."""

    model_config = ConfigDict(frozen=True)

    object_name: str
    sha256: str
    size_bytes: int
    method: str = "GET"
    path: str
    params: tuple[tuple[str, str], ...] = ()
    cursor: str = ""
    next_cursor: str = ""
    status: int
    headers: dict[str, str] = {}
    fetched_at: dt.datetime
    elapsed_s: float
    counts: dict[str, int] = {}


class Manifest(BaseModel):
    """Proof that one attempt landed one partition completely; everything later reads only this and its pages.

    ``counts`` is rows per table as the scraper counted them. ``unsettled`` names items that will still change:
    such a partition is landed, but not to be loaded. ``content_hash`` is over the pages' bytes, so that an equal
    payload fetched twice is recognised.
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
    content_hash: str

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


def source_prefix(source: str) -> str:
    """All landed objects of one source."""
    return f"landing/source={source}/"


def partition_prefix(source: str, partition: str) -> str:
    """All attempts of one partition."""
    return f"{source_prefix(source)}partition={partition}/"


def attempt_prefix(source: str, partition: str, attempt: str) -> str:
    """All objects of one attempt; see the module docstring."""
    return f"{partition_prefix(source, partition)}attempt={attempt}/"


class Landing:
    """Reads and writes the raw zone of one object store. Safe to use from many threads."""

    def __init__(self, store: ObjectStore) -> None:
        self.store = store

    def put_page(
        self, source: str, partition: Partition, attempt: str, page: Page, findings: Findings | None
    ) -> PageRecord:
        """Stores the bytes of one page as received (gzip) and returns its record.

        A repeat of the same attempt finds its own bytes there and succeeds; other bytes under that name raise
        ``LandingUnavailable`` and nothing is overwritten.
        """
        name = f"{attempt_prefix(source, partition.key, attempt)}page-{page.number:04d}.json.gz"
        digest = hashlib.sha256(page.body).hexdigest()
        try:
            # mtime=0: the same body is the same object, byte for byte.
            self.store.write(
                name,
                gzip.compress(page.body, compresslevel=6, mtime=0),
                if_generation=0,
                content_type="application/gzip",
                metadata={"sha256": digest, "source": source, "partition": partition.key, "attempt": attempt},
            )
        except GenerationConflict as conflict:
            if hashlib.sha256(self._read_body(name)).hexdigest() != digest:
                raise LandingUnavailable(
                    f"object {name} exists with other bytes; it was left as it is",
                    source=source,
                    partition=partition.key,
                    stage="land",
                ) from conflict
        request = page.request
        return PageRecord(
            object_name=name,
            sha256=digest,
            size_bytes=len(page.body),
            path=request.path,
            params=request.params,
            cursor=request.cursor,
            next_cursor=findings.next_request.cursor if findings and findings.next_request else "",
            status=page.status,
            headers=dict(page.headers),
            fetched_at=page.fetched_at,
            elapsed_s=page.elapsed_s,
            counts=dict(findings.counts) if findings else {},
        )

    def put_manifest(self, manifest: Manifest) -> None:
        """Writes the manifest: from here on the partition is landed. A repeat of the same attempt succeeds."""
        try:
            self.store.write(
                manifest.object_name,
                manifest.model_dump_json(indent=1).encode(),
                if_generation=0,
                content_type="application/json",
                metadata={"content_hash": manifest.content_hash, "backfill_id": manifest.backfill_id},
            )
        except GenerationConflict as conflict:
            if self.read_manifest(manifest.object_name).content_hash != manifest.content_hash:
                raise LandingUnavailable(
                    f"another manifest lies at {manifest.object_name}; it was left as it is", stage="land"
                ) from conflict

    def read_manifest(self, object_name: str) -> Manifest:
        """Raises ``StateUnreadable`` when it is missing or broken: a landed partition cannot lose its manifest."""
        try:
            data, _ = self.store.read(object_name)
            return Manifest.model_validate_json(data)
        except (ObjectMissing, ValueError) as error:
            raise StateUnreadable(
                f"manifest unreadable at {self.store.root_uri}/{object_name}; nothing was changed",
                stage="land",
                reason=type(error).__name__,
            ) from error

    def read_pages(self, manifest: Manifest) -> Iterator[bytes]:
        """Decompressed bodies in page order, each checked against its sha256 (``StateUnreadable`` otherwise)."""
        for record in manifest.pages:
            body = self._read_body(record.object_name)
            if hashlib.sha256(body).hexdigest() != record.sha256:
                raise StateUnreadable(
                    f"payload {self.store.root_uri}/{record.object_name} is not what its manifest says; not loaded",
                    source=manifest.source,
                    partition=manifest.partition,
                    stage="load",
                )
            yield body

    def _read_body(self, name: str) -> bytes:
        try:
            return gzip.decompress(self.store.read(name)[0])
        except (ObjectMissing, OSError, EOFError, zlib.error) as error:
            raise StateUnreadable(
                f"payload unreadable at {self.store.root_uri}/{name}; nothing was changed",
                stage="land",
                reason=type(error).__name__,
            ) from error


def content_hash(records: Sequence[PageRecord]) -> str:
    """One hash over the pages' bytes, in order."""
    return hashlib.sha256("".join(record.sha256 for record in records).encode()).hexdigest()
