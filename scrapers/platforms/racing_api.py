"""The Racing API: what its sources share. One login, 2 calls a second together. https://api.theracingapi.com/documentation

Its lists come by ``limit`` and ``skip`` with a ``total`` beside them, newest race first. A result that comes in late
shifts them, so a date is asked for when it is over, and begun anew when the total moves or a race comes twice. The
parameters that the API understood are echoed in ``query``: one that it does not know would be ignored in silence.
"""

from __future__ import annotations

import datetime as dt
import re
from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from alerting.errors import NotSettled, SourceContractError, Truncated
from alerting.wording import plural
from scrapers.answers import parsed_json
from scrapers.auth import SecretBasic
from scrapers.base import Findings, Page, Request, Scraper
from scrapers.partition import Partition
from scrapers.rate import Rate, Tier
from scrapers.rests import Rests

# rac_, hrs_ and the like: with a blank behind it one race would be two.
_ID = re.compile(r"[a-z]{3}_[0-9A-Za-z_-]{1,80}")


class RacingApi(Scraper):
    """Facts of the account."""

    zone = "Europe/London"
    base_url = "https://api.theracingapi.com"
    family = "racing"
    account = "the_racing_api"
    auth = SecretBasic("racing_api_user", "racing_api_password")
    rate = Rate(per_second=1.8)  # 2 on every plan; the rest is for calls that arrive sooner than they were sent
    tiers = tuple(Tier(name, Rate(per_second=1.8)) for name in ("free", "basic", "standard", "pro"))


class RacingDays(RacingApi):
    """Races of one date, with their runners, from a list that comes in pages.

    Attributes:
        path: Of the list.
        list_name: Under which its races come.
        regions_param: What regions are called in its address, once for each.
        most_skipped: The largest ``skip`` that the API takes.
    """

    path: ClassVar[str]
    list_name: ClassVar[str]
    regions_param: ClassVar[str]
    most_skipped: ClassVar[int]
    settles_after = dt.timedelta(hours=12)
    is_paginated = True
    narrowed_by = "region"
    # 23 to 25 December in Britain and Ireland; elsewhere races are run on these dates too.
    rests = Rests(4)

    @abstractmethod
    def date_params(self, date: dt.date) -> tuple[tuple[str, str], ...]:
        """The parameters that name the date."""

    @abstractmethod
    def counted(self, race: Mapping[str, Any], runners: Sequence[Mapping[str, Any]]) -> Mapping[str, int]:
        """Rows per table that the race becomes; ``KeyError``, ``TypeError`` or ``ValueError`` for another shape."""

    def first_request(self, partition: Partition) -> Request:
        """The first page of the date."""
        return self._request(partition, 0)

    def inspect(self, partition: Partition, page: Page) -> Findings:
        """Counts races, runners and what hangs on them, after a look at echo, total and dates."""
        document = parsed_json(page.body, ("total",))
        counts: Counter[str] = Counter(dict.fromkeys(self.tables, 0))
        try:
            races, total, echo = document[self.list_name], document["total"], document["query"]
            if [type(one) for one in (races, total, echo)] != [list, int, list] or total < 0:
                raise TypeError(f"{self.list_name}, total or query are of another type")
            self._refuse_other_regions(page.request.params)
            _refuse_another_echo(echo, page.request.params)
            keys = tuple(_identity(race, "race_id") for race in races)
            for race in races:
                if race["date"] != partition.start.isoformat():
                    raise SourceContractError(f"asked for {partition.key}, got {race['race_id']} of {race['date']}")
                if self.only and race["region"].lower() not in self.only:
                    raise SourceContractError(
                        f"asked for {_named(self.only)}, got {race['race_id']} of {race['region']}"
                    )
                runners = race["runners"]
                horses = [_identity(runner, "horse_id") for runner in runners]
                if len(set(horses)) != len(horses) or not (horses or race.get("is_abandoned")):
                    raise ValueError(
                        f"{race['race_id']} has {plural(len(horses), 'runner')}, {len(set(horses))} of them once"
                    )
                counts.update(self.counted(race, runners))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise SourceContractError(f"the races have an unexpected shape: {type(error).__name__} {error}") from None
        skipped = _skipped(page.request)
        return Findings(
            dict(counts),
            source_total=total,
            keys=keys,
            empty_evidence=f"{page.status}, total 0, and the query echoes the date" if not total and not races else "",
            next_request=self._next(partition, skipped, len(races), total),
        )

    def _next(self, partition: Partition, skipped: int, rows: int, total: int) -> Request | None:
        read = skipped + rows
        if read >= total:
            return None
        if not rows:
            raise NotSettled(
                f"{plural(total, 'race', 'is', 'are')} announced, and none came behind the first {skipped}"
            )
        if read > self.most_skipped:
            raise Truncated(f"{plural(total, 'race', 'is', 'are')} announced, and none beyond {read} can be asked for")
        return self._request(partition, read)

    def _request(self, partition: Partition, skipped: int) -> Request:
        regions = ((self.regions_param, region) for region in self.only)
        params = (*self.date_params(partition.start), *regions, ("limit", str(self.page_size)), ("skip", str(skipped)))
        return Request(self.path, params, cursor=str(skipped) if skipped else "")

    def _refuse_other_regions(self, asked: Sequence[tuple[str, str]]) -> None:
        """A page that was landed before the setting changed is none of this attempt."""
        regions = tuple(value for name, value in asked if name == self.regions_param)
        if regions != self.only:
            raise SourceContractError(f"a page of {_named(regions)} beside pages of {_named(self.only)}")


def _named(regions: Sequence[str]) -> str:
    return ", ".join(regions) or "all regions"


def _skipped(request: Request) -> int:
    return int(dict(request.params)["skip"])


def _identity(item: Mapping[str, Any], name: str) -> str:
    if not isinstance(item[name], str) or not _ID.fullmatch(item[name]):
        raise ValueError(f"{name} is {item[name]!r}")
    return str(item[name])


def _refuse_another_echo(echo: Sequence[Sequence[Any]], asked: Sequence[tuple[str, str]]) -> None:
    """The API echoes what it understood, in any order, and a parameter that was given twice twice."""
    if sorted(map(tuple, echo)) != sorted(asked):
        raise SourceContractError(f"asked with {dict(asked)}, the source says it was asked with {echo}")
