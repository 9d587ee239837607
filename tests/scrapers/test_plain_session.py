"""What Google's clients send by the plain session is what they would send by requests."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from scrapers.plain_session import PlainAdapter, PlainSession

HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": "gzip",
    "User-Agent": "gcloud",
    "content-type": "text/plain",
}


class Service:
    """Remembers what it is asked, and sets a cookie; ``/moved`` leads to ``/``."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str], bytes]] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                named = {name.lower(): value for name, value in self.headers.items()}
                service.asked.append((self.requestline, named, body))
                self.send_response(302 if self.path == "/moved" else 200)
                for name, value in {"Set-Cookie": "a=1", "Location": "/", "Content-Length": "2"}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(b"{}")

            do_GET = do_POST = do_DELETE = answer

            def log_message(self, format: str, *args: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def service() -> Iterator[Service]:
    made = Service()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def session() -> Iterator[PlainSession]:
    with PlainSession() as made:
        for scheme in ("http://", "https://"):
            made.mount(scheme, PlainAdapter())
        yield made


@pytest.mark.parametrize(
    ("method", "path", "data"),
    [
        ("POST", "/upload/o?uploadType=multipart&name=a%2Fb", b"bytes"),
        ("POST", "/v2/jobs", '{"text": "\u00e5"}'),
        ("POST", "/v2/cancel", None),
        ("DELETE", "/o/a%2Fb", None),
        ("GET", "/o?prefix=x", None),
    ],
)
def test_a_request_is_sent_as_requests_does(
    service: Service, session: PlainSession, method: str, path: str, data: bytes | str | None
) -> None:
    for one in (session, requests.Session()):
        answer = one.request(method, service.url + path, data=data, headers=dict(HEADERS), timeout=(4, 9))
        assert (answer.status_code, answer.json()) == (200, {})
    ours, theirs = service.asked
    # Of HTTP/1.1 without saying so.
    theirs[1].pop("connection")
    assert ours == theirs


def test_no_cookie_is_sent_back_and_no_redirect_followed(service: Service, session: PlainSession) -> None:
    statuses = [session.request("GET", service.url + path, headers={}).status_code for path in ("/", "/moved", "/")]
    assert statuses == [200, 302, 200]
    assert [line.split()[1] for line, _, _ in service.asked] == ["/", "/moved", "/"]
    assert all("cookie" not in named for _, named, _ in service.asked)


def test_a_proxy_of_the_environment_is_used_unless_it_is_not_trusted(
    service: Service, session: PlainSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", service.url)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    session.request("GET", "http://storage.example/o", headers={}, timeout=9)
    assert service.asked[0][0] == "GET http://storage.example/o HTTP/1.1"
    with PlainSession() as untrusting:
        untrusting.trust_env = False
        untrusting.mount("http://", PlainAdapter())
        untrusting.request("GET", f"{service.url}/o", headers={}, timeout=9)
    assert service.asked[1][0] == "GET /o HTTP/1.1"


def test_certificates_of_the_environment_are_those_of_the_pool(
    session: PlainSession, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", f"{tmp_path}/none.pem")
    with pytest.raises(OSError, match=r"none\.pem"):
        session.request("GET", "https://127.0.0.1:9/o", headers={}, timeout=1)


def test_a_pool_that_was_closed_is_opened_again(service: Service, session: PlainSession) -> None:
    for _ in range(2):
        assert session.request("GET", f"{service.url}/o", headers={}).status_code == 200
        session.get_adapter(service.url).poolmanager.clear()  # type: ignore[attr-defined]
