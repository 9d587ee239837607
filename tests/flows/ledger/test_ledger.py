"""The ledger: compare-and-swap, metadata round trip, and refusal to read garbage as empty."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.errors import LeaseHeld, StateUnreadable
from alerting.memory_store import MemoryObjectStore
from alerting.object_store import StoredObject
from flows.ledger.ledger import Ledger, LedgerEntry, Verdict

NOW = dt.datetime(2025, 2, 1, 12, tzinfo=dt.UTC)

entries = st.builds(
    LedgerEntry,
    source=st.just("s"),
    partition=st.dates(dt.date(1990, 1, 1), dt.date(2040, 1, 1)).map(str),
    verdict=st.sampled_from(list(Verdict)),
    backfill_id=st.text("abcdef-0123456789", min_size=1, max_size=20),
    updated_at=st.datetimes(timezones=st.just(dt.UTC)),
    attempt=st.text("abc123TZ-", max_size=30),
    attempts=st.integers(0, 99),
    landed=st.dictionaries(st.text("abc_", min_size=1), st.integers(0, 10**9), max_size=3),
    loaded=st.dictionaries(st.text("abc_", min_size=1), st.integers(0, 10**9), max_size=3),
    changes=st.dictionaries(st.sampled_from("abc"), st.just({"created": 3, "removed": 1}), max_size=2),
    receipt_id=st.text("abc", max_size=9),
    error_type=st.sampled_from(["", "RateLimited"]),
    evidence=st.text("abc {}[]", max_size=20),
)


@given(entries)
def test_an_entry_survives_its_metadata(entry: LedgerEntry) -> None:
    assert LedgerEntry.from_metadata("s", entry.partition, entry.to_metadata()) == entry


def test_what_one_process_writes_another_reads_from_one_listing() -> None:
    store = MemoryObjectStore()
    writer = Ledger(store, "s")
    for day in range(1, 29):
        writer.advance(f"2025-02-{day:02d}", Verdict.LANDED, "bf-1", NOW, landed={"games": day})
    seen = Ledger(store, "s").refresh("2025-02-03", "2025-02-10")
    assert sorted(seen) == [f"2025-02-{day:02d}" for day in range(3, 11)]
    assert seen["2025-02-05"].landed == {"games": 5}


def test_what_is_known_of_many_partitions_is_what_is_known_of_each() -> None:
    store, keys = MemoryObjectStore(), ["2025-02-02", "2025-02-03", "2025-02-01"]
    for day, only in (("2025-02-01", ("gb",)), ("2025-02-02", ())):
        Ledger(store, "s").advance(day, Verdict.VERIFIED, "bf-1", NOW, attempt="a1", only=only)
    ledger = Ledger(store, "s", only=("gb", "ire"))
    ledger.refresh()
    known = ledger.known_of(keys)
    assert list(known) == ["2025-02-02", "2025-02-01"]
    assert known == {key: ledger.get(key) for key in known}
    assert known["2025-02-01"].verdict is Verdict.PARTIAL


def test_a_second_writer_is_refused_and_nothing_is_overwritten() -> None:
    store = MemoryObjectStore()
    first, second = Ledger(store, "s"), Ledger(store, "s")
    first.refresh()
    second.refresh()
    first.advance("2025-02-01", Verdict.VERIFIED, "bf-1", NOW)
    with pytest.raises(LeaseHeld, match="another run"):
        second.advance("2025-02-01", Verdict.FAILED_RETRYABLE, "bf-2", NOW)
    assert Ledger(store, "s").refresh()["2025-02-01"].verdict is Verdict.VERIFIED


def test_twenty_writers_of_one_partition_have_one_winner() -> None:
    store = MemoryObjectStore()

    def write(number: int) -> bool:
        try:
            Ledger(store, "s").advance("2025-02-01", Verdict.LANDED, f"bf-{number}", NOW)
        except LeaseHeld:
            return False
        return True

    with ThreadPoolExecutor(20) as threads:
        assert sum(threads.map(write, range(20))) == 1


@pytest.mark.parametrize("told", [{"only_until": "noon"}, {"verdict": "half_verified"}], ids=str)
def test_what_a_newer_version_says_of_a_date_is_not_left_unheard(told: dict[str, str]) -> None:
    store = MemoryObjectStore()
    metadata = LedgerEntry("s", "2025-02-01", Verdict.VERIFIED, "bf-1", NOW).to_metadata() | told
    store.write("ledger/source=s/2025-02-01.json", b"{}", metadata=metadata)
    with pytest.raises(StateUnreadable) as caught:
        Ledger(store, "s").refresh()
    assert "a newer version of Gapless wrote it" in caught.value.hint


def test_what_a_tool_adds_when_it_copies_an_object_is_none_of_our_business() -> None:
    store = MemoryObjectStore()
    metadata = LedgerEntry("s", "2025-02-01", Verdict.VERIFIED, "bf-1", NOW).to_metadata()
    metadata |= {"goog-reserved-file-mtime": "1735689600", "mtime": "1735689600.5"}
    store.write("ledger/source=s/2025-02-01.json", b"{}", metadata=metadata)
    assert Ledger(store, "s").refresh()["2025-02-01"].verdict is Verdict.VERIFIED


def test_an_unreadable_entry_stops_the_run_and_is_never_read_as_empty() -> None:
    store = MemoryObjectStore()
    store.write("ledger/source=s/2025-02-01.json", b"{}", metadata={"verdict": "nonsense"})
    with pytest.raises(StateUnreadable, match="nothing was changed"):
        Ledger(store, "s").refresh()


def test_a_new_verdict_clears_the_old_error_and_keeps_the_rest() -> None:
    ledger = Ledger(MemoryObjectStore(), "s")
    ledger.advance("2025-02-01", Verdict.FAILED_RETRYABLE, "bf-1", NOW, error_type="RateLimited", attempts=2)
    entry = ledger.advance("2025-02-01", Verdict.LANDED, "bf-2", NOW, landed={"games": 3})
    assert (entry.error_type, entry.attempts, entry.landed) == ("", 2, {"games": 3})


def test_a_secret_in_an_error_never_reaches_the_ledger() -> None:
    store = MemoryObjectStore()
    Ledger(store, "s").advance(
        "2025-02-01", Verdict.FAILED_RETRYABLE, "bf-1", NOW, error="GET https://x/y?api_key=SECRETSECRET failed"
    )
    data, _ = store.read("ledger/source=s/2025-02-01.json")
    assert b"SECRETSECRET" not in data


def test_a_listing_that_was_begun_before_a_write_of_this_process_does_not_undo_it() -> None:
    class Slow(MemoryObjectStore):
        """Somebody writes while it is listed."""

        meanwhile: Callable[[], object] | None = None

        def list(self, *args: Any, **rest: Any) -> Iterator[StoredObject]:
            found = list(super().list(*args, **rest))
            if self.meanwhile and found:
                self.meanwhile()
            return iter(found)

    store = Slow("gs://b")
    ledger = Ledger(store, "s")
    ledger.advance("2025-01-03", Verdict.LANDED, "bf-1", NOW)
    store.meanwhile = lambda: ledger.advance("2025-01-03", Verdict.VERIFIED, "bf-1", NOW)
    assert ledger.refresh()["2025-01-03"].verdict is Verdict.VERIFIED
    store.meanwhile = None
    assert ledger.get("2025-01-03") == ledger.refresh()["2025-01-03"]
    ledger.advance("2025-01-03", Verdict.VERIFIED, "bf-2", NOW)


def test_years_are_listed_in_parts_at_once_and_each_entry_is_there_once() -> None:
    store = MemoryObjectStore()
    writer, days = Ledger(store, "s"), [f"{NOW.date() + dt.timedelta(days=day)}" for day in range(2_500)]
    for key in days:
        writer.advance(key, Verdict.LANDED, "bf-1", NOW)
    asked, listed = list[tuple[str | None, str | None]](), store.list

    def counted(prefix: str, *, start_offset: str | None = None, end_offset: str | None = None) -> Any:
        asked.append((start_offset, end_offset))
        return listed(prefix, start_offset=start_offset, end_offset=end_offset)

    store.list = counted  # type: ignore[method-assign]
    wanted = days[1:-1]
    assert list(Ledger(store, "s").refresh_over(wanted[::-1])) == wanted
    assert len(asked) == 3
    assert list(Ledger(store, "s").refresh_over(days[:1])) == days[:1]
    asked.clear()
    assert list(Ledger(store, "s").refresh_over(days[700:1_700], days)) == days
    assert asked == [(f"ledger/source=s/{days[0]}", f"ledger/source=s/{days[-1]}.json~")]


@given(names=st.sets(st.from_regex(r"[ab1]([ab1._-]{0,3}[ab1])?", fullmatch=True), min_size=1, max_size=6))
def test_a_listing_between_two_keys_has_every_entity_between_them_and_no_other(names: set[str]) -> None:
    """``malmo-city.json`` is listed before ``malmo.json``, and the entity ``malmo`` comes first."""
    store, keys = MemoryObjectStore(), sorted(names)
    ledger = Ledger(store, "s")
    for key in keys:
        ledger.advance(key, Verdict.VERIFIED, "bf-1", NOW)
    wanted = keys[len(keys) // 3 :]
    assert Ledger(store, "s").refresh_over(wanted).keys() == set(wanted)
    assert Ledger(store, "s").refresh(keys[0], keys[-1]).keys() == set(keys)
    assert Ledger(store, "s").refresh_over([]) == {}
    first = Ledger(store, "s").refresh_over(keys[: len(keys) // 2 + 1])
    assert first.keys() == set(keys[: len(keys) // 2 + 1])
