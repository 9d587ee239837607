"""A dataset beside the real one, in which a load is tried and recounted before anybody sees its rows.

It holds a clone of each table that the load touches, so that ``process`` and ``verify`` do there what they do anywhere:
keys elsewhere, parents, sums and losses are judged by what the real tables would become. A clone costs only what
differs from its table (https://docs.cloud.google.com/bigquery/docs/table-clones-intro).
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
from typing import Any

from google.api_core.exceptions import NotFound
from google.cloud import bigquery

from processors.base import Table
from processors.state_views import StateView
from processors.views import View
from processors.warehouse import BigQueryWarehouse

RUN_MAY_TAKE = dt.timedelta(days=62)
"""From the first staged row to the comparison, after which a person has time to decide: a run may wait for the next
month's quota. What nobody dropped by the end of both, BigQuery drops."""


def review_dataset_name(dataset: str, review_id: str) -> str:
    """The dataset of one review.

    >>> review_dataset_name("nba", "bf-0123456789ab")
    'nba_review_bf_0123456789ab'
    """
    return f"{dataset}_review_{re.sub(r'[^A-Za-z0-9]', '_', review_id)}"


class ReviewDataset(BigQueryWarehouse):
    """Opens nothing until first used. Its tables count for no daily limit of the real ones.

    Args:
        real: Whose tables are cloned.
        review_id: Whose dataset this is.
        waits: How long the review may wait for a decision.
        limits: Keywords of `BigQueryWarehouse`.
    """

    def __init__(self, real: BigQueryWarehouse, review_id: str, waits: dt.timedelta, **limits: Any) -> None:
        beside = review_dataset_name(real.dataset.name, review_id)
        super().__init__(dataclasses.replace(real.dataset, name=beside), **limits)
        self.real = real
        self._life = RUN_MAY_TAKE + waits

    def ensure_dataset(self) -> None:
        """Creates the dataset; BigQuery drops each of its tables two months after the review would have waited."""
        made = bigquery.Dataset(self.dataset.full_name)
        made.location = self.dataset.location
        made.default_table_expiration_ms = int(self._life.total_seconds() * 1000)
        made.description = f"rows that wait for approval, beside {self.real.dataset.name}"
        self._call(
            "creation of the dataset of a review",
            lambda: self._open().create_dataset(made, exists_ok=True, **self._calling),
        )

    def ensure_table(self, table: Table) -> None:
        """The table as the real one is, with the columns that the model has beyond it; the real one is as it was."""
        if not self._is_there(table.name):
            self.ensure_dataset()
            self._clone(table.name)
        super().ensure_table(table)

    def ensure_view(self, view: View | StateView) -> None:
        """No view: it would show tables of sources that the review is not about."""

    def _is_there(self, table: str) -> bool:
        def look() -> bool:
            try:
                self._open().get_table(self._reference(table), **self._calling)
            except NotFound:
                return False
            return True

        found: bool = self._call(f"look at table {table} of a review", look)
        return found

    def _clone(self, table: str) -> None:
        """One atomic job; nothing where there is no table to clone yet."""
        config = bigquery.CopyJobConfig(operation_type="CLONE", write_disposition="WRITE_EMPTY")

        def clone() -> None:
            origin = bigquery.TableReference.from_string(f"{self.real.dataset.full_name}.{table}")
            try:
                self._open().get_table(origin, **self._calling)
            except NotFound:
                return
            job = self._open().copy_table(
                origin, self._reference(table), location=self.dataset.location, job_config=config, **self._calling
            )
            job.result(retry=self._retry, timeout=self._job_timeout_s)

        self._call(f"clone of table {table}", clone)
