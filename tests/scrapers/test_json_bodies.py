"""Bodies of JSON that are cut, damaged, doubled, or say that they are errors."""

from __future__ import annotations

import json
from typing import Any

import pytest
from answering import DAY, EMPTY, GOOD, NOW, REQUEST, SOURCE
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from alerting.errors import (
    PipelineError,
    SourceContractError,
    SourceUnavailable,
)
from scrapers import json_bodies
from scrapers.answers import Answer, landed_json, parsed_json, problem_in
from scrapers.base import Page


@pytest.mark.parametrize(
    ("body", "headers", "kind"),
    [
        (GOOD.decode().encode("utf-16")[:-21], {}, SourceUnavailable),
        (GOOD.decode().encode("utf-32")[:-3], {}, SourceUnavailable),
        (b'{"Error":"x",' + GOOD[1:], {}, SourceUnavailable),
        (b'{"error_message":"x",' + GOOD[1:], {}, SourceUnavailable),
        (b'{"success":false,' + GOOD[1:], {}, SourceUnavailable),
        (GOOD.replace(b'"id":', b'"id":7,"i\\u0064":', 1), {}, SourceContractError),
        (EMPTY[:-1] + b',"meta":{"a":[{"b":1,"b":2}]}}', {}, SourceContractError),
        (GOOD + GOOD, {}, SourceContractError),
        (b"<?xml version='1.0'?><Error>no</Error>", {}, SourceContractError),
        (b"<!---->" * 300, {}, SourceContractError),
    ],
    ids=[
        "cut UTF-16",
        "cut UTF-32",
        "Error",
        "error_message",
        "no success",
        "a key spelled twice",
        "a key twice deep inside",
        "two documents",
        "XML",
        "comments only",
    ],
)
def test_a_body_that_is_not_one_whole_answer_is_taken_by_no_source(body, headers, kind):
    assert problem_in(Answer(200, headers, body, NOW), {}, "application/json") is None, "its document shows it"
    with pytest.raises(PipelineError) as caught:
        SOURCE.inspect(DAY, Page(REQUEST, 1, 200, headers, body, NOW, 0.1))
    assert type(caught.value) is kind, caught.value


@pytest.mark.parametrize("sign", ["", "-"])
def test_an_integer_of_5000_digits_is_left_to_the_row_that_holds_it(sign):
    body = b'{"n":' + sign.encode() + b"9" * 5_000 + b',"m":9007199254740993}'
    assert parsed_json(body) == landed_json(body) == {"n": float(f"{sign}inf"), "m": 9007199254740993}


@given(st.integers(0, len(GOOD) - 1), st.booleans())
@settings(max_examples=60)
def test_json_that_ends_early_at_any_byte_is_retried_and_never_a_broken_contract(cut, is_marked):
    with pytest.raises(SourceUnavailable):
        parsed_json((b"\xef\xbb\xbf" if is_marked else b"") + GOOD[:cut])


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"a":' * 5_000, b"]", b"{}x", b'{"a":1,"a":1}', b"nul"])
def test_whole_json_of_another_shape_is_a_broken_contract_and_no_depth_is_too_deep(body):
    with pytest.raises((SourceContractError, SourceUnavailable)):
        parsed_json(body)


def test_a_body_that_is_written_back_as_it_came_needs_no_other_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    for reader in ("jiter", "from_json", "_as_python_reads_it", "_may_underflow"):
        monkeypatch.delattr(f"scrapers.json_bodies.{reader}")
    good = json.dumps(json.loads(GOOD), separators=(",", ":")).encode()
    for body in (good, '[{"n":-5,"f":0.1,"t":"é / ü","none":null},[true,18446744073709551615]]\n'.encode(), EMPTY):
        assert parsed_json(body) == landed_json(body) == json.loads(body)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(st.lists(VALUES, min_size=3, max_size=5), st.booleans(), st.sampled_from(["", "\n", " "]))
@settings(max_examples=200)
def test_a_document_is_the_same_in_whichever_way_it_is_written(rows: list[Any], is_ascii: bool, end: str) -> None:
    is_text = all(not 0xD800 <= ord(one) < 0xE000 for one in json.dumps(rows, ensure_ascii=False))
    assume(is_text)
    compact = (json.dumps(rows, ensure_ascii=is_ascii, separators=(",", ":")) + end).encode()
    spaced = json.dumps(rows, indent=1).encode()
    assert (
        repr(parsed_json(compact))
        == repr(landed_json(compact))
        == repr(parsed_json(spaced))
        == repr(json.loads(spaced))
    )


@pytest.mark.parametrize("number", ["-0", "1.50", "1E5", "1e-400", "18446744073709551616", "12345678901234567890.5"])
def test_a_number_that_would_be_written_otherwise_is_read_as_before(
    number: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = f'[{{"n":{number}}},0,0]'.encode()
    found = repr(parsed_json(body)), repr(landed_json(body))
    monkeypatch.setattr("scrapers.json_bodies._as_written", lambda _: json_bodies._OTHER)
    assert found == (repr(parsed_json(body)), repr(landed_json(body)))


@pytest.mark.parametrize("body", [b'{"t":"a\xff"}', b'{"t":"\\ud800"}', b'{"t":"\xed\xa0\x80"}'])
def test_a_bad_byte_in_one_text_is_left_to_the_row_that_holds_it(body):
    text = parsed_json(body)["t"]
    assert text.encode("utf-8", "replace").decode() != text


def test_an_error_beside_data_is_no_complete_answer_and_one_alone_is_the_scrapers_business():
    for body in (b'{"data":[],"error":"timeout"}', b'{"data":[1],"errors":[{"m":1}]}'):
        with pytest.raises(SourceUnavailable, match="error beside its data"):
            parsed_json(body)
    assert parsed_json(b'{"ok":false,"error":"Table not found","status":404}')["status"] == 404
    assert parsed_json(b'{"data":[],"error":null,"errors":[]}')["data"] == []
