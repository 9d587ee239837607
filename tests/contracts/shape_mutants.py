"""JSON of another shape than the source's, and how a document is changed in one place."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

Document = Any


Mutation = Callable[[Document], Any]


def rows_of(document: Document) -> list[Any]:
    """The longest list of objects in the document: what the payload is about; empty where it has none."""
    lists = [value for value in document.values() if isinstance(value, list) and value and isinstance(value[0], dict)]
    return max(lists, key=len, default=[])


def objects_of(document: Document) -> Iterator[dict[str, Any]]:
    """The document and every object in its objects."""
    yield document
    for value in document.values():
        if isinstance(value, dict):
            yield from objects_of(value)


def in_its_depth(mutate: Mutation) -> Mutation:
    """``mutate`` where the longest list of objects is, however deep."""

    def mutated(document: Document) -> Document:
        holder = max(objects_of(document), key=lambda one: len(rows_of(one)))
        holder.update(mutate(dict(holder)))
        return document

    return mutated


def spoil(change: Callable[[list[Any]], Any]) -> Mutation:
    def mutate(document: Document) -> Document:
        change(rows_of(document))
        return document

    return mutate


def _set(value: Any) -> Mutation:
    return spoil(lambda rows: rows.__setitem__(0, value))


def _rows_as(change: Callable[[list[Any]], Any]) -> Mutation:
    return lambda document: {
        name: change(value) if value is rows_of(document) else value for name, value in document.items()
    }


def _renamed(rows: list[Any]) -> None:
    rows[0] = {f"x_{name}": value for name, value in rows[0].items()}


SHAPES: dict[str, Mutation] = {
    "in a list": lambda document: [document],
    "null": lambda document: None,
    "a text": lambda document: json.dumps(document),
    "nothing in it": lambda document: {},
    "its rows null": _rows_as(lambda rows: None),
    "its rows an object": _rows_as(lambda rows: dict(enumerate(rows))),
    "its rows a text": _rows_as(lambda rows: "x"),
    "other names": lambda document: {f"x_{name}": value for name, value in document.items()},
    "an error beside its data": lambda document: {**document, "error": "upstream timed out"},
    "errors beside its data": lambda document: {**document, "errors": [{"message": "partial"}]},
    "its first row null": _set(None),
    "its first row a list": _set([]),
    "its first row a text": _set("x"),
    "its first row empty": _set({}),
    "its first row twice": spoil(lambda rows: rows.append(copy.deepcopy(rows[0]))),
    "its first row with other names": spoil(_renamed),
}


SIGNS: dict[str, dict[str, Any]] = {
    "more": {"has_more": True},
    "a next page": {"next_page_url": "https://a.example/?page=2"},
    "a next page of OData": {"@odata.nextLink": "https://a.example/?$skip=9"},
    "a link of HAL": {"_links": {"next": {"href": "/?page=2"}}},
    "a link of JSON:API": {"links": {"self": "/", "next": "/?page=2"}},
    "a list of links": {"links": [{"rel": "self", "href": "/"}, {"rel": "next", "href": "/?page=2"}]},
    "a page of GraphQL": {"pageInfo": {"hasNextPage": True}},
    "three pages": {"pagination": {"page": 1, "total_pages": 3}},
    "not the last page": {"last": False},
    "a part": {"partial": True},
    "given up": {"timed_out": "true"},
    "pages in its meta": {"meta": {"pagination": {"page": 1, "pageSize": 1, "pageCount": 4}}},
    "a link in its meta": {"meta": {"pagination": {"total_pages": 1, "links": {"next": "/?page=2"}}}},
    "a job under way": {"meta": {"job": {"state": "running"}}},
    "a query cut short": {"meta": {"query": {"status": "partial"}}},
    "a code in its meta": {"meta": {"code": 206}},
    "a link of Collection+JSON": {"collection": {"version": "1.0", "links": [{"rel": "next", "href": "/?page=2"}]}},
    "a link of FHIR": {"link": [{"relation": "self", "url": "/"}, {"relation": "next", "url": "/?page=2"}]},
    "a link of Atom": {"feed": {"link": [{"@rel": "next", "@href": "/?page=2"}]}},
    "a next page of SensorThings": {"@iot.nextLink": "https://a.example/?$skip=9"},
    "a next page of Hydra": {"hydra:view": {"hydra:next": "/?page=2"}},
    "a next page of Twilio": {"next_page_uri": "/?page=2"},
    "a next page in a map of searches": {"search_metadata": {"next_results": "?max_id=1"}},
    "one of three": {"page": "1 of 3"},
    "more remains": {"metadata": {"remainingItemCount": 57}},
    "at a limit": {"limit_reached": True},
    "shards without an answer": {"_shards": {"total": 5, "successful": 4, "skipped": 0}},
    "sources without an answer": {"failedSources": ["eu-west"]},
    "a warning in German": {"warnings": ["Ergebnisse unvollständig"]},
    "a warning in Japanese": {"warnings": ["データが欠落しています"]},
    "an error": {"error": {"code": 503}},
    "failed": {"failed": True},
}
"""What a document can say of itself beside its rows: that these are not all."""

WELL: dict[str, Any] = {
    **{"has_more": False, "next_page_url": None, "_links": {"self": {"href": "/"}}, "pagination": {"total_pages": 1}},
    **{"link": [{"relation": "self", "url": "/"}], "collection": {"links": [{"rel": "prev", "href": "/"}]}},
    **{"page": "1 of 1", "hydra:view": {"hydra:last": "/"}, "_shards": {"total": 5, "successful": 4, "skipped": 1}},
    **{"warnings": [], "failedSources": [], "nextSyncToken": "x", "next_timestamp": "2025-01-03T11:00:38Z"},
    **{"last": True, "partial": False, "timed_out": False, "errors": [], "message": "OK"},
}
"""The same, where all is there."""


def first_row(change: Callable[[dict[str, Any]], Any]) -> Mutation:
    return spoil(lambda rows: change(rows[0]))


def without(*names: str) -> Mutation:
    return lambda document: {name: value for name, value in document.items() if name not in names}


def with_fields(**fields: Any) -> Mutation:
    return lambda document: {**document, **fields}
