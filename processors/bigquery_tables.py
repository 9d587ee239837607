"""Tables of BigQuery as their row models want them: made when missing, widened when the model has more columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from google.api_core import exceptions as api
from google.cloud import bigquery

from alerting.errors import LoadRejected
from processors.base import Table
from processors.schema import Column, widened


def schema_fields(columns: Sequence[Column]) -> list[bigquery.SchemaField]:
    """The columns as the client takes them."""
    return [bigquery.SchemaField.from_api_repr(column.to_api()) for column in columns]


def make_or_widen(
    client: bigquery.Client,
    reference: bigquery.TableReference,
    table: Table,
    columns: Sequence[Column],
    calling: Mapping[str, Any],
) -> Sequence[Column]:
    """Makes the table, or adds the columns that it lacks and returns them.

    Args:
        client: Raises its own exceptions.
        reference: Where the table is.
        table: Partition field, granularity and key; raises ``LoadRejected`` for a table partitioned otherwise,
            and for a view in its place.
        columns: What the row model wants.
        calling: Retry and timeout of every call.
    """
    try:
        found = client.get_table(reference, **calling)
    except api.NotFound:
        made = bigquery.Table(reference, schema=schema_fields(columns))
        made.time_partitioning = bigquery.TimePartitioning(type_=table.granularity, field=table.partition_field)
        made.clustering_fields = list(table.key[:4])
        made.description = (table.model.__doc__ or "").strip() or None
        found = client.create_table(made, exists_ok=True, **calling)
    # A review loads into clones.
    if found.table_type not in ("TABLE", "CLONE", None):
        raise LoadRejected(
            f"{table.name} is a {found.table_type}, which takes no rows; it is as it was",
            stage="load",
            hint="drop or rename it by hand, or give the row model's table another name",
        )
    by = found.time_partitioning.field if found.time_partitioning else None
    if by != table.partition_field:
        raise LoadRejected(
            f"table {table.name} is partitioned by {by}, expected {table.partition_field}; it is as it was",
            stage="load",
            hint="migrate the table by hand, or give the row model's table another name",
        )
    existing = [Column.from_api(field.to_api_repr()) for field in found.schema]
    wider = widened(table.name, columns, existing)
    if not wider:
        return ()
    found.schema = schema_fields(wider)
    client.update_table(found, ["schema"], **calling)
    return wider[len(existing) :]
