"""Reads the data that a web page has embedded for its own scripts. Pure; the page around it is never looked at."""

from __future__ import annotations

import re
from typing import Any

from alerting.errors import BlockedBySource, SourceContractError, SourceUnavailable
from scrapers.challenges import asks_to_wait_in_title
from scrapers.excerpts import excerpt
from scrapers.json_bodies import landed_json, parsed_json

# Atomic, because comments behind one another could else be cut apart in 2^n ways.
_PAGE = re.compile(rb"(?is)(?>\xef\xbb\xbf|\s|<!--.{0,800}?-->)*+<(?:!doctype html|html|head|body)[\s>]")
_PAGE_ENDS = re.compile(rb"(?i)</(?:html|body)\s*>")
_SCRIPT_ENDS = re.compile(rb"(?i)</script\s*>")


def parsed_embedded_json(body: bytes, element: str) -> Any:
    """The JSON of the ``<script id="...">`` whose id is ``element``.

    Raises ``BlockedBySource`` for a web page without it: a bot defence, in whatever language, or a closed door.
    ``SourceUnavailable`` for a page that ends within it or before it, ``SourceContractError`` for what is no web page
    or has it twice, and what :func:`scrapers.json_bodies.parsed_json` raises.
    """
    return parsed_json(_embedded(body, element))


def landed_embedded_json(body: bytes, element: str) -> Any:
    """The same of a page that ``parsed_embedded_json`` has read before it was landed."""
    return landed_json(_embedded(body, element))


def _embedded(body: bytes, element: str) -> bytes:
    if _PAGE.match(body) is None:
        raise SourceContractError("the body is no web page", body=excerpt(body))
    named = rb"(?:\"%(id)b\"|'%(id)b'|%(id)b(?=[\s/>]))" % {b"id": re.escape(element.encode())}
    # Bounded, because an element without an end could else be looked through from each of its attributes.
    begins = re.findall(rb"(?i:<script\b)[^<>]{0,2000}[\s\"'](?i:id)\s{0,9}=\s{0,9}%b[^<>]{0,2000}>" % named, body)
    if not begins and _PAGE_ENDS.search(body) is None and not asks_to_wait_in_title(body):
        raise SourceUnavailable(
            f"the page ends before its data, {element}, and before its own end; nothing of it was taken",
            cut_body=True,
            body=excerpt(body),
        )
    if not begins:
        raise BlockedBySource(
            f"a web page came without its data, {element}", body=excerpt(body), hint="look at the page in a browser"
        )
    if len(begins) > 1:
        raise SourceContractError(f"a page has {element} {len(begins)} times", body=excerpt(body))
    rest = body[body.index(begins[0]) + len(begins[0]) :]
    end = _SCRIPT_ENDS.search(rest)
    if end is None:
        raise SourceUnavailable(f"the page ends within its data, {element}; nothing of it was taken", cut_body=True)
    return rest[: end.start()]
