"""An object store in a dictionary, with the same promises as the real one."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import IO

from alerting.instant import utc_now
from alerting.local_store import check_generation, from_beginning, next_generation, within
from alerting.object_store import ObjectMissing, StoredObject


class MemoryObjectStore:
    """Objects in a dictionary. Safe for threads; gone with the process. ``now`` is its clock (aware UTC)."""

    def __init__(self, root_uri: str = "memory://store", now: Callable[[], dt.datetime] = utc_now) -> None:
        self._root_uri, self._now = root_uri, now
        self._objects: dict[str, tuple[bytes, StoredObject]] = {}
        self._lock = threading.Lock()

    def copy(self, now: Callable[[], dt.datetime] = utc_now) -> MemoryObjectStore:
        """Another one with the same objects and generations, and a clock of its own."""
        made = MemoryObjectStore(self._root_uri, now)
        with self._lock:
            made._objects = dict(self._objects)
        return made

    @property
    def root_uri(self) -> str:
        """Only a name for messages; nothing can be opened under it."""
        return self._root_uri

    def read(self, name: str) -> tuple[bytes, int]:
        """Bytes and generation. Raises ``ObjectMissing``."""
        with self._lock:
            if name not in self._objects:
                raise ObjectMissing(name)
            data, stored = self._objects[name]
            return data, stored.generation

    def write(
        self,
        name: str,
        data: bytes | IO[bytes],
        *,
        if_generation: int | None = None,
        content_type: str = "application/octet-stream",  # noqa: ARG002 - the protocol's
        metadata: Mapping[str, str] | None = None,
    ) -> int:
        """See ``ObjectStore.write``."""
        with self._lock:
            found = self._objects[name][1].generation if name in self._objects else 0
            check_generation(name, found, if_generation)
            generation = next_generation(found)
            held = bytes(data) if isinstance(data, bytes) else from_beginning(data).read()
            stored = StoredObject(name, generation, len(held), dict(metadata or {}), self._now())
            self._objects[name] = (held, stored)
            return generation

    def list(
        self, prefix: str, *, start_offset: str | None = None, end_offset: str | None = None
    ) -> Iterator[StoredObject]:
        """See ``ObjectStore.list``; the listing is a snapshot."""
        with self._lock:
            found = sorted(name for name in self._objects if within(name, prefix, start_offset, end_offset))
            return iter([self._objects[name][1] for name in found])

    def delete(self, name: str) -> None:
        """A missing object is no error."""
        with self._lock:
            self._objects.pop(name, None)
