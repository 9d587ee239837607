"""Each server of the local stack, asked as a web page of another origin, a rebound name or a hostile program would."""

from __future__ import annotations

import contextlib
import http.client
import json
import smtplib
import socket
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from deployments.local.browser_guard import GuardedApp, refusal
from deployments.local.inbox.server import InboxClient
from deployments.local.upstreams.box_scores_upstream import Upstream
from deployments.local.upstreams.civic_upstream import CivicUpstream
from deployments.local.upstreams.odds_upstream import OddsUpstream
from deployments.local.upstreams.racing_upstream import RacingUpstream

pytestmark = pytest.mark.xdist_group("browser_guard")

FOREIGN = {
    "another origin": {"Origin": "https://evil.example"},
    "another port of this machine": {"Origin": "http://127.0.0.1:1"},
    "a page from a file or a sandbox": {"Origin": "null"},
    "two origins": {"Origin": "http://127.0.0.1, https://evil.example"},
    "a name that was rebound to this machine": {"Host": "evil.example"},
    "a name that only begins like this machine": {"Host": "127.0.0.1.evil.example"},
    "this machine as user name": {"Host": "127.0.0.1@evil.example"},
    "an empty host": {"Host": ""},
    "a picture in a page of another site": {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
    "a frame in a page of another site": {
        "Sec-Fetch-Site": "cross-site",
        "Sec-Fetch-Mode": "navigate",
        "Sec-Fetch-Dest": "iframe",
    },
    "a page on another port of this machine": {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"},
}
HTTP_SERVERS = ("inbox", "upstream", "civic", "racing", "odds", "gcs", "bigquery")
# What would be done if it were let through; the second one of a server must be harmless, for the control.
REQUESTS = {
    "inbox": [("DELETE", "/api/messages", ""), ("POST", "/api/trouble", '{"mode": "none"}')],
    "upstream": [("POST", "/gapless/trouble", "[]"), ("DELETE", "/gapless/trouble", "")],
    "civic": [("DELETE", "/gapless/calls", ""), ("POST", "/gapless/trouble", "[]")],
    "racing": [("DELETE", "/gapless/calls", ""), ("POST", "/gapless/limit", '{"per_second": 2}')],
    "odds": [("DELETE", "/gapless/calls", ""), ("POST", "/gapless/limit", '{"per_second": 30}')],
    "gcs": [("POST", "/storage/v1/b?project=p", '{"name": "planted"}'), ("GET", "/storage/v1/b?project=p", "")],
    "bigquery": [("POST", "/gapless/quota", "{}"), ("GET", "/gapless/ready", "")],
}


@pytest.fixture(scope="module")
def urls(gcs_endpoint: str, bigquery_endpoint: str, _inbox_server: InboxClient) -> Iterator[dict[str, str]]:
    town = {"alameda": (1, 1)}
    with (
        Upstream() as upstream,
        RacingUpstream() as racing,
        OddsUpstream() as odds,
        CivicUpstream(towns=town) as civic,
    ):
        yield {
            "inbox": _inbox_server.url,
            "upstream": upstream.url,
            "civic": civic.base_url.removesuffix("/{site}"),
            "racing": racing.url,
            "odds": odds.url,
            "gcs": gcs_endpoint,
            "bigquery": bigquery_endpoint,
        }


def ask(url: str, method: str, path: str, body: str = "", headers: dict[str, str] | None = None) -> int:
    address = urlsplit(url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=20)
    try:
        connection.putrequest(method, path, skip_host="Host" in (headers or {}))
        for name, value in {**({"Content-Length": str(len(body))} if body else {}), **(headers or {})}.items():
            connection.putheader(name, value)
        connection.endheaders(body.encode() or None)
        return connection.getresponse().status
    finally:
        connection.close()


def raw(url: str, request: bytes) -> bytes:
    """What a server answers to bytes until it hangs up or is silent."""
    address = urlsplit(url)
    with socket.create_connection((str(address.hostname), address.port or 0), timeout=20) as connection:
        answer = b""
        try:
            connection.sendall(request)
            while b"\r\n\r\n" not in answer and (read := connection.recv(65536)):
                answer += read
        except ConnectionError:
            pass
        return answer


@pytest.mark.parametrize("server", HTTP_SERVERS)
@pytest.mark.parametrize("who", FOREIGN)
def test_no_server_of_the_stack_serves_a_web_page_of_another_origin(
    urls: dict[str, str], server: str, who: str
) -> None:
    for method, path, body in REQUESTS[server]:
        assert ask(urls[server], method, path, body, FOREIGN[who]) in (400, 403, 421)


@pytest.mark.parametrize("server", HTTP_SERVERS)
def test_the_same_requests_are_served_to_a_program_and_to_the_servers_own_pages(
    urls: dict[str, str], server: str
) -> None:
    method, path, body = REQUESTS[server][-1]
    own = {"Origin": urls[server], "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}
    assert ask(urls[server], method, path, body) == 200
    assert ask(urls[server], method, path, body, own) == 200


def test_a_link_in_a_mail_of_another_site_opens_the_inbox(urls: dict[str, str]) -> None:
    followed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert ask(urls["inbox"], "GET", "/", headers=followed) == 200
    assert ask(urls["inbox"], "DELETE", "/api/messages", headers=followed) == 403


def test_a_foreign_page_that_asked_for_the_end_of_all_mails_deleted_none(inbox: InboxClient) -> None:
    with smtplib.SMTP(inbox.smtp_host, inbox.smtp_port, timeout=10) as smtp:
        smtp.sendmail("a@example.org", ["b@example.org"], "Subject: kept\r\n\r\nx")
    for headers in FOREIGN.values():
        ask(inbox.url, "DELETE", "/api/messages", headers=headers)
        ask(inbox.url, "POST", "/api/trouble", json.dumps({"mode": "down"}), headers)
    assert [one["subject"] for one in inbox.messages()] == ["kept"]


@pytest.mark.parametrize("server", HTTP_SERVERS)
@pytest.mark.parametrize("length", ["-1", "+5", "1e3", "0x10", "99999999999999", "5, 6", "5\r\nContent-Length: 6"])
def test_a_length_that_is_no_bounded_number_reads_no_body(urls: dict[str, str], server: str, length: str) -> None:
    _, path, _ = next(one for one in (*REQUESTS[server], ("POST", "/", "")) if one[0] == "POST")
    head = f"POST {path} HTTP/1.1\r\nHost: {urlsplit(urls[server]).netloc}\r\nContent-Length: {length}\r\n\r\n"
    assert raw(urls[server], head.encode())[9:12] in (b"400", b"413")


@pytest.mark.parametrize("server", ["inbox", "upstream"])
def test_a_chunked_body_is_refused_where_nobody_counts_it(urls: dict[str, str], server: str) -> None:
    host = urlsplit(urls[server]).netloc
    smuggled = f"DELETE /api/messages HTTP/1.1\r\nHost: {host}\r\n\r\n"
    head = f"POST /gapless/trouble HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = raw(urls[server], f"{head}{len(smuggled):x}\r\n{smuggled}\r\n0\r\n\r\n".encode())
    assert answer.count(b"HTTP/1.") == 1
    assert answer[9:12] == b"411"


@pytest.mark.parametrize(("server", "path"), [("civic", "/gapless/trouble"), ("bigquery", "/gapless/quota")])
def test_a_chunked_body_that_never_ends_is_answered_at_its_bound(urls: dict[str, str], server: str, path: str) -> None:
    host = urlsplit(urls[server]).netloc
    address = urlsplit(urls[server])
    chunk = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
    answer = b""
    with socket.create_connection((str(address.hostname), address.port or 0), timeout=30) as connection:
        connection.sendall(f"POST {path} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        try:
            for _ in range(200):
                connection.sendall(chunk)
        except ConnectionError:
            pass
        else:
            pytest.fail("200 MB were taken")
        with contextlib.suppress(ConnectionError):  # the refusal may be overtaken by the reset
            answer = connection.recv(65536)
    assert answer[9:12] in (b"413", b"")


def test_smtp_commands_in_the_body_of_a_web_request_plant_no_mail(inbox: InboxClient) -> None:
    mail = (
        "EHLO x\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nDATA\r\nSubject: planted\r\n\r\nx\r\n.\r\n"
    )
    for method in ("POST", "GET", "PUT", "OPTIONS"):
        head = f"{method} / HTTP/1.1\r\nHost: 127.0.0.1:{inbox.smtp_port}\r\nContent-Type: text/plain\r\n\r\n"
        raw(f"http://{inbox.smtp_host}:{inbox.smtp_port}", (head + mail).encode())
    assert inbox.messages() == []
    with smtplib.SMTP(inbox.smtp_host, inbox.smtp_port, timeout=10) as smtp:
        smtp.sendmail("a@example.org", ["b@example.org"], "Subject: honest\r\n\r\nx")
    assert [one["subject"] for one in inbox.messages()] == ["honest"]


def test_objects_pass_the_door_of_storage_unchanged(urls: dict[str, str]) -> None:
    import requests

    body = bytes(range(256)) * 4000
    created = requests.post(f"{urls['gcs']}/storage/v1/b?project=p", json={"name": "door"}, timeout=20)
    assert created.status_code == 200
    upload = f"{urls['gcs']}/upload/storage/v1/b/door/o?uploadType=media&name=a"
    chunks: Callable[[], Iterator[bytes]] = lambda: iter([body[:10], body[10:]])  # noqa: E731
    for sent in (body, chunks()):
        assert requests.post(upload, data=sent, timeout=20).status_code == 200
        assert requests.get(f"{urls['gcs']}/storage/v1/b/door/o/a?alt=media", timeout=20).content == body
    assert requests.head(f"{urls['gcs']}/storage/v1/b/door/o/none", timeout=20).status_code == 404


@pytest.mark.parametrize("names", [("127.0.0.1",), ("127.0.0.1", "server")])
def test_a_server_answers_under_the_names_it_was_given_and_no_other(names: tuple[str, ...]) -> None:
    for host in ("127.0.0.1:4200", "server:4200", "SERVER", "localhost", "server.evil.example", "evil.example"):
        refused = refusal("GET", [("host", host)], max_body_bytes=0, names=names)
        assert (refused is None) == (host.lower().split(":")[0] in names)


def test_a_websocket_of_another_origin_is_closed_before_it_is_accepted() -> None:
    import asyncio

    sent: list[Any] = []

    async def app(*_: Any) -> None:
        sent.append("reached")

    async def send(message: Any) -> None:
        sent.append(message["type"])

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    guarded = GuardedApp(app, max_body_bytes=0)
    host = (b"host", b"127.0.0.1:4200")
    asyncio.run(guarded({"type": "websocket", "headers": [host, (b"origin", b"http://evil.example")]}, receive, send))
    asyncio.run(guarded({"type": "websocket", "headers": [host]}, receive, send))
    assert sent == ["websocket.close", "reached"]
