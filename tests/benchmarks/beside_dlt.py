"""From answers to files that a load job reads: CPU of dlt and of Gapless on the same dates, in turn, in one process.

    uv run --no-project --with 'dlt==1.31.0' --with-editable . python tests/benchmarks/beside_dlt.py 60

Both get the same answers of the box score sample from memory and make the same rows of two tables by the same function.
dlt extracts, normalizes and writes them as gzip JSON lines to a folder. Gapless lands every answer with its manifest,
admits each row against its model (keys, parents, sums, ranges of columns) and writes gzip JSON lines; neither loads.
CPU seconds of the process, because wall clock is the machine's.
"""

from __future__ import annotations

import datetime as dt
import importlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from alerting.memory_store import MemoryObjectStore
from deployments.local.upstreams.season import games_on
from processors import registry as processors
from processors.base import LandedPage
from processors.batch_reading import BatchRows, read_batch
from processors.staging import TableSpool
from scrapers import registry as scrapers
from scrapers.base import Page, Request
from scrapers.landing import Landing
from scrapers.partition import Partition
from scrapers.scrape import ScrapeContext, scrape

SOURCE = "bdl_box_scores"
DLT = "dlt==1.31.0"
FIRST = dt.date(2023, 11, 1)
ROUNDS = 3


class Answers:
    """A source that answers from memory."""

    def __init__(self, days: int) -> None:
        self._bodies = {
            str(day): json.dumps({"data": games_on(day)}, separators=(",", ":")).encode()
            for day in (FIRST + dt.timedelta(days=number) for number in range(days))
        }

    def fetch(self, request: Request, page_number: int = 1) -> Page:
        body = self._bodies[dict(request.params)["date"]]
        return Page(
            request, page_number, 200, {"content-type": "application/json"}, body, dt.datetime.now(dt.UTC), 0.05
        )


def by_gapless(partitions: list[Partition], answers: Answers, folder: Path) -> int:
    """Rows in files that BigQuery loads."""
    store, processor = MemoryObjectStore("gs://bench"), processors.processor(SOURCE)
    landing = Landing(store)
    context = ScrapeContext(scrapers.scraper(SOURCE), answers, landing, "bf-bench", "bench")
    manifests = [scrape(one, context) for one in partitions]
    spools = {table.name: TableSpool(folder, table.name) for table in processor.tables}
    batch = BatchRows("bench", spools)
    read_batch(batch, manifests, processor, landing)
    for name, spool in spools.items():
        spool.upload(store, "staging/", f"{name}-{spool.sha256()[:8]}")
        spool.close()
    assert not batch.failures
    return sum(spool.rows for spool in spools.values())


def by_dlt(partitions: list[Partition], answers: Answers, folder: Path) -> int:
    """Rows in files of dlt's destination ``filesystem``."""
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    # No dependency of ours: who wants the comparison installs it beside.
    dlt: Any = importlib.import_module("dlt")
    processor, scraper = processors.processor(SOURCE), scrapers.scraper(SOURCE)

    def rows() -> Iterator[Any]:
        for partition in partitions:
            request = scraper.first_request(partition)
            page = answers.fetch(request)
            landed = LandedPage(request.path, request.params, 200, {}, page.fetched_at, page.body)
            # A list at once is what dlt is quickest with.
            found: dict[str, list[dict[str, Any]]] = {}
            for table, row in processor.rows(partition, landed):
                found.setdefault(table, []).append(row)
            for table, listed in found.items():
                yield dlt.mark.with_table_name(listed, table)

    pipeline = dlt.pipeline(
        "bench",
        pipelines_dir=str(folder / "work"),
        destination=dlt.destinations.filesystem(str(folder / "out")),
        dataset_name="bench",
    )
    pipeline.run(dlt.resource(rows, name="box_scores"), loader_file_format="jsonl")
    counted = pipeline.last_trace.last_normalize_info.row_counts
    return sum(count for name, count in counted.items() if not name.startswith("_dlt"))


def main(days: int) -> None:
    """Prints CPU milliseconds a date, the best of some rounds."""
    zone = scrapers.scraper(SOURCE).zone
    partitions = [Partition.day(FIRST + dt.timedelta(days=number), zone) for number in range(days)]
    answers = Answers(days)
    best: dict[str, float] = {}
    ways: dict[str, Callable[[list[Partition], Answers, Path], int]] = {"gapless": by_gapless, "dlt": by_dlt}
    rows = {}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            with tempfile.TemporaryDirectory() as folder:
                began_s = time.process_time()
                rows[name] = way(partitions, answers, Path(folder))
                took_ms = (time.process_time() - began_s) / days * 1000
                best[name] = min(took_ms, best.get(name, took_ms))
    print(f"{days} dates, load of the machine {os.getloadavg()[0]:.1f}")
    for name, took_ms in best.items():
        print(f"  {name:8} {took_ms:7.1f} ms of CPU a date  {rows[name]:,} rows  {took_ms / best['dlt']:.2f} of dlt's")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 60)
