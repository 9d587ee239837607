"""What Gapless asks of durable storage: whole objects, listings, and compare-and-swap on a generation.

The protocol has two implementations: a local folder (``FileObjectStore``), and Google Cloud
Storage (``scrapers.object_store.GcsObjectStore``, the only one that imports Google).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Protocol

METADATA_LIMIT_BYTES = 2_900
"""Custom metadata of one object, as a text of JSON. Cloud Storage takes 8 KiB
(https://docs.cloud.google.com/storage/quotas#objects). The local one keeps all that it knows of an object in the 4 KB
that ext4 has for it; one that it could not write whole breaks every later listing."""


class GenerationConflict(Exception):
    """The object is not at the generation that the writer expected: somebody else wrote it first."""


class ObjectMissing(Exception):
    """No object of that name."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One line of a listing.

    ``metadata`` is the custom metadata given at the write; ``generation`` changes with every write.
    """

    name: str
    generation: int
    size_bytes: int
    metadata: Mapping[str, str] = field(default_factory=dict)
    updated_at: dt.datetime | None = None


class ObjectStore(Protocol):
    """Durable objects. Every method is safe to call from many threads.

    Errors: ``LandingUnavailable`` when storage does not answer, ``AuthenticationError`` when it refuses the caller.
    """

    @property
    def root_uri(self) -> str:
        """``gs://bucket`` or ``file:///...``; an object's address is ``f"{root_uri}/{name}"``."""

    def read(self, name: str) -> tuple[bytes, int]:
        """Bytes and generation. Raises ``ObjectMissing``."""

    def write(
        self,
        name: str,
        data: bytes | IO[bytes],
        *,
        if_generation: int | None = None,
        content_type: str = "application/octet-stream",
        metadata: Mapping[str, str] | None = None,
    ) -> int:
        """Writes the whole object and returns its new generation; a file is written from its beginning, in pieces.

        ``if_generation=0`` means "only if it does not exist", ``n`` "only if it is still at n", ``None`` "whatever
        is there". Raises ``GenerationConflict``, but never for a write of one's own whose answer was lost.
        """

    def list(
        self, prefix: str, *, start_offset: str | None = None, end_offset: str | None = None
    ) -> Iterator[StoredObject]:
        """Objects whose names begin with ``prefix``, sorted by name, from ``start_offset`` (inclusive) to
        ``end_offset`` (exclusive), with their custom metadata: 1,000 objects for one call."""

    def delete(self, name: str) -> None:
        """Deletes unconditionally; a missing object is no error. Never used to release a lease (see design)."""
