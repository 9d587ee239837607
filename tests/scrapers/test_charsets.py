"""Text of other character sets, over a real socket: its rows are right, or its cause is told."""

from __future__ import annotations

import codecs
import json
from typing import ClassVar

import pytest
from raw_server import RawServer, http

from alerting.errors import BlockedBySource, SourceContractError
from scrapers.base import Findings, Page, Request, Scraper, SourceAccess
from scrapers.client import SourceClient
from scrapers.csv_bodies import landed_csv, parsed_csv
from scrapers.json_bodies import landed_json, parsed_json
from scrapers.pace.budget import Budget
from scrapers.partition import Partition
from scrapers.rate import Rate

REQUEST = Request("/x")
WORDS = "Dončić, Jokić; São Paulo – 東京"


class Json(Scraper):
    source = "letters"
    zone = "UTC"
    base_url = "https://letters.example"
    tables: ClassVar[tuple[str, ...]] = ("letters",)

    def first_request(self, partition: Partition) -> Request:
        return REQUEST

    def inspect(self, partition: Partition, page: Page) -> Findings:
        return Findings({})


class Csv(Json):
    accept = "text/csv"


class OldCsv(Csv):
    charset = "cp1252"


def _body(made: type[Scraper], body: bytes, content_type: str) -> bytes:
    with RawServer(lambda number, asked: [http("200 OK", body, f"Content-Type: {content_type}")]) as server:
        access = SourceAccess(server.url, {}, timeout_s=5.0)
        with SourceClient(made, access, Budget(Rate())) as client:
            return client.fetch(REQUEST).body


def _json(text: str, codec: str) -> bytes:
    return json.dumps([{"name": text}], ensure_ascii=False).encode(codec)


def _csv(text: str, codec: str) -> bytes:
    return f'name\r\n"{text}"\r\n'.encode(codec)


LABELED: dict[str, tuple[str, str, str]] = {
    "Latin-1": ("iso-8859-1", "latin-1", "São Paulo, café"),
    "Windows-1252 called Latin-1": ("ISO-8859-1", "cp1252", "São “Paulo” – café"),
    "Windows-1252": ("windows-1252", "cp1252", "São “Paulo”"),
    "Windows-1250": ("windows-1250", "cp1250", "Dončić, Jokić"),
    "Latin-2": ("iso-8859-2", "iso-8859-2", "Dončić, Jokić"),
    "Shift_JIS": ("Shift_JIS", "shift_jis", "東京"),
    "UTF-16 with its mark": ("utf-16", "utf-16", WORDS),
    "UTF-16 without": ("utf-16le", "utf-16-le", WORDS),
    "UTF-8": ("utf-8", "utf-8", WORDS),
    "UTF-8 called Latin-1": ("iso-8859-1", "utf-8", WORDS),
    "UTF-8 with a mark called Latin-1": ("iso-8859-1", "utf-8-sig", WORDS),
    "UTF-8 called nonsense": ("unicode_escape", "utf-8", WORDS),
}


@pytest.mark.parametrize(("label", "codec", "text"), LABELED.values(), ids=LABELED)
def test_text_is_read_by_the_character_set_of_its_header_unless_it_is_utf_8_anyway(label, codec, text):
    document = _body(Json, _json(text, codec), f'application/json; charset="{label}"')
    assert parsed_json(document) == landed_json(document) == [{"name": text}]
    table = _body(Csv, _csv(text, codec), f"text/csv; header=present; charset={label}")
    assert parsed_csv(table, ["name"]) == landed_csv(table) == [{"name": text}]


@pytest.mark.parametrize("mark", [codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF8])
def test_text_with_a_byte_order_mark_needs_no_label(mark):
    codec = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}.get(mark, "utf-8")
    document = _body(Json, mark + _json(WORDS, codec), "application/json")
    assert parsed_json(document) == landed_json(document) == [{"name": WORDS}]
    assert parsed_csv(_body(Csv, mark + _csv(WORDS, codec), "text/csv"), ["name"]) == [{"name": WORDS}]


def test_a_scraper_says_what_its_source_writes_without_a_label():
    body = _csv("São “Paulo”", "cp1252")
    assert parsed_csv(_body(OldCsv, body, "text/csv"), ["name"]) == [{"name": "São “Paulo”"}]
    with pytest.raises(SourceContractError, match="no UTF-8 in line 2, where 0xe3 stands") as caught:
        parsed_csv(_body(Csv, body, "text/csv"), ["name"])
    assert "charset of this scraper" in caught.value.hint


def test_a_label_that_is_not_true_is_the_cause_and_nothing_is_taken():
    with pytest.raises(SourceContractError, match="neither UTF-8 nor what its label says, iso-8859-7"):
        _body(Csv, b"name\r\n\xff\xd2\r\n", "text/csv; charset=iso-8859-7")


def test_a_page_of_a_bot_defence_is_a_block_whatever_its_letters_are():
    page = b"<html><title>\x81\x8d \xd2</title></html>"
    with pytest.raises(BlockedBySource):
        _body(Json, page, "text/html; charset=iso-8859-7")
