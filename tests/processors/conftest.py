"""A small source whose pages land in a real bucket and load into a real (local) BigQuery."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from processors.base import LandedPage, Processor, Row, Table
from processors.process import LoadContext, process
from processors.receipt import Receipt
from processors.verification import Verification, verify
from processors.warehouse import BigQueryWarehouse, Dataset, JobPatience
from scrapers.base import Page, Request
from scrapers.landing import Landing
from scrapers.manifest import Manifest, content_hash
from scrapers.object_store import GcsObjectStore
from scrapers.partition import Partition

NOON = dt.datetime(2025, 6, 1, 12, tzinfo=dt.UTC)


class Game(Row):
    """One game."""

    game_key: str
    game_date: dt.date
    score: int
    note: str | None = None


class PlayerLine(Row):
    """One player's line."""

    game_key: str
    player_id: int
    game_date: dt.date
    pts: int | None = None


class Toy(Processor):
    source = "toy"
    tables: ClassVar[tuple[Table, ...]] = (
        Table("games", Game, ("game_key",), "game_date"),
        Table(
            "player_lines",
            PlayerLine,
            ("game_key", "player_id"),
            "game_date",
            parent=("games", ("game_key",)),
            per_parent=(1, 5),
            critical=("pts",),
        ),
    )

    def rows(self, partition: Partition, page: LandedPage) -> Iterator[tuple[str, dict[str, Any]]]:
        for game in json.loads(page.body):
            players = game.pop("players")
            yield "games", game
            for player in players:
                yield "player_lines", {"game_key": game["game_key"], "game_date": game["game_date"], **player}


def game(day: str, number: int = 1, score: int = 100, players: int = 2, **fields: Any) -> dict[str, Any]:
    lines = [{"player_id": player, "pts": score + player} for player in range(players)]
    return {"game_key": f"{day}:{number}", "game_date": day, "score": score, "players": lines, **fields}


class Weighed(BigQueryWarehouse):
    """Adds up what each of its queries would read."""

    size_bytes = 0
    _weighing = threading.Lock()

    def query(self, sql: str, parameters: Any = None) -> list[dict[str, Any]]:
        read_bytes = self.dry_run(sql, parameters)
        with self._weighing:
            self.size_bytes += read_bytes
        return super().query(sql, parameters)


class Bench:
    """Everything a test of this layer needs, on its own bucket and dataset."""

    game = staticmethod(game)

    def __init__(self, store: GcsObjectStore, warehouse: BigQueryWarehouse) -> None:
        self.store = store
        self.landing = Landing(store)
        self.warehouse = warehouse
        self.processor: Processor = Toy()

    def land(self, day: str, games: list[dict[str, Any]], **changes: Any) -> Manifest:
        counts = {"games": len(games), "player_lines": sum(len(one["players"]) for one in games)}
        partition = Partition.day(dt.date.fromisoformat(day), "America/New_York", changes.pop("entity", ""))
        facts = {"counts": counts, "empty_evidence": "" if games else "200 []", **changes}
        return self.land_body(partition, json.dumps(games).encode(), **facts)

    def land_body(self, partition: Partition, body: bytes, *, attempt: str = "", **facts: Any) -> Manifest:
        attempt = attempt or uuid.uuid4().hex[:8]
        page = Page(Request("/x"), 1, 200, {}, body, NOON, 0.1)
        record = self.landing.put_page(self.processor.source, partition, attempt, page, None)
        manifest = Manifest(
            source=self.processor.source,
            partition=partition.key,
            start=partition.start,
            end=partition.end,
            zone=partition.zone,
            entity=partition.entity,
            attempt=attempt,
            backfill_id="b1",
            code_version="0",
            landed_at=facts.pop("landed_at", NOON),
            pages=(record,),
            content_hash=content_hash([record]),
            **facts,
        )
        self.landing.put_manifest(manifest)
        return manifest

    def process(
        self, *manifests: Manifest, backfill_id: str = "b1", tolerated_rejects: int = 0, **options: Any
    ) -> Receipt:
        # Most tests replace a few rows by fewer; those of the guard ask for it.
        options = {"accept_shrink": True, **options}
        if tolerated_rejects:
            self.processor.tolerated_rejects = tolerated_rejects  # type: ignore[misc]
        return process(manifests, LoadContext(self.processor, self.landing, self.warehouse, backfill_id), **options)

    def verify(self, *manifests: Manifest, receipt: Receipt | None = None) -> dict[str, Verification]:
        dropped, supposed = (receipt.dropped, receipt.first_keys) if receipt else (None, None)
        return verify(manifests, processor=self.processor, warehouse=self.warehouse, dropped=dropped, supposed=supposed)

    def rows(self, table: str, *columns: str) -> list[tuple[Any, ...]]:
        listed = ", ".join(columns)
        found = self.warehouse.query(f"SELECT {listed} FROM {self.warehouse.name_of(table)} ORDER BY {listed}")
        return [tuple(row.values()) for row in found]

    def content(self) -> str:
        """Hash over all rows of all tables, in order, with repeats."""
        everything = [self.rows(table.name, *table.model.model_fields) for table in self.processor.tables]
        return hashlib.sha256(repr(everything).encode()).hexdigest()

    def sql(self, statement: str) -> None:
        """A change behind the loader's back; ``{games}`` and ``{player_lines}`` are the tables."""
        names = {table.name: self.warehouse.name_of(table.name) for table in self.processor.tables}
        self.warehouse.query(statement.format(**names))

    def weighed(self) -> Weighed:
        """A warehouse that weighs its queries, in place of the bench's."""
        self.warehouse = Weighed(self.warehouse.dataset, endpoint=self.warehouse._endpoint)
        return self.warehouse

    def table_ids(self) -> set[str]:
        return {table.table_id for table in self.warehouse._open().list_tables(self.warehouse.dataset.name)}


@pytest.fixture
def bench(gcs_root: Path, gcs_endpoint: str, bigquery_endpoint: str) -> Bench:
    name = f"t{uuid.uuid4().hex[:12]}"
    (gcs_root / name).mkdir()
    store = GcsObjectStore(name, project="p", endpoint=gcs_endpoint)
    warehouse = BigQueryWarehouse(
        Dataset("p", name, "US"), endpoint=bigquery_endpoint, patience=JobPatience(job_retry_delays_s=(0.0, 0.0))
    )
    warehouse.ensure_dataset()
    return Bench(store, warehouse)
