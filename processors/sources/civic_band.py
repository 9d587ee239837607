"""civic.band: one row per page of a meeting's agenda or minutes, with tombstones of pages that are gone."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any, ClassVar

from pydantic import AwareDatetime, Field

from processors.base import LandedPage, Processor, Row, Table
from scrapers.answers import landed_json
from scrapers.partition import Partition


class CivicPage(Row):
    """One page. Current ones have ``deleted_at IS NULL``."""

    entity: str = Field(description="town~kind of document: the unit that is replaced as a whole")
    town: str = Field(description="subdomain of civic.band")
    document_type: str = Field(description="agendas or minutes")
    page_id: str = Field(alias="id", description="hash of meeting, date, page number and text: new text, new id")
    meeting: str | None
    date_text: str | None = Field(alias="date", description="as sent; the town's own date, may be malformed")
    meeting_date: dt.date | None = Field(description="date_text where it is a date that BigQuery can partition by")
    page: int | None = Field(description="number within the document, from 1")
    text: str | None = Field(description="as read by OCR")
    page_image: str | None = Field(description="path below the town's own host")
    entities_json: str | None = Field(None, description="absent in older databases")
    votes_json: str | None = Field(None, description="absent in older databases")
    deleted_at: AwareDatetime | None = Field(None, description="landing of the first snapshot without this page")


class CivicBand(Processor):
    """Pages of one town and kind of document, whatever their dates."""

    tables: ClassVar[tuple[Table, ...]] = (
        Table(
            "civic_pages",
            CivicPage,
            ("entity", "page_id"),
            "meeting_date",
            entity_field="entity",
            whole_entity=True,
            deleted_field="deleted_at",
            key_is_content=True,
            granularity="MONTH",
        ),
    )

    def rows(self, partition: Partition, page: LandedPage) -> Iterator[tuple[str, dict[str, Any]]]:  # noqa: D102
        town, document_type = partition.entity_and_variant
        ours = {"entity": partition.entity, "town": town, "document_type": document_type, "deleted_at": None}
        for row in landed_json(page.body)["rows"]:
            yield "civic_pages", {**row, **ours, "meeting_date": _date(row.get("date"))}


def _date(text: Any) -> Any:
    """An ISO date between 1960 and 2159, where BigQuery has partitions; anything else is kept as text alone.

    https://docs.cloud.google.com/bigquery/docs/partitioned-tables#date_timestamp_partitioned_tables

    >>> _date("2024-02-29"), _date("2023-02-29"), _date("0202-01-05"), _date("20240229"), _date(None)
    ('2024-02-29', None, None, None, None)
    """
    try:
        date = dt.date.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return text if date.isoformat() == text and 1960 <= date.year <= 2159 else None
