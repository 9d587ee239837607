"""Tells a complete answer from every other one, and names the other one. Pure, no HTTP client here."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

from alerting.errors import (
    AuthenticationError,
    BlockedBySource,
    ConfigurationError,
    NothingPublished,
    PartitionUnavailable,
    PipelineError,
    RateLimited,
    SourceContractError,
    SourceUnavailable,
    Truncated,
    wait_facts,
)
from alerting.redaction import one_line, redact
from scrapers.challenges import is_challenge
from scrapers.envelopes import error_alone, refuse_unwhole
from scrapers.excerpts import EXCERPT_CHARS, excerpt, is_blank
from scrapers.json_bodies import landed_json, parsed_json
from scrapers.refusals import SEARCHED_CHARS, tells_bad_login, tells_limit
from scrapers.waits import asks_to_wait, limit_wait_s, retry_after_s

__all__ = [
    "STATUSES",
    "Answer",
    "excerpt",
    "landed_json",
    "names_next_page",
    "parsed_json",
    "problem_in",
]

STATUSES: Mapping[int, type[PipelineError]] = {
    # Not complete, though of the 2xx: taken and not done, changed by a proxy, without a body, a part.
    202: SourceUnavailable,
    203: SourceUnavailable,
    204: NothingPublished,
    205: NothingPublished,
    206: Truncated,
    # Of a cache that takes our question for another one: ours are never conditional.
    304: SourceUnavailable,
    400: ConfigurationError,
    401: AuthenticationError,
    402: AuthenticationError,
    403: AuthenticationError,
    # A wrong path gives 404 for every date. Only a source that knows its 404 means "will never exist" may say so.
    404: SourceContractError,
    # A proxy's, of the environment: none of the source's keys is meant.
    407: ConfigurationError,
    408: SourceUnavailable,
    # Of the moment: a conflict, a lock, something it hangs on, a call that a proxy gave up.
    409: SourceUnavailable,
    410: PartitionUnavailable,
    420: RateLimited,
    # A session that ended, as web frameworks, Microsoft and Esri say it.
    419: AuthenticationError,
    421: SourceUnavailable,
    422: ConfigurationError,
    423: SourceUnavailable,
    424: SourceUnavailable,
    425: SourceUnavailable,
    429: RateLimited,
    # Nobody from here may have it: an address or a country is refused, and every date would meet the same.
    451: BlockedBySource,
    440: AuthenticationError,
    449: SourceUnavailable,
    460: SourceUnavailable,
    498: AuthenticationError,
    499: SourceUnavailable,
}
"""What a status means unless the scraper's ``statuses`` or ``accepted_statuses`` says otherwise; 5xx is
``SourceUnavailable``, any other ``SourceContractError``."""

_KEPT_HEADERS = re.compile(
    r"age|date|warning|content-type|content-encoding|content-range|etag|last-modified|link|retry-after"
    r"|(?:total|pagination|page)-(?:count|total)|next-.{1,20}|has-more|pagination|paging|continuation-token"
    r"|x-(?!.*(?:key|token|secret|auth|cookie)).*|x-next-page-token|x-(?:ms-)?continuation-token"
)
# https://www.rfc-editor.org/rfc/rfc9457
_PROBLEM_TYPES = ("application/problem+json", "application/problem+xml")
_PAGE_TYPES = ("text/html", "application/xhtml+xml")
_KEPT_CHARS = 4_000
_LONGEST_ERROR_BYTES = 16_384
_LONGEST_NAME_CHARS = 80
# Not those of what is not there: a next call would be told the same, unless the words are of calls alone.
_NOT_THERE = (404, 405, 410)
_MAY_BE_A_LIMIT = frozenset(range(400, 500)) - {403, 404, 405, 407, 408, 410, 421, 425, 429, 451}
# 999 is of LinkedIn, and of others who learned from it; HTTP ends at 599.
_REFUSED_BY_DEFENCES = (406, 418, 999)
# PostgREST names no unit, and writes */0 for nothing.
_RANGE = re.compile(r"(?:[a-z-]+\s+)?(?:0-([0-9]{1,18})|\*)/([0-9]{1,18})", re.IGNORECASE)
# Of a page that comes next, beside Link: GitLab, Azure and those who do it like them.
_OF_NEXT = re.compile(
    r"(?:x-(?:[a-z0-9]{1,20}-)?)?(?:next(?:-?(?:page|cursor|url|uri|link|offset|href|marker|range))?"
    r"(?:-?(?:token|url|link|number))?"
    r"|has-?(?:more|next)(?:-?pages?)?|more(?:-(?:results|pages|rows|data))?|continuation(?:-token)?)"
)
_OF_PART = re.compile(
    r"x-(?:[a-z0-9]{1,20}-){0,2}(?:truncated|partial|incomplete)(?:-(?:results?|data|response|content))?"
)
_OF_TOTAL = re.compile(
    r"(?:x-)?(?:[a-z]{1,20}-)?total(?:-?(?:count|results?|items?|records?|rows?|hits|elements|entries|number))?"
    r"|(?:x-)?pagination-count|x-(?:result|results|row|record|item)-?count"
)
_OF_PAGES = re.compile(
    r"(?:x-)?(?:[a-z]{1,20}-)?(?:(?:total-?pages?|pages?-?(?:total|count))(?:-count)?|last-page)|x-pages"
)
_OF_WHOLE = re.compile(r"x-(?:[a-z0-9]{1,20}-){0,2}complete")
_OF_RANGE = ("x-content-range", "x-range", "x-item-range")
_OF_PAGINATION = ("x-pagination", "pagination", "x-paging", "paging", "paging-headers", "x-paging-headers")
_LONGEST_COUNT = 12
_THOUSANDS = re.compile(r"(?<=[0-9])[,' ](?=[0-9]{3}(?![0-9]))")
# Of Amazon and Azure, which give it to no answer that is well.
_NAMES_ERROR = ("x-amzn-errortype", "x-ms-error-code")
_NO_NEXT = ("", "0", "false", "no", "none", "null")
_REMAINING = re.compile(r".*(?:rate-?limit|quota).*remaining.*")
# The IETF's draft in both of its forms: limit=100, remaining=0, reset=30, and "default";r=0;t=30.
_STRUCTURED_NOTHING_LEFT = re.compile(r"(?i).*[\s,;](?:remaining|r)=0+(?:[\s,;].*)?", re.DOTALL)
# What stands in quotes says nothing of another parameter, and RFC 8288 has no single ones; servers do.
_QUOTED = re.compile(r"""=\s*("[^"]{0,2000}"|'[^'"<>]{0,200}')""")
_NEXT_LINK = re.compile(r"(?i);\s*rel\s*=\s*(?:[^;,<>]{0,200}[\s/#])?next(?=[\s;,<]|$)")
# Atomic, because comments behind one another could else be cut apart in 2^n ways.
_PAGE = re.compile(
    rb"(?is)(?>[\xef\xbb\xbf\xff\xfe\xc2\xa0\s]|&nbsp;|<\?.{0,400}?\?>|<!--.{0,800}?-->)*+"
    rb"<(?:!doctype|html|head|title|body|script|noscript|style|meta|link|base|iframe|frameset|center|div|main|section"
    rb"|article|aside|header|footer|nav|form|input|table|ul|ol|dl|h[1-6]|p|pre|code|br|hr|img|svg|font|b|strong|i|em|u"
    rb"|a|span|small|big|tt|label|button)[\s>/]"
)
# What PHP prints of its own faults, before whatever else it has to say.
_SERVERS_FAULT = re.compile(
    rb"(?i)\s*(?:<br\s*/?>\s*)?(?:<b>)?(?:php )?(?:(?:fatal|parse) error|warning|notice|deprecated)(?:</b>)?\s*:"
    rb".{0,400} in "
)
# Of Mashery, in a heading.
_DEAD_KEY = re.compile(rb"(?i)\s*<h1>(?:developer inactive|not authorized)")
# Of one of several limits, each with its window perhaps: "0, 99", "0;w=60".
_NOTHING_LEFT = re.compile(r"(?:.*,)?\s*0+(?:\.0*)?\s*(?:[;,].*)?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers (lower-case names), unpacked body (for an error its beginning), and the receiving instant.

    ``packed`` are the bytes that a packed body came in, whatever became of it since: see `scrapers.bodies.storable`.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    received_at: dt.datetime
    packed: bytes = b""


def problem_in(
    answer: Answer,
    statuses: Mapping[int, type[PipelineError]],
    accept: str,
    accepted: Collection[int] = (200,),
) -> PipelineError | None:
    """The error this answer is, or None for a complete one.

    Args:
        answer: What came.
        statuses: The source's own meanings of statuses, looked at before :data:`STATUSES`.
        accept: Media type that the source promises; a page of HTML instead of JSON or CSV is a block, whatever its
            status.
        accepted: Statuses of a complete answer.
    """
    looks_json = _looks_json(answer.body)
    is_accepted = answer.status in accepted
    if is_challenge(answer.status, answer.headers, answer.body, is_accepted=is_accepted, is_json=looks_json):
        return BlockedBySource(f"a challenge page came with status {answer.status}", **_evidence(answer))
    is_page = is_data_type(accept) and not looks_json and _is_html(answer)
    kind = statuses.get(answer.status)
    if kind is None and is_accepted:
        incomplete = _incomplete(answer, accepted, "JSON" if is_json_type(accept) else "CSV", is_page=is_page)
        return incomplete or (
            _error_in_place_of_data(answer, statuses) if looks_json else _words_in_place_of_data(answer, accept)
        )
    if answer.status == 403:
        kind = _meaning_of_403(answer, is_page=is_page) or kind
    else:
        kind = _told_otherwise(answer, is_page=is_page, is_declared=kind is not None) or kind
    kind = kind or STATUSES.get(answer.status)
    if kind is None:
        # One of 600 and above is none of HTTP, and taken for one of the server: RFC 9110, 15.
        kind = SourceUnavailable if answer.status >= 500 else SourceContractError
    return _build(kind, answer)


def _incomplete(answer: Answer, accepted: Collection[int], promised: str, *, is_page: bool) -> PipelineError | None:
    """Why an answer with an accepted status is not the complete one all the same."""
    if answer.status == 200 and is_blank(answer.body):
        return SourceUnavailable("status 200 came with an empty body", cut_body=True, **_evidence(answer))
    told = answer.headers.get("content-range", "").strip()
    if told and 206 not in accepted and not _is_whole(told):
        return Truncated(
            f"status {answer.status} came with a part of the response, content-range {redact(told)[:60]}; a part was "
            "not requested, nothing of it was kept",
            **_evidence(answer),
        )
    if answer.headers.get("content-type", "").partition(";")[0].strip().lower() in _PROBLEM_TYPES:
        return SourceUnavailable(f"status {answer.status} came with what its type calls a problem", **_evidence(answer))
    if told := _other_status(answer.headers):
        return SourceUnavailable(f"status {answer.status} came with the header {told}", **_evidence(answer))
    if _SERVERS_FAULT.match(answer.body[:2048]):
        return SourceUnavailable(
            f"status {answer.status} came with a fault of the server itself in front of its response",
            **_evidence(answer),
        )
    # A few words of a limit are labelled as a page, too.
    if is_page and (_is_html_inside(answer.body) or not tells_limit(answer.body[:SEARCHED_CHARS])):
        return BlockedBySource(
            f"a web page came with status {answer.status} where {promised} was expected", **_evidence(answer)
        )
    return None


def _error_in_place_of_data(answer: Answer, statuses: Mapping[int, type[PipelineError]]) -> PipelineError | None:
    """What a body with nothing but an error means: as if it had come with the status that it names."""
    if len(answer.body) > _LONGEST_ERROR_BYTES:
        return None
    try:
        told = error_alone(from_json(answer.body))
    except ValueError:
        return None
    if told is None:
        return None
    status = 429 if told.is_limit else told.status or 500
    kind = statuses.get(status) or STATUSES.get(status)
    if kind is None:
        kind = SourceUnavailable if status >= 500 else SourceContractError
    return _in_place_of_data(kind, answer, told.text)


def _words_in_place_of_data(answer: Answer, accept: str) -> PipelineError | None:
    """A limit or a refused login in plain words, XML or a JSON text: nothing that any source has as its data."""
    is_of_pages = is_page_type(accept)
    if not (is_data_type(accept) or is_of_pages) or len(answer.body) > SEARCHED_CHARS:
        return None
    if is_of_pages and _is_html_inside(answer.body):
        return None
    if not (is_json_type(accept) or is_of_pages) and (b"," in answer.body or b"\n" in answer.body.strip()):
        return None
    kind = RateLimited if tells_limit(answer.body) else AuthenticationError if tells_bad_login(answer.body) else None
    return kind and _in_place_of_data(kind, answer, excerpt(answer.body))


def _in_place_of_data(kind: type[PipelineError], answer: Answer, told: str) -> PipelineError:
    wish_s = told_wait_s(answer, is_limit=issubclass(kind, RateLimited))
    return kind(
        f"status {answer.status} came with an error in place of data: {told}",
        **_evidence(answer),
        **({"retry_after_s": wish_s} if issubclass(kind, RateLimited) else wait_facts(wish_s, answer.received_at)),
    )


def told_wait_s(answer: Answer, *, is_limit: bool) -> float | None:
    """How long the source wants us to wait, None where it does not say so; a limit says it in more ways."""
    if is_limit:
        return limit_wait_s(answer.headers, answer.body, answer.received_at)
    return retry_after_s(answer.headers.get("retry-after"), answer.received_at)


def _other_status(headers: Mapping[str, str]) -> str:
    """The status of a server behind a gateway that turns it into a header, where that is an error; else ""."""
    behind, of_call = headers.get("status", "").strip()[:40], headers.get("grpc-status", "").strip()[:40]
    if re.match(r"[45][0-9]{2}\b", behind):
        return f"status: {one_line(behind)}"
    if re.match(r"[1-9]", of_call):
        return f"grpc-status: {one_line(of_call)}"
    named = next((name for name in _NAMES_ERROR if headers.get(name, "").strip()), "")
    return f"{named}: {one_line(headers[named])[:40]}" if named else ""


def _is_whole(content_range: str) -> bool:
    """Whether a ``Content-Range`` names all there is.

    >>> [_is_whole(text) for text in ("bytes 0-10/11", "bytes 0-10/52000", "bytes 5-10/11", "items 0-24/*")]
    [True, False, False, False]
    >>> [_is_whole(text) for text in ("0-24/25", "0-24/3573458", "*/0", "*/9")]
    [True, False, True, False]
    """
    found = _RANGE.fullmatch(content_range)
    return found is not None and int(found[1] or -1) + 1 == int(found[2])


def _meaning_of_403(answer: Answer, *, is_page: bool) -> type[PipelineError] | None:
    """A limit where the answer says when to come back or that nothing is left, a block for a page, else a dead key."""
    nothing_left = any(
        len(name) < _LONGEST_NAME_CHARS and _REMAINING.fullmatch(name) and _NOTHING_LEFT.fullmatch(value)
        for name, value in answer.headers.items()
    )
    structured = ", " + answer.headers.get("ratelimit", "")
    if nothing_left or _STRUCTURED_NOTHING_LEFT.fullmatch(structured) or _tells_a_limit(answer, is_page=is_page):
        return RateLimited
    return BlockedBySource if is_page and not _DEAD_KEY.match(answer.body) else None


def _told_otherwise(answer: Answer, *, is_page: bool, is_declared: bool) -> type[PipelineError] | None:
    """What an answer says beside its status: a limit, or by a page that a bot defence refused the call.

    Words that may mean another limit do not count against what the source declares of the status (``is_declared``).
    """
    if answer.status in _MAY_BE_A_LIMIT and _tells_a_limit(answer, is_page=is_page, is_call_refused=not is_declared):
        return RateLimited
    is_of_calls = answer.status in _NOT_THERE or answer.status >= 500
    if is_of_calls and not is_page and tells_limit(answer.body, is_call_refused=False):
        return RateLimited
    return BlockedBySource if is_page and not is_declared and answer.status in _REFUSED_BY_DEFENCES else None


def _tells_a_limit(answer: Answer, *, is_page: bool, is_call_refused: bool = True) -> bool:
    """By when to come back, or in words; that nothing is left may be said with the last good call's answer, too."""
    if asks_to_wait(answer.headers, answer.body, answer.received_at):
        return True
    # Mashery, a gateway before the APIs of others, says it in a heading.
    is_heading = answer.body[:64].lower().startswith(b"<h1>developer over ")
    return (not is_page or is_heading) and tells_limit(answer.body, is_call_refused=is_call_refused)


def names_next_page(link: str) -> bool:
    """Whether a ``Link`` header, or the parameters of one of its links, names the next page.

    >>> [names_next_page(f"<https://a.example/?p=2>; {rel}") for rel in ('rel="next"', "REL=next", 'rel="prev"')]
    [True, True, False]
    >>> names_next_page("</2>; rel='next'"), names_next_page('</0>; rel="self"; title="; rel=next"')
    (True, False)
    """

    def bare(quoted: re.Match[str]) -> str:
        return "=" + re.sub("[;,<>=]", " ", quoted[1][1:-1])

    return _NEXT_LINK.search(_QUOTED.sub(bare, link[:_KEPT_CHARS])) is not None


def more_told(headers: Mapping[str, str], *, rows: int | None) -> str:
    """The header by which an answer says that there is more than it has, as ``name: value``; "" where none does.

    ``rows``: of all tables, where nothing was asked before it: more pages than one, or more rows, are then behind it.

    >>> more_told({"link": '</p/2>; rel="next"'}, rows=None)
    'link: </p/2>; rel="next"'
    >>> more_told({"x-next-page": "2"}, rows=None), more_told({"x-next-page": ""}, rows=5)
    ('x-next-page: 2', '')
    >>> [more_told({"x-total-pages": "3"}, rows=rows) for rows in (5, None)]
    ['x-total-pages: 3', '']
    >>> [more_told({"x-total-count": "57"}, rows=rows) for rows in (0, 57)]
    ['x-total-count: 57', '']
    """
    for name, value in headers.items():
        if len(name) > _LONGEST_NAME_CHARS:
            continue
        text = value.strip().lower()
        is_next = (name == "link" and names_next_page(value)) or (
            _OF_NEXT.fullmatch(name) is not None and text not in _NO_NEXT
        )
        is_part = _OF_PART.fullmatch(name) is not None and text in ("true", "1", "yes")
        told = _THOUSANDS.sub("", text)
        number = int(told) if rows is not None and told.isdecimal() and len(told) < _LONGEST_COUNT else 0
        is_more = (number > 1 and _OF_PAGES.fullmatch(name)) or (number > (rows or 0) and _OF_TOTAL.fullmatch(name))
        is_range = name in _OF_RANGE and rows is not None and not _is_whole(text)
        is_whole_not = _OF_WHOLE.fullmatch(name) is not None and text in ("false", "0", "no")
        is_told = is_range or is_whole_not or (name in _OF_PAGINATION and _tells_more(value, rows))
        if is_next or is_part or is_more or is_told:
            return f"{name}: {value}"
    return ""


def _tells_more(pagination: str, rows: int | None) -> bool:
    """Of what a header says of pages in JSON; ``rows`` as of `more_told`."""
    try:
        told = from_json(pagination)
        refuse_unwhole({"pagination": told, "data": [None] * (rows or 0)} if isinstance(told, dict) else {})
    except ValueError:
        return False
    except (Truncated, SourceUnavailable):
        return True
    return False


def mislabelled(answer: Answer, accept: str) -> str:
    """What the content type of a complete answer says falsely of its body, "" where it is true or leaves room."""
    if is_json_type(accept) and _is_html_type(answer) and _looks_json(answer.body):
        return f"JSON is labelled {one_line(answer.headers['content-type'])[:60]!r}"
    return ""


def is_json_type(accept: str) -> bool:
    """Whether a media type is JSON's.

    >>> is_json_type("application/json; q=1"), is_json_type("application/hal+json"), is_json_type("*/*")
    (True, True, False)
    """
    media_type = accept.partition(";")[0].strip().lower()
    return media_type == "application/json" or media_type.endswith("+json")


def is_data_type(accept: str) -> bool:
    """Whether it is of text for programs, where a web page is another server's answer: JSON or CSV."""
    return is_json_type(accept) or accept.partition(";")[0].strip().lower() == "text/csv"


def is_page_type(accept: str) -> bool:
    """Whether it is of web pages.

    >>> is_page_type("text/html; q=1"), is_page_type("*/*")
    (True, False)
    """
    return accept.partition(";")[0].strip().lower() in _PAGE_TYPES


def _build(kind: type[PipelineError], answer: Answer) -> PipelineError:
    wish_s = told_wait_s(answer, is_limit=issubclass(kind, RateLimited))
    evidence = _evidence(answer)
    if issubclass(kind, RateLimited):
        return kind("the source asked to slow down", retry_after_s=wish_s, **evidence)
    if 300 <= answer.status < 400 and answer.status != 304:
        target = one_line(answer.headers.get("location", ""))[:EXCERPT_CHARS]
        return kind("the source redirects; redirects are never followed", location=target, **evidence)
    expected = "expected 200" if answer.status >= 300 else "which is not a complete response; expected 200"
    return kind(
        f"the source answered {answer.status}, {expected}{_said(answer)}",
        **evidence,
        **wait_facts(wish_s, answer.received_at),
    )


def kept_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers worth keeping with a payload, redacted: never cookies or anything that names a key."""
    return {name: redact(value, _KEPT_CHARS) for name, value in headers.items() if _KEPT_HEADERS.fullmatch(name)}


def _said(answer: Answer) -> str:
    """What the source itself says is wrong: the error text of a JSON body, or a short plain one; else ""."""
    if _is_html(answer) and not _looks_json(answer.body):
        return ""
    try:
        # Unlike the standard library's, this parser has a limit for what is nested, and says so as ValueError.
        found = from_json(answer.body)
    except ValueError:
        found = (
            ""
            if answer.body.lstrip()[:1] in (b"{", b"[", b"<")
            else answer.body[:EXCERPT_CHARS].decode("utf-8", "replace")
        )
    for name in ("error", "message", "detail", "title"):
        if isinstance(found, dict) and found.get(name):
            found = found[name]
    text = excerpt(found[:1000].encode("utf-8", "replace")) if isinstance(found, str) else ""
    return f": {text}" if text else ""


def _looks_json(body: bytes) -> bool:
    """By its first byte: an object or a list, also behind a byte-order mark or in UTF-16."""
    return body[:64].lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n\0")[:1] in (b"{", b"[")


def is_page(answer: Answer) -> bool:
    """Whether a web page came, and not the data of an API."""
    return not _looks_json(answer.body) and _is_html(answer)


def _is_html_type(answer: Answer) -> bool:
    media_type = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    return media_type in _PAGE_TYPES


def _is_html(answer: Answer) -> bool:
    return _is_html_type(answer) or _is_html_inside(answer.body)


def _is_html_inside(body: bytes) -> bool:
    # Without its zeros UTF-16 is what it is of Latin letters.
    return _PAGE.match(body[:2048].replace(b"\0", b"")) is not None


def _evidence(answer: Answer) -> dict[str, Any]:
    return {
        "status": answer.status,
        "content_type": one_line(answer.headers.get("content-type", ""))[:60],
        "body": excerpt(answer.body),
    }
