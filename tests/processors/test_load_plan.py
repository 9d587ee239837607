"""Packing and names, for any batch."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.errors import ConfigurationError
from processors.base import Row, Table
from processors.load_plan import (
    MAX_DAYS_PER_BATCH,
    MAX_KEYS,
    MAX_ROWS_PER_BATCH,
    Constraint,
    TableBatch,
    batch_hash,
    check_batch,
    keys_parameter,
    pack,
    replace_scope,
    table_digest,
)
from scrapers.manifest import Manifest, PageRecord
from scrapers.partition import Partition

FIRST = dt.date(2020, 1, 1)


class Fact(Row):
    shop: str
    day: dt.date


BY_DATE = Table("facts", Fact, ("shop", "day"), "day")
BY_BOTH = Table("facts", Fact, ("shop", "day"), "day", entity_field="shop")
WHOLE = Table("facts", Fact, ("shop", "day"), "day", entity_field="shop", whole_entity=True)


def manifest(partition: Partition, attempt: str = "a", content: str = "h") -> Manifest:
    return Manifest(
        source="s",
        partition=partition.key,
        start=partition.start,
        end=partition.end,
        zone=partition.zone,
        entity=partition.entity,
        attempt=attempt,
        backfill_id="b",
        code_version="0",
        landed_at=dt.datetime(2025, 1, 1, tzinfo=dt.UTC),
        pages=(),
        counts={},
        content_hash=content,
    )


def day(offset: int, entity: str = "") -> Manifest:
    return manifest(Partition.day(FIRST + dt.timedelta(days=offset), "UTC", entity))


offsets = st.sets(st.integers(0, 6_000), min_size=1, max_size=80)
entities = st.sets(st.sampled_from(["elm", "oak", "ash"]), min_size=1)


@given(offsets, st.integers(1, 50))
def test_packing_loses_and_repeats_nothing_and_keeps_to_the_limit(days, limit):
    batches = pack([day(offset) for offset in days], limit)
    packed = [one.partition for batch in batches for one in batch]
    assert packed == sorted(day(offset).partition for offset in days)
    assert all(len(batch) <= limit for batch in batches)
    assert len(batches) == -(-len(days) // limit)


@given(st.lists(st.integers(1, 100), min_size=1, max_size=40), st.integers(1, 40), st.integers(50, 300))
def test_packing_keeps_to_the_bytes_too_and_a_payload_larger_than_that_is_alone(sizes, limit, max_bytes):
    manifests = [sized(day(offset), size) for offset, size in enumerate(sizes)]
    batches = pack(manifests, limit, max_bytes)
    assert [one for batch in batches for one in batch] == manifests
    for batch, following in itertools.zip_longest(batches, batches[1:]):
        assert len(batch) <= limit
        assert len(batch) == 1 or sum(one.size_bytes for one in batch) <= max_bytes
        if following:
            more = sum(one.size_bytes for one in (*batch, following[0]))
            assert len(batch) == limit or more > max_bytes, "no batch ends early"


def test_a_batch_of_500_dates_with_20_000_rows_each_is_cut_at_a_million_rows() -> None:
    manifests = [day(offset).model_copy(update={"counts": {"trades": 20_000}}) for offset in range(500)]
    batches = pack(manifests)
    assert [one for batch in batches for one in batch] == manifests
    assert [len(batch) for batch in batches] == [MAX_ROWS_PER_BATCH // 20_000] * 10


def test_whole_entities_share_batches_up_to_the_limit():
    towns = [manifest(Partition.whole(f"town-{number:04d}.ca", "UTC")) for number in range(2_500)]
    assert [len(batch) for batch in pack(towns)] == [1_000, 1_000, 500]


def sized(one: Manifest, size_bytes: int) -> Manifest:
    page = PageRecord(
        object_name="o",
        sha256="s",
        size_bytes=size_bytes,
        path="/",
        status=200,
        fetched_at=one.landed_at,
        elapsed_s=0.1,
    )
    return one.model_copy(update={"pages": (page,)})


@given(st.sets(st.tuples(st.sampled_from(["elm", "oak", "ash"]), st.integers(0, 5)), min_size=1))
def test_a_packed_batch_of_entities_never_replaces_rows_outside_it(cells):
    for batch in pack([day(offset, entity) for entity, offset in cells]):
        scope = replace_scope(BY_BOTH, batch)
        replaced = {(entity, date) for entity in scope[0].values for date in scope[1].values}
        assert replaced == {(one.entity, one.start) for one in batch}


@given(offsets, st.randoms())
def test_the_batch_hash_knows_no_order(days, random):
    manifests = [day(offset) for offset in days]
    shuffled = random.sample(manifests, len(manifests))
    assert batch_hash("s", 1, manifests) == batch_hash("s", 1, shuffled)


def test_the_batch_hash_changes_with_attempt_content_version_and_source():
    one = Partition.day(FIRST, "UTC")
    hashes = {
        batch_hash("s", 1, [manifest(one)]),
        batch_hash("s", 1, [manifest(one, attempt="b")]),
        batch_hash("s", 1, [manifest(one, content="i")]),
        batch_hash("s", 2, [manifest(one)]),
        batch_hash("t", 1, [manifest(one)]),
    }
    assert len(hashes) == 5


def test_the_longest_names_stay_within_what_bigquery_takes():
    table = Table("t" * 900, Row, ("key",), "day")
    batch = TableBatch(table, (), "d" * 20, "b" * 200, (), 0)
    lengths = len(batch.job_id("p.d", "replace", 9_999)), len(batch.staging_table)
    assert lengths == (1_004, 925)  # of 1,024


@given(st.text(min_size=1, max_size=80), st.integers(1, 200), st.sampled_from(["load", "replace"]))
def test_any_backfill_id_gives_a_valid_job_id(backfill_id, attempt, step):
    digest = table_digest("facts", "x", (Constraint("day", (FIRST,)),), "y", backfill_id)
    batch = TableBatch(BY_DATE, (), digest, backfill_id, (), 0)
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,1024}", batch.job_id("p.d", step, attempt))
    assert re.fullmatch(r"[A-Za-z0-9_]{1,1024}", batch.staging_table)


def test_job_ids_differ_by_everything_that_makes_another_job():
    scope = (Constraint("day", (FIRST,)),)
    ids = {
        TableBatch(BY_DATE, scope, table_digest("facts", schema, scope, rows, run), run, (), 0).job_id(dataset, step, n)
        for schema in "xy"
        for rows in "xy"
        for run in ("b/1", "b-1")
        for dataset in ("p.d", "p.e")
        for step in ("load", "replace")
        for n in (1, 2)
    }
    assert len(ids) == 64


def test_a_month_counts_its_days():
    months = [manifest(Partition.month(2020, number, "UTC")) for number in (1, 2, 3)]
    assert [len(batch) for batch in pack(months, 60)] == [2, 1]
    assert len(replace_scope(BY_DATE, months)[0].values) == 31 + 29 + 31


def test_a_whole_entity_has_no_dates_in_its_scope():
    assert replace_scope(WHOLE, [day(1, "elm"), day(2, "oak")]) == (Constraint("shop", ("elm", "oak")),)


def test_entities_with_different_dates_cannot_share_a_batch():
    with pytest.raises(ConfigurationError, match="mixes entities"):
        replace_scope(BY_BOTH, [day(1, "elm"), day(2, "oak")])


@pytest.mark.parametrize(
    ("manifests", "problem"),
    [
        ([], "an empty batch"),
        ([day(1), day(1)], "two attempts"),
        ([day(offset) for offset in range(MAX_DAYS_PER_BATCH + 1)], "more than 1000 dates"),
    ],
)
def test_an_impossible_batch_is_refused(manifests, problem):
    with pytest.raises(ConfigurationError, match=problem):
        check_batch("s", manifests)


def test_a_batch_of_another_source_is_refused():
    with pytest.raises(ConfigurationError, match="manifests of s"):
        check_batch("other", [day(1)])


@pytest.mark.parametrize(
    ("key", "fits"), [("2025-01-03:{}", True), ("https://x.test/{}" + "x" * 900, False), ("é" * 90 + "{}", False)]
)
def test_keys_are_a_parameter_as_long_as_a_request_can_hold_them(key, fits):
    named = keys_parameter([key.format(number) for number in range(MAX_KEYS)])
    assert bool(named) == fits
    assert len(json.dumps([{"value": one} for one in named.get("keys", ())])) < 6_000_000
