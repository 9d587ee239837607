"""The budget of a worker's process, asking a server that speaks Prefect's two endpoints of a global limit."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_CSRF_SUPPORT_ENABLED, temporary_settings

from alerting.errors import ConfigurationError, SourceUnavailable
from flows.child_runs.shared_rate import SharedBudget, bucket, calls_per_second
from flows.views.server_checks import server_checks
from scrapers.rate import Rate

NAME = "gapless-bdl"
RATE = Rate(per_minute=600, per_day=5)


class LimitServer:
    """One global limit, by name; ``limit`` None is a limit that nobody provisioned."""

    def __init__(self) -> None:
        wanted = bucket(RATE)
        assert wanted is not None
        self.limit: int | None = wanted[0]
        self.decay = wanted[1]
        self.active = 0
        self.status = 200
        self.has_rival = False
        self.refused = 0
        self.taken: list[int] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path.endswith("/health"):
                    return self._answer(200, True)
                if server.limit is None or not self.path.endswith(f"/v2/concurrency_limits/{NAME}"):
                    return self._answer(404, {"detail": "Concurrency Limit not found"})
                row = {"name": NAME, "limit": server.limit, "active_slots": server.active}
                if server.has_rival:
                    server.active, server.has_rival = server.limit, False
                return self._answer(server.status, {**row, "slot_decay_per_second": server.decay})

            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                assert asked["names"] == [NAME]
                assert asked["mode"] == "rate_limit"
                if server.limit is None or server.active + asked["slots"] > server.limit:
                    # Makes room, as time would.
                    server.active, server.refused = 0, server.refused + 1
                    return self._answer(423, {"detail": "locked"}, {"Retry-After": "60"})
                server.active += asked["slots"]
                server.taken.append(asked["slots"])
                return self._answer(200, [])

            def _answer(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
                data = json.dumps(body).encode()
                self.send_response(status)
                for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)


@pytest.fixture
def server() -> Iterator[LimitServer]:
    server = LimitServer()
    thread = threading.Thread(target=server.http.serve_forever, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.http.server_port}/api"
    with temporary_settings({PREFECT_API_URL: url, PREFECT_CLIENT_CSRF_SUPPORT_ENABLED: False}):
        yield server
    server.http.shutdown()
    server.http.server_close()
    thread.join()


@pytest.fixture
def budget(server: LimitServer) -> Iterator[SharedBudget]:
    budget = SharedBudget(RATE, source="bdl")
    yield budget
    budget.close()


def test_the_shared_limit_keeps_the_strictest_declared_rate() -> None:
    assert calls_per_second(Rate()) is None
    assert calls_per_second(Rate(per_minute=600)) == 9.5
    assert calls_per_second(Rate(per_second=1, per_minute=600)) == 0.95
    assert bucket(Rate(per_day=5)) is None
    assert bucket(Rate(per_minute=600)) == (1600, 950.0)
    assert bucket(Rate(per_second=1, per_minute=600)) == (100, 95.0)
    assert bucket(Rate(per_minute=15)) == (100, pytest.approx(23.75))


def test_a_call_takes_its_slots_of_the_limit_and_counts_in_the_day(server: LimitServer, budget: SharedBudget) -> None:
    budget.acquire()
    assert server.taken == [100]
    assert budget.export_state()["day_spent"] == 1


def test_a_refusal_is_not_waited_for_as_long_as_the_server_says(server: LimitServer, budget: SharedBudget) -> None:
    server.has_rival = True
    budget.acquire(timeout_s=50)
    assert server.refused == 1
    assert server.taken == [100]


def test_a_setting_lowered_after_provisioning_makes_a_call_cost_more_slots(server: LimitServer) -> None:
    budget = SharedBudget(Rate(per_minute=150), source="bdl")
    budget.acquire()
    budget.close()
    assert server.taken == [400]


def test_a_limit_of_one_slot_a_call_works_until_it_is_provisioned_again(
    server: LimitServer, budget: SharedBudget
) -> None:
    server.limit, server.decay = 1, 9.5
    budget.acquire()
    assert server.taken == [1]


@pytest.mark.parametrize(
    ("limit", "decay", "words"),
    [(None, 950.0, "does not exist"), (1600, 0.0, "no slot decay"), (100, 9500.0, "meant for more than 9.5 calls")],
)
def test_a_limit_that_does_not_fit_names_the_command_that_provisions_it(
    server: LimitServer, budget: SharedBudget, limit: int | None, decay: float, words: str
) -> None:
    server.limit, server.decay = limit, decay
    with pytest.raises(ConfigurationError, match=words) as caught:
        budget.acquire()
    assert caught.value.hint == "python -m deployments.provision"
    assert budget.export_state()["day_spent"] == 0
    assert server.taken == []


def test_a_call_that_could_not_be_made_in_time_is_given_back(server: LimitServer, budget: SharedBudget) -> None:
    server.active = 1_000_000
    with pytest.raises(SourceUnavailable, match="gapless-bdl within 5 s"):
        budget.acquire(timeout_s=5)
    assert budget.export_state()["day_spent"] == 0


def test_a_server_that_fails_is_a_reason_to_try_the_date_again(server: LimitServer, budget: SharedBudget) -> None:
    server.status = 500
    with pytest.raises(SourceUnavailable, match="could not be asked: PrefectHTTPStatusError"):
        budget.acquire()
    assert budget.export_state()["day_spent"] == 0


def test_a_source_without_a_rate_asks_no_server(server: LimitServer) -> None:
    server.limit = None
    budget = SharedBudget(Rate(per_day=3), source="bdl")
    budget.acquire()
    budget.close()
    assert budget.export_state()["day_spent"] == 1


def shared_rate(rate: Rate) -> tuple[str, str, str]:
    found = {one.name: one for one in server_checks("bdl", rate)}["shared rate"]
    return found.result, found.detail, found.remedy


def test_preflight_says_whether_windows_can_keep_the_rate_together(server: LimitServer) -> None:
    assert shared_rate(RATE) == ("pass", "9.5 calls a second for all windows together", "")
    assert shared_rate(Rate(per_day=5))[0] == "pass"
    result, detail, remedy = shared_rate(Rate(per_minute=60))
    assert (result, remedy) == ("warn", "python -m deployments.provision")
    assert detail == "gapless-bdl was provisioned for another rate than 60 a minute"
    server.limit = None
    assert shared_rate(RATE)[0] == "warn"
