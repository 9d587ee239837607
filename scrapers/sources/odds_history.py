"""The Odds API, prices of the past: each game of a US Eastern date, in the last snapshot well before it begins."""

import datetime as dt

from alerting.errors import SourceContractError
from scrapers.base import Findings, Page, Request
from scrapers.partition import Partition
from scrapers.platforms.odds_api import OddsApi, ids_of, instant_of, instant_text, opened

LISTED_AFTER, MARGIN = dt.timedelta(hours=6), dt.timedelta(minutes=10)


class OddsHistory(OddsApi):
    """A list of the date's games in the morning, then one call a game; one that is gone by then is absent."""

    title = "The Odds API: NBA prices"
    tables = ("odds_h2h_lines",)
    calls_guess = 8.0
    units_guess = 71.0  # 1 for the list, 10 a game
    markets, regions, odds_format = ("h2h",), ("us",), "decimal"

    def first_request(self, partition: Partition) -> Request:
        """The list of the morning, before the first game and the last changes of their times."""
        asked = instant_text(partition.begins_at + LISTED_AFTER)
        return Request(self.events_path, (("date", asked), ("dateFormat", "iso")))

    def inspect(self, partition: Partition, page: Page) -> Findings:
        """The list names the games that are asked for; a game's page has its prices, or says that it is gone."""
        rest = tuple(page.request.cursor.split(",")) if page.request.cursor else ()
        event_id = page.request.path.split("/")[-2]
        if page.is_absent:
            return Findings({}, absent=(event_id,), next_request=self._next(rest), empty_evidence="the game is gone")
        if page.request.path == self.events_path:
            taken, _, events = opened(page, list)
            ids_of(events)
            times = {event["id"]: instant_of(event["commence_time"]) for event in events}
            ours = {one: at for one, at in times.items() if partition.begins_at <= at < partition.ends_at}
            return Findings(
                {self.tables[0]: 0},
                lists=tuple(ours),
                empty_evidence=f"{len(ours)} of {len(times)} games in the snapshot of {taken} are of {partition.key}",
                next_request=self._next(tuple(f"{one}@{instant_text(at - MARGIN)}" for one, at in ours.items())),
            )
        _, _, event = opened(page, dict)
        if ids_of([event]) != (event_id,):
            raise SourceContractError(f"asked for the prices of {event_id}, got those of {event['id']}")
        try:
            lines = {
                (book["key"], market["key"], line["name"], line.get("description"), line.get("point"))
                for book in event["bookmakers"]
                for market in book["markets"]
                for line in market["outcomes"]
            }
        except (KeyError, TypeError) as error:
            raise SourceContractError(f"prices have an unexpected shape: {type(error).__name__} {error}") from None
        return Findings(
            {self.tables[0]: len(lines)},
            keys=(event_id,),
            next_request=self._next(rest),
            empty_evidence="" if lines else "no bookmaker prices the game",
        )

    def _next(self, rest: tuple[str, ...]) -> Request | None:
        if not rest:
            return None
        event_id, _, asked = rest[0].partition("@")
        params = {"regions": ",".join(self.regions), "markets": ",".join(self.markets), "oddsFormat": self.odds_format}
        return Request(
            f"{self.events_path}/{event_id}/odds",
            (("date", asked), *params.items(), ("dateFormat", "iso")),
            cursor=",".join(rest[1:]),
            absent_ok=True,
        )
