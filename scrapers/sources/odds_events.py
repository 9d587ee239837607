"""The Odds API, events: which games a snapshot lists, at fixed instants of a US Eastern date, from June 2020 on."""

import datetime as dt

from scrapers.base import Findings, Page, Request
from scrapers.partition import Partition
from scrapers.platforms.odds_api import OddsApi, ids_of, instant_text, opened

STEP = dt.timedelta(hours=6)


class OddsEvents(OddsApi):
    """Three snapshots a date; the walk goes on at the next instant or the next snapshot, so that each comes once."""

    title = "The Odds API: NBA events"
    tables = ("odds_snapshots", "odds_events")
    calls_guess = 3.0
    may_repeat = True  # every snapshot between two seasons is alike

    def first_request(self, partition: Partition) -> Request:
        """The first instant, a step after the date begins, so that no snapshot belongs to the date before."""
        return self._request(partition.begins_at + STEP)

    def inspect(self, partition: Partition, page: Page) -> Findings:
        """Counts the events of one snapshot."""
        taken, after, events = opened(page, list)
        ids = ids_of(events)
        asked = dt.datetime.fromisoformat(dict(page.request.params)["date"])
        following = asked + STEP if after is None else max(asked + STEP, after)
        goes_on = after is not None and following < partition.ends_at
        return Findings(
            {"odds_snapshots": 1, "odds_events": len(ids)},
            keys=(instant_text(taken),),
            next_request=self._request(following) if goes_on else None,
        )

    def _request(self, instant: dt.datetime) -> Request:
        text = instant_text(instant)
        return Request(self.events_path, (("date", text), ("dateFormat", "iso")), cursor=text)
