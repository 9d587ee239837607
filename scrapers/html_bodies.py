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
# What a browser runs or reads as text: what looks like an element within is none. Each match takes all that it has
# looked at, so that no part of a page is looked through twice; an element without an end goes on to that of the page.
# Attributes are bounded, because an element without an end could else be looked through from each that begins in it.
_ATTRIBUTES = rb"(?:[^<>\"']{1,1000}+|\"[^\"]{0,1000}+\"|'[^']{0,1000}+'){0,30}+"
_PIECE = re.compile(
    rb"(?is)<!--(?:-?>|.*?(?:--!?>|\Z))"
    rb"|<(script|style|textarea|title|template|noscript|xmp|iframe)(?=[\s/>])(%(attributes)b)>"
    rb"(.*?)(?:</\1(?=[\s/>])[^>]{0,200}+>|(\Z))"
    rb"|</?[a-z]%(attributes)b>" % {b"attributes": _ATTRIBUTES}
)
_ATTRIBUTE = re.compile(rb"([^\s\"'>/=]++)(?:\s*+=\s*+(?:\"([^\"]*+)\"|'([^']*+)'|([^\s\"'>]++)))?")


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
    found = [piece for piece in _PIECE.finditer(body) if _is_script(piece) and _id_of(piece[2]) == element.encode()]
    if not found and _PAGE_ENDS.search(body) is None and not asks_to_wait_in_title(body):
        raise SourceUnavailable(
            f"the page ends before its data, {element}, and before its own end; nothing of it was taken",
            cut_body=True,
            body=excerpt(body),
        )
    if not found:
        raise BlockedBySource(
            f"a web page came without its data, {element}", body=excerpt(body), hint="look at the page in a browser"
        )
    if len(found) > 1:
        raise SourceContractError(f"a page has {element} {len(found)} times", body=excerpt(body))
    if found[0][4] is not None:
        raise SourceUnavailable(f"the page ends within its data, {element}; nothing of it was taken", cut_body=True)
    return found[0][3]


def _is_script(piece: re.Match[bytes]) -> bool:
    return piece[1] is not None and piece[1].lower() == b"script"


def _id_of(attributes: bytes) -> bytes:
    """The first one counts, as in a browser; b"" without any."""
    named = (one for one in _ATTRIBUTE.finditer(attributes) if one[1].lower() == b"id")
    return next((one[2] or one[3] or one[4] or b"" for one in named), b"")
