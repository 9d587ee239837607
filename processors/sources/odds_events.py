"""The Odds API: snapshots and the events that they list."""

import datetime as dt
from collections.abc import Iterator
from types import MappingProxyType
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

from pydantic import AwareDatetime, Field

from processors.base import LandedPage, Processor, Row, Table
from scrapers.answers import landed_json
from scrapers.partition import Partition


class Snapshot(Row):
    """One instant at which the API looked."""

    snapshot_date: dt.date = Field(description="US Eastern date that it was asked for")
    snapshot_at: AwareDatetime = Field(description="when the API looked, UTC; the seconds drift")
    asked_at: AwareDatetime = Field(description="instant that was asked for; the snapshot is the newest before it")
    previous_snapshot_at: AwareDatetime | None
    next_snapshot_at: AwareDatetime | None
    events: int = Field(description="listed in it")


class Event(Row):
    """A game as one snapshot lists it; its time moves."""

    snapshot_date: dt.date
    snapshot_at: AwareDatetime
    event_id: str = Field(description="32 hex digits")
    commence_time: AwareDatetime = Field(description="UTC")
    game_date: dt.date = Field(description="US Eastern date of commence_time")
    home_team: str
    away_team: str


SNAPSHOT = ("snapshot_date", "snapshot_at")
NEIGHBOURS = MappingProxyType({"previous_snapshot_at": "previous_timestamp", "next_snapshot_at": "next_timestamp"})
FIELDS = ("commence_time", "home_team", "away_team")


class OddsEvents(Processor):
    """A page is a snapshot."""

    tables: ClassVar[tuple[Table, ...]] = (
        Table("odds_snapshots", Snapshot, SNAPSHOT, "snapshot_date"),
        Table("odds_events", Event, (*SNAPSHOT, "event_id"), "snapshot_date", parent=("odds_snapshots", SNAPSHOT)),
    )

    def rows(self, partition: Partition, page: LandedPage) -> Iterator[tuple[str, dict[str, Any]]]:  # noqa: D102
        document = landed_json(page.body)
        ours = {"snapshot_date": partition.start, "snapshot_at": document["timestamp"]}
        yield (
            "odds_snapshots",
            {
                **ours,
                "asked_at": dict(page.params)["date"],
                **{name: document[told] for name, told in NEIGHBOURS.items() if told in document},
                "events": len(document["data"]),
            },
        )
        for event in document["data"]:
            begins = dt.datetime.fromisoformat(event["commence_time"]).astimezone(ZoneInfo(partition.zone))
            told = {name: event[name] for name in FIELDS if name in event}
            yield "odds_events", {**ours, **told, "event_id": event["id"], "game_date": begins.date()}
