"""Sources that are a Datasette table: keyset paging that loses no row, and a proof that none was lost.

Measured on Datasette 0.65.5, 1.0a28 and 1.0a41 (https://docs.datasette.io/en/latest/json_api.html):

* Only the table's own order can be paged. With ``_sort`` the first page has no tie-break by key, and rows are lost.
* ``next`` stands in the body of all of them; ``next_url`` does not. The ``Link`` header is the fallback; the last page
  has none, and is believed to be the last one when the count agrees.
* ``_size`` may be cut without a word, so a page is as long as it comes.
* ``count`` stops at 10,001, and a broken ``_next`` or a mistyped filter gives an empty list that looks like the end.

The rows are read once in full, and once more by key alone. When both readings have the same keys, what was read is what
the table held between the two, however long it took: no count could prove that, since a page of new text replaces
one of old text without changing any count. The second reading has pages of another size, so that a server which calls
a full page the last one ends the two at different rows.
"""

from __future__ import annotations

import datetime as dt
import itertools
import re
import urllib.parse
from abc import abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar

from alerting.errors import NotSettled, SourceContractError, Truncated
from scrapers.answers import names_next_page, parsed_json
from scrapers.base import Findings, Page, Request
from scrapers.partition import Partition, Step
from scrapers.platforms.count_check import Counts, ProbedScraper

COUNT_CEILING = 10_000
"""Above this the count says only "more": https://github.com/simonw/datasette/issues/2408."""

_FOLLOWS = ("next", "next_url", "count", "truncated")
_LINK = re.compile(r"<(?P<address>[^<>]{0,4000})>(?P<params>[^<,]{0,500})")


class DatasetteScraper(ProbedScraper):
    """Every row of one table per entity. A subclass says where the table is: ``table_request``.

    Class attributes:
        key_column: The table's primary key, a single TEXT column.
        date_column: TEXT column with ISO dates by which recent rows are counted; "" = all rows are counted, no others.
        place_columns: Columns that name the entity where a row has them; one that names another is refused.
    """

    step: ClassVar[Step] = "whole"
    is_paginated: ClassVar[bool] = True
    page_size: int = 1000
    envelope = (
        *("ok", "next", "next_url", "rows", "count", "count_truncated", "truncated", "filtered_table_rows_count"),
        *("database", "table", "is_view", "human_description_en", "columns", "expanded_columns", "expandable_columns"),
        *("primary_keys", "units", "query", "facet_results", "suggested_facets", "private", "allow_execute_sql"),
        *("query_ms", "source", "source_url", "license", "license_url", "about", "about_url"),
    )
    key_column: ClassVar[str] = "id"
    date_column: ClassVar[str] = ""
    place_columns: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def table_request(self, partition: Partition) -> Request:
        """Site and path of the table's JSON; its parameters are added here."""

    def first_request(self, partition: Partition) -> Request:
        """The first page of the full reading."""
        return self._page_request(self.table_request(partition), "", confirms=False)

    def inspect(self, partition: Partition, page: Page) -> Findings:
        """Counts rows, checks that they follow the cursor in strict order, and goes on to the next page."""
        document = parsed_json(page.body, _FOLLOWS)
        confirms = ("_col", self.key_column) in page.request.params
        keys = self._keys_of(document, page.request.cursor)
        self._refuse_strangers(document, partition)
        announced = _announced(document)
        count = announced if announced is not None and announced <= COUNT_CEILING else None
        cursor = _next_cursor(document, page)
        if cursor and not keys:
            raise SourceContractError("an empty page names a next one")
        if not keys and page.request.cursor:
            raise NotSettled(f"no row follows {page.request.cursor!r}, though one was there when it was named")
        if cursor and _plain(cursor) != keys[-1]:
            raise SourceContractError(f"the next page begins after {cursor[:40]!r}, the last row here is {keys[-1]!r}")
        if not cursor and announced is None and len(keys) >= _asked_size(page.request):
            raise Truncated(
                f"the last page has exactly the {len(keys):,} rows that were asked for, and no count tells that it is "
                "the last; landed pages are kept as evidence",
                hint="use another page_size: a server that truncates then ends at another row",
            )
        is_only_page = not cursor and not page.request.cursor
        request = None
        if cursor:
            request = self._page_request(page.request, cursor, confirms=confirms)
        elif not confirms and not (is_only_page and count == len(keys)):
            request = self._page_request(page.request, "", confirms=True)
        return Findings(
            {} if confirms else {self.tables[0]: len(keys)},
            source_total=count,
            at_least=announced or 0,
            empty_evidence=f"count {count} and no rows" if is_only_page and count == 0 and not keys else "",
            next_request=request,
            keys=keys,
            confirms=confirms,
        )

    def probes(self, entity: Request, since: dt.date) -> tuple[Request, ...]:
        """Counts of all rows, and of those since ``since``, without a row."""
        params = (("_size", "0"), ("_shape", "objects"), ("_extra", "count"))
        recent = (f"{self.date_column}__gte", since.isoformat())
        wanted = [params, (*params, recent)] if self.date_column else [params]
        return tuple(Request(entity.path, one, site=entity.site) for one in wanted)

    def probed(self, page: Page) -> int | None:
        """The count; ``SourceContractError`` for what is no answer of a table."""
        document = parsed_json(page.body, _FOLLOWS)
        self._keys_of(document, "")
        count = _announced(document)
        return count if count is not None and count <= COUNT_CEILING else None

    def counts_of(self, bodies: Iterable[bytes], since: dt.date) -> Counts:
        """As SQLite counts them: text by text, so a malformed date is recent when it sorts so."""
        total = recent = 0
        for body in bodies:
            rows = parsed_json(body, _FOLLOWS)["rows"]
            total += len(rows)
            recent += sum((row.get(self.date_column) or "") >= since.isoformat() for row in rows)
        counts = (total, recent) if self.date_column else (total,)
        return tuple(count if count <= COUNT_CEILING else None for count in counts)

    def _page_request(self, like: Request, cursor: str, *, confirms: bool) -> Request:
        size = max(1, self.page_size - 1) if confirms else self.page_size
        params = [("_size", str(size)), ("_shape", "objects"), ("_extra", "count")]
        if confirms:
            params.append(("_col", self.key_column))
        if cursor:
            params.append(("_next", cursor))
        return Request(like.path, tuple(params), cursor=cursor, site=like.site)

    def _keys_of(self, document: Any, cursor: str) -> tuple[str, ...]:
        """Keys of the rows; ``SourceContractError`` when this is no answer to what was asked."""
        try:
            if document.get("ok", True) is not True:
                raise SourceContractError(f"ok is {document['ok']!r}: {str(document.get('error'))[:120]!r}")
            rows = document["rows"]
            keys = tuple([row[self.key_column] for row in rows])
            truncated = document["truncated"]
        except (KeyError, TypeError, AttributeError) as error:
            raise SourceContractError(f"no page of a table: {type(error).__name__} {error}") from None
        if not isinstance(rows, list) or not all(isinstance(key, str) for key in keys):
            raise SourceContractError(f"rows without a text key {self.key_column}")
        if truncated:
            raise Truncated("the source cut the rows of this page", hint="use a smaller page_size")
        after = [_plain(cursor), *keys] if cursor else list(keys)
        if any(left >= right for left, right in itertools.pairwise(after)):
            raise SourceContractError(f"rows do not follow {cursor[:40]!r} in the order of their key")
        return keys

    def _refuse_strangers(self, document: Any, partition: Partition) -> None:
        """``SourceContractError`` for a row that says of itself that it belongs to another entity."""
        place, _, _ = partition.entity.partition("~")
        for row in document["rows"]:
            for column in self.place_columns:
                named = row.get(column) if isinstance(row, dict) else None
                if named and str(named).lower() not in (place, partition.entity):
                    raise SourceContractError(
                        f"asked for {partition.entity}, got a row of {column} {str(named)[:60]!r}"
                    )


def _announced(document: Any) -> int | None:
    """Rows of the table, None when the source does not know; beyond `COUNT_CEILING` it says only "more"."""
    count = document.get("count", document.get("filtered_table_rows_count"))
    if count is not None and (not isinstance(count, int) or isinstance(count, bool) or count < 0):
        raise SourceContractError(f"count is {str(count)[:40]!r}")
    return count


def _asked_size(request: Request) -> int:
    return int(dict(request.params).get("_size", "0")) or 1


def _next_cursor(document: Any, page: Page) -> str:
    """The token of the next page, "" at the end; raises when the answer does not say."""
    if "next" in document:
        token = document["next"]
        if token is not None and not isinstance(token, str | int):
            raise SourceContractError(f"next is {str(token)[:40]!r}")
        return str(token or "")
    for link in _LINK.finditer(page.headers.get("link", "")):
        if names_next_page(link["params"]):
            try:
                return urllib.parse.parse_qs(urllib.parse.urlsplit(link["address"]).query)["_next"][0]
            except (ValueError, KeyError):
                raise SourceContractError("the link to the next page has no _next") from None
    if _announced(document) is None:
        raise SourceContractError("the response does not say whether there is a next page")
    return ""


def _plain(token: str) -> str:
    """A token as the key it stands for: Datasette writes ``~2C`` where a URL has ``%2C``.

    >>> _plain("City~2C+Council")
    'City, Council'
    """
    return urllib.parse.unquote_plus(token.replace("~", "%"))
