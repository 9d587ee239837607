"""The Racing API, racecards (plan Pro): races of a UK date with runners, pedigrees and prices, from 2023-01-23 on."""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from alerting.errors import CoverageLow
from alerting.wording import plural
from scrapers.platforms.racing_api import RacingDays


class RacingCards(RacingDays):
    """A race that was abandoned stays in its card and says so; a runner that was withdrawn has the number NR."""

    title = "The Racing API: racecards"
    path, list_name, most_skipped = "/v1/racecards/pro", "racecards", 500
    regions_param = "region_codes"
    requires = ("racing_reference",)
    tables = ("ra_cards", "ra_card_runners", "ra_runner_odds")
    envelope = ("racecards", "total", "limit", "skip", "query")
    needs_tier = "pro"
    floor = dt.date(2023, 1, 23)
    page_size = 500

    def date_params(self, date: dt.date) -> tuple[tuple[str, str], ...]:
        """One date; its other parameters have other names than those of results."""
        return (("date", date.isoformat()),)

    def counted(self, race: Mapping[str, Any], runners: Sequence[Mapping[str, Any]]) -> Mapping[str, int]:
        """Races, runners and prices; fewer runners than the card itself announces are not all."""
        running = sum(runner["number"] != "NR" for runner in runners)
        announced = race["field_size"].strip()
        if announced not in ("", "-", "\u2013") and running < int(announced.removesuffix(".0")):
            raise CoverageLow(
                f"{race['race_id']} has {plural(running, 'runner')}, its card announces {race['field_size']}"
            )
        prices = sum(len({(one["bookmaker"], one["updated"]) for one in runner["odds"]}) for runner in runners)
        return {"ra_cards": 1, "ra_card_runners": len(runners), "ra_runner_odds": prices}
