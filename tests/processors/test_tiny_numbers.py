"""A number of JSON that a float cannot carry is a reject: neither a zero nor an infinity."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from processors.base import Row
from scrapers.json_bodies import landed_json


class Reading(Row):
    """One column of FLOAT64."""

    value: float


@pytest.mark.parametrize(
    "number",
    [
        *("1e-400", "-1e-400", "1.5E-0400", "4e-324000", "123456789e-340", "0.01e-330"),
        *(f"0.{'0' * 330}1", f"{'9' * 70}.5e-500", "1e400", "-1E400"),
    ],
)
def test_a_number_beyond_a_float_is_refused(number: str) -> None:
    for body in (
        f'{{"value":{number}}}',
        f'{{"a":[1.5, 2],"value": {number} }}',
        f'{{"n":"pre-game e-123","value":{number}\n}}',
    ):
        found = landed_json(body.encode())
        with pytest.raises(ValidationError, match=r"FLOAT64 does not hold|finite number"):
            Reading.model_validate({"value": found["value"]})


@pytest.mark.parametrize(
    ("number", "value"),
    [
        ("0", 0.0),
        ("0.0", 0.0),
        ("0e-400", 0.0),
        ("-0.0E-999", 0.0),
        ("1e-300", 1e-300),
        ("5e-324", 5e-324),
        ("1e308", 1e308),
    ],
)
def test_a_number_that_a_float_carries_is_itself(number: str, value: float) -> None:
    assert Reading.model_validate(landed_json(f'{{"value":{number}}}'.encode())).value == value


def test_texts_that_look_alike_are_read_fast_and_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("scrapers.json_bodies._as_python_reads_it")
    texts = ["550e8400-e29b-41d4-a716-00000000000e-123", "8e-412d", "route-2025", "x 1e-400 y", "E-1000"]
    for text in texts:
        assert landed_json(f'{{"t":"{text}","f":1.5e-05}}'.encode())["t"] == text
