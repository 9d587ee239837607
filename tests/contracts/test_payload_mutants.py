"""Sixty and more wrong answers per source: each is refused for what it is, or is harmless and changes no row.

A source takes part by one good answer, ``tests/contracts/payloads/<source>/<partition>.json``. The mutants of the
transport and of JSON are tried at every such source; those of a payload's meaning
stand in a table by source, `meaning_mutants`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from judging import PAYLOADS, Judge, Judged, item_type
from meaning_mutants import BESIDE_NOTHING, CSV, ITEM_MEANING, MEANING, NOTHING, OPEN, nothing_and
from shape_mutants import SHAPES, SIGNS, WELL, Mutation, first_row, in_its_depth, objects_of, rows_of
from wire_mutants import HARMLESS, JSON, WIRE, ok

from scrapers.answers import STATUSES
from scrapers.registry import scraper, sources

REFUSED = {
    "NothingPublished",
    "NotSettled",
    "RowRejected",
    "Truncated",
    "CoverageLow",
    "SourceContractError",
    "SourceUnavailable",
    "BlockedBySource",
}


OF_A_SITE = {302, 401, 402, 403, 404, 410, 423, 451}
"""Where each site is a domain of its own: it is gone, somewhere else, or lets nobody in; the others are asked."""


def _expected(source: str, verdict: str) -> str:
    """A status means what the source says it means."""
    if not verdict.isdigit():
        return verdict
    status = int(verdict)
    if scraper(source).domain == "site" and status in OF_A_SITE:
        return "SiteClosed"
    unknown = "SourceUnavailable" if status >= 500 else "SourceContractError"
    kind = scraper(source).statuses.get(status) or STATUSES.get(status)
    return kind.__name__ if kind else unknown


# NBA.com lists a game once for each of its broadcasters.
HARMLESS_SHAPES = dict.fromkeys(
    ("nba_boxscores", "nba_gamelog", "nba_playbyplay", "nba_schedule"), ("its first row twice",)
)


# A bookmaker that stands twice with the same prices offers no others; a shop ends with a page without rows.
HARMLESS_ITEMS = {
    "odds_history": ("its first row twice",),
    "coffee_shops": ("its rows null", "its rows an object", "its rows a text"),
}


ANSWERS = {path.parent.name: path for path in sorted(PAYLOADS.glob("*/*.json")) if path.parent.name in sources()}


@dataclass(frozen=True)
class Tried:
    """A judge of the source, its good answer, and what that one becomes."""

    judge: Judge
    body: bytes
    good: Judged


@pytest.fixture(scope="module")
def tried() -> Iterator[dict[str, Tried]]:
    with contextlib.ExitStack() as stack:
        found: dict[str, Tried] = {}
        for name, path in ANSWERS.items():
            judge = stack.enter_context(Judge(name, path.stem))
            found[name] = Tried(judge, path.read_bytes(), judge.of(ok(path.read_bytes())))
        yield found


def _listed_as(file: bytes) -> Mutation:
    md5 = hashlib.md5(file, usedforsecurity=False).hexdigest()
    return first_row(lambda listed: listed.update(md5Checksum=md5, size=str(len(file))))


def _mutated(body: bytes, mutate: Mutation) -> bytes:
    return json.dumps(mutate(json.loads(body))).encode()


def _told(rows: dict[str, list[bytes]]) -> dict[str, list[bytes]]:
    """Without what says of an answer when it came, and in which bytes."""
    return {table: sorted({_OF_BYTES.sub(b"", line) for line in lines}) for table, lines in rows.items()}


_OF_BYTES = re.compile(rb'"(scraped_at|fetched_at|started_at|body_sha256|body_bytes|object_name)":("[^"]*"|\d+),?')


def _check(found: Judged, expected: str, good: Judged) -> None:
    if expected == HARMLESS:
        assert (found.kind, _told(found.rows)) == (good.kind, _told(good.rows)), found.error
        return
    assert found.kind == expected, found.error
    # The final games of an old date are loaded, and the open one is listed.
    assert expected == OPEN or not any(found.rows.values()), "nothing of a refused answer is loaded"


@pytest.mark.parametrize("name", ANSWERS)
def test_the_good_answer_itself_is_loaded(tried, name):
    assert tried[name].good.kind == "loaded", tried[name].good.error
    assert any(tried[name].good.rows.values())


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("mutant", WIRE)
def test_a_mutant_of_the_transport_is_refused_for_what_it_is_or_is_harmless(tried, name, mutant):
    one, (make, verdict) = tried[name], WIRE[mutant]
    _check(one.judge.of(make(one.body)), _expected(name, verdict), one.good)


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("mutant", SHAPES)
def test_a_mutant_of_the_shape_is_refused_and_loads_nothing(tried, name, mutant):
    mutate = in_its_depth(SHAPES[mutant]) if "row" in mutant else SHAPES[mutant]
    if "row" in mutant and not any(map(rows_of, objects_of(json.loads(tried[name].body)))):
        pytest.skip("its answer has no list of objects")
    found = tried[name].judge.of(ok(_mutated(tried[name].body, mutate)))
    if mutant in HARMLESS_SHAPES.get(name, ()):
        _check(found, HARMLESS, tried[name].good)
        return
    told = f"an answer with {mutant} was loaded; Findings.keys catches rows that come twice"
    assert found.kind in REFUSED, found.error or told
    assert not any(found.rows.values())


@pytest.mark.parametrize("name", ANSWERS)
def test_a_total_beyond_the_rows_that_came_is_refused(tried, name):
    """Also where the scraper has named it as one that it reads, so that nothing else looks at it."""
    document = json.loads(tried[name].body)
    envelopes = list(objects_of(document)) if isinstance(document, dict) else []
    count = max((len(rows_of(one)) for one in envelopes), default=0)
    totals = [
        (one, field)
        for one in envelopes
        for field, value in one.items()
        if type(value) is int and value == count and re.search("total|count", field, re.IGNORECASE)
    ]
    for one, field in totals:
        one[field] = count + 1
        found = tried[name].judge.of(ok(json.dumps(document).encode()))
        told = f"{field} says {count + 1}, {count} rows came, and they were loaded: it is Findings.source_total"
        assert found.kind in REFUSED, found.error or told
        one[field] = count


@pytest.mark.parametrize("name", ANSWERS)
def test_a_document_that_says_it_is_not_whole_is_refused_and_one_that_says_it_is_whole_is_harmless(tried, name):
    one = tried[name]
    document = json.loads(one.body)
    if not isinstance(document, dict):
        # Beside a bare list only a header can say so.
        told = one.judge.of(ok(one.body, JSON, 'Link: </?page=2>; rel="next"'))
        assert told.kind == "Truncated", told.error
        return
    for sign, said in SIGNS.items():
        if said.keys() & document.keys():
            continue
        found = one.judge.of(ok(json.dumps({**document, **said}).encode()))
        assert found.kind in {"Truncated", "SourceUnavailable"}, (sign, found.error)
        assert not any(found.rows.values())
    _check(one.judge.of(ok(json.dumps({**WELL, **document}).encode())), HARMLESS, one.good)


@pytest.mark.parametrize("name", ANSWERS)
def test_every_field_of_a_row_as_another_type_is_refused_or_changes_nothing_but_itself(tried, name):
    """An object, a list and a number in place of every field of the first row, one after the other."""
    one = tried[name]
    for field in next(iter(rows_of(json.loads(one.body))), {}):
        for value in ({"a": 1}, [1], 2**70):
            found = one.judge.of(ok(_mutated(one.body, first_row(lambda row, n=field, v=value: row.update({n: v})))))
            assert found.kind in {*REFUSED, "loaded"}, (field, value, found.error)
            counts = {table: len(lines) for table, lines in found.rows.items()}
            if found.kind == "loaded":
                assert counts == {table: len(lines) for table, lines in one.good.rows.items()}, (field, value)
            else:
                assert not any(counts.values()), (field, value)


@pytest.mark.parametrize(("name", "mutant"), [(name, mutant) for name in ANSWERS for mutant in MEANING.get(name, {})])
def test_a_mutant_of_the_meaning_gets_the_verdict_that_it_deserves(tried, name, mutant):
    one, (mutate, verdict) = tried[name], MEANING[name][mutant]
    _check(one.judge.of(ok(_mutated(one.body, mutate))), verdict, one.good)


@pytest.mark.parametrize("name", NOTHING)
def test_a_document_without_rows_that_has_more_to_say_proves_nothing(tried, name):
    one = tried[name]
    assert one.judge.of(ok(_mutated(one.body, NOTHING[name]))).kind == "empty"
    for what, said in BESIDE_NOTHING.items():
        found = one.judge.of(ok(_mutated(one.body, nothing_and(name, said))))
        assert found.kind in REFUSED, (what, found.error)
        assert not any(found.rows.values())


ITEM_TYPES = {
    name: item_type(next((PAYLOADS / name / "items").iterdir()).read_bytes())
    for name in ANSWERS
    if (PAYLOADS / name / "items").exists()
}


@pytest.mark.parametrize("name", sorted(ITEM_TYPES.keys() - {"coffee_shops"}))
def test_a_next_page_of_a_list_of_items_that_only_a_header_names_is_not_left_behind(tried, name):
    for told in ('Link: </1>; rel="first", </2>; rel="next"', "X-Next-Page: 2", "X-Truncated: true"):
        found = tried[name].judge.of(ok(tried[name].body, JSON, told))
        assert (found.kind, any(found.rows.values())) == ("Truncated", False), (told, found.error)


@pytest.mark.parametrize("name", ITEM_TYPES)
@pytest.mark.parametrize("mutant", sorted(WIRE.keys() - {"its first key twice"}))
def test_an_item_with_a_mutant_of_the_transport_never_loads_other_rows(tried, name, mutant):
    one, (make, _) = tried[name], WIRE[mutant]
    found = one.judge.of(ok(one.body), item=make)
    assert _told(found.rows) == _told(one.good.rows) if found.kind == "loaded" else not any(found.rows.values())


@pytest.mark.parametrize(("name", "mutant"), [(name, one) for name, of in ITEM_MEANING.items() for one in of])
def test_an_item_that_says_something_else_gets_the_verdict_that_it_deserves(tried, name, mutant):
    one, (mutate, verdict) = tried[name], ITEM_MEANING[name][mutant]
    found = one.judge.of(ok(one.body), item=lambda body: ok(_mutated(body, mutate)))
    assert found.kind in {verdict, "empty" if verdict == "loaded" else verdict}, found.error
    assert not any(found.rows.values())


@pytest.mark.parametrize("name", [name for name, of in ITEM_TYPES.items() if of == JSON])
@pytest.mark.parametrize("mutant", SHAPES)
def test_an_item_with_a_mutant_of_the_shape_is_refused_and_loads_nothing(tried, name, mutant):
    one, mutate = tried[name], in_its_depth(SHAPES[mutant]) if "row" in mutant else SHAPES[mutant]
    found = one.judge.of(ok(one.body), item=lambda body: ok(_mutated(body, mutate)))
    if mutant in HARMLESS_ITEMS.get(name, ()):
        _check(found, HARMLESS, one.good)
        return
    assert found.kind in REFUSED, found.error
    assert not any(found.rows.values())


@pytest.mark.parametrize("name", [name for name, of in ITEM_TYPES.items() if of != JSON])
@pytest.mark.parametrize("mutant", CSV)
def test_a_csv_that_is_not_the_listed_one_is_refused_and_loads_nothing(tried, name, mutant):
    one, (change, kinds) = tried[name], CSV[mutant]
    (good,) = one.judge.items.values()
    # Where the lines are to be judged, the listing has the checksum of these: it is compared first.
    listing = one.body if "NotSettled" in kinds else _mutated(one.body, _listed_as(change(good)))
    found = one.judge.of(ok(listing), item=lambda body: ok(change(body), "Content-Type: text/csv"))
    assert found.kind in kinds, found.error
    assert not any(found.rows.values())


def test_each_source_with_a_good_answer_has_sixty_mutants_and_more():
    for name in MEANING:
        assert len(WIRE) + len(SHAPES) + len(MEANING.get(name, {})) >= 60
