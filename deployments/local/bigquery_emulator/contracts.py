"""What BigQuery's contracts refuse and bqemulator 1.4.0 takes: ids, labels, descriptions, clustering, schemas.

Mends in bqemulator 1.4.0: none of these is checked. Each rule stands with its page. They hold for tables, datasets and
jobs alike, whoever sends them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import bqemulator.api.routes.tables
from bqemulator.catalog.models import TableMeta
from bqemulator.domain.errors import ValidationError

# https://docs.cloud.google.com/bigquery/docs/reference/rest/v2/JobReference
_JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,1024}")
# https://docs.cloud.google.com/bigquery/docs/labels-intro#requirements
_LABEL_KEY = re.compile(r"(?=[^\W\d_A-Z])[\w-]{1,63}")
_LABEL_VALUE = re.compile(r"[\w-]{0,63}")
_MAX_LABELS = 64
# https://docs.cloud.google.com/bigquery/docs/schemas#column_names and #column_descriptions
_COLUMN = re.compile(r"[^\W\d][\w &%=+:'<>#|-]{0,299}")
_PREFIXES = ("_table_", "_file_", "_partition", "_row_timestamp", "__root__", "_colidentifier")
_COLUMN_DESCRIPTION_CHARS = 1_024
_TABLE_DESCRIPTION_CHARS = 16_384
# https://docs.cloud.google.com/bigquery/docs/clustered-tables#limitations
_MAX_CLUSTERING = 4
_CLUSTERABLE = frozenset(
    "STRING INTEGER INT64 NUMERIC BIGNUMERIC DATE DATETIME TIMESTAMP BOOLEAN BOOL GEOGRAPHY RANGE".split()  # noqa: SIM905
)
# https://docs.cloud.google.com/bigquery/docs/partitioned-tables#date_timestamp_partitioned_tables
_PARTITIONABLE = frozenset(("DATE", "DATETIME", "TIMESTAMP"))
_SYNONYMS = {"INT64": "INTEGER", "FLOAT64": "FLOAT", "BOOL": "BOOLEAN", "STRUCT": "RECORD"}


def check_job(job_id: str, config: Mapping[str, Any]) -> None:
    """Refuses the id and the labels of a job.

    Raises:
        ValidationError: With the rule that is broken.
    """
    if not _JOB_ID.fullmatch(job_id):
        raise ValidationError(
            f'Invalid job ID "{job_id[:80]}". Job IDs must be alphanumeric (plus underscores and dashes) '
            "and must be at most 1024 characters long."
        )
    check_labels(config.get("labels") or {})


def check_labels(labels: Mapping[str, str]) -> None:
    """Refuses labels. Raises ``ValidationError``."""
    if len(labels) > _MAX_LABELS:
        raise ValidationError(f"Too many labels: {len(labels)}, at most {_MAX_LABELS} are allowed.")
    for name, value in labels.items():
        for text, allowed, what in ((name, _LABEL_KEY, "key"), (str(value), _LABEL_VALUE, "value")):
            if not allowed.fullmatch(text) or text != text.lower():
                raise ValidationError(
                    f'Label {what} "{text[:80]}" has invalid characters or length: lower case letters, digits, '
                    "underscores and dashes, at most 63; a key begins with a letter."
                )


def check_table(body: Mapping[str, Any], existing: TableMeta | None) -> None:
    """Refuses a table as it is to be made, or changed from ``existing``. Raises ``ValidationError``."""
    check_labels(body.get("labels") or {})
    if len(body.get("description") or "") > _TABLE_DESCRIPTION_CHARS:
        raise ValidationError(f"The description of a table has at most {_TABLE_DESCRIPTION_CHARS} characters.")
    fields = (body.get("schema") or {}).get("fields")
    if fields is None:
        return
    _check_columns(fields)
    kept = {one.name.lower(): one for one in existing.schema_.fields} if existing else {}
    _check_layout(body, {one["name"].lower(): one for one in fields})
    if existing and kept:
        _check_change(fields, kept)


def _check_columns(fields: Iterable[Mapping[str, Any]]) -> None:
    seen: set[str] = set()
    for field in fields:
        name = str(field["name"])
        if not _COLUMN.fullmatch(name) or name.lower().startswith(_PREFIXES):
            raise ValidationError(f'Invalid field name "{name[:80]}".')
        if name.lower() in seen:
            raise ValidationError(f"Duplicate field name: {name}")
        seen.add(name.lower())
        if len(field.get("description") or "") > _COLUMN_DESCRIPTION_CHARS:
            raise ValidationError(f"The description of field {name} is too long: at most 1024 characters.")
        _check_columns(field.get("fields") or ())


def _check_layout(body: Mapping[str, Any], fields: Mapping[str, Mapping[str, Any]]) -> None:
    clustering = (body.get("clustering") or {}).get("fields") or []
    if len(clustering) > _MAX_CLUSTERING:
        raise ValidationError(f"Too many clustering columns: {len(clustering)}, at most {_MAX_CLUSTERING} are allowed.")
    for name in clustering:
        _check_use("clustering", name, fields.get(name.lower()), _CLUSTERABLE)
    partitioned_by = (body.get("timePartitioning") or {}).get("field")
    if partitioned_by:
        _check_use("partitioning", partitioned_by, fields.get(partitioned_by.lower()), _PARTITIONABLE)


def _check_use(use: str, name: str, field: Mapping[str, Any] | None, kinds: frozenset[str]) -> None:
    if field is None:
        raise ValidationError(f"The field specified for {use} cannot be found in the schema: {name}")
    if str(field["type"]).upper() not in kinds or str(field.get("mode") or "").upper() == "REPEATED":
        raise ValidationError(f"Field {name} of type {field['type']} cannot be used for {use}.")


def _check_change(fields: Iterable[Mapping[str, Any]], kept: Mapping[str, Any]) -> None:
    """https://docs.cloud.google.com/bigquery/docs/managing-table-schemas, in RECORDs that exist too.

    A RECORD that is new may have REQUIRED fields.
    """
    wanted = {str(one["name"]).lower(): one for one in fields}
    for name, column in kept.items():
        field = wanted.get(name)
        if field is None:
            raise ValidationError(f"Provided Schema does not match Table. Field {column.name} is missing in new schema")
        if _kind(field["type"]) != _kind(column.type):
            raise ValidationError(
                f"Provided Schema does not match Table. Field {column.name} has changed type "
                f"from {column.type} to {field['type']}"
            )
        modes = (column.mode or "NULLABLE", str(field.get("mode") or "NULLABLE").upper())
        if modes[0] != modes[1] and modes != ("REQUIRED", "NULLABLE"):
            raise ValidationError(
                f"Provided Schema does not match Table. Field {column.name} has changed mode "
                f"from {modes[0]} to {modes[1]}"
            )
        if column.fields:
            _check_change(field.get("fields") or (), {one.name.lower(): one for one in column.fields})
    for name, field in wanted.items():
        if name not in kept and str(field.get("mode") or "").upper() == "REQUIRED":
            raise ValidationError(
                "Provided Schema does not match Table. Cannot add required fields to an existing schema. "
                f"(field: {field['name']})"
            )


def _kind(kind: str) -> str:
    return _SYNONYMS.get(kind.upper(), kind.upper())


def install() -> None:
    """Patches bqemulator in this process, for good."""
    tables_api: Any = bqemulator.api.routes.tables
    released = tables_api._rest_to_table_meta

    def checked(project: str, dataset: str, body: dict[str, Any], clock: Any, *existing: Any, **more: Any) -> TableMeta:
        check_table(body, existing[0] if existing else more.get("existing"))
        made: TableMeta = released(project, dataset, body, clock, *existing, **more)
        return made

    tables_api._rest_to_table_meta = checked
