"""What an answer without rows says beside them, of a scraper that declares no envelope and of one that does."""

from __future__ import annotations

import json
from typing import Any

import pytest

from alerting.errors import NothingPublished
from scrapers.emptiness import refuse_words_beside_nothing

ENVELOPE = ("data", "meta", "meta.per_page")


def read(document: Any, *envelope: str) -> None:
    refuse_words_beside_nothing(json.dumps(document).encode(), envelope)


@pytest.mark.parametrize(
    "said",
    [
        {"message": "Wartungsarbeiten"},
        {"errorMessage": "无效"},
        {"meta": {"Notice": "מערכת בתחזוקה"}},
        {"result": {"info": {"details": ["x"]}}},
        {"warnings": [None, "late"]},
        {"statusText": "Forbidden"},
    ],
    ids=str,
)
def test_words_to_people_beside_nothing_are_no_proof_though_no_envelope_is_declared(said):
    with pytest.raises(NothingPublished, match="has no rows, and says beside them"):
        read({"data": [], **said})


@pytest.mark.parametrize(
    "said",
    [
        {"message": "OK"},
        {"message": "", "errors": [], "warnings": None, "info": {}},
        {"msg": "Success.", "detail": None},
        {"base": "EUR", "date": "2025-01-03", "rates": {"USD": 1.09}},
        {"count": 0, "copyright": "A. Example"},
    ],
    ids=str,
)
def test_what_says_that_all_is_well_or_nothing_to_people_leaves_a_proof_one(said):
    read({"data": [], **said})
    read([])


def test_beside_a_declared_envelope_whatever_says_something_counts():
    read({"data": [], "meta": {"per_page": 25}, "x": None, "y": []}, *ENVELOPE)
    for said in ({"x": 0}, {"meta": {"per_page": 25, "x": "y"}}, {"message": "OK"}):
        with pytest.raises(NothingPublished, match="name the field in envelope"):
            read({"data": [], **said}, *ENVELOPE)


def test_a_message_beside_nothing_forges_no_line_and_is_short():
    with pytest.raises(NothingPublished) as caught:
        read({"data": [], "message": "a\n\nall verified" + "x" * 9_000})
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 300
