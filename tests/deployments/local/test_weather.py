"""Weather carries what is sent unchanged, and breaks what it says that it breaks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

import httpx
import pytest

from deployments.local.weather import WEATHERS, Distance, Route, Weather

NEAR = {"storage": Distance(0.0), "bigquery": Distance(0.0, job_s=3.0), "prefect": Distance(0.0)}


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers each request with its body, on one connection as long as the client likes."""
    while head := await reader.readuntil(b"\r\n\r\n"):
        length = next(
            int(line.partition(b":")[2]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
        )
        body = await reader.readexactly(length)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length + body)
        await writer.drain()


def through(weather: Weather, ask: Callable[[httpx.AsyncClient], Awaitable[None]], name: str = "storage") -> Route:
    """Asks the echo behind a route of that weather."""

    async def run() -> Route:
        async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
            route = Route(name, server.sockets[0].getsockname()[1], weather)
            async with await route.serve(0) as weathered:
                url = f"http://127.0.0.1:{weathered.sockets[0].getsockname()[1]}"
                async with httpx.AsyncClient(base_url=url, timeout=20) as client:
                    await ask(client)
        return route

    return asyncio.run(run())


def test_bodies_of_any_size_pass_unchanged_on_one_connection() -> None:
    bodies = [b"", b"x", bytes(range(256)) * 20_000]

    async def ask(client: httpx.AsyncClient) -> None:
        for body in bodies:
            answer = await client.post("/o", content=body)
            assert answer.content == body

    assert through(Weather(NEAR), ask).requests == len(bodies)


def test_what_a_job_is_asked_for_passes_unchanged() -> None:
    bodies = [b"", b"{}", b'{"configuration": {"query": {"query": "%s"}, "dryRun": true}}' % (b"x" * 300_000)]

    async def ask(client: httpx.AsyncClient) -> None:
        for body in bodies:
            answer = await client.post("/bigquery/v2/projects/p/jobs", content=body)
            assert answer.content == body

    assert through(Weather(NEAR), ask, "bigquery").requests == len(bodies)


@pytest.mark.parametrize(
    ("weather", "status", "reason"),
    [
        (Weather(NEAR, unavailable=1.0), 503, "backendError"),
        (Weather(NEAR, too_many=1.0), 429, "rateLimitExceeded"),
    ],
)
def test_bad_weather_answers_as_google_does(weather: Weather, status: int, reason: str) -> None:
    async def ask(client: httpx.AsyncClient) -> None:
        answer = await client.post("/o", content=b"x")
        assert answer.status_code == status
        assert json.loads(answer.content)["error"]["errors"][0]["reason"] == reason

    through(weather, ask)


def test_bad_weather_resets_connections() -> None:
    async def ask(client: httpx.AsyncClient) -> None:
        with pytest.raises(httpx.TransportError):
            await client.post("/o", content=b"x")

    through(Weather(NEAR, resets=1.0), ask)


def fates(seed: int) -> list[bool]:
    """Which of a hundred requests reach the server."""

    async def run() -> list[bool]:
        async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
            route = Route("storage", server.sockets[0].getsockname()[1], Weather(NEAR, unavailable=0.3), seed)
            async with await route.serve(0) as weathered:
                url = f"http://127.0.0.1:{weathered.sockets[0].getsockname()[1]}"
                async with httpx.AsyncClient(base_url=url, timeout=20) as client:
                    return [(await client.post("/o", content=b"x")).status_code == 200 for _ in range(100)]

    return asyncio.run(run())


def test_the_same_seed_gives_the_same_weather() -> None:
    once = fates(7)
    assert once == fates(7)
    assert once != fates(8)
    assert any(once)
    assert not all(once)


ASKED = b'{"query": "%s", "jobCreationMode": "%s"}'
OPTIONAL, REQUIRED = b"JOB_CREATION_OPTIONAL", b"JOB_CREATION_REQUIRED"


@pytest.mark.parametrize(
    ("request_line", "body", "more_s"),
    [
        (b"POST /bigquery/v2/projects/p/jobs?prettyPrint=false", b"", 3.0),
        (b"POST /bigquery/v2/projects/p/queries", b"", 3.0),
        (b"POST /upload/bigquery/v2/projects/p/jobs?uploadType=multipart", b"", 3.0),
        (b"POST /bigquery/v2/projects/p/jobs", b'{"configuration": {"dryRun": false}}', 3.0),
        (b"POST /bigquery/v2/projects/p/jobs", b'{"configuration": {"dryRun": true}}', 0.0),
        (b"GET /bigquery/v2/projects/p/jobs/j1", b"", 0.0),
        (b"POST /bigquery/v2/projects/p/datasets", b"", 0.0),
        (b"POST /bigquery/v2/projects/p/queries?prettyPrint=false", ASKED % (b"SELECT 1", OPTIONAL), 0.8),
        (b"POST /bigquery/v2/projects/p/queries", ASKED % (b"\\n WITH P AS (SELECT 1) SELECT * FROM P", OPTIONAL), 0.8),
        (b"POST /bigquery/v2/projects/p/queries", ASKED % (b"SELECT 1", REQUIRED), 3.0),
        (b"POST /bigquery/v2/projects/p/queries", b'{"query": "SELECT 1"}', 3.0),
        (b"POST /bigquery/v2/projects/p/queries", ASKED % (b"DELETE FROM d.t WHERE n IN (SELECT 1)", OPTIONAL), 3.0),
        (b"POST /bigquery/v2/projects/p/jobs", ASKED % (b"SELECT 1", OPTIONAL), 3.0),
    ],
)
def test_a_job_takes_its_time_a_query_without_one_less_and_a_question_none(
    request_line: bytes, body: bytes, more_s: float
) -> None:
    steady = {"bigquery": Distance(0.2, job_s=3.0, query_s=0.8, jitter=0.0)}
    route, asked = Route("bigquery", 9, Weather(steady)), request_line + b" HTTP/1.1\r\n\r\n" + body
    assert route._delay_s(asked, is_request=True) == pytest.approx(0.1 + more_s)
    assert route._delay_s(asked, is_request=False) == pytest.approx(0.1)


def test_every_weather_knows_every_server_of_the_stack() -> None:
    assert all(set(weather.distances) == set(NEAR) for weather in WEATHERS.values())
