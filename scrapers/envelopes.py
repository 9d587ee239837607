"""What a JSON document says of itself, beside its data: that it is an error, a part, or one page of several. Pure.

APIs have no common words for this, so those of the usual ones are known: JSON:API, HAL, OData, Spring, Laravel, Django,
GraphQL, Elasticsearch, Google. What a source follows itself (``follows`` of `parsed_json`) is its own business; all
else that leads on would be left behind in silence.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from alerting.errors import SourceUnavailable, Truncated
from alerting.redaction import redact
from alerting.wording import plural
from scrapers.excerpts import excerpt
from scrapers.readiness import not_ready
from scrapers.refusals import tells_bad_login, tells_limit

# Of the whole, in other languages than English: not whole, missing, a part, cut.
_LESS_ELSEWHERE = (
    "unvollst(?:ä|ae)ndig|teilweise|abgeschnitten|gek(?:ü|ue)rzt|fehlen|incompl[eè]t|tronqu|partiel|manquan|tronca|parzial"
    "|incomplet|parcial|truncad|faltan|onvolledig|gedeeltelijk|ontbre|ofullständig|saknas|ufuldstænd|ufullstendig|mangler"
    "|puuttee|puuttu|niepełn|niekompletn|brakuj|neúpln|chybí|hiányos|eksik|ελλιπ|неполн|частичн|отсутств|неповн|частков"
    "|不完全|不完整|欠落|部分|缺失|缺少|截断|누락|불완전|일부|ناقص|جزئي|חלקי|ไม่ครบ|không đầy đủ|tidak lengkap"
)
_WORDS_OF_TROUBLE = re.compile(
    rb"(?i)partial (?:results?|content|data|response)|(?:results?|data|response).{0,20}(?:truncated|incomplete)"
    rb"|timed.?out|(?:results?|rows?|records?|data|response) (?:is |are |was |were )?limited to"
    rb"|only (?:the )?first [0-9]|been (?:reduced|cut|capped) to|" + _LESS_ELSEWHERE.encode()
)
# In a list of warnings; a deprecation is none.
_WARNS_OF_LESS = re.compile(
    rb"(?i)missing|incomplete|partial|truncat|unavailable|fail|skipped|omitted|dropped|stale|outdated|timed.?out|time-?out"
    rb"|(?:did|could|was|were)(?: no|n'|n.{1,3})t\b|cannot|unable|only [0-9]|limited to|only (?:the )?first|"
    + _LESS_ELSEWHERE.encode()
)
_ANNOUNCES = re.compile(rb"(?i)deprecat|sunset|no longer|will (?:not )?be|upgrade|migrat")
# All names are compared by their letters alone: Error, errorMessage, @odata.nextLink.
_ERRORS = {"error", "errors", "errormessage", "errormsg", "errordescription", "exception", "fault"}
_ERRORS |= {"partialfailure", "partialfailures", "partialfailureerror", "partialerrors"}
_SAYS_WELL = {"ok", "success", "succeeded"}
_SAYS_ILL = {"iserror", "haserror", "haserrors", "haderrors", "failed"}
_STATES = {"status", "state", "result", "outcome", "resultstatus", "querystatus", "responsestatus", "completionstatus"}
_ILL = {"error", "fail", "failed", "failure", "timeout", "timed_out", "partial", "incomplete"}
_READY = ("ready", "isready", "processing", "pending", "isprocessing", "ispending", "inprogress")
_NUMBERS = {"status", "statuscode", "httpstatus", "httpcode", "code", "cod", "errorcode"}
_MESSAGES = {"message", "messages", "warning", "warnings", "information", "note", "detail", "info", "reason"}
_MESSAGES |= {"msg", "notice", "notices", "remark", "remarks"}
# What an answer says beside its error when it has nothing else to say.
_SAID_WITH_IT = {
    *("title", "type", "timestamp", "path", "instance", "requestid", "traceid", "documentationurl", "detailsurl"),
    *("msg", "errmsg", "errcode", "errorid", "errorname", "errortype", "policyname", "correlationid", "retryafter"),
    *("global", "erro", "erreur", "fehler", "mensaje", "mensagem", "messaggio", "meldung"),
    *_NUMBERS,
    *_MESSAGES,
    *("state", "jobid", "taskid", "queryid", "progress", "eta", "position", "estimatedtime", *_READY),
    *("jobstatus", "jobstate", "querystatus", "datastatus", "description", "parameters", "statusmessage"),
}
_OF_AN_ERROR = _ERRORS | _SAYS_WELL | _SAYS_ILL | _SAID_WITH_IT
_GAVE_UP = {"timedout", "istimedout", "querytimedout", "aborted", "interrupted"}
_GAVE_UP |= {"incompleteresults", "incompletesearch"}
# Of what was tried for the answer. Where a row may have them they are not looked at.
_HOW_MANY_FAILED = re.compile(
    r"(?:num|number(?:of)?)?(?:errors?|failures?|failed)(?:count)|num(?:errors|failures|failed)"
)
_PARTS = {
    *("partial", "ispartial", "partialdata", "partialresult", "partialresults", "haspartialdata", "truncated"),
    *("istruncated", "resultstruncated", "recordstruncated", "incomplete", "isincomplete"),
    *("degraded", "exceededtransferlimit"),
    *("more", "moredata", "moreavailable", "morerecords", "moreresultsavailable", "moreitemsincollection"),
    *("morerows", "moreitems", "moredataavailable", "sampled", "issampled", "issample", "capped", "iscapped", "cutoff"),
    *("limitreached", "islimitreached", "hitlimit", "limitexceeded", "rowlimitreached", "resultlimitreached"),
    *("maxresultsreached", "resultscapped", "resultslimited", "overlimit", "islimited", "resultlimitexceeded"),
    *("rowlimitexceeded", "maxrowsexceeded", "partialresponse", "partialcontent", "datatruncated", "clipped"),
}
_WHOLES = {"complete", "iscomplete", "jobcomplete", "datacomplete", "resultscomplete", "allloaded", "allresults"}
_PARTIAL_STATES = {"partial", "incomplete", "truncated", "partialcontent", "partialsuccess", "partialfailure"}
_PARTIAL_STATES |= {"partialresults", "incompleteresults", "partialdata", "incompletedata", "timeout", "timedout"}
_WARNINGS = {"warning", "warnings", "notice", "notices", "remark", "remarks"}
_LEADS_ON = re.compile(
    r"hasnext(?:pages?)?|has(?:any)?more(?:data|results|pages|items|records|rows|entries)?|morepages|moreresults"
    r"|(?:xms)?continuation(?:token)?|lastevaluatedkey|paginationtoken|resumptiontoken|scrollid|loadmore(?:url|link)?"
    # Of OData, SensorThings, Hydra, Twilio, Presto, Solr and all who name what is next.
    r"|(?:odata|iot|hydra)?next(?:link|url|uri|href|token|marker|offset|start|path|skip|maxid)?"
    r"|next(?:page|cursor|records?|results?|batch|chunk|continuation)s?"
    r"(?:url|uri|link|token|href|number|num|id|key|path|mark(?:er)?|cursor|index|start|offset)?"
)
# Of MediaWiki: what its next call has to go on with.
_GOES_ON = "continue"
_TOO_MANY = 429
_YES, _NO = ("true", "yes", "y", "1"), ("false", "no", "n", "0")
_LAST = {
    *("last", "islast", "lastpage", "islastpage", "isfinalpage", "endofstream", "endofrecords", "endoflist"),
    *("eof", "iseof", "end", "isend", "atend"),
}
_PAGES = {"totalpages", "pagecount", "numpages", "lastpage", "nbpages", "totalpagecount", "totalpage", "pagetotal"}
_PAGES |= {"numberofpages", "totalnumberofpages", "maxpage", "maxpages", "lastpagenumber", "pagestotal"}
_PAGE_OF = re.compile(r"\D{0,20}1\s*(?:/|of|von|de|di|van|av|af|sur|из)\s*([0-9]{1,9})")
_TOTALS = re.compile(
    # Of Hydra, OpenSearch, OData, and of OGC's features.
    r"(?:hydra|opensearch)?total(?:number(?:of)?)?(?:results?|items?|records?|rows?|hits|elements|entries|found|matches"
    r"|matched|features|documents|available|size)?(?:count)?"
    r"|odatacount|nbhits|numfound|numbermatched|recordstotal|count|fullcount|numberofresults|numresults|nresults|found"
    r"|(?:result|row|record|match|hit)s?(?:es)?(?:count|total)"
)
# Of a total in words: 1,234, 500+, more than 500. And what is shown of how many: 1-25 of 500, items 0-24/500.
_IN_WORDS = re.compile(r"\D{0,20}([0-9]{1,3}(?:[,.' \u00a0\u202f][0-9]{3})+|[0-9]{1,15})\s*\+?")
_SHOWN_OF = re.compile(
    r"\D{0,40}[0-9]{1,9}\s*(?:-|–|to|bis|à|a)\s*[0-9]{1,9}\s*(?:/|of|von|sur|de|di)\s*([0-9]{1,15})\D{0,20}"
)
_SHOWN = {"range", "contentrange", "showing", "displaying", "itemrange", "resultrange"}
_LEFT = re.compile(r"remaining(?:items?|rows?|records?|results?|pages?)(?:count)?")
# At any depth these mean but one thing: GraphQL has them beside each of its lists.
_UNMISTAKABLE = {
    *("hasnextpage", "exceededtransferlimit", "nextpagetoken", "nextcontinuationtoken", "odatanextlink"),
    *("lastevaluatedkey", "istruncated", "nextrecordsurl", "endofrecords", "hasmore", "moreitemsincollection"),
}
_DEEPEST, _WIDEST = 4, 60
# May be a row's own count of something else where they stand beside data, unless that says that it is cut by a limit,
# or bears the name of all rows.
_OF_ROWS = {"total", "count"}
_CUT_BY = {"limit", "offset", "perpage", "pagesize", "start", "skip"}
_LISTS = {"data", "results", "records", "items", "rows", "hits", "docs", "entries", "features", "nodes", "edges"}
# Beside these stands what is said of all rows; beside a list of another name it may be the state of one row.
_OF_ALL_ROWS = ("data", "results", "rows", "records", "response", "payload")
_INSIDES = ("data", "result", "results", "response", "payload", "hits", "d")
_PLACES = {"meta", "metadata", "links", "pagination", "paging", "pageinfo", "page", "pager", "cursor", "cursors"}
_PLACES |= {"responsemetadata", "pages", "link", "resultset", "resultinfo", "responseinfo", "listinfo", "extensions"}
_PLACES |= {"searchmetadata", "pagecursor", "paginginfo", "paginationinfo", "hydraview", "collection", "feed"}
# Where something else stands beside data, of a job or a query it is all.
_INNER_PLACES = _PLACES | {"job", "query", "status", "result", "request", "response"}
_LINKS = ("links", "link")
# The same, where there is a list beside it: of a row that comes alone they are fields.
_BESIDE_LISTS = ("status", "info", "nav", "navigation", "paginator", "job")
# What is said there is said of the answer, and never of a row.
_OF_THE_ANSWER = ("meta.", "metadata.", "responsemetadata.", "responseinfo.", "extensions.", "status.", "job.")
_OF_SOURCES = re.compile(
    r"(?:failed|unavailable|missing|skipped)(?:sources|shards|regions|partitions|backends|providers|feeds|nodes|dates)"
)
_NOTHING: tuple[object, ...] = (None, False, "", 0, "false", "null")
_NOT_READ = "name the field in `follows` of parsed_json where the scraper reads it; else let it ask for the rest"
_NOT_READY = "run it again later; where that is no word about all rows, name the field in `follows` of parsed_json"

Plain = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToldError:
    """An error that came in place of data; ``status`` is the HTTP status that it names, None where it names none."""

    text: str
    status: int | None
    is_limit: bool


def refuse_unwhole(document: Mapping[str, Any], follows: Collection[str] = ()) -> None:
    """Raises where a document with data says that this is not all of it, or that something went wrong.

    ``SourceUnavailable`` for an error beside its data: a retry may get the whole. ``Truncated`` for a part, a next page
    and a total beyond its rows, but for the names in ``follows`` (``next``, ``meta.next_cursor``).
    """
    # A name may have a point in it: @odata.nextLink.
    known = {told for name in follows for told in (".".join(map(_letters, name.split("."))), _letters(name))}
    plain = {name: value for name, value in _plain(document).items() if name not in known or name in _INSIDES}
    rest = {name: value for name, value in plain.items() if name not in _OF_AN_ERROR}
    if not rest:
        return
    lists = [value for value in plain.values() if isinstance(value, list)]
    # A row that comes alone has a state, a code and a total of its own.
    is_envelope = bool(lists) or any(isinstance(plain.get(name), dict) for name in ("data", *_PLACES))
    error = _error_in(plain) or (_ill_state(plain) if is_envelope else None)
    gave_up = next((f"{name} is true" for name in _GAVE_UP if _is(plain.get(name), *_YES)), None)
    if error or gave_up:
        raise SourceUnavailable(f"the answer names an error beside its data: {_shown(error or gave_up)}")
    rows = max(map(len, lists), default=None)
    for where, place in _places(plain):
        left = {name: value for name, value in place.items() if where + name not in known}
        is_of_all = bool(where) or any(name in plain for name in _OF_ALL_ROWS)
        is_of_answer = where.startswith(_OF_THE_ANSWER)
        if is_of_all and (told := not_ready(left)):
            raise SourceUnavailable(f"the response says that it is not ready yet: {_shown(told)}", hint=_NOT_READY)
        ill = _error_in(left) or _ill_state(left) if is_of_answer else None
        ill = ill or (_counted_failures(left) if is_of_all else None)
        if told := ill or _trouble_in(left):
            raise SourceUnavailable(
                f"the response says that not all of its data is there: {_shown(told)}", hint=_NOT_READ
            )
        _refuse_part(left, rows)
    for where in _INSIDES:
        inside = plain.get(where)
        if isinstance(inside, dict):
            left = {name: value for name, value in _plain(inside).items() if f"{where}.{name}" not in known}
            _refuse_inside(left)
    for where, place in _deeper(plain, "", 1):
        names = place.keys() if where.rpartition(".")[2] == "pageinfo" else place.keys() & _UNMISTAKABLE
        _refuse_part({name: place[name] for name in names if f"{where}.{name}" not in known}, None)


def error_alone(document: Any) -> ToldError | None:
    """The error that a document is which has nothing else in it, and a limit that has no row in it; else None."""
    if isinstance(document, list) and len(document) == 1:
        told = error_alone(document[0])
        # One row may have a state and a code of its own.
        return told if told is not None and told.is_limit else None
    if not isinstance(document, dict) or not document:
        return None
    plain = {name: value for name, value in _plain(document).items() if value is not None}
    # A text where the data belongs is a word about it.
    if not {name for name in plain if name not in _INSIDES or not isinstance(plain[name], str)} <= _OF_AN_ERROR:
        return _limit_beside_nothing(plain)
    said = str(document)[:2000].encode("utf-8", "replace")
    is_well = any(_is(plain.get(name), "true") for name in _SAYS_WELL)
    is_limit, status = tells_limit(said) and not is_well, _status_in(plain)
    if status is None and not is_well and tells_bad_login(said):
        status = 401
    error = _error_in(plain) or _ill_state(plain) or not_ready(plain)
    if error is None and (is_limit or status == 401):
        error = document
    return None if error is None else ToldError(_shown(error), status, is_limit)


def _limit_beside_nothing(plain: Plain) -> ToldError | None:
    """A limit beside empty lists, and beside what is said of pages: the next call has to wait for it."""
    named = {name: value for name, value in plain.items() if name in _ERRORS and value}
    has_rows = any(isinstance(value, list) and value for name, value in plain.items() if name not in named)
    if named and not has_rows and tells_limit(str(named)[:2000].encode("utf-8", "replace")):
        return ToldError(_shown(next(iter(named.values()))), _status_in(plain), is_limit=True)
    said = {name: value for name, value in plain.items() if name not in _PLACES and value not in ([], {})}
    if not said or not said.keys() <= _OF_AN_ERROR or any(_is(said.get(name), "true") for name in _SAYS_WELL):
        return None
    told = _error_in(said) or _ill_state(said)
    is_limit = _status_in(said) == _TOO_MANY or tells_limit(str(said)[:2000].encode("utf-8", "replace"))
    return ToldError(_shown(told), _status_in(said), is_limit=True) if told and is_limit else None


def _plain(document: Mapping[str, Any]) -> dict[str, Any]:
    return {_letters(name): value for name, value in document.items()}


@functools.lru_cache(maxsize=4_096)
def _letters(name: str) -> str:
    return re.sub(r"[^a-z]", "", name.lower())


def _error_in(plain: Plain) -> Any:
    """What it says of an error by a name that means nothing else, None where it says none."""
    said = next((value for name, value in plain.items() if name in _ERRORS and value), None)
    bad = next((f"{name} is false" for name in _SAYS_WELL if plain.get(name) in (False, "false")), None)
    return said or bad or next((f"{name} is true" for name in _SAYS_ILL if plain.get(name) is True), None)


def _ill_state(plain: Plain) -> Any:
    """What it says of an error by a name that may also mean something else, None where it says none."""
    for name in _STATES:
        if str(plain.get(name)).lower() in _ILL:
            return f"{name} is {plain[name]}"
    for name in _MESSAGES:
        said = str(plain.get(name, ""))[:2000].encode("utf-8", "replace")
        if tells_limit(said) or _WORDS_OF_TROUBLE.search(said):
            return plain[name]
    status = _status_in(plain)
    return f"its status is {status}" if status else None


def _status_in(plain: Plain) -> int | None:
    """The HTTP status of an error that stands in it, or in the error that it names."""
    errors = [value for name, value in plain.items() if name in _ERRORS]
    inner = [value[0] if isinstance(value, list) and value else value for value in errors]
    for place in (plain, *(_plain(value) for value in inner if isinstance(value, dict))):
        for name in _NUMBERS:
            number = _whole_number(place.get(name))
            if number is not None and 400 <= number < 600:
                return number
    return None


def _whole_number(value: Any) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= 15:
        return int(value)
    if type(value) is float and value.is_integer():
        return int(value)
    return value if type(value) is int else None


def _places(plain: Plain) -> Iterator[tuple[str, Plain]]:
    """The document, and where in it there is something about pages; each with the path to it."""
    yield "", plain
    yield from _places_in(plain, "", _PLACES)
    if isinstance(plain.get("data"), dict):
        yield from _places_in(_plain(plain["data"]), "data.", _PLACES)
    if any(isinstance(value, list) for value in plain.values()):
        for name in _BESIDE_LISTS:
            if isinstance(plain.get(name), dict):
                yield f"{name}.", _plain(plain[name])


def _places_in(plain: Plain, path: str, names: Collection[str]) -> Iterator[tuple[str, Plain]]:
    for name, value in plain.items():
        where = f"{path}{name}."
        if name in _LINKS and (
            isinstance(value, list) or (isinstance(value, dict) and {"rel", "relation"} & value.keys())
        ):
            links = value if isinstance(value, list) else [value]
            yield where, {_rel_of(one): _target_of(one) for one in links if isinstance(one, dict)}
        elif name in names and isinstance(value, dict):
            inner = _plain(value)
            yield where, inner
            if where.count(".") < _DEEPEST:
                yield from _places_in(inner, where, _INNER_PLACES)


def _rel_of(link: Mapping[str, Any]) -> str:
    """Of Siren, and of HTML, a link has several; of FHIR a relation, of Atom in JSON an attribute."""
    rel = next((link[name] for name in ("rel", "relation", "@rel") if name in link), None)
    rels = rel if isinstance(rel, list) else str(rel).split()
    return "next" if "next" in rels else str(rel)


def _target_of(link: Mapping[str, Any]) -> Any:
    return next((link[name] for name in ("href", "url", "uri", "@href") if name in link), None)


def _deeper(plain: Plain, path: str, depth: int) -> Iterator[tuple[str, Plain]]:
    """Objects in the document that are no rows of a list, each with the path to it; those of many fields are data."""
    for name, value in plain.items():
        if isinstance(value, dict) and len(value) <= _WIDEST:
            inner, where = _plain(value), f"{path}.{name}" if path else name
            yield where, inner
            if depth < _DEEPEST:
                yield from _deeper(inner, where, depth + 1)


def _trouble_in(place: Plain) -> Any:
    """What a document, or its part about itself, says of data that it should have and has not; None for nothing."""
    for name, value in place.items():
        if name in _STATES and isinstance(value, str) and _letters(value) in _PARTIAL_STATES:
            return f"{name} is {value}"
        # Of a row a number of errors, or of failures, is data.
        is_of_errors = name in ("errors", "failures", "exceptions", "faults") or _OF_SOURCES.fullmatch(name)
        if is_of_errors and isinstance(value, list | dict | str) and not _is_nothing(value):
            return value
        if name in _WARNINGS and value and any(map(_warns_of_less, value if isinstance(value, list) else [value])):
            return value
    shards = place.get("shards")
    if not isinstance(shards, dict):
        return None
    failed, total = _whole_number(shards.get("failed")), _whole_number(shards.get("total"))
    told = [_whole_number(shards.get(name)) for name in ("successful", "skipped")]
    if not failed and total is not None and None not in told:
        failed = total - sum(number or 0 for number in told)
    return f"{failed} of its shards failed" if failed else None


def _is_nothing(value: Any) -> bool:
    """Empty, or numbers of zero: ``{"total": 0}``."""
    if isinstance(value, dict):
        return all(map(_is_nothing, value.values()))
    return any(value is one or value == one for one in (*_NOTHING, "0", "none")) or value == []


def _refuse_inside(inside: Plain) -> None:
    """As for the document, for the one object that has all of its data."""
    if told := _trouble_in(inside):
        raise SourceUnavailable(f"the response says that not all of its data is there: {_shown(told)}", hint=_NOT_READ)
    rows = max((len(value) for value in inside.values() if isinstance(value, list)), default=None)
    is_list = bool(inside.keys() & _CUT_BY) or any(isinstance(inside.get(name), list) for name in _LISTS)
    of_all = inside.keys() if is_list else inside.keys() - _OF_ROWS
    names = inside.keys() & (_PARTS | _WHOLES) if rows is None else of_all
    _refuse_part({name: inside[name] for name in sorted(names)}, rows)


def _refuse_part(place: Plain, rows: int | None) -> None:
    """Raises ``Truncated``; ``rows`` are those of the document, None where it has no list."""
    for name, value in place.items():
        if name in _PARTS and _says(value, _YES):
            raise Truncated(f"the response says that it is a part: {name} is true", hint=_NOT_READ)
        if name in _WHOLES and _says(value, _NO):
            raise Truncated(f"the response says that it is not complete: {name} is false", hint=_NOT_READ)
        # Airtable's offset is no number.
        is_place = name == "offset" and isinstance(value, str) and value != "" and not value.isdecimal()
        goes_on = is_place or (name == _GOES_ON and isinstance(value, dict))
        if goes_on or (_leads_on(name) and not any(value is one or value == one for one in _NOTHING)):
            told = redact(str(value))[:40]
            raise Truncated(f"the response names a next page, {told!r}, where there should be one page", hint=_NOT_READ)
        if name in _LAST and value is False:
            raise Truncated(f"the response says that it is not the last page: {name} is false", hint=_NOT_READ)
        is_total = _is_total(name)
        number = _total_in(value) if is_total else _whole_number(value)
        if name in _SHOWN and isinstance(value, str) and (shown := _SHOWN_OF.fullmatch(value.lower())):
            is_total, number = True, int(shown[1])
        if name == "page" and isinstance(value, str) and (of := _PAGE_OF.fullmatch(value.lower())):
            name, number = "pages", int(of[1])
        is_of_pages = name in _PAGES or (name == "pages" and "page" in place)
        if is_of_pages and number is not None and number > 1:
            raise Truncated(f"the response is one of {plural(number, 'page')}", hint=_NOT_READ)
        if number and _LEFT.fullmatch(name):
            raise Truncated(f"the response says that more remains: {name} is {number:,}", hint=_NOT_READ)
        if is_total and number is not None and rows is not None and number > rows:
            raise Truncated(f"the response has {plural(rows, 'row')}, and {name} announces {number:,}", hint=_NOT_READ)


def _total_in(value: Any) -> int | None:
    """A total as a number, in words, or within an object."""
    if isinstance(value, dict):
        value = next((value[name] for name in ("value", "count") if name in value), None)
    if isinstance(value, str) and (told := _IN_WORDS.fullmatch(value)):
        return int(re.sub(r"\D", "", told[1]))
    return _whole_number(value)


def _counted_failures(place: Plain) -> str | None:
    counted = (f"{name} is {value}" for name, value in place.items() if _whole_number(value) and _counts_failures(name))
    return next(counted, None)


@functools.lru_cache(maxsize=4_096)
def _counts_failures(name: str) -> bool:
    return _HOW_MANY_FAILED.fullmatch(name) is not None


def _warns_of_less(warning: Any) -> bool:
    said = str(warning)[:2000].encode("utf-8", "replace")
    return _WARNS_OF_LESS.search(said) is not None and _ANNOUNCES.search(said) is None


@functools.lru_cache(maxsize=4_096)
def _leads_on(name: str) -> bool:
    return _LEADS_ON.fullmatch(name) is not None


@functools.lru_cache(maxsize=4_096)
def _is_total(name: str) -> bool:
    return _TOTALS.fullmatch(name) is not None


def _is(value: Any, *words: str) -> bool:
    return isinstance(value, bool | str) and str(value).lower() in words


def _says(value: Any, words: Collection[str]) -> bool:
    """As a truth value, a word or a digit."""
    return (isinstance(value, bool | str) or type(value) is int) and str(value).lower() in words


def _shown(error: Any) -> str:
    return excerpt(str(error)[:1000].encode("utf-8", "replace"))
