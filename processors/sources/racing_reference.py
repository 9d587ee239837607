"""The Racing API: courses and regions."""

import datetime as dt
from collections.abc import Iterator
from typing import Any, ClassVar

from pydantic import Field

from processors.base import LandedPage, Processor, Row, Table
from scrapers.answers import landed_json
from scrapers.partition import Partition


class Course(Row):
    """A racecourse."""

    entity: str = Field(description="courses: the list that is replaced as a whole")
    course_id: str = Field(alias="id", description="crs_...")
    course: str
    region_code: str = Field(description="lower case, as /v1/courses/regions has it")
    region: str
    listed_on: dt.date | None = Field(None, description="always NULL: a list has no date")


class Region(Row):
    """A country or state with races."""

    entity: str = Field(description="regions: the list that is replaced as a whole")
    region_code: str
    region: str
    listed_on: dt.date | None = Field(None, description="always NULL: a list has no date")


class RacingReference(Processor):
    """Each list is replaced as a whole."""

    tables: ClassVar[tuple[Table, ...]] = tuple(
        Table(name, model, ("entity", key), "listed_on", entity_field="entity", whole_entity=True, granularity="MONTH")
        for name, model, key in (("ra_mst_courses", Course, "course_id"), ("ra_mst_regions", Region, "region_code"))
    )

    def rows(self, partition: Partition, page: LandedPage) -> Iterator[tuple[str, dict[str, Any]]]:  # noqa: D102
        document = landed_json(page.body)
        for row in document if partition.entity == "regions" else document["courses"]:
            yield f"ra_mst_{partition.entity}", {**row, "entity": partition.entity}
