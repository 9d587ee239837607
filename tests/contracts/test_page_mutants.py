"""Wrong answers of a site without an API: data embedded in a page, and answers to documents (GraphQL).

Each is fetched over a socket, landed by the sweep or the feed, read by the processor, and refused for what it is, or is
harmless and changes no row. What the transport does to pages: tests/scrapers/test_hemnet_sales.py.
"""

from __future__ import annotations

import copy
import json
import re
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, ClassVar

import pytest
from judging import Judged, Lines
from raw_server import RawServer, http
from shape_mutants import SHAPES, in_its_depth
from test_payload_mutants import REFUSED

from alerting.errors import PipelineError
from alerting.memory_store import MemoryObjectStore
from deployments.local.upstreams.sold_upstream import SoldUpstream
from deployments.local.upstreams.sold_world import SoldWorld
from processors.batch_reading import BatchRows, read_batch
from processors.registry import processor
from scrapers.base import Scraper, SourceAccess
from scrapers.client import SourceClient
from scrapers.feeding import Listed
from scrapers.landing import Landing
from scrapers.manifest import Manifest
from scrapers.pace.budget import Budget
from scrapers.partition import partitions_between
from scrapers.rate import Rate
from scrapers.scrape import ScrapeContext, scrape
from scrapers.sources.hemnet_details import HemnetDetails
from scrapers.sources.hemnet_sales import DATA, HemnetSales
from scrapers.sweeps import SweepScrape

MONTHS, SALES = 3, 15
_SCRIPT = re.compile(rb"(<script[^>]*%s[^>]*>)(.*?)(</script>)" % DATA.encode(), re.DOTALL)
Change = Callable[[dict[str, Any]], Any]


class OnePage(HemnetSales):
    """Of a site whose only list has one page."""

    source = "hemnet_sales"
    page_size = 20
    result_cap: ClassVar = 100


class OneSale(HemnetDetails):
    """As it is; the registry gives the name to a class that stands alone in its module."""

    source = "hemnet_details"


class Site:
    """One good page, one good answer to a document, and what becomes of others in their place."""

    def __init__(self, server: RawServer) -> None:
        self._server = server
        self.body = b""
        world = SoldWorld(SALES, months=MONTHS, areas=1)
        self.months = partitions_between(world.first, world.last_month, HemnetSales.zone, "month")
        self.lists = OnePage()
        self.lists.sweeps = world.areas
        self.sale = world.sales[0]
        self.month = next(one for one in self.months if one.key == self.sale.month)
        with SoldUpstream(page_size=20, pages=5, world=world) as upstream:
            first = self.lists.first_request(self.month)
            self.page = _fetched(upstream.url, first.path, first.params)
            asked = OneSale().item_request(self.month, self.sale.id)
            self.answer = _fetched(upstream.url, asked.path, (), asked.json_body.encode())

    def swept(self, body: bytes) -> Judged:
        """What a sweep whose every answer is ``body`` comes to."""
        return self._judged(self.lists, body, lambda made: list(_all_of(SweepScrape(self.months, made)).values()))

    def detailed(self, body: bytes) -> Judged:
        """What the details of a month with one sale come to."""
        listed = Listed({self.sale.id: ""}, "hash")
        return self._judged(OneSale(), body, lambda made: [scrape(self.month, made)], listed=lambda _: listed)

    def _judged(
        self, source: Scraper, body: bytes, land: Callable[[ScrapeContext], Sequence[Manifest]], **rest: Any
    ) -> Judged:
        kind = "text/html" if source.accept == "text/html" else "application/json"
        self.body = http("200 OK", body, f"Content-Type: {kind}")
        of, landing = processor(source.source), Landing(MemoryObjectStore())
        spools = {table.name: Lines() for table in of.tables}
        try:
            with SourceClient(source, SourceAccess(self._server.url, {}, timeout_s=5), Budget(Rate())) as client:
                manifests = land(ScrapeContext(source, client, landing, "b", "0", **rest))
            batch = BatchRows("hash", spools)  # type: ignore[arg-type]
            read_batch(batch, manifests, of, landing)
            for failure in batch.failures.values():
                raise failure
        except PipelineError as error:
            return Judged(type(error).__name__, {table: [] for table in spools}, error)
        return Judged("loaded", {name: one.lines for name, one in spools.items()})


def _all_of(sweep: SweepScrape) -> dict[str, Manifest]:
    result = sweep.go_on(10)
    assert result is not None
    return result.manifests


def _fetched(url: str, path: str, params: Sequence[tuple[str, str]], body: bytes | None = None) -> bytes:
    query = "&".join(f"{name}={value}" for name, value in params)
    headers = {"User-Agent": "gapless-tests", **({"Content-Type": "application/json"} if body else {})}
    request = urllib.request.Request(f"{url}{path}?{query}", body, headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        found: bytes = answer.read()
    return found


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    held: list[Site] = []
    with RawServer(lambda number, asked: [held[0].body]) as server:
        held.append(Site(server))
        yield held[0]


def with_data(page: bytes, mutate: Callable[[Any], Any]) -> bytes:
    """The page with its data changed."""
    found = _SCRIPT.search(page)
    assert found is not None
    data = json.dumps(mutate(json.loads(found[2]))).encode()
    return page[: found.start(2)] + data + page[found.end(2) :]


def of_card(change: Change) -> Callable[[Any], Any]:
    """Changes the first sale of the list."""

    def mutate(document: Any) -> Any:
        state = document["props"]["pageProps"]["__APOLLO_STATE__"]
        change(state[next(name for name in state if name.startswith("SaleCard:"))])
        return document

    return mutate


def of_sale(change: Change) -> Callable[[Any], Any]:
    """Changes the sale of an answer to a document."""

    def mutate(document: Any) -> Any:
        change(document["data"]["soldListing"])
        return document

    return mutate


def refused_or_as_many(found: Judged, count: int, why: object) -> None:
    if found.kind == "loaded":
        assert [len(lines) for lines in found.rows.values()] == [count], why
    else:
        assert found.kind in REFUSED, (why, found.error)
        assert not any(found.rows.values()), why


def test_the_good_page_and_the_good_answer_are_loaded(site: Site) -> None:
    for found, count in ((site.swept(site.page), SALES), (site.detailed(site.answer), 1)):
        assert (found.kind, [len(lines) for lines in found.rows.values()]) == ("loaded", [count]), found.error


@pytest.mark.parametrize("mutant", SHAPES)
def test_a_mutant_of_the_data_in_a_page_is_refused_and_loads_nothing(site: Site, mutant: str) -> None:
    mutate = in_its_depth(SHAPES[mutant]) if "row" in mutant else SHAPES[mutant]
    found = site.swept(with_data(site.page, mutate))
    assert found.kind in REFUSED, found.error
    assert not any(found.rows.values())


@pytest.mark.parametrize("mutant", [name for name in SHAPES if "row" not in name])
def test_a_mutant_of_an_answer_to_a_document_is_refused_and_loads_nothing(site: Site, mutant: str) -> None:
    found = site.detailed(json.dumps(SHAPES[mutant](json.loads(site.answer))).encode())
    assert found.kind in REFUSED, found.error
    assert not any(found.rows.values())


def test_every_field_of_a_sale_as_another_type_is_refused_or_changes_nothing_but_itself(site: Site) -> None:
    cards: list[dict[str, Any]] = []
    with_data(site.page, of_card(lambda card: cards.append(copy.deepcopy(card))))
    for name in cards[0]:
        for value in ({"a": 1}, [1], 2**70, None):
            refused_or_as_many(
                site.swept(with_data(site.page, of_card(partial(_set, name=name, value=value)))), SALES, (name, value)
            )
    for name in json.loads(site.answer)["data"]["soldListing"]:
        for value in ({"a": 1}, [1], 2**70, None):
            body = json.dumps(of_sale(partial(_set, name=name, value=value))(json.loads(site.answer))).encode()
            refused_or_as_many(site.detailed(body), 1, (name, value))


def _set(found: dict[str, Any], *, name: str, value: Any) -> None:
    found[name] = value


@pytest.mark.parametrize(
    "answer",
    [
        b'{"data":null}',
        b'{"data":{"soldListing":[]}}',
        b'{"data":{"soldListing":"x"}}',
        b'{"data":{"soldListing":null},"errors":[{"message":"partial"}]}',
        b'{"errors":[{"message":"Cannot query field"}]}',
    ],
)
def test_an_answer_without_the_sale_that_says_no_absence_is_refused(site: Site, answer: bytes) -> None:
    assert site.detailed(answer).kind in REFUSED


def test_a_sale_of_another_id_and_a_list_of_another_search_are_refused(site: Site) -> None:
    other = json.dumps(of_sale(partial(_set, name="id", value="1234567"))(json.loads(site.answer))).encode()
    assert site.detailed(other).kind == "SourceContractError"
    assert site.swept(site.page.replace(site.lists.sweeps[0].encode(), b"99999")).kind == "SourceContractError"
