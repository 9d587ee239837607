"""The Odds API v4: what its sources share. One key, whose month has so many credits. https://the-odds-api.com/liveapi/guides/v4/

History comes as snapshots, one in five minutes with seconds that drift: what is asked for is an instant, and the newest
snapshot that is not younger answers. `next_timestamp` names the one after it.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from alerting.errors import (
    AuthenticationError,
    BudgetExhausted,
    ConfigurationError,
    PipelineError,
    RateLimited,
    SourceContractError,
)
from scrapers.answers import Answer, parsed_json
from scrapers.auth import SecretParam
from scrapers.base import Page, Request, Scraper
from scrapers.platforms.nba_calendar import NBA_SEASONS
from scrapers.rate import QuotaHeaders, Rate, Tier

SPORT = "basketball_nba"
# 32 hexadecimal digits by now; it becomes a part of a path that costs credits.
_ID = re.compile(r"[0-9A-Za-z_-]{1,80}")
OLDEST_SNAPSHOT = dt.timedelta(hours=1)
"""How much older than what was asked a snapshot may be: they come every five or ten minutes, and some are missing."""

_CODES: Mapping[str, type[PipelineError]] = MappingProxyType(
    {
        "OUT_OF_USAGE_CREDITS": BudgetExhausted,
        "HISTORICAL_UNAVAILABLE_ON_FREE_USAGE_PLAN": AuthenticationError,
        "MISSING_KEY": AuthenticationError,
        "INVALID_KEY": AuthenticationError,
        "DEACTIVATED_KEY": AuthenticationError,
        "UNKNOWN_SPORT": ConfigurationError,
        "EXCEEDED_FREQ_LIMIT": RateLimited,
    }
)


_PER_SECOND = 25  # 30 are answered; the rest is for calls that arrive sooner than they were sent
TIERS = (
    Tier("free", Rate(per_second=_PER_SECOND, per_month=500), 0.0, without="history"),
    Tier("20k", Rate(per_second=_PER_SECOND, per_month=20_000)),
    Tier("100k", Rate(per_second=_PER_SECOND, per_month=100_000)),
    Tier("5m", Rate(per_second=_PER_SECOND, per_month=5_000_000)),
)
"""Their months end in UTC, which is an assumption, as is what there is above 100k. A limit in the settings wins."""
HISTORY = TIERS[1]
_FACTS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "OUT_OF_USAGE_CREDITS": {"unit": "month"},
        "HISTORICAL_UNAVAILABLE_ON_FREE_USAGE_PLAN": {"lacks_tier": HISTORY.name},
    }
)


class OddsApi(Scraper):
    """Facts of the account. Games are listed by their US Eastern date, as the league counts them."""

    zone = "America/New_York"
    base_url = "https://api.the-odds-api.com"
    family = "odds"
    seasons = NBA_SEASONS
    account = "the_odds_api"
    auth = SecretParam("apiKey", "odds_api_key")
    rate = HISTORY.rate
    tiers = TIERS
    needs_tier = HISTORY.name
    quota_headers = QuotaHeaders("x-requests-remaining", unit="month", last="x-requests-last")
    cost_unit = "credit"
    envelope = ("timestamp", "previous_timestamp", "next_timestamp", "data")
    floor = dt.date(2020, 6, 7)
    settles_after = dt.timedelta(hours=6)
    is_paginated = True
    page_size = 1
    events_path: ClassVar[str] = f"/v4/historical/sports/{SPORT}/events"

    def problem(self, answer: Answer) -> PipelineError | None:
        """By ``error_code``: a 401 is a bad key, a plan without history, or the end of this month's credits."""
        if answer.status < 400 or b"error_code" not in answer.body:
            return None
        try:
            told = parsed_json(answer.body)
        except PipelineError:
            return None
        code = told.get("error_code") if isinstance(told, dict) else None
        kind = _CODES.get(code) if isinstance(code, str) else None
        if kind is None:
            return None
        return kind(f"the source answered {answer.status} {code}", status=answer.status, **_FACTS.get(str(code), {}))

    def cost(self, request: Request) -> int:
        """Ten times markets times regions for prices of the past; 1 for a list of events."""
        params = dict(request.params)
        if "markets" not in params:
            return 1
        return 10 * len(params["markets"].split(",")) * len(params["regions"].split(","))


def instant_text(instant: dt.datetime) -> str:
    """As the API wants it.

    >>> instant_text(dt.datetime(2025, 1, 3, 5, tzinfo=dt.UTC))
    '2025-01-03T05:00:00Z'
    """
    return instant.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def instant_of(text: Any) -> dt.datetime:
    """Raises ``ValueError`` or ``TypeError`` for what is no instant with a zone."""
    instant = dt.datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError(f"{text!r} has no zone")
    return instant


def opened(page: Page, kind: type[Any]) -> tuple[dt.datetime, dt.datetime | None, Any]:
    """Instant of the snapshot, that of the next one, and its data, which must be of ``kind``.

    Raises ``SourceContractError`` for another shape, and for a snapshot that does not answer the asked instant.
    """
    document = parsed_json(page.body)
    try:
        taken, data, following = instant_of(document["timestamp"]), document["data"], document["next_timestamp"]
        after = None if following is None else instant_of(following)
        if not isinstance(data, kind):
            raise TypeError(f"data is {type(data).__name__}")
    except (KeyError, TypeError, ValueError) as error:
        raise SourceContractError(f"a snapshot has an unexpected shape: {type(error).__name__} {error}") from None
    asked = instant_of(dict(page.request.params)["date"])
    if not asked - OLDEST_SNAPSHOT <= taken <= asked or (after is not None and after <= taken):
        raise SourceContractError(f"asked for {asked:%Y-%m-%d %H:%M:%S}, got the snapshot of {taken}, next {after}")
    return taken, after, data


def ids_of(events: list[Any]) -> tuple[str, ...]:
    """Their ids, each once. Raises ``SourceContractError``."""
    try:
        ids = tuple(event["id"] for event in events)
        for event in events:
            instant_of(event["commence_time"])
    except (KeyError, TypeError, ValueError) as error:
        raise SourceContractError(f"an event has an unexpected shape: {type(error).__name__} {error}") from None
    for one in ids:
        if not isinstance(one, str) or not _ID.fullmatch(one):
            raise SourceContractError(f"an event has the id {str(one)[:40]!r}, which is none")
    if len(set(ids)) != len(ids):
        raise SourceContractError(f"{len(ids)} events have {len(set(ids))} ids")
    return ids
