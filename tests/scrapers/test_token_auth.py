"""OAuth of a service account against a token endpoint that verifies what it is given."""

from __future__ import annotations

import datetime as dt
import json
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from alerting.errors import (
    AuthenticationError,
    BlockedBySource,
    ConfigurationError,
    PipelineError,
    RateLimited,
    SourceContractError,
    SourceUnavailable,
)
from alerting.redaction import redact
from deployments.local.upstreams.drive_upstream import SCOPE, DriveUpstream
from scrapers.answers import Answer
from scrapers.auth import TokenAuth
from scrapers.base import Request, SourceAccess
from scrapers.client import SourceClient
from scrapers.pace.budget import Budget, Clock
from scrapers.rate import Rate
from scrapers.registry import scraper
from scrapers.service_account import ServiceAccount, TokenKeeper

NOW = dt.datetime(2025, 1, 20, 12, tzinfo=dt.UTC)
LIST = Request("/drive/v3/files", (("q", "name contains '[2024-08-13]'"),))
SECRET = "drive_service_account"


class Keyed(type(scraper("bdl_box_scores"))):
    source = "keyed_by_token"
    auth = TokenAuth(SECRET, SCOPE)


@pytest.fixture(scope="module")
def shared() -> Iterator[DriveUpstream]:
    with DriveUpstream(now=NOW) as server:
        yield server


@pytest.fixture
def upstream(shared: DriveUpstream) -> DriveUpstream:
    shared.trouble()
    shared.calls.clear()
    shared.tokens_given = 0
    return shared


@pytest.fixture
def clients() -> Iterator[list[SourceClient]]:
    opened: list[SourceClient] = []
    yield opened
    for client in opened:
        client.close()


def client_of(clients: list[SourceClient], upstream: DriveUpstream, key: str | None = None, **parts: Any):
    access = SourceAccess(upstream.url, {SECRET: upstream.key_file if key is None else key}, **parts)
    clients.append(SourceClient(Keyed(), access, Budget(Rate())))
    return clients[-1]


def _paths(upstream: DriveUpstream) -> list[str]:
    return [call["path"] for call in upstream.calls.report()["requests"]]


def test_one_signed_exchange_serves_all_threads_and_all_calls(upstream, clients):
    client = client_of(clients, upstream)
    with ThreadPoolExecutor(8) as threads:
        pages = list(threads.map(lambda _: client.fetch(LIST), range(16)))
    assert {page.status for page in pages} == {200}
    assert json.loads(pages[0].body) == {"incompleteSearch": False, "files": []}
    assert upstream.tokens_given == 1
    assert client.calls == 16, "the token endpoint is no call of the source"
    assert _paths(upstream).count("/token") == 1


def test_a_token_that_ended_early_is_renewed_once_and_the_call_made_again(upstream, clients):
    client = client_of(clients, upstream)
    client.fetch(LIST)
    upstream.expire()
    assert client.fetch(LIST).status == 200
    assert _paths(upstream) == ["/token", LIST.path, LIST.path, "/token", LIST.path]
    assert (upstream.tokens_given, client.calls) == (2, 3)


def test_a_source_that_refuses_the_new_token_too_is_not_asked_a_third_time(upstream, clients):
    upstream.trouble({"kind": "401", "path": LIST.path})
    with pytest.raises(AuthenticationError, match="401"):
        client_of(clients, upstream).fetch(LIST)
    assert _paths(upstream) == ["/token", LIST.path, "/token", LIST.path]


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [("client_email", "somebody@else.example", "invalid_grant"), ("private_key_id", "other", "invalid_grant")],
)
def test_a_key_that_the_endpoint_does_not_know_stops_without_a_call_of_the_source(
    upstream, clients, field, value, said
):
    key = json.dumps({**json.loads(upstream.key_file), field: value})
    with pytest.raises(AuthenticationError, match=r"no access token: .*invalid_grant") as caught:
        client_of(clients, upstream, key).fetch(LIST)
    assert SECRET in caught.value.hint
    assert _paths(upstream) == ["/token"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("not JSON {", "no JSON object"),
        ("[1]", "no JSON object"),
        ({"private_key": ""}, "no private_key"),
        ({"client_email": None, "token_uri": 7}, "no client_email and no token_uri"),
        ({"private_key": "-----BEGIN RSA PRIVATE KEY-----\nplanted0123456789\n-----END RSA PRIVATE KEY-----"}, "read"),
        ({"token_uri": "http://evil.example/token"}, "https"),
    ],
)
def test_what_is_no_key_file_is_told_without_a_call_and_without_its_values(upstream, clients, change, why):
    key = change if isinstance(change, str) else json.dumps({**json.loads(upstream.key_file), **change})
    with pytest.raises(ConfigurationError, match=why) as caught:
        client_of(clients, upstream, key).fetch(LIST)
    assert "planted" not in f"{caught.value!r} {caught.value}"
    assert _paths(upstream) == []


def test_without_the_secret_no_call_is_made(upstream, clients):
    with pytest.raises(AuthenticationError, match=f"{SECRET} is not set; no call") as caught:
        client_of(clients, upstream, "").fetch(LIST)
    assert caught.value.hint.startswith("give it to the worker: GAPLESS_SOURCE_SECRETS='{\"" + SECRET), "not: renew it"
    assert _paths(upstream) == []


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"kind": "500"}, SourceUnavailable),
        ({"kind": "429", "retry_after_s": 7}, RateLimited),
        ({"kind": "401"}, AuthenticationError),
        ({"kind": "status", "code": 403}, AuthenticationError),
        ({"kind": "html200"}, BlockedBySource),
        ({"kind": "bad_json"}, SourceUnavailable),
        ({"kind": "bad_token"}, SourceContractError),
        ({"kind": "redirect"}, SourceContractError),
        ({"kind": "reset"}, SourceUnavailable),
        ({"kind": "hang", "delay_s": 5}, SourceUnavailable),
    ],
)
def test_trouble_of_the_token_endpoint_is_told_for_what_it_is(upstream, clients, rule, expected):
    upstream.trouble({**rule, "path": "/token"})
    with pytest.raises(expected) as caught:
        client_of(clients, upstream, timeout_s=0.3).fetch(LIST)
    assert isinstance(caught.value, PipelineError)
    assert _paths(upstream) == ["/token"], "no second try, and no call without a token"


def test_the_token_endpoint_is_not_asked_again_before_the_pause_is_over_that_it_wished(upstream, clients):
    slept_s: list[float] = []
    asked_before: list[list[str]] = []

    def sleep(seconds: float) -> None:
        slept_s.append(seconds)
        asked_before.append(_paths(upstream))

    clock = Clock(monotonic=lambda: sum(slept_s), now=lambda: NOW, sleep=sleep)
    client = SourceClient(Keyed(), SourceAccess(upstream.url, {SECRET: upstream.key_file}), Budget(Rate(), clock=clock))
    clients.append(client)
    upstream.trouble({"kind": "429", "retry_after_s": 7, "path": "/token", "times": 1})
    with pytest.raises(RateLimited):
        client.fetch(LIST)
    assert slept_s == []
    client.fetch(LIST)
    assert slept_s == [7.0]
    assert asked_before == [["/token"]]
    assert _paths(upstream) == ["/token", "/token", LIST.path]


def test_key_signature_and_token_are_masked_wherever_they_come(upstream, clients, caplog):
    caplog.set_level(logging.DEBUG)
    client = client_of(clients, upstream)
    client.fetch(LIST)
    token = client._tokens.token()
    key = json.loads(upstream.key_file)["private_key"]
    assertion = client._tokens._account.assertion(SCOPE, NOW)
    for secret in (key, *key.splitlines()[1:-1], token, assertion):
        assert secret not in redact(f"before {secret} after")
        assert secret not in caplog.text
    assert token not in repr(client._tokens.__dict__["_account"])


def test_a_token_that_the_source_sends_back_is_not_landed(clients):
    class Echoing(DriveUpstream):
        def answer(self, call, kind):
            if call.path == LIST.path:
                return type(super().answer(call, kind))(200, {"you": call.headers["authorization"]})
            return super().answer(call, kind)

    with Echoing(now=NOW) as upstream:
        page = client_of(clients, upstream).fetch(LIST)
    assert json.loads(page.body) == {"you": "Bearer ***"}


def test_a_token_is_renewed_minutes_before_it_ends_and_a_short_one_at_half_of_its_life(upstream):
    now_s, asked = [0.0], []

    def exchange(_: str, form: Any) -> Answer:
        asked.append(form)
        lifetime_s = 3600 if len(asked) < 3 else 120
        body = {"access_token": f"token-{len(asked)}", "expires_in": lifetime_s, "token_type": "Bearer"}
        return Answer(200, {}, json.dumps(body).encode(), NOW)

    account = ServiceAccount.from_key(upstream.key_file, SECRET)
    keeper = TokenKeeper(account, SCOPE, exchange, monotonic=lambda: now_s[0], now=lambda: NOW)
    told = []
    for now_s[0] in (0.0, 3299.0, 3300.0, 6599.0, 6600.0, 6659.0, 6660.0):
        told.append(keeper.token())
    assert told == ["token-1", "token-1", "token-2", "token-2", "token-3", "token-3", "token-4"]
    assert len({form["assertion"] for form in asked}) == 1, "the clock of the assertions stands still"


@pytest.mark.parametrize("lifetime_s", ["1" + "0" * 400, "1e400", "-1", "0", "NaN", '"soon"', "null", "[]", "36001"])
def test_a_token_without_a_life_in_seconds_is_a_broken_contract_and_is_not_sent(upstream, lifetime_s):
    body = f'{{"access_token": "planted", "expires_in": {lifetime_s}, "token_type": "Bearer"}}'.encode()
    account = ServiceAccount.from_key(upstream.key_file, SECRET)
    keeper = TokenKeeper(account, SCOPE, lambda *_: Answer(200, {}, body, NOW), now=lambda: NOW)
    with pytest.raises(SourceContractError, match="the token endpoint") as caught:
        keeper.token()
    assert "planted" not in str(caught.value)
