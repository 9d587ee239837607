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


@pytest.mark.parametrize(
    ("request_bytes", "is_job"),
    [
        (b"POST /bigquery/v2/projects/p/jobs?prettyPrint=false HTTP/1.1\r\n", True),
        (b"POST /bigquery/v2/projects/p/queries HTTP/1.1\r\n", True),
        (b"POST /upload/bigquery/v2/projects/p/jobs?uploadType=multipart HTTP/1.1\r\n", True),
        (b'POST /bigquery/v2/projects/p/jobs HTTP/1.1\r\n\r\n{"configuration": {"dryRun": false}}', True),
        (b'POST /bigquery/v2/projects/p/jobs HTTP/1.1\r\n\r\n{"configuration": {"dryRun": true}}', False),
        (b"GET /bigquery/v2/projects/p/jobs/j1 HTTP/1.1\r\n", False),
        (b"POST /bigquery/v2/projects/p/datasets HTTP/1.1\r\n", False),
    ],
)
def test_a_job_takes_its_time_and_a_question_does_not(request_bytes: bytes, is_job: bool) -> None:
    steady = {"bigquery": Distance(0.2, job_s=3.0, jitter=0.0)}
    route = Route("bigquery", 9, Weather(steady))
    assert route._delay_s(request_bytes, is_request=True) == pytest.approx(3.1 if is_job else 0.1)
    assert route._delay_s(request_bytes, is_request=False) == pytest.approx(0.1)


def test_every_weather_knows_every_server_of_the_stack() -> None:
    assert all(set(weather.distances) == set(NEAR) for weather in WEATHERS.values())
