"""What is told of an exception in a source's own code: the field and the kind of value, never the value."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest

from alerting.reading_faults import reading_fault

COLUMNS = ("pts", "reb")
TEAMS = {"BOS": 1}
PERSON = "Jane Doe-4711"


def _seconds(text: str) -> int:
    hours, minutes = (int(part) for part in text.split(":"))
    return 60 * hours + minutes


def _of_a_table(row: dict[str, Any]) -> dict[str, int]:
    return {name: int(row[name]) for name in COLUMNS}


def _said_by_the_code(row: dict[str, Any]) -> None:
    raise ValueError(f"nobody is called {row['name']}")


def _quoted_by_the_code(row: dict[str, Any]) -> None:
    name = row["name"]
    raise TypeError(f"{name!r} is no player")


def _by_a_persons_name(row: dict[str, Any]) -> int:
    found: dict[str, dict[str, int]] = {}
    name = row["name"]
    return found[name]["pts"]


FAULTS: dict[str, tuple[Any, Any, str]] = {
    "a text for a number": (_of_a_table, {"pts": "1", "reb": PERSON}, "reb: got a text of 13 characters; ValueError"),
    "a missing field": (lambda row: row["home"]["score"], {"home": {}}, "home.score: missing; KeyError"),
    "a null": (lambda row: row["home"]["score"], {"home": None}, "home: got null; TypeError"),
    "no date": (lambda row: dt.date.fromisoformat(row.get("day")), {"day": PERSON}, "day: got a text of 13"),
    "an unknown value": (lambda row: TEAMS[row["team"]], {"team": PERSON}, "team: got a text of 13 characters; KeyErr"),
    "in a function of it": (lambda row: _seconds(row["clock"]), {"clock": PERSON}, "clock: got a text of 13 char"),
    "an item of a list": (lambda rows: float(rows[0]["x"]), [{"x": PERSON}], "[0].x: got a text of 13 characters; V"),
    "a row of a list": (lambda rows: [int(row["x"]) for row in rows], [{"x": PERSON}], "x: got a text of 13 char"),
    "a null in a list": (lambda rows: [row["x"]["y"] for row in rows], [{"x": None}], "x: got null; TypeError"),
    "no field in a list": (lambda rows: [row["x"]["y"] for row in rows], [{"x": {}}], "x.y: missing; KeyError"),
    "no object in a list": (lambda rows: [row["x"]["y"] for row in rows], [{}], "x: missing; KeyError"),
    "a null of a table": (_of_a_table, {"pts": "1", "reb": None}, "reb: got null; TypeError"),
    "no field of a table": (_of_a_table, {"pts": "1"}, "reb: missing; KeyError"),
    "one of two": (lambda rows: [int(r["x"] + r["y"]) for r in rows], [{"x": PERSON, "y": ""}], "x: "),
    "a sentence of the code": (
        _said_by_the_code,
        {"name": PERSON},
        "name: got a text of 13 characters; ValueError: nob",
    ),
    "a type error of the code": (_quoted_by_the_code, {"name": PERSON}, "TypeError: '…' is no player"),
    "a person as a key": (_by_a_persons_name, {"name": PERSON}, "[name]: missing; KeyError"),
    "no JSON": (json.loads, '{"a": ' + PERSON, "JSONDecodeError: Expecting value"),
}


@pytest.mark.parametrize(("read", "answer", "told"), FAULTS.values(), ids=FAULTS)
def test_an_exception_names_the_field_and_what_kind_of_value_came(read, answer, told):
    with pytest.raises((LookupError, TypeError, ValueError)) as caught:
        read(answer)
    text = reading_fault(caught.value, caught.tb)
    assert text.startswith(told)
    assert "Jane" not in text
    assert "4711" not in text


def test_where_it_happened_is_a_line_of_the_sources_own_code():
    with pytest.raises(ValueError, match="literal") as caught:
        _of_a_table({"pts": "x"})
    assert "; at test_reading_faults.py:" in reading_fault(caught.value, caught.tb)
    assert reading_fault(caught.value, caught.tb).endswith("`int(row[name])`")
