"""One JSON object that several processes read and change: compare-and-swap, and one wording for what cannot be read.

Every object of state has one: leases, cooldowns, quotas, the outbox. Objects that are written once (payloads,
manifests, receipts) share only the wording, ``unreadable``.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from typing import Generic, NamedTuple, TypeVar

from pydantic import TypeAdapter

from alerting.errors import LandingUnavailable, StateUnreadable
from alerting.object_store import GenerationConflict, ObjectMissing, ObjectStore

T = TypeVar("T")

TRIES = 40
_LONGEST_PAUSE_S = 0.5


class Version(NamedTuple, Generic[T]):
    """A value, and the generation at which the store holds it."""

    value: T
    generation: int


class VersionedRecord(Generic[T]):
    """The object ``name``; opens nothing by itself, so it may be made anew for every use. Safe for threads.

    Args:
        store: Where it lies.
        name: Object name.
        shape: How its value is read and written; what does not fit is ``StateUnreadable``.
        metadata: Custom metadata to be written with a value, for listings.
        sleep: Between two tries.
        where: ``source``, ``stage`` and ``hint`` of the errors.
    """

    def __init__(
        self,
        store: ObjectStore,
        name: str,
        shape: TypeAdapter[T],
        *,
        metadata: Callable[[T], Mapping[str, str]] | None = None,
        sleep: Callable[[float], None] = time.sleep,
        **where: str,
    ) -> None:
        self.store, self.name = store, name
        self._shape, self._metadata, self._sleep, self._where = shape, metadata, sleep, where

    @property
    def uri(self) -> str:
        """Its address, for people."""
        return f"{self.store.root_uri}/{self.name}"

    def read(self) -> T | None:
        """The value, None when there is no such object. Raises ``StateUnreadable``."""
        seen = self.version()
        return seen.value if seen else None

    def version(self) -> Version[T] | None:
        """As ``read``, with the generation that ``write`` takes."""
        try:
            data, generation = self.store.read(self.name)
            return Version(self._shape.validate_json(data), generation)
        except ObjectMissing:
            return None
        except ValueError as error:
            raise unreadable(self.store, self.name, error, **self._where) from error

    def write(self, value: T, seen: Version[T] | None) -> Version[T]:
        """Writes over ``seen`` (None: there is no object yet); ``GenerationConflict`` when it is another one by now."""
        return self._write(value, seen.generation if seen else 0)

    def put(self, value: T) -> Version[T]:
        """Writes over whatever is there: for an object with one writer, or one that only repeats what is known."""
        return self._write(value, None)

    def update(self, change: Callable[[T | None], T | None], seen: Version[T] | None = None) -> Version[T] | None:
        """What is stored after ``change`` of the value (None: no object); None when it wants nothing written.

        ``change`` is called once for each try, with a fresh value, and may raise. ``seen`` spares the first read.
        Raises ``StateUnreadable``, and ``LandingUnavailable`` when other writers won every try.
        """
        for turn in range(TRIES):
            if turn or seen is None:
                seen = self.version()
            changed = change(seen.value if seen else None)
            if changed is None:
                return None
            try:
                return self.write(changed, seen)
            except GenerationConflict:
                self._sleep(random.uniform(0, min(0.01 * 2**turn, _LONGEST_PAUSE_S)))  # noqa: S311 - spreads writers
        where = {name: text for name, text in self._where.items() if name != "hint"}
        raise LandingUnavailable(
            f"{self.uri} was changed by others under each of {TRIES} writes; ours was not made", **where
        )

    def _write(self, value: T, if_generation: int | None) -> Version[T]:
        generation = self.store.write(
            self.name,
            self._shape.dump_json(value, indent=1),
            if_generation=if_generation,
            content_type="application/json",
            metadata=self._metadata(value) if self._metadata else None,
        )
        return Version(value, generation)


def unreadable(store: ObjectStore, name: str, cause: Exception, *, hint: str = "", **where: str) -> StateUnreadable:
    """The one error for state that is missing where it must be, or that is not what it should be."""
    uri = f"{store.root_uri}/{name}"
    return StateUnreadable(
        f"state unreadable at {uri}; nothing was changed",
        hint=hint or f"look at that object; restore an older generation of it: gcloud storage ls --all-versions {uri}",
        reason=type(cause).__name__,
        **where,
    )
