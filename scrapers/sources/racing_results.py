"""The Racing API, results (plan Standard): races of a UK date and how their runners came in, of the last 12 months."""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from scrapers.oracle import Oracle
from scrapers.platforms.racing_api import RacingDays

_ABANDONED = "SELECT race_id FROM {ra_cards} WHERE race_date BETWEEN @first AND @last AND is_abandoned"


class RacingResults(RacingDays):
    """An abandoned race never has a result, and a withdrawn runner is not in it."""

    title = "The Racing API: results"
    path, list_name, most_skipped = "/v1/results", "results", 20_000
    regions_param = "region"
    requires = ("racing_cards",)
    oracles = (
        Oracle("racing_cards", "ra_cards", "race_id", "race_date", where="NOT is_abandoned", item="race"),
        # One that was withdrawn after its card was read is in no result.
        Oracle(
            "racing_cards",
            "ra_card_runners",
            "race_id horse_id",
            "race_date",
            label="horse",
            where=f"number IS NOT NULL AND race_id NOT IN ({_ABANDONED})",
            found_in="ra_result_runners",
            missing="told",
            item="runner",
        ),
    )
    tables = ("ra_results", "ra_result_runners")
    envelope = ("results", "total", "limit", "skip", "query")
    needs_tier = "standard"
    floor = dt.date(2023, 1, 23)
    # What is older needs an add-on that is bought once.
    horizon = dt.timedelta(days=365)
    page_size = 50

    def date_params(self, date: dt.date) -> tuple[tuple[str, str], ...]:
        """One date, as the range that the API wants."""
        return (("start_date", date.isoformat()), ("end_date", date.isoformat()))

    def counted(self, race: Mapping[str, Any], runners: Sequence[Mapping[str, Any]]) -> Mapping[str, int]:
        """Races and runners; each of them has a position, if only the letters of how it ended."""
        if not all(runner["position"] for runner in runners):
            raise ValueError(f"a runner of {race['race_id']} has no position")
        return {"ra_results": 1, "ra_result_runners": len(runners)}
