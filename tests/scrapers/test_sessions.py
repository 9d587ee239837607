"""Cookie sessions, and calls with a body: against a server that keeps what it is sent."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from alerting.errors import AuthenticationError
from alerting.memory_store import MemoryObjectStore
from alerting.redaction import redact
from scrapers.auth import SessionCookie
from scrapers.base import Findings, Page, Request, Scraper, SourceAccess
from scrapers.client import SourceClient
from scrapers.landing import Landing
from scrapers.pace.budget import Budget
from scrapers.partition import Partition
from scrapers.rate import Rate
from scrapers.scrape import ScrapeContext, new_attempt_id, scrape

SESSION, RENEWED = "k3yOfTheFirstSession0123", "k3yOfTheSecondSession456"
QUERY = {"query": "{ sales(offset: $offset) { id } }", "variables": {"offset": 0}}


class Graph(Scraper):
    """Two pages by POST; what a page is about stands in its body only."""

    source = title = "graph"
    zone, base_url, tables = "UTC", "https://graph.example", ("sales",)
    is_paginated, page_size = True, 2
    auth = SessionCookie("graph_session", ("session", "cf_clearance"), is_optional=True)

    def first_request(self, partition: Partition) -> Request:
        return Request.post("/graphql", QUERY)

    def inspect(self, partition: Partition, page: Page) -> Findings:
        offset = json.loads(page.request.json_body)["variables"]["offset"]
        following = Request.post("/graphql", {**QUERY, "variables": {"offset": 2}}) if offset == 0 else None
        return Findings({"sales": len(json.loads(page.body)["ids"])}, next_request=following)


class Site:
    def __init__(self) -> None:
        self.seen: list[tuple[str, str, str, str]] = []
        self.sets: list[str] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = self.rfile.read(int(self.headers["Content-Length"])).decode()
                site.seen.append((self.command, self.headers.get("Cookie", ""), self.headers["Content-Type"], asked))
                offset = json.loads(asked)["variables"]["offset"]
                body = json.dumps({"ids": [offset, offset + 1], "echo": self.headers.get("Cookie", "")}).encode()
                self.send_response(200)
                for header in site.sets:
                    self.send_header("Set-Cookie", header)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.server.shutdown()
    made.server.server_close()


def client_of(site: Site, session: str, kept: dict[str, str] | None = None) -> SourceClient:
    renewed = None if kept is None else kept.__setitem__
    return SourceClient(Graph, SourceAccess(site.url, {"graph_session": session}, renewed=renewed), Budget(Rate()))


def test_pages_that_differ_by_their_body_alone_are_asked_for_landed_and_resumed(site):
    landing = Landing(MemoryObjectStore())
    partition = Partition.whole("all", "UTC")
    with client_of(site, "") as client:
        page = client.fetch(Request.post("/graphql", QUERY))
        landing.put_page("graph", partition, new_attempt_id(page.fetched_at), page, Findings({"sales": 2}))
        manifest = scrape(partition, ScrapeContext(Graph(), client, landing, "b", "0"))
    assert [json.loads(asked)["variables"]["offset"] for *_, asked in site.seen] == [0, 2]
    assert [(page.method, json.loads(page.json_body)["variables"]["offset"]) for page in manifest.pages] == [
        ("POST", 0),
        ("POST", 2),
    ]
    assert (manifest.resumed_pages, manifest.counts) == (1, {"sales": 4})
    assert all(kind == "application/json" for _, _, kind, _ in site.seen)


def test_only_the_declared_cookies_are_sent_and_no_other_is_ever_taken_up(site):
    site.sets = ["tracking=abcdefgh12345678; Path=/"]
    with client_of(site, f"session={SESSION}; theme=dark; cf_clearance=c1") as client:
        for _ in range(2):
            client.fetch(Request.post("/graphql", QUERY))
    with client_of(site, "") as client:
        for _ in range(2):
            client.fetch(Request.post("/graphql", QUERY))
    cookie = f"session={SESSION}; cf_clearance=c1"
    assert [sent for _, sent, *_ in site.seen] == [cookie, cookie, "", ""]


def test_a_renewed_session_is_used_kept_and_masked(site):
    site.sets = [f"session={RENEWED}; Secure; HttpOnly", "cf_clearance=; Max-Age=0"]
    kept: dict[str, str] = {}
    with client_of(site, f"session={SESSION}; cf_clearance=c1", kept) as client:
        page = client.fetch(Request.post("/graphql", QUERY))
        client.fetch(Request.post("/graphql", QUERY))
    assert site.seen[1][1] == f"session={RENEWED}; cf_clearance=c1"
    assert kept == {"graph_session": f"session={RENEWED}; cf_clearance=c1"}
    assert RENEWED not in redact(f"failed with {RENEWED}")
    assert SESSION.encode() not in page.body, "what a page echoes of the session is not landed"


def test_a_session_without_its_cookie_is_refused_before_a_call_and_never_shown(site):
    with client_of(site, f"session={SESSION}") as client, pytest.raises(AuthenticationError) as caught:
        client.fetch(Request.post("/graphql", QUERY))
    assert "no cookie cf_clearance" in str(caught.value)
    assert SESSION not in str(caught.value)
    assert site.seen == []


def test_a_session_that_nobody_can_keep_is_told_once_and_not_by_value(monkeypatch, caplog):
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from flows import secret_blocks

    caplog.set_level(logging.WARNING, "gapless.flows")
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        secret_blocks.keep_session("graph_session", "a=1", f"a={RENEWED}")
    assert "graph_session was renewed" in caplog.text
    assert RENEWED not in caplog.text


def test_the_renewed_session_counts_until_a_person_gives_another_one(monkeypatch):
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from flows import secret_blocks
    from flows.settings import Settings

    blocks: dict[str, str] = {}
    monkeypatch.setattr(secret_blocks, "_ask", lambda name: blocks.get(name, ""))
    monkeypatch.setattr(secret_blocks, "_save", lambda name, text: blocks.__setitem__(name, text) or "")
    secret_blocks.secret_from_block.cache_clear()
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        settings = Settings(source_secrets={"graph_session": f"session={SESSION}"})
        value, renewed = settings.session("graph_session")
        assert value == f"session={SESSION}"
        renewed("graph_session", f"session={RENEWED}")
        assert list(blocks) == ["gapless-graph-session-renewed"]
        assert settings.session("graph_session")[0] == f"session={RENEWED}"
        other = Settings(source_secrets={"graph_session": "session=given-anew-0123456789"})
        assert other.session("graph_session")[0] == "session=given-anew-0123456789"
    secret_blocks.secret_from_block.cache_clear()
