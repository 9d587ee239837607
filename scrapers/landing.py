"""The raw zone: write-once payloads, and a manifest written last. No manifest means not landed.

Layout (the scrapers' promise to everyone above)::

    landing/source=<s>/partition=<p>/attempt=<id>/page-0001.json.gz   immutable, created with if_generation=0
    landing/source=<s>/partition=<p>/attempt=<id>/refused-0002-<sha>.json.gz   a page that was not taken: evidence
    landing/source=<s>/partition=<p>/attempt=<id>/manifest.json       written last

Every page carries its own record (request, cursor ...) as custom metadata, so the pages of a killed attempt are its
checkpoint: one listing tells where it stopped.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import gzip
import hashlib
import threading
import zlib
from collections import OrderedDict
from collections.abc import Iterator

from pydantic import ValidationError

from alerting.errors import LandingDamaged, LandingUnavailable, Truncated
from alerting.object_store import METADATA_LIMIT_BYTES, GenerationConflict, ObjectMissing, ObjectStore
from scrapers.base import Findings, Page, Scraper
from scrapers.bodies import storable
from scrapers.manifest import (
    Checkpoint,
    Manifest,
    PageRecord,
    attempt_prefix,
    checkpoint_of,
    fetch_again,
    no_evidence,
    order_of,
    page_name,
    partition_prefix,
    record_of,
)
from scrapers.partition import Partition

_SHARED_PAGES = 4
_RECENT_BYTES = 16 * 2**20
"""Of pages as they were stored: some thousand dates, more than wait to be loaded at any time."""
# Beside the hash and the names of the page.
_RECORD_LIMIT_BYTES = METADATA_LIMIT_BYTES - 300


class Landing:
    """Reads and writes the raw zone of one object store. Safe to use from many threads.

    What storage has acknowledged a moment ago is not asked of it again: pages are immutable, so the newest ones stay in
    memory, `_RECENT_BYTES` of them, and loading them takes no round trip each.
    """

    def __init__(self, store: ObjectStore) -> None:
        self.store = store
        self._recent: OrderedDict[str, bytes] = OrderedDict()
        self._recent_bytes = 0
        self._shared: OrderedDict[str, bytes] = OrderedDict()
        self._sharing = threading.Lock()

    def put_page(
        self, source: str, partition: Partition, attempt: str, page: Page, findings: Findings | None
    ) -> PageRecord:
        """Stores the bytes of one page as received (gzip) and returns its record.

        Without ``findings`` the page was refused: it is kept as evidence and is no part of the attempt. A repeat of
        the same attempt finds its own bytes there and succeeds; other bytes under that name raise
        ``LandingUnavailable`` and nothing is overwritten.
        """
        record = record_of(source, partition, attempt, page, findings)
        name, digest = record.object_name, record.sha256
        metadata = {"sha256": digest, "source": source, "partition": partition.key, "attempt": attempt}
        if findings is not None and (line := checkpoint_of(record, _RECORD_LIMIT_BYTES)):
            metadata["record"] = line
        # mtime=0: the same body is the same object, byte for byte. Level 5: two thirds of the time of level 6, 7 % more
        # bytes.
        stored = storable(page.packed, page.body) or gzip.compress(page.body, compresslevel=5, mtime=0)
        try:
            self.store.write(name, stored, if_generation=0, content_type="application/gzip", metadata=metadata)
        except GenerationConflict as conflict:
            if hashlib.sha256(self._read_body(name)).hexdigest() != digest:
                raise LandingUnavailable(
                    f"object {name} exists with other bytes; it was left as it is",
                    source=source,
                    partition=partition.key,
                    stage="land",
                ) from conflict
        if findings is not None:
            self._keep(name, stored)
        return record

    def checkpoint(self, source: str, partition: str, since: dt.datetime) -> Checkpoint | None:
        """The newest attempt begun at ``since`` (aware) or later, if it has pages and no manifest. One listing."""
        prefix = partition_prefix(source, partition)
        names: dict[str, dict[str, str]] = {}
        begin = f"{attempt_prefix(source, partition, f'{since.astimezone(dt.UTC):%Y%m%dT%H%M%SZ}')[:-1]}"
        for found in self.store.list(prefix, start_offset=begin):
            attempt, _, name = found.name.removeprefix(f"{prefix}attempt=").partition("/")
            names.setdefault(attempt, {})[name] = found.metadata.get("record", "")
        attempt = max(names, default="")
        if not attempt or "manifest.json" in names[attempt]:
            return None
        pages: list[PageRecord] = []
        for number in range(1, len(names[attempt]) + 1):
            line = names[attempt].get(page_name(number), "")
            try:
                pages.append(PageRecord.model_validate_json(line))
            except ValidationError:
                # No page, or one of another code version: what lies behind it is fetched again.
                break
        return Checkpoint(attempt, tuple(pages)) if pages else None

    def landed_pages(
        self, source: str, partition: str, *, unfinished_since: dt.datetime | None = None
    ) -> list[PageRecord]:
        """Every page of the partition that was not refused, of all attempts, oldest first. One listing.

        With ``unfinished_since`` (aware) only of attempts that were begun since then, and after the last one with a
        manifest.
        """
        found = list(self.store.list(partition_prefix(source, partition)))
        begin = ""
        if unfinished_since is not None:
            landed = (one.name.removesuffix("manifest.json") for one in found if one.name.endswith("/manifest.json"))
            oldest = f"{unfinished_since.astimezone(dt.UTC):%Y%m%dT%H%M%SZ}"
            # Behind the last page of that attempt, and before the first one of the next.
            begin = max([attempt_prefix(source, partition, oldest), *(f"{one}~" for one in landed)])
        records = []
        for one in found:
            line = one.metadata.get("record", "") if one.name >= begin else ""
            with contextlib.suppress(ValidationError):
                # One of another code version is fetched again.
                records += [PageRecord.model_validate_json(line)] if line else []
        return records

    def newest_manifest(self, source: str, partition: str) -> Manifest | None:
        """Of the attempt that began last of those that were landed. One listing. Raises ``LandingDamaged``."""
        found = self.store.list(partition_prefix(source, partition))
        landed = [one for one in found if one.name.endswith("/manifest.json")]
        newest = max(landed, key=lambda one: order_of(one.name.split("attempt=")[1], one), default=None)
        return self.read_manifest(newest.name) if newest else None

    def put_manifest(self, manifest: Manifest) -> None:
        """Writes the manifest: from here on the partition is landed. A repeat of the same attempt succeeds."""
        try:
            self.store.write(
                manifest.object_name,
                manifest.model_dump_json(indent=1).encode(),
                if_generation=0,
                content_type="application/json",
                metadata={
                    "content_hash": manifest.content_hash,
                    "backfill_id": manifest.backfill_id,
                    "statuses": " ".join(map(str, sorted(manifest.statuses))),
                },
            )
        except GenerationConflict as conflict:
            if self.read_manifest(manifest.object_name).content_hash != manifest.content_hash:
                raise LandingUnavailable(
                    f"another manifest lies at {manifest.object_name}; it was left as it is", stage="land"
                ) from conflict

    def take_up(self, object_name: str, scraper: Scraper) -> Manifest:
        """The manifest of what is landed, as evidence: for loading it, counting it, or calling it done.

        Raises ``Truncated`` where it rests on an answer that is no complete one of ``scraper``, whoever took it for one
        when it was landed: the partition has to be asked for again. ``LandingDamaged`` as ``read_manifest`` does.
        """
        manifest = self.read_manifest(object_name)
        if why := no_evidence(manifest.statuses, scraper.accepted_statuses):
            raise Truncated(
                f"{why}; it is kept and not called done",
                source=manifest.source,
                partition=manifest.partition,
                stage="land",
                hint="run it again",
            )
        return manifest

    def read_manifest(self, object_name: str) -> Manifest:
        """As it was written; who uses it calls ``take_up``. Raises ``LandingDamaged`` when it is missing or broken."""
        try:
            data, _ = self.store.read(object_name)
            return Manifest.model_validate_json(data)
        except ObjectMissing as error:
            raise self._damaged(object_name, "is gone") from error
        except ValueError as error:
            raise self._damaged(object_name, "cannot be read") from error

    def read_pages(self, manifest: Manifest) -> Iterator[bytes]:
        """Decompressed bodies of the pages with rows, in order, each checked as in ``read_page``."""
        for record in manifest.pages:
            if record.holds_rows:
                try:
                    yield self.read_page(record)
                except LandingDamaged as error:
                    where = {"source": manifest.source, "partition": manifest.partition}
                    raise error.located(**where) from error.__cause__

    def is_in_memory(self, manifest: Manifest) -> bool:
        """Whether ``read_pages`` takes no round trip: all of its pages were landed a moment ago."""
        return all(record.object_name in self._recent for record in manifest.pages if record.holds_rows)

    def read_page(self, record: PageRecord) -> bytes:
        """The decompressed body of one page; ``LandingDamaged`` when it is not what ``record`` says."""
        if record.covers is None:
            return self._read_checked(record)
        # Neighbouring dates are read one after the other, and ask for the same object.
        with self._sharing:
            body = self._shared.pop(record.object_name, None) or self._read_checked(record)
            self._shared[record.object_name] = body
            if len(self._shared) > _SHARED_PAGES:
                self._shared.popitem(last=False)
        return body

    def _read_checked(self, record: PageRecord) -> bytes:
        body = self._read_body(record.object_name)
        if hashlib.sha256(body).hexdigest() != record.sha256:
            raise self._damaged(record.object_name, "has other bytes than were landed")
        return body

    def _keep(self, name: str, stored: bytes) -> None:
        with self._sharing:
            self._recent_bytes += len(stored) - len(self._recent.pop(name, b""))
            self._recent[name] = stored
            while self._recent_bytes > _RECENT_BYTES:
                self._recent_bytes -= len(self._recent.popitem(last=False)[1])

    def _read_body(self, name: str) -> bytes:
        stored = self._recent.get(name)
        try:
            return gzip.decompress(self.store.read(name)[0] if stored is None else stored)
        except ObjectMissing as error:
            raise self._damaged(name, "is gone") from error
        except (OSError, EOFError, zlib.error) as error:
            raise self._damaged(name, "cannot be unpacked") from error

    def _damaged(self, name: str, what: str) -> LandingDamaged:
        uri = f"{self.store.root_uri}/{name}"
        return LandingDamaged(
            f"{uri} {what}; not loaded, old rows were kept",
            stage="load",
            hint=f"{fetch_again(name)}, or restore an older generation of that object first",
        )
