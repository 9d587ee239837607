"""Hemnet, sold homes one by one: what the lists do not show. Feeds on hemnet_sales. POST https://www.hemnet.se/graphql

Asked is for what is wanted and nothing else: no broker, street or coordinate is in the answer. See
docs/sources/hemnet.md.
"""

import datetime as dt

from alerting.errors import SourceContractError
from alerting.reading_faults import reading_fault
from scrapers.answers import parsed_json
from scrapers.base import Findings, Page, Request
from scrapers.partition import Partition
from scrapers.platforms.hemnet import Hemnet

QUERY = (
    "query SoldHome($id: ID!) { soldListing(id: $id) { __typename id soldAt sellingPrice { amount } "
    "askingPrice { amount } livingArea supplementalArea landArea numberOfRooms legacyConstructionYear "
    "formattedFloor fee { amount } runningCosts { amount } tenure { name } energyClassification { classification } } }"
)


class HemnetDetails(Hemnet):
    """A call a sale, of months that `hemnet_sales` is done with; a landed one is good until the sale changes there."""

    title = "Hemnet: details of sold homes"
    tables = ("hemnet_details",)
    step = "month"
    feeds_on = "hemnet_sales"
    requires = ("hemnet_sales",)
    floor = dt.date(2005, 1, 1)
    settles_after = dt.timedelta(days=2)
    calls_guess = 1_000.0
    envelope = ("data", "data.soldListing")

    def first_request(self, partition: Partition) -> Request:
        """The document of any sale; which ones there are, another source says."""
        return self.item_request(partition, partition.key)

    def item_request(self, partition: Partition, item: str) -> Request:  # noqa: ARG002 - by its id alone
        """One sale."""
        return Request.post("/graphql", {"operationName": "SoldHome", "query": QUERY, "variables": {"id": item}})

    def inspect(self, partition: Partition, page: Page) -> Findings:  # noqa: ARG002 - its month is that of the list
        """The sale that was asked for, or that the site says it has none of that id."""
        try:
            sale = parsed_json(page.body)["data"]["soldListing"]
            if sale is None:
                return Findings({"hemnet_details": 0}, absent=(page.request.item,))
            kind, found = sale["__typename"], sale["id"]
            missing = [name for name in ("soldAt", "sellingPrice", "livingArea", "numberOfRooms") if name not in sale]
        except (KeyError, TypeError) as error:
            raise SourceContractError(f"a sale has an unexpected shape: {reading_fault(error)}") from None
        if kind != "SoldPropertyListing" or found != page.request.item or missing:
            raise SourceContractError(f"asked for sale {page.request.item}, got {kind} {found} without {missing}")
        return Findings({"hemnet_details": 1}, keys=(found,))
