"""The warehouse in memory answers the product's own statements as the local BigQuery does."""

from __future__ import annotations

import datetime as dt
import gzip
import json
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import AwareDatetime, Field

from flows.simulate.memory_warehouse import Engine, MemoryWarehouse
from processors.base import Row, Table
from processors.load_plan import Constraint, TableBatch, Warehouse
from processors.recount_sql import count_sql, elsewhere_sql, orphan_sql, ratio_sql, shared_sql, values_sql
from processors.warehouse import BigQueryWarehouse, Dataset

if TYPE_CHECKING:
    from ...conftest import MemoryBucket

FIRST, SECOND = dt.date(2025, 1, 1), dt.date(2025, 1, 2)


class Game(Row):
    """One game."""

    game_key: str
    game_date: dt.date
    external_id: int | None = None
    starts_at: AwareDatetime | None = None
    points: float | None = None
    tags: list[str] = Field(default_factory=list)


class Line(Row):
    """One player's line."""

    game_key: str
    player_id: int
    game_date: dt.date


GAMES = Table("games", Game, ("game_key",), "game_date", critical=("points",), unique=(("external_id",),))
LINES = Table("lines", Line, ("game_key", "player_id"), "game_date", parent=("games", ("game_key",)), per_parent=(2, 3))


def batch(bucket: MemoryBucket, table: Table, days: Sequence[dt.date], rows: Sequence[dict[str, Any]]) -> TableBatch:
    digest = uuid.uuid4().hex[:12]
    name = f"staging/{digest}.ndjson.gz"
    bucket.write(name, gzip.compress("".join(f"{json.dumps(row, default=str)}\n" for row in rows).encode()))
    uris = (f"{bucket.root_uri}/{name}",) if rows else ()
    scope = (Constraint(table.partition_field, tuple(days)),)
    return TableBatch(table, scope, digest, "bf-1", uris, len(rows), dt.datetime(2025, 2, 1, tzinfo=dt.UTC))


def game(number: int, day: dt.date, **fields: Any) -> dict[str, Any]:
    starts_at = f"{day}T20:00:00+00:00"
    return {"game_key": f"g{number}", "game_date": day, "starts_at": starts_at, "points": 1.5, "tags": ["a"], **fields}


def line(number: int, player: int, day: dt.date) -> dict[str, Any]:
    return {"game_key": f"g{number}", "player_id": player, "game_date": day}


def story(warehouse: Warehouse, bucket: MemoryBucket) -> list[Any]:
    """Loads, a change, a moved game, a date that is emptied; what each of them and each recount says."""
    told: list[Any] = []

    def load(table: Table, days: Sequence[dt.date], rows: Sequence[dict[str, Any]]) -> None:
        one = batch(bucket, table, days, rows)
        warehouse.ensure_table(table)
        staged = warehouse.compare(one, warehouse.stage(one))
        told.append(sorted(map(repr, staged.cells)))
        warehouse.replace(one, staged)
        warehouse.drop_staging(one)

    def recount() -> None:
        days = {"days": [FIRST, SECOND]}
        keyed = {**days, "keys": ["g1", "g2", "g3"]}
        for sql, given in (
            (count_sql(GAMES, warehouse), days),
            (count_sql(LINES, warehouse), days),
            (values_sql(GAMES, "game_key", warehouse), days),
            (elsewhere_sql(GAMES, warehouse, by_keys=True), keyed),
            (shared_sql(GAMES, ("external_id",), warehouse), days),
            (orphan_sql(LINES, GAMES, warehouse, by_keys=False), days),
            (ratio_sql(LINES, GAMES, warehouse, by_keys=False), {**days, "fewest": 2, "most": 3}),
        ):
            told.append(sorted(repr(sorted(row.items())) for row in warehouse.query(sql, given)))

    load(GAMES, [FIRST], [game(1, FIRST, external_id=7), game(2, FIRST, points=None)])
    load(LINES, [FIRST], [line(1, 1, FIRST), line(1, 2, FIRST), line(9, 1, FIRST)])
    recount()
    load(GAMES, [FIRST, SECOND], [game(1, SECOND, external_id=7), game(2, FIRST, points=2.0), game(3, FIRST)])
    recount()
    load(GAMES, [SECOND], [game(1, SECOND, external_id=7), game(4, SECOND, external_id=7)])
    load(LINES, [FIRST], [])
    recount()
    return told


def test_a_story_of_loads_and_recounts_is_told_alike_by_the_local_bigquery_and_in_memory(
    bigquery_endpoint: str, memory_bucket: MemoryBucket
) -> None:
    real = BigQueryWarehouse(Dataset("p", f"d{uuid.uuid4().hex[:12]}", "US"), endpoint=bigquery_endpoint)
    real.ensure_dataset()
    engine = Engine()
    told = story(real, memory_bucket)
    assert story(MemoryWarehouse(memory_bucket, engine), memory_bucket) == told
    # What was answered once is remembered, and the same for the next one.
    assert story(MemoryWarehouse(memory_bucket, engine), memory_bucket) == told
