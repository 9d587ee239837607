"""The outside of a simulated run, where it meets the real one."""

from __future__ import annotations

import datetime as dt
import json
from types import SimpleNamespace
from typing import Any

from google.auth import jwt

from deployments.local.upstreams.drive_upstream import DriveUpstream
from flows.simulate.faults import Process, Trace
from flows.simulate.virtual_time import virtual_time
from flows.simulate.world import Answers, Quiet, SimulatedTransport, question
from scrapers.answers import Answer
from scrapers.base import SourceAccess
from scrapers.registry import scraper
from scrapers.service_account import GRANT_TYPE, ServiceAccount
from scrapers.transport import Call

BEGIN = dt.datetime(2025, 6, 17, tzinfo=dt.UTC)
TOKENS = "https://tokens.example/token"


class Nobody:
    """Nothing goes on around the process."""

    def is_away(self, _: str) -> bool:
        return False

    def operates(self) -> None:
        pass


class Endpoint:
    """Remembers what it was asked."""

    received_bytes = 0

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def exchange(self, call: Call) -> Answer:
        self.calls.append(call)
        return Answer(200, {"content-type": "application/json"}, b"{}", BEGIN)

    def close(self) -> None:
        """Nothing is open."""


def test_a_token_is_asked_for_by_the_real_clock_and_by_one_question_at_whatever_simulated_time() -> None:
    source = scraper("bigdataball_playbyplay")
    assert source.auth is not None
    (name,) = source.auth.secrets
    with DriveUpstream() as upstream:
        key = json.dumps({**json.loads(upstream.key_file), "token_uri": TOKENS})
    account, endpoint = ServiceAccount.from_key(key, name), Endpoint()
    before = dt.datetime.now(dt.UTC).timestamp()
    with virtual_time(BEGIN, 0) as clock:
        answers = Answers()
        world: Any = SimpleNamespace(answers=answers, clock=clock)
        process = Process(Trace(), Nobody())  # type: ignore[arg-type]
        transport = SimulatedTransport(endpoint, source, SourceAccess(TOKENS, {name: key}), process, world)
        for _ in range(2):
            signed = account.assertion("scope", clock.now())
            form = {"grant_type": GRANT_TYPE, "assertion": signed}
            transport.exchange(Call("POST", TOKENS, "application/json", {200}, 10.0, 1_000, form=form))
            assert signed not in str(answers.asked)
            clock.sleep(600)
    (call,) = endpoint.calls
    claims = jwt.decode((call.form or {})["assertion"], verify=False)  # type: ignore[no-untyped-call]
    assert before - 1 <= claims["iat"] <= dt.datetime.now(dt.UTC).timestamp()
    assert claims["aud"] == TOKENS


def test_a_call_that_was_allowed_before_the_source_wished_to_be_left_alone_breaks_no_wish() -> None:
    wish = Quiet(10.0, 17.0, Process(Trace(), Nobody()))  # type: ignore[arg-type]
    assert [wish.is_broken_by(at) for at in (9.9, 10.0, 16.9, 17.0)] == [False, True, True, False]


def test_a_question_is_the_same_whatever_key_asks_it() -> None:
    one, other = (question("POST", TOKENS, form={"kind": "x", "client_secret": key}) for key in ("a1b2c3", "d4e5f6"))
    assert one == other
    assert question("POST", TOKENS, form={"kind": "y", "client_secret": "a1b2c3"}) != one
