"""The sources of The Racing API against a sample of it that keeps its contract and its oddities."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from alerting.errors import (
    AuthenticationError,
    ConfigurationError,
    CoverageLow,
    NotSettled,
    PartitionUnavailable,
    PipelineError,
    SourceContractError,
)
from alerting.memory_store import MemoryObjectStore
from alerting.redaction import redact
from deployments.local.upstreams.racing_upstream import RACING_PASSWORD, RACING_USER, RacingUpstream
from deployments.local.upstreams.racing_world import COURSES, REGIONS, RacingWorld
from scrapers.base import SourceAccess
from scrapers.client import SourceClient
from scrapers.landing import Landing
from scrapers.manifest import Manifest
from scrapers.pace.account_pace import AccountPace
from scrapers.pace.budget import Budget
from scrapers.partition import Partition
from scrapers.rate import Rate
from scrapers.registry import account_of, families, scraper, sources_of, sources_of_family
from scrapers.scrape import ScrapeContext, scrape

NOW = dt.datetime(2025, 10, 14, 21, 0, tzinfo=dt.UTC)
DAY, BOXING_DAY, CHRISTMAS = dt.date(2025, 10, 11), dt.date(2024, 12, 26), dt.date(2024, 12, 25)
SMALL = RacingWorld(meetings=(1, 2), races=(2, 4), runners=(3, 8), bookmakers=3, horses=400)
LOGIN = {"racing_api_user": RACING_USER, "racing_api_password": RACING_PASSWORD}
Scrape = Callable[..., Manifest]


@pytest.fixture(scope="module")
def shared() -> Iterator[RacingUpstream]:
    with RacingUpstream(world=SMALL, per_second=0, now=NOW) as server:
        yield server


@pytest.fixture
def upstream(shared: RacingUpstream) -> RacingUpstream:
    shared.now = NOW
    shared.trouble()
    shared.calls.clear()
    return shared


@pytest.fixture
def store() -> MemoryObjectStore:
    return MemoryObjectStore()


@pytest.fixture
def scraped(upstream: RacingUpstream, store: MemoryObjectStore) -> Scrape:
    def scraped(
        name: str,
        date: dt.date = DAY,
        *,
        entity: str = "",
        login: Any = LOGIN,
        page_size: int = 0,
        only: tuple[str, ...] = (),
    ) -> Manifest:
        source = type(scraper(name))()
        source.page_size, source.only = page_size or source.page_size, only
        partition = Partition.whole(entity, source.zone) if entity else Partition.day(date, source.zone)
        with SourceClient(source, SourceAccess(upstream.url, login), Budget(Rate())) as client:
            return scrape(
                partition,
                ScrapeContext(
                    scraper=source,
                    client=client,
                    landing=Landing(store),
                    backfill_id="b1",
                    code_version="0",
                    now=lambda: NOW,
                ),
            )

    return scraped


def test_a_day_of_cards_has_every_race_runner_and_price_also_of_abandoned_races(scraped: Scrape) -> None:
    races = SMALL.races_on(DAY)
    found = scraped("racing_cards").counts
    assert found == {
        "ra_cards": len(races),
        "ra_card_runners": sum(len(race.runners) for race in races),
        "ra_runner_odds": sum(len(runner.prices) for race in races for runner in race.runners),
    }


@pytest.mark.parametrize("page_size", [50, 7])
def test_a_day_of_results_has_who_ran_in_what_was_run_however_long_a_page_is(scraped: Scrape, page_size: int) -> None:
    races = [race for race in SMALL.races_on(BOXING_DAY) if not race.is_abandoned]
    found = scraped("racing_results", BOXING_DAY, page_size=page_size)
    assert len(races) > page_size
    assert len(found.pages) == -(-len(races) // page_size)
    assert found.source_total == len(races)
    assert list(found.counts.values()) == [len(races), sum(len(race.finishers) for race in races)]


@pytest.mark.parametrize("name", ["racing_cards", "racing_results"])
def test_a_day_without_racing_is_proven_empty_by_its_total_and_its_echo(scraped: Scrape, name: str) -> None:
    found = scraped(name, CHRISTMAS)
    assert not any(found.counts.values())
    assert found.empty_evidence == "200, total 0, and the query echoes the date"


@pytest.mark.parametrize("kind", ["late_result", "removed_result"])
def test_a_day_whose_list_moves_while_it_is_read_is_begun_anew_and_comes_whole(
    scraped: Scrape, upstream: RacingUpstream, kind: str
) -> None:
    upstream.trouble({"kind": kind, "times": 1})
    found = scraped("racing_results", BOXING_DAY)
    assert found.source_total == len([race for race in SMALL.races_on(BOXING_DAY) if not race.is_abandoned])


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("late_result", NotSettled),
        ("short_page", NotSettled),
        ("duplicate_race", NotSettled),
        ("null_list", SourceContractError),
        ("wrong_date", SourceContractError),
        ("lost_echo", SourceContractError),
        ("renamed_field", SourceContractError),
        ("null_id", SourceContractError),
    ],
)
def test_a_list_that_is_not_the_whole_of_its_day_is_refused_for_what_it_is(
    scraped: Scrape, upstream: RacingUpstream, store: MemoryObjectStore, kind: str, expected: type[PipelineError]
) -> None:
    upstream.trouble({"kind": kind})
    with pytest.raises(expected):
        # The day before Boxing Day is rightly empty, which is why a wrong date is looked for elsewhere.
        scraped("racing_results", DAY if kind == "wrong_date" else BOXING_DAY)
    assert not [stored.name for stored in store.list("landing/") if "manifest" in stored.name]


def test_a_card_with_fewer_runners_than_it_announces_is_not_complete(scraped: Scrape, upstream: RacingUpstream) -> None:
    upstream.trouble({"kind": "missing_runner"})
    with pytest.raises(CoverageLow, match="its card announces"):
        scraped("racing_cards")


@pytest.mark.parametrize(
    ("entity", "counts"), [("courses", (len(COURSES), 0)), ("regions", (0, len(REGIONS)))], ids=["courses", "regions"]
)
def test_a_reference_list_comes_whole_in_one_call(scraped: Scrape, entity: str, counts: tuple[int, int]) -> None:
    found = scraped("racing_reference", entity=entity)
    assert tuple(found.counts.values()) == counts
    assert len(found.pages) == 1


def test_a_list_that_the_reference_does_not_have_is_refused_without_a_call(
    scraped: Scrape, upstream: RacingUpstream
) -> None:
    with pytest.raises(SourceContractError, match="only courses, regions"):
        scraped("racing_reference", entity="horses")
    assert not upstream.calls.report()["total"]


def test_results_beyond_the_horizon_are_not_asked_for(scraped: Scrape, upstream: RacingUpstream) -> None:
    oldest = dt.date(2024, 10, 14)
    assert any(scraped("racing_results", oldest).counts.values())
    upstream.calls.clear()
    with pytest.raises(PartitionUnavailable, match=r"the source answers from 2024-10-14 on; no call was made"):
        scraped("racing_results", oldest - dt.timedelta(days=1))
    assert not upstream.calls.report()["total"]


def test_a_wrong_login_names_both_of_its_settings_and_nothing_of_it_is_told_or_kept(
    scraped: Scrape, store: MemoryObjectStore
) -> None:
    with pytest.raises(AuthenticationError) as caught:
        scraped("racing_cards", login={**LOGIN, "racing_api_password": "not-the-password-71"})
    assert "racing_api_user and racing_api_password" in str(caught.value.hint)
    scraped("racing_cards")
    kept = b"".join(store.read(stored.name)[0] for stored in store.list(""))
    told = json.dumps([str(caught.value), caught.value.facts, caught.value.hint], default=str)
    for secret in (RACING_USER, RACING_PASSWORD, "not-the-password-71"):
        assert secret.encode() not in kept
        assert secret not in told


def test_user_password_and_their_basic_token_are_masked_once_they_were_used(scraped: Scrape) -> None:
    scraped("racing_reference", entity="regions", login=LOGIN)
    # base64 of user:password
    token = "c2FtcGxlLXJhY2luZy11c2VyOnNhbXBsZS1yYWNpbmctcGFzc3dvcmQ="
    assert redact(f"as {RACING_USER} {RACING_PASSWORD} {token}") == "as *** *** ***"


@pytest.mark.parametrize(
    ("login", "problem"),
    [
        ({"racing_api_user": RACING_USER}, "the secret racing_api_password is not set"),
        ({"racing_api_password": RACING_PASSWORD}, "the secret racing_api_user is not set"),
        ({**LOGIN, "racing_api_user": "some:body"}, "racing_api_user holds a colon"),
    ],
)
def test_a_login_that_cannot_be_is_refused_without_a_call(
    scraped: Scrape, upstream: RacingUpstream, login: dict[str, str], problem: str
) -> None:
    with pytest.raises((AuthenticationError, ConfigurationError), match=problem):
        scraped("racing_cards", login=login)
    assert not upstream.calls.report()["total"]


def test_the_three_sources_are_one_account() -> None:
    names = ["racing_cards", "racing_reference", "racing_results"]
    assert [account_of(name) for name in names] == ["the_racing_api"] * 3
    assert sources_of("the_racing_api") == names
    assert account_of("civic_band") == "civic_band"


def test_two_sources_and_a_daily_run_at_once_never_pass_two_calls_a_second_at_the_source(
    upstream: RacingUpstream, store: MemoryObjectStore
) -> None:
    problems: list[BaseException] = []

    def one_process(name: str) -> None:
        source = scraper(name)
        budget = Budget(source.rate, pace=AccountPace(store, source.account, source.rate))
        partition = Partition.day(DAY, source.zone)
        try:
            with SourceClient(source, SourceAccess(upstream.url, LOGIN), budget) as client:
                for _ in range(3):
                    client.fetch(source.first_request(partition))
            budget.close()
        except BaseException as error:
            problems.append(error)

    # The daily run of a source has a client and a budget of its own, as a backfill of it has.
    runs = ("racing_cards", "racing_results", "racing_results")
    threads = [threading.Thread(target=one_process, args=(name,)) for name in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    report = upstream.calls.report()
    assert not problems
    assert (report["total"], report["peak_per_second"] <= 2) == (9, True)


def test_each_source_says_to_which_family_it_belongs() -> None:
    assert {"racing_cards", "racing_reference", "racing_results"} <= set(sources_of_family("racing"))
    assert {"odds", "racing"} <= set(families())


@pytest.mark.parametrize(("name", "table"), [("racing_cards", "ra_cards"), ("racing_results", "ra_results")])
def test_a_source_narrowed_to_some_regions_is_asked_for_these_and_lands_all_of_them(
    scraped: Scrape, name: str, table: str
) -> None:
    races = [race for race in SMALL.races_on(BOXING_DAY) if name == "racing_cards" or not race.is_abandoned]
    here = sum(race.region_code == "ire" for race in races)
    assert 0 < here < len(races)
    landed = scraped(name, BOXING_DAY, only=("fr", "ire"))
    assert (landed.counts[table], landed.only) == (here, ("fr", "ire"))
    assert scraped(name).only == ()


def test_races_of_a_region_that_was_not_asked_for_are_told_and_not_landed(
    scraped: Scrape, upstream: RacingUpstream, store: MemoryObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its echo names the regions, and its races are those of all."""
    answered = upstream.answer
    monkeypatch.setattr(
        upstream,
        "answer",
        lambda call, kind: _echoing(answered(_without_regions(call), kind), call),
    )
    with pytest.raises(SourceContractError, match=r"asked for gb, got rac_\w+ of IRE"):
        scraped("racing_cards", BOXING_DAY, only=("gb",))
    assert not [stored.name for stored in store.list("landing/") if "manifest" in stored.name]


def _without_regions(call: Any) -> Any:
    return dataclasses.replace(call, params=tuple(one for one in call.params if one[0] != "region_codes"))


def _echoing(answer: Any, call: Any) -> Any:
    return dataclasses.replace(answer, document={**answer.document, "query": [list(one) for one in call.params]})


def test_a_killed_attempt_is_begun_anew_when_other_regions_are_wanted_by_then(
    scraped: Scrape, upstream: RacingUpstream
) -> None:
    upstream.trouble({"kind": "500", "query": "skip=7"})
    with pytest.raises(PipelineError):
        scraped("racing_results", BOXING_DAY, only=("gb",), page_size=7)
    upstream.trouble()
    landed = scraped("racing_results", BOXING_DAY, page_size=7)
    assert landed.resumed_pages == 0
    assert landed.source_total == len([race for race in SMALL.races_on(BOXING_DAY) if not race.is_abandoned])
