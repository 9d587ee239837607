"""One JSON object with many writers: nothing is lost, nothing broken is taken for empty, and no try is endless."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pydantic import TypeAdapter

from alerting.errors import LandingUnavailable, StateUnreadable
from alerting.memory_store import MemoryObjectStore
from alerting.object_store import GenerationConflict
from alerting.versioned_record import TRIES, Version, VersionedRecord

COUNTS = TypeAdapter(dict[str, int])
NAME = "state/counts.json"


def one_more(found: dict[str, int] | None) -> dict[str, int]:
    return {"n": (found or {}).get("n", 0) + 1}


class Rival(MemoryObjectStore):
    """Before each of the first ``times`` reads is used, somebody else writes."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times, self.reads = times, 0

    def read(self, name: str) -> tuple[bytes, int]:
        self.reads += 1
        found = super().read(name)
        if self.reads <= self.times:
            self.write(name, COUNTS.dump_json(one_more(COUNTS.validate_json(found[0]))))
        return found


def record(store: MemoryObjectStore, sleep: Callable[[float], None] = lambda _: None, **where: Any) -> Any:
    return VersionedRecord(store, NAME, COUNTS, sleep=sleep, **where)


def test_no_change_of_many_threads_is_lost() -> None:
    store = MemoryObjectStore()
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: VersionedRecord(store, NAME, COUNTS).update(one_more), range(40)))
    assert record(store).read() == {"n": 40}


def test_a_lost_race_is_run_again_on_what_the_winner_wrote() -> None:
    store, pauses = Rival(times=3), []
    store.write(NAME, b'{"n": 10}')
    stored = record(store, pauses.append).update(one_more)
    assert stored.value == {"n": 14}
    assert store.read(NAME) == (COUNTS.dump_json({"n": 14}, indent=1), stored.generation)
    assert len(pauses) == 3
    assert all(0 <= pause <= 0.04 for pause in pauses)


def test_one_who_loses_every_race_says_so_and_has_written_nothing() -> None:
    store, pauses = Rival(times=10**6), []
    store.write(NAME, b'{"n": 0}')
    with pytest.raises(LandingUnavailable, match=f"^s: .*counts.json was changed by others under each of {TRIES}"):
        record(store, pauses.append, source="s", hint="x").update(one_more)
    assert store.reads == TRIES
    assert max(pauses) <= 0.5


def test_what_cannot_be_read_is_never_empty_and_the_error_says_where_and_what_next() -> None:
    store = MemoryObjectStore("gs://b")
    for broken in (b"", b"{", b"[1]", b'{"n": "many"}', b"\xff"):
        store.write(NAME, broken)
        for use in (record(store).read, lambda: record(store).update(one_more)):
            with pytest.raises(StateUnreadable, match=f"state unreadable at gs://b/{NAME}; nothing was changed") as one:
                use()
            assert one.value.hint
        assert store.read(NAME)[0] == broken


def test_a_change_that_wants_nothing_writes_nothing_and_a_missing_object_is_made_once() -> None:
    store = MemoryObjectStore()
    assert record(store).read() is None
    assert record(store).update(lambda _: None) is None
    assert list(store.list("")) == []
    record(store).write({"n": 1}, None)
    with pytest.raises(GenerationConflict):
        record(store).write({"n": 2}, None)


def test_who_knows_the_last_version_writes_without_a_read_and_a_stale_one_is_read_again() -> None:
    store = Rival(times=0)
    first = record(store).update(one_more)
    second = record(store).update(one_more, seen=first)
    assert (store.reads, second.value) == (1, {"n": 2})
    assert record(store).update(one_more, seen=Version({"n": 77}, first.generation)).value == {"n": 3}
    assert store.reads == 2


def test_metadata_goes_with_every_version() -> None:
    store = MemoryObjectStore()
    VersionedRecord(store, NAME, COUNTS, metadata=lambda value: {"n": str(value["n"])}).update(one_more)
    assert [stored.metadata for stored in store.list("state/")] == [{"n": "1"}]
