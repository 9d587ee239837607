"""What BigQuery would read to recount the first batch of a plan, by its own dry run: nothing is read or billed."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from alerting.errors import PipelineError
from alerting.wording import size
from flows.plans.plan import Plan
from flows.wiring import Services
from processors.load_plan import QueryValue
from processors.recount_sql import count_sql
from processors.warehouse import BigQueryWarehouse
from scrapers.partition import Partition

_WAIT_S = 10.0


@dataclass(frozen=True, slots=True)
class DryRun:
    """Bytes of the recount of so many partitions; None when BigQuery did not say, as for tables that do not exist."""

    partitions: int
    size_bytes: int | None

    def describe(self) -> str:
        """One line under the estimate."""
        told = "no answer from BigQuery" if self.size_bytes is None else f"{size(self.size_bytes)} read"
        return f"dry run    {told} to recount {self.partitions:,} partitions, whatever else the tables hold"


def recount_dry_run(services: Services, source: str, plan: Plan) -> DryRun:
    """Asks for one batch, because a run recounts batch by batch."""
    first = [*plan.to_fetch, *plan.to_reload][: services.settings.process_batch_partitions]
    if not first:
        return DryRun(0, 0)
    settings = services.settings
    warehouse = BigQueryWarehouse(
        settings.google_project, settings.dataset, settings.location, request_timeout_s=_WAIT_S, retry_s=_WAIT_S
    )
    total = 0
    for table in services.processor(source).tables:
        parameters: dict[str, QueryValue] = {}
        if not table.whole_entity:
            parameters["days"] = sorted({day for partition in first for day in _dates(partition)})
        if table.entity_field:
            parameters["entities"] = sorted({partition.entity for partition in first})
        try:
            total += warehouse.dry_run(count_sql(table, warehouse), parameters)
        except PipelineError:
            return DryRun(len(first), None)
    return DryRun(len(first), total)


def _dates(partition: Partition) -> list[dt.date]:
    return [partition.start + dt.timedelta(days=number) for number in range(partition.days)]
