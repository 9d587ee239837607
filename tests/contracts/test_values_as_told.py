"""What a source's own reading makes of a value: it arrives as it was told, or its row is refused; never another one."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from judging import PAYLOADS, Judge, Judged
from wire_mutants import ok

Change = Callable[[Any], Any]


def _judged(name: str, change: Change, *, of_item: bool) -> Judged:
    (path,) = (PAYLOADS / name).glob("*.json")
    body = path.read_bytes()

    def changed(body: bytes) -> bytes:
        document = json.loads(body)
        change(document)
        return ok(json.dumps(document).encode())

    with Judge(name, path.stem) as judge:
        return judge.of(ok(body), item=changed) if of_item else judge.of(changed(body))


def _action(**fields: Any) -> Change:
    return lambda document: document["game"]["actions"][1].update(fields)


def _player(**fields: Any) -> Change:
    return lambda document: document["boxScoreTraditional"]["homeTeam"]["players"][0].update(fields)


def _product(**fields: Any) -> Change:
    return lambda document: document["products"][0].update(fields)


def _variant(**fields: Any) -> Change:
    return lambda document: document["products"][0]["variants"][0].update(fields)


def _result(**fields: Any) -> Change:
    return lambda document: document["results"][0]["runners"][0].update(fields)


KEPT = {
    "a score of 0 that is a number": ("nba_playbyplay", _action(scoreHome=0), True, "nba_pbp", "score_home", 0),
    "qualifiers in one text": ("nba_playbyplay", _action(qualifiers="a,b"), True, "nba_pbp", "qualifiers", "a,b"),
    "nobody": ("nba_playbyplay", _action(personId=0), True, "nba_pbp", "player_id", None),
    "tags in one text": ("coffee_shops", _product(tags="a, b"), False, "product_sightings", "tags", "a, b"),
}


@pytest.mark.parametrize(("name", "change", "of_item", "table", "column", "value"), KEPT.values(), ids=KEPT)
def test_a_value_of_another_type_that_means_the_same_stays_what_it_is(name, change, of_item, table, column, value):
    found = _judged(name, change, of_item=of_item)
    assert found.kind == "loaded", found.error
    assert value in [json.loads(line)[column] for line in found.rows[table]]


REFUSED = {
    "a name that is false": ("nba_playbyplay", _action(playerName=False), True, "RowRejected"),
    "a name that is true": ("nba_boxscores", _player(firstName=True), True, "RowRejected"),
    "a name that is a number": ("nba_boxscores", _player(familyName=7), True, "RowRejected"),
    "a number of an article that is 0": ("coffee_shops", _variant(sku=0), False, "RowRejected"),
    "tags that are numbers": ("coffee_shops", _product(tags=[7]), False, "RowRejected"),
    "an earlier price in other digits": (
        "coffee_shops",
        _variant(compare_at_price="1_0"),
        False,
        "SourceContractError",
    ),
    "99 seconds of a minute": ("racing_results", _result(time="1:99.00"), False, "SourceContractError"),
}


@pytest.mark.parametrize(("name", "change", "of_item", "kind"), REFUSED.values(), ids=REFUSED)
def test_a_value_that_its_column_does_not_have_is_refused_and_becomes_no_other_one(name, change, of_item, kind):
    found = _judged(name, change, of_item=of_item)
    assert found.kind == kind, found.error
    assert not any(found.rows.values())
