"""What Google's clients ask for leaves this machine as ``requests`` itself would send it."""

from __future__ import annotations

import http.server
import random
import re
import threading
import uuid
from collections.abc import Iterator

import pytest
from google.cloud import bigquery

from alerting.errors import LandingUnavailable
from processors.bigquery_client import open_client
from scrapers import google_session
from scrapers.object_store import GcsObjectStore, Patience

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
ANSWER = b'{"items": [], "generation": "7", "datasetReference": {"projectId": "p", "datasetId": "d"}}'
Sent = tuple[str, str, list[tuple[str, str]], bytes]


class Google:
    """Keeps what it is sent, and answers as Cloud Storage and BigQuery do."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []
        self.answer: tuple[int, dict[str, str]] | None = None
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _take(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = [(name, value) for name, value in self.headers.items() if name != "Host"]
                outer.sent.append((self.command, self.path, headers, body))
                status, more = outer.answer or (204 if self.command == "DELETE" else 200, {})
                content = b"stored" if "alt=media" in self.path else ANSWER
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("x-goog-generation", "7")
                self.send_header("Set-Cookie", "a=b")
                self.send_header("Content-Length", "0" if status == 204 else str(len(content)))
                for name, value in more.items():
                    self.send_header(name, value)
                self.end_headers()
                if status != 204:
                    self.wfile.write(content)

            do_GET = do_POST = do_DELETE = do_PUT = do_PATCH = _take

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def google() -> Iterator[Google]:
    serving = Google()
    yield serving
    serving.close()


def _sent_by_all(google: Google) -> list[Sent]:
    """Every kind of request, with the same ids each time."""
    google.sent.clear()
    random.seed(1)
    store = GcsObjectStore("bucket", project="p", endpoint=google.url)
    assert store.write("ledger/a b+ü%2F/~x.json", b"{}", if_generation=0, metadata={"verdict": "geprüft"}) == 7
    assert store.write("empty", b"") == 7
    assert store.read("ledger/a b+ü%2F/~x.json") == (b"stored", 7)
    assert list(store.list("ledger/ü &=", start_offset="ledger/ü")) == []
    store.delete("ledger/a?b#c")
    client = open_client("p", "EU", google.url)
    client.create_dataset(bigquery.Dataset("p.d"), exists_ok=True)
    client.delete_table("p.d.t", not_found_ok=True)
    return list(google.sent)


def _shown(sent: list[Sent]) -> list[Sent]:
    """Without the order of headers, the ids that the libraries draw, and cookies, which an answer sets for the next."""
    return [
        (method, path, sorted((name, _ID.sub("id", value)) for name, value in headers if name != "Cookie"), body)
        for method, path, headers, body in sent
    ]


def test_what_is_sent_is_what_requests_would_send(google: Google, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uuid, "uuid4", lambda: uuid.UUID(int=1))
    ours = _sent_by_all(google)
    assert "Cookie" not in {name for _, _, headers, _ in ours for name, _ in headers}
    monkeypatch.delattr(google_session._AsItStands, "request")
    assert _shown(ours) == _shown(_sent_by_all(google))


def test_a_redirect_is_the_answer_of_something_between(google: Google) -> None:
    elsewhere = Google()
    google.answer = (302, {"Location": f"{elsewhere.url}/login"})
    store = GcsObjectStore("bucket", project="p", endpoint=google.url, patience=Patience(1.0, 1.0, 1.0))
    with pytest.raises(LandingUnavailable):
        store.write("a", b"x")
    assert elsewhere.sent == []
    elsewhere.close()
