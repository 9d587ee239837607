"""What is done stays done: only a newer reading that was due may come to another verdict, and then the rows stay."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from alerting.memory_store import MemoryObjectStore
from flows.asked import Asked
from flows.ledger.ledger import Ledger, Verdict
from flows.settings import Settings
from flows.simulate.invariants import Ending, Invariants, most_within
from flows.simulate.machine import Machines
from flows.simulate.memory_warehouse import Content, Engine, MemoryWarehouse
from flows.simulate.subject import Subject, subject_of
from flows.simulate.virtual_time import virtual_time
from flows.simulate.world import Answers, Mailbox, World
from processors.registry import processor
from processors.schema import check_table
from scrapers.registry import scraper

BEGIN = dt.datetime(2025, 6, 17, 6, tzinfo=dt.UTC)
DUE = scraper("civic_band").fresh_for
TOWN, DATE = "temecula.ca~minutes", "2025-06-05"


@dataclasses.dataclass
class Looked:
    """A world in which one partition was read at `BEGIN` and verified hours later, with one row."""

    subject: Subject
    world: World
    must: Invariants

    def later(self, verdict: Verdict, after: dt.timedelta) -> list[str]:
        """What is told when another run calls the partition so."""
        ledger = Ledger(self.world.bucket, self.subject.asked.source)
        (key,) = ledger.refresh()
        ledger.advance(key, verdict, "bf-2", BEGIN + after)
        self.must.look(None, is_clean=False)
        return self.must.broken


def looked(source: str, key: str, folder: Path) -> Iterator[Looked]:
    settings = Settings(google_project="p", console_only=True, source_secrets={"bdl_api_key": "key-of-a-test"})  # type: ignore[arg-type]
    given = {"entities": key} if source == "civic_band" else {"start_date": key, "end_date": key}
    subject = subject_of(settings, Asked.model_validate({"source": source, **given}), BEGIN.date())
    tables = {}
    for table in processor(source).tables:
        columns = check_table(table)
        of = {table.entity_field: key, table.partition_field: dt.date(2025, 6, 5)}
        tables[table.name] = Content.of(columns, [tuple(of.get(column.name) for column in columns)])
    truth = Ending({key: "verified"}, tables, (), (), 1)
    bucket = MemoryObjectStore("gs://simulated")
    with virtual_time(BEGIN, 0) as clock:
        warehouse, machines = MemoryWarehouse(bucket, Engine(), tables), Machines(clock, folder, is_one=True)
        world = World(clock, bucket, warehouse, Mailbox(), Answers(), machines)
        nothing_around: Any = None
        must = Invariants(subject, world, truth, nothing_around)
        Ledger(bucket, source).advance(key, Verdict.VERIFIED, "bf-1", BEGIN + DUE / 2, read_at=BEGIN)
        must.look(None, is_clean=False)
        assert must.broken == []
        yield Looked(subject, world, must)


@pytest.fixture
def snapshot(tmp_path: Path) -> Iterator[Looked]:
    yield from looked("civic_band", TOWN, tmp_path)


@pytest.fixture
def date(tmp_path: Path) -> Iterator[Looked]:
    yield from looked("bdl_box_scores", DATE, tmp_path)


@pytest.mark.parametrize("verdict", [Verdict.LANDED, Verdict.FAILED_RETRYABLE, Verdict.TRUNCATED, Verdict.PAUSED])
def test_a_newer_reading_of_a_snapshot_may_come_to_any_verdict_when_it_was_due(
    snapshot: Looked, verdict: Verdict
) -> None:
    assert snapshot.later(verdict, DUE * 1.1) == []


@pytest.mark.parametrize("verdict", [Verdict.LANDED, Verdict.FAILED_RETRYABLE])
def test_a_snapshot_that_is_still_fresh_may_not_be_undone(snapshot: Looked, verdict: Verdict) -> None:
    assert snapshot.later(verdict, DUE * 0.9) == [
        f"a date that was done is called something else: ['{TOWN}'] (after run 0)"
    ]


def test_a_date_may_never_be_undone(date: Looked) -> None:
    assert date.later(Verdict.FAILED_RETRYABLE, DUE * 10) == [
        f"a date that was done is called something else: ['{DATE}'] (after run 0)"
    ]


def test_the_rows_of_a_snapshot_stay_until_a_newer_reading_is_good(snapshot: Looked) -> None:
    for name, content in snapshot.world.tables.tables.items():
        snapshot.world.tables.tables[name] = Content(content.columns)
    assert snapshot.later(Verdict.FAILED_RETRYABLE, DUE * 1.1) == [
        f"a newer reading is not good, and the rows of the one before are gone or others: ['{TOWN}'] (after run 0)"
    ]


def test_instants_a_minute_apart_are_no_less_by_a_rounding_of_floats() -> None:
    assert 540.05 - 480.05 < 60
    assert most_within([480.05, 540.05], 60) == 1
    assert most_within([480.05, 540.0], 60) == 2
