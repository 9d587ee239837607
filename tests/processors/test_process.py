"""Stage two on a real bucket and a real (local) BigQuery."""

from __future__ import annotations

import contextlib
import errno
import gzip
import json
import os
from collections.abc import Iterator
from typing import Any

import pytest
from google.api_core.exceptions import ServiceUnavailable

from alerting.errors import (
    ConfigurationError,
    DiskFull,
    LandingUnavailable,
    LoadRejected,
    NothingPublished,
    NotSettled,
    RowRejected,
    SourceContractError,
    WarehouseBusy,
)
from processors.base import LandedPage
from processors.batch_work import LoadContext
from processors.bisecting import pinned
from processors.job_runner import JobRunner
from processors.process import process
from processors.receipt import read_receipt
from processors.row_lines import RowLines
from scrapers.partition import Partition

DAY, NEXT = "2025-01-03", "2025-01-04"


def test_landed_rows_are_loaded_and_the_receipt_proves_it(bench):
    first, second = bench.land(DAY, [bench.game(DAY, 1), bench.game(DAY, 2)]), bench.land(NEXT, [bench.game(NEXT)])
    receipt = bench.process(second, first)
    assert bench.rows("games", "game_key") == [(f"{DAY}:1",), (f"{DAY}:2",), (f"{NEXT}:1",)]
    assert receipt.partitions == (DAY, NEXT)
    assert receipt.tables["games"].rows == 3
    assert receipt.tables["games"].rows_per_partition == {DAY: 2, NEXT: 1}
    assert receipt.tables["player_lines"].rows == 6
    assert receipt.job_count == 4
    kept = receipt.model_copy(update={"first_keys": {}})
    assert read_receipt(bench.store, "toy", receipt.receipt_id) == kept


def test_nothing_of_the_staging_stays_behind(bench):
    bench.process(bench.land(DAY, [bench.game(DAY)]))
    assert bench.table_ids() == {"games", "player_lines"}
    assert list(bench.store.list("staging/")) == []


def test_the_same_batch_twice_gives_the_same_tables(bench):
    manifests = [bench.land(DAY, [bench.game(DAY, 1), bench.game(DAY, 2)]), bench.land(NEXT, [bench.game(NEXT)])]
    bench.process(*manifests)
    before = bench.content()
    bench.process(*manifests)
    bench.process(*reversed(manifests), backfill_id="b2")
    assert bench.content() == before


def test_a_partition_loaded_as_a_then_b_then_a_ends_as_a(bench):
    a, b = bench.land(DAY, [bench.game(DAY, score=1)]), bench.land(DAY, [bench.game(DAY, score=2)])
    seen = []
    for manifest in (a, b, a, b, a):
        bench.process(manifest)
        seen.append(bench.rows("games", "score"))
    assert seen == [[(1,)], [(2,)], [(1,)], [(2,)], [(1,)]]


def test_a_reload_leaves_the_neighbouring_dates_alone(bench):
    bench.process(bench.land(DAY, [bench.game(DAY)]), bench.land(NEXT, [bench.game(NEXT)]))
    bench.process(bench.land(DAY, [bench.game(DAY, score=7)]))
    assert bench.rows("games", "game_date", "score")[0][1] == 7
    assert len(bench.rows("games", "game_date", "score")) == 2


def test_a_proven_empty_date_loses_its_stale_rows(bench):
    bench.process(bench.land(DAY, [bench.game(DAY)]), bench.land(NEXT, [bench.game(NEXT)]))
    empty = bench.land(DAY, [])
    receipt = bench.process(empty)
    assert receipt.partitions == (DAY,)
    assert receipt.tables["games"].load_job_id == ""
    assert bench.rows("games", "game_key") == [(f"{NEXT}:1",)]
    assert bench.verify(empty)[DAY].is_ok


def test_an_empty_date_among_others_loses_its_stale_rows_too(bench):
    bench.process(bench.land(DAY, [bench.game(DAY)]))
    bench.process(bench.land(DAY, []), bench.land(NEXT, [bench.game(NEXT)]))
    assert bench.rows("games", "game_key") == [(f"{NEXT}:1",)]


def test_an_unproven_empty_date_keeps_its_rows_and_is_refused(bench):
    bench.process(bench.land(DAY, [bench.game(DAY)]))
    receipt = bench.process(bench.land(DAY, [], empty_evidence=""))
    assert isinstance(receipt.refused()[DAY], NothingPublished)
    assert receipt.tables == {}
    assert len(bench.rows("games", "game_key")) == 1


def test_an_unsettled_date_is_refused_and_the_others_go_on(bench):
    receipt = bench.process(
        bench.land(DAY, [bench.game(DAY)], unsettled=("BOS-TOR (3rd Qtr)",)), bench.land(NEXT, [bench.game(NEXT)])
    )
    assert isinstance(receipt.refused()[DAY], NotSettled)
    assert "BOS-TOR" in str(receipt.refused()[DAY])
    assert receipt.partitions == (NEXT,)


def _rejects(bench: Any, receipt: Any) -> list[dict[str, str]]:
    lines = gzip.decompress(bench.store.read(receipt.rejects_object)[0]).splitlines()
    return [json.loads(line) for line in lines]


def test_a_row_that_breaks_the_contract_fails_its_partition_only(bench):
    broken = {
        "2025-02-01": ({"score": "many"}, "score: Input should be a valid integer"),
        "2025-02-02": ({"score": None}, "score: Input should be a valid integer"),
        "2025-02-03": ({"score": float("nan")}, "score: Input should be a finite number"),
        "2025-02-04": ({"game_key": None}, "game_key: Input should be a valid string"),
        "2025-02-05": (
            {"game_date": "2025-02-06"},
            "game_date 2025-02-06 lies outside 2025-02-05 to 2025-02-06",
        ),
        "2025-02-06": ({"game_date": None}, "game_date: Input should be a valid date"),
    }
    bench.process(*(bench.land(day, [bench.game(day, score=1)]) for day in broken))
    receipt = bench.process(
        *(
            bench.land(day, [bench.game(day, 1, score=2), bench.game(day, 2, players=0, **fields)])
            for day, (fields, _) in broken.items()
        ),
        bench.land(NEXT, [bench.game(NEXT, score=3)]),
    )
    refused = receipt.refused()
    assert {day for day, error in refused.items() if isinstance(error, RowRejected)} == set(refused) == set(broken)
    assert receipt.rejects == dict.fromkeys(broken, 1)
    kept = {one["partition"]: one["reason"] for one in _rejects(bench, receipt)}
    assert set(kept) == set(broken)
    assert [day for day, (_, reason) in broken.items() if not kept[day].startswith(reason)] == []
    assert bench.rows("games", "score") == [(1,)] * len(broken) + [(3,)]


def test_a_reject_says_of_which_page_it_is_and_where_it_stands_there(bench):
    games = [
        bench.game(DAY, 1),
        bench.game(DAY, 2, score="many", players=0),
        bench.game(DAY, 3, score="more", players=0),
    ]
    manifest = bench.land(DAY, games)
    receipt = bench.process(manifest)
    (page,) = manifest.pages
    # The first game has two players, so it is three rows.
    assert [(one["object_name"], one["row"]) for one in _rejects(bench, receipt)] == [
        (page.object_name, 4),
        (page.object_name, 5),
    ]
    told = receipt.refused()[DAY]
    assert "(page 1, row 4)" in told.message
    assert f"look at row 4 of {page.object_name}" in told.hint
    assert f"gapless reprocess toy {DAY} {DAY} --reason schema_change" in told.hint


def test_an_exception_of_the_processor_says_where_in_the_answer_what_came_and_what_to_type_next(bench):
    good, bad = bench.game(DAY, 1), bench.game(DAY, 2)
    del bad["game_date"]
    bad["players"][0]["pts"] = "Jane Doe"
    receipt = bench.process(bench.land(DAY, [good, bad]), bench.land(NEXT, [bench.game(NEXT)]))
    told = receipt.refused()[DAY]
    assert isinstance(told, SourceContractError)
    assert told.partition == DAY
    assert "page 1, row 5: game_date: missing; KeyError" in told.message
    assert f"gapless reprocess toy {DAY} {DAY} --reason schema_change" in told.hint
    assert "Jane" not in str(told)
    assert receipt.partitions == (NEXT,)


@pytest.mark.parametrize("games", [1, 2_000])
def test_a_full_disk_blames_no_date_and_leaves_every_row_as_it_was(bench, tmp_path, monkeypatch, games):
    bench.process(bench.land(DAY, [bench.game(DAY, score=1)]))
    again = bench.land(DAY, [bench.game(DAY, number, score=2) for number in range(1, games + 1)])
    (tmp_path / "games.ndjson").symlink_to("/dev/full")
    with monkeypatch.context() as full:
        full.setattr("tempfile.TemporaryDirectory", lambda **_: contextlib.nullcontext(str(tmp_path)))
        with pytest.raises(DiskFull, match="No space left on device; nothing of them was loaded"):
            bench.process(again)
    assert bench.rows("games", "score") == [(1,)]
    assert bench.process(again).partitions == (DAY,)


def test_a_machine_on_which_no_folder_takes_a_file_is_a_full_disk_too(bench, monkeypatch):
    landed = bench.land(DAY, [bench.game(DAY)])

    def nowhere() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")

    with monkeypatch.context() as full:
        full.setattr("tempfile.gettempdir", nowhere)
        full.setenv("TMPDIR", "/mnt/small")
        with pytest.raises(DiskFull, match="No usable temporary directory found") as told:
            bench.process(landed)
    assert "free some space in /mnt/small" in told.value.hint
    assert bench.process(landed).partitions == (DAY,)


def test_a_process_that_may_open_no_more_files_blames_no_date_and_names_the_limit(bench, monkeypatch):
    landed = bench.land(DAY, [bench.game(DAY)])

    def no_more(*_: object) -> str:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as full:
        full.setattr("hashlib.file_digest", no_more)
        with pytest.raises(DiskFull, match="Too many open files") as told:
            bench.process(landed)
    assert told.value.hint.startswith("let the worker open more files (ulimit -n 1024)")
    assert bench.process(landed).partitions == (DAY,)


def test_a_tolerated_reject_is_left_out_and_told(bench):
    manifest = bench.land(DAY, [bench.game(DAY, 1), bench.game(DAY, 2, players=0, score="x")])
    receipt = bench.process(manifest, tolerated_rejects=1)
    assert receipt.partitions == (DAY,)
    assert receipt.rejects == {DAY: 1}
    assert receipt.dropped == {DAY: {"games": 1}}


def test_an_identical_repeat_is_dropped_and_counted(bench):
    manifest = bench.land(DAY, [bench.game(DAY, players=0), bench.game(DAY, players=2)])
    receipt = bench.process(manifest)
    assert receipt.dropped == {DAY: {"games": 1}}
    assert len(bench.rows("games", "game_key")) == 1
    assert bench.verify(manifest, receipt=receipt)[DAY].is_ok
    assert bench.verify(manifest)[DAY].verdict == "SHORT"


def test_two_different_rows_under_one_key_are_refused(bench):
    receipt = bench.process(bench.land(DAY, [bench.game(DAY, score=1), bench.game(DAY, players=0, score=2)]))
    assert "another row has the same key" in str(receipt.refused()[DAY])


def test_an_unknown_field_is_told_and_stops_nothing(bench):
    bench.process(bench.land(DAY, [bench.game(DAY, 1, arena="TD"), bench.game(DAY, 2, arena={"name": "x"})]))
    receipt = bench.process(bench.land(DAY, [bench.game(DAY, 1, arena="TD"), bench.game(DAY, 2, arena="TD")]))
    assert receipt.unknown_fields == {"games.arena": 2}
    assert receipt.absent_fields == {"games.note": 2}
    assert receipt.partitions == (DAY,)
    assert len(bench.rows("games", "game_key")) == 2


def test_a_renamed_required_field_is_a_reject_not_a_lost_column(bench):
    renamed = bench.game(DAY)
    renamed["points"] = renamed.pop("score")
    receipt = bench.process(bench.land(DAY, [renamed]))
    assert "score: Field required" in str(receipt.refused()[DAY])


def test_a_page_the_processor_cannot_read_fails_its_partition_only(bench):
    bad = bench.land_body(Partition.day(Partition.month(2025, 1, "UTC").start, "UTC"), b"<html>", counts={"games": 1})
    receipt = bench.process(bad, bench.land(NEXT, [bench.game(NEXT)]))
    assert isinstance(receipt.refused()["2025-01-01"], SourceContractError)
    assert receipt.partitions == (NEXT,)


def test_a_processor_that_loses_rows_is_stopped_before_the_load(bench):
    bench.process(bench.land(DAY, [bench.game(DAY, 1), bench.game(DAY, 2)]))
    before = bench.content()

    class Lossy(type(bench.processor)):
        def rows(self, partition: Partition, page: LandedPage) -> Iterator[tuple[str, dict[str, Any]]]:
            yield from list(super().rows(partition, page))[:-1]

    bench.processor = Lossy()
    receipt = bench.process(bench.land(DAY, [bench.game(DAY, 1), bench.game(DAY, 2)]))
    assert receipt.failures[DAY].error_type == "CoverageLow"
    assert "counted 4 rows, the processor found 3" in receipt.failures[DAY].message
    assert bench.content() == before


def test_a_processor_sees_what_was_asked_and_when_it_was_answered(bench):
    seen: list[LandedPage] = []

    class Curious(type(bench.processor)):
        def rows(self, partition: Partition, page: LandedPage) -> Iterator[tuple[str, dict[str, Any]]]:
            seen.append(page)
            return super().rows(partition, page)

    bench.processor = Curious()
    manifest = bench.land(DAY, [bench.game(DAY)])
    record = manifest.pages[0].model_copy(update={"params": (("format", "decimal"),), "headers": {"etag": "7"}})
    bench.process(manifest.model_copy(update={"pages": (record,)}))
    (page,) = seen
    assert (page.path, dict(page.params), page.status, page.headers) == (
        "/x",
        {"format": "decimal"},
        200,
        {"etag": "7"},
    )
    assert page.fetched_at == record.fetched_at
    assert json.loads(page.body)[0]["game_key"] == f"{DAY}:1"


def test_a_payload_changed_after_landing_is_never_loaded(bench):
    manifest = bench.land(DAY, [bench.game(DAY)])
    bench.store.write(manifest.pages[0].object_name, gzip.compress(b"[]"))
    assert bench.process(manifest).failures[DAY].error_type == "LandingDamaged"


def test_a_batch_with_two_attempts_of_one_date_is_refused_whole(bench):
    with pytest.raises(ConfigurationError, match="two attempts"):
        bench.process(bench.land(DAY, [bench.game(DAY, score=1)]), bench.land(DAY, [bench.game(DAY, score=2)]))
    assert bench.table_ids() == set()


def test_many_parts_are_loaded_as_one(bench, monkeypatch):
    monkeypatch.setattr("processors.staging.PART_BYTES", 200)
    manifest = bench.land(DAY, [bench.game(DAY, number, players=5) for number in range(30)])
    receipt = bench.process(manifest)
    assert receipt.tables["player_lines"].rows == 150
    assert bench.verify(manifest)[DAY].is_ok


POISON = "poison"


@pytest.fixture
def spoiled(monkeypatch):
    """Rows whose note is POISON reach BigQuery as no row that it takes, whatever the admission says."""
    line = RowLines.line

    def spoil(self: RowLines, row: Any) -> bytes:
        written = line(self, row)
        return written.replace(b'"score":', b'"score":"x",\n"":') if POISON.encode() in written else written

    monkeypatch.setattr(RowLines, "line", spoil)


def _days(count: int) -> list[str]:
    return [f"2025-01-{number:02d}" for number in range(1, count + 1)]


@pytest.mark.usefixtures("spoiled")
@pytest.mark.parametrize(
    "bad",
    [
        {"2025-01-05"},
        {"2025-01-01", "2025-01-06", "2025-01-07"},
        # The first three tell nothing of the table: the others are taken.
        {"2025-01-01", "2025-01-02", "2025-01-03"},
    ],
)
def test_the_dates_that_load_are_loaded_and_those_that_bigquery_refuses_are_named(bench, bad):
    days = _days(7)
    bench.process(*[bench.land(day, [bench.game(day, score=1)]) for day in days])
    notes = {day: {"note": POISON} if day in bad else {} for day in days}
    receipt = bench.process(*[bench.land(day, [bench.game(day, score=2, **notes[day])]) for day in days])
    assert set(receipt.refused()) == bad
    assert set(receipt.partitions) == set(days) - bad
    for key, error in receipt.refused().items():
        assert isinstance(error, RowRejected)
        assert f"toy {key} [load]: BigQuery refuses the rows of this partition alone" in str(error)
        assert error.facts["job_id"]
    found = dict(bench.rows("games", "CAST(game_date AS STRING)", "score"))
    assert found == {day: 1 if day in bad else 2 for day in days}
    assert bench.table_ids() == {"games", "player_lines"}
    assert list(bench.store.list("staging/")) == []


@pytest.mark.usefixtures("spoiled")
def test_a_refusal_of_every_date_is_one_of_the_table_and_stops_loading(bench):
    with pytest.raises(LoadRejected):
        bench.process(*[bench.land(day, [bench.game(day, note=POISON)]) for day in _days(5)])
    assert bench.rows("games", "game_key") == []


def test_a_batch_that_is_refused_only_as_a_whole_is_pinned_on_none_of_its_dates(bench):
    manifests = [bench.land(day, [bench.game(day)]) for day in _days(3)]

    def trial(some: Any) -> None:
        if len(some) > 2:
            raise LoadRejected("too many")

    with pytest.raises(LoadRejected, match="too many"):
        pinned(manifests, LoadRejected("too many"), trial)


def test_a_run_that_loses_its_source_between_two_tables_touches_no_further_one(bench, monkeypatch):
    bench.process(bench.land(DAY, [bench.game(DAY, score=1)]))
    before = bench.rows("player_lines", "pts")
    monkeypatch.setattr("processors.batch_work._TABLES_AT_ONCE", 1)
    asked = []

    def refuse_to_write() -> None:
        asked.append(1)
        if len(asked) > 1:
            raise LandingUnavailable("lost", stage="load")

    context = LoadContext(bench.processor, bench.landing, bench.warehouse, "b2", refuse_to_write=refuse_to_write)
    with pytest.raises(LandingUnavailable):
        process([bench.land(DAY, [bench.game(DAY, players=1, score=2)])], context, accept_shrink=True)
    assert bench.rows("games", "score") == [(2,)]
    assert bench.rows("player_lines", "pts") == before


def test_a_run_that_loses_its_source_while_it_waits_to_repeat_a_job_begins_it_no_more(bench, monkeypatch):
    bench.process(bench.land(DAY, [bench.game(DAY, score=1)]))
    manifest, busy = bench.land(DAY, [bench.game(DAY, score=2)]), WarehouseBusy("backendError", stage="load")
    tries, real = [], JobRunner._failure

    def fails(self, job, action):
        if not action.startswith("replace"):
            return real(self, job, action)
        tries.append(job)
        return busy

    def refuse_to_write() -> None:
        if tries:
            raise LandingUnavailable("lost", stage="load")

    monkeypatch.setattr("processors.batch_work._TABLES_AT_ONCE", 1)
    monkeypatch.setattr(JobRunner, "_failure", fails)
    context = LoadContext(bench.processor, bench.landing, bench.warehouse, "b2", refuse_to_write=refuse_to_write)
    with pytest.raises(LandingUnavailable):
        process([manifest], context)
    assert len(tries) == 1


def test_a_run_that_loses_its_source_while_the_start_of_a_job_is_not_answered_starts_it_no_more(bench, monkeypatch):
    bench.process(bench.land(DAY, [bench.game(DAY, score=1)]))
    manifest = bench.land(DAY, [bench.game(DAY, score=2)])
    connection, starts = bench.warehouse._open()._connection, list[str]()
    real = connection.api_request

    def unavailable(method: str = "", path: str = "", **given: Any) -> Any:
        query = ((given.get("data") or {}).get("configuration") or {}).get("query") or {}
        if method == "POST" and "MERGE" in query.get("query", ""):
            starts.append(path)
            raise ServiceUnavailable("backendError")
        return real(method=method, path=path, **given)

    def refuse_to_write() -> None:
        if starts:
            raise LandingUnavailable("lost", stage="load")

    monkeypatch.setattr("processors.batch_work._TABLES_AT_ONCE", 1)
    monkeypatch.setattr(connection, "api_request", unavailable)
    context = LoadContext(bench.processor, bench.landing, bench.warehouse, "b2", refuse_to_write=refuse_to_write)
    with pytest.raises(LandingUnavailable):
        process([manifest], context)
    assert len(starts) == 1
