"""Partitions of a staged batch that keep their old rows: their keys stand elsewhere, or they would lose too much."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from alerting.errors import CoverageLow, PipelineError, Shrunk
from alerting.wording import plural
from processors.batch_work import StagedTable
from processors.changes import changes_per_partition, twins_per_partition
from processors.items import Expectation
from processors.load_plan import Warehouse
from processors.lost_items import Lost, lost_items
from processors.shrinkage import Loss, losses
from processors.uniqueness import Shared, shared_values
from scrapers.manifest import Manifest

_IS_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


def twins(staged: Sequence[StagedTable], good: Sequence[Manifest], warehouse: Warehouse) -> dict[str, PipelineError]:
    """Partitions with keys or unique values that would then stand in two rows: nobody can say which one is right."""
    found: dict[str, PipelineError] = {}
    for one in staged:
        table = one.batch.table
        counts = twins_per_partition(one.load.cells, table, good).items()
        shared = {
            **shared_values(one.batch, one.load, warehouse, good),
            **{key: Shared(plural(count, "key")) for key, count in counts},
        }
        for key, what in shared.items():
            found[key] = CoverageLow(
                f"DUPLICATE: {table.name}: also outside the partition: {what.text}; old rows were kept",
                hint=_together(good[0].source, key, what.dates),
            )
    return found


def _together(source: str, key: str, others: Sequence[str]) -> str:
    """What settles a row that stands on two dates."""
    dates = sorted({key, *others})
    if not others or not all(_IS_DATE.fullmatch(date) for date in dates):
        return "fetch the dates that share them in one run, mode full"
    listed = ",".join(dates)
    return f"gapless run {source} {dates[0]} {dates[-1]} --mode full --dates {listed} --reason validation_failed"


def shrunk(
    staged: Sequence[StagedTable],
    good: Sequence[Manifest],
    verified: Mapping[str, Mapping[str, int]],
    expected: Mapping[str, Sequence[Expectation]],
    warehouse: Warehouse,
) -> tuple[dict[str, PipelineError], dict[str, str]]:
    """Partitions that would lose more rows than is usual: shrinking is evidence against the new answer.

    Those whose oracle expects just that come second, each with what it says.
    """
    lost: dict[str, list[Loss]] = {}
    for one in staged:
        changes = changes_per_partition(one.load.cells, one.batch.table, good)
        for key, loss in losses(one.batch.table, changes, verified).items():
            lost.setdefault(key, []).append(loss)
    said = lost_items([one.batch for one in staged], lost, good, expected, warehouse) if lost and expected else {}
    settled = {key: f"{one.by} expects what came{one.text}" for key, one in said.items() if one.by}
    kept = {key: found for key, found in lost.items() if key not in settled}
    return {key: _shrunk_error(found, said.get(key)) for key, found in kept.items()}, settled


def _shrunk_error(found: Sequence[Loss], said: Lost | None) -> Shrunk:
    gone = said.text if said else ""
    return Shrunk(f"{'; '.join(str(loss) for loss in found)}{gone}; old rows were kept")
