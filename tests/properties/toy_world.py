"""A world for the property of truth: a toy source, and processes that share storage and tables, and die anywhere."""

from __future__ import annotations

import dataclasses
import datetime as dt
import gzip
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

from alerting.channels import FileChannel
from alerting.errors import NothingPublished, SourceUnavailable
from alerting.memory_store import MemoryObjectStore
from alerting.object_store import StoredObject
from alerting.smart_alert_manager import SmartAlertManager
from flows.ledger.ledger import Ledger
from flows.settings import Settings
from flows.wiring import Services, SourceKit
from processors.base import LandedPage, Processor, Row, Table
from processors.load_plan import TableBatch, TableLoad
from scrapers.base import Findings, Page, Request, Scraper
from scrapers.partition import Partition

FIRST, DAYS = dt.date(2024, 2, 25), 12
LAST = FIRST + dt.timedelta(days=DAYS - 1)
KEYS = [(FIRST + dt.timedelta(days=offset)).isoformat() for offset in range(DAYS)]
LEASE_S = 60.0
SETTINGS = Settings(project="p", console_only=True, lease_ttl_s=LEASE_S)


class Item(Row):
    """One item of a day."""

    day: dt.date
    number: int


class ToyProcessor(Processor):
    source = "toy"
    tables: ClassVar[tuple[Table, ...]] = (Table("items", Item, ("day", "number"), "day"),)

    def rows(self, partition: Partition, page: LandedPage) -> Iterator[tuple[str, dict[str, Any]]]:
        for number in json.loads(page.body):
            yield "items", {"day": partition.key, "number": number}


class ToyScraper(Scraper):
    source = "toy"
    title = "Toy"
    zone = "UTC"
    base_url = "https://example.org"
    tables = ("items",)
    settles_after = dt.timedelta(0)

    def first_request(self, partition: Partition) -> Request:
        return Request(f"/{partition.key}")

    def inspect(self, partition: Partition, page: Page) -> Findings:
        count = len(json.loads(page.body))
        return Findings({"items": count}, source_total=count, empty_evidence="" if count else "200 []")


def truth(key: str) -> list[int]:
    """What the source has: nothing on one day of four."""
    day = int(key[-2:])
    return [] if day % 4 == 0 else list(range(day % 5 + 1))


class Killed(BaseException):
    """The process is gone; no ``except Exception`` may survive it."""


@dataclass
class World:
    """What outlives every process."""

    chance: random.Random
    now: dt.datetime = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)
    objects: MemoryObjectStore = field(default_factory=lambda: MemoryObjectStore("gs://toy"))
    rows: dict[str, list[tuple[str, int]]] = field(default_factory=lambda: {"items": []})
    jobs: set[str] = field(default_factory=set)
    loads_of_done: Counter[str] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)
    faulty: bool = True

    def tick(self) -> None:
        self.now += dt.timedelta(seconds=self.chance.uniform(0.1, 3.0))


class Life:
    """One process: so many more effects and it is dead."""

    def __init__(self, world: World, effects: int) -> None:
        self.world, self.effects = world, effects

    def spend(self) -> None:
        self.effects -= 1
        if self.effects <= 0:
            raise Killed


class MortalStore:
    """The shared objects as one process sees them."""

    root_uri = "gs://toy"
    calls: ClassVar[Mapping[str, int]] = {}

    def __init__(self, life: Life) -> None:
        self._life, self._objects = life, life.world.objects

    def read(self, name: str) -> tuple[bytes, int]:
        return self._objects.read(name)

    def write(self, name: str, data: bytes, **rest: Any) -> int:
        self._life.spend()
        generation = self._objects.write(name, data, **rest)
        self._life.spend()
        return generation

    def list(self, prefix: str, **bounds: Any) -> Iterator[StoredObject]:
        return self._objects.list(prefix, **bounds)

    def delete(self, name: str) -> None:
        self._life.spend()
        self._objects.delete(name)


class ToyWarehouse:
    """Tables as lists of rows; a replace is one step, and a job id counts once."""

    billed_bytes = 0

    def __init__(self, life: Life) -> None:
        self._life, self._world = life, life.world

    def ensure_table(self, table: Table) -> None:
        pass

    def stage(self, batch: TableBatch) -> TableLoad:
        self._life.spend()
        return TableLoad("load", "", batch.rows, 1)

    def compare(self, batch: TableBatch, staged: TableLoad) -> TableLoad:
        return staged

    def drop_staging(self, batch: TableBatch) -> None:
        self._life.spend()

    def replace(self, batch: TableBatch, staged: TableLoad, may_write: Callable[[], None]) -> TableLoad:
        may_write()
        self._life.spend()
        job = batch.job_id("toy", "replace", 1)
        rows = [
            json.loads(line)
            for uri in batch.uris
            for line in gzip.decompress(self._world.objects.read(uri.removeprefix("gs://toy/"))[0]).splitlines()
        ]
        (scope,) = batch.scope
        days = {str(value) for value in scope.values}
        if job not in self._world.jobs:
            self._world.jobs.add(job)
            ledger = Ledger(self._world.objects, "toy").refresh()
            self._world.loads_of_done.update(day for day in days if day in ledger and ledger[day].verdict.is_good)
            kept = [row for row in self._world.rows["items"] if row[0] not in days]
            self._world.rows["items"] = kept + [(row["day"], row["number"]) for row in rows]
        self._life.spend()
        return dataclasses.replace(staged, replace_job_id=job)

    def name_of(self, table: str) -> str:
        return table

    def query(self, sql: str, parameters: Any) -> list[dict[str, Any]]:
        """Whether rows stand in the way: all that this table is asked."""
        days = {str(day) for day in parameters["scope_0"]}
        return [{"met": sum(row[0] in days for row in self._world.rows["items"])}]


class ToyClient:
    """Answers from the truth; sometimes fails, as sources do."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.calls = self.received_bytes = 0

    def fetch(self, request: Request, page_number: int = 1) -> Page:
        key = request.path.strip("/")
        self.calls += 1
        self._world.calls[key] += 1
        if self._world.faulty and self._world.chance.random() < 0.15:
            raise self._world.chance.choice([SourceUnavailable("503"), NothingPublished("empty, without proof")])
        body = json.dumps(truth(key)).encode()
        return Page(request, page_number, 200, {}, body, self._world.now, 0.01)

    def close(self) -> None:
        pass


class ToyKit(SourceKit):
    """The source of the world."""

    services: ToyServices

    def build_scraper(self) -> Scraper:
        return ToyScraper()

    @cached_property
    def processor(self) -> Processor:
        return ToyProcessor()

    @cached_property
    def client(self) -> Any:
        return ToyClient(self.services.life.world)


class ToyServices(Services):
    """Everything of one process of the world."""

    kit_type = ToyKit

    def __init__(self, life: Life, mails: FileChannel) -> None:
        super().__init__(SETTINGS)
        self.life = life
        self.__dict__.update(
            store=MortalStore(life),
            warehouse=ToyWarehouse(life),
            channels=[mails],
            alerts=SmartAlertManager(store=MortalStore(life), channels=[mails], clock=lambda: life.world.now),
        )
