"""What the door of Prefect's server does with half a character."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from deployments.local.whole_text import WholeText

HALF = [b'{"parameters": {"note": "so', b'on \\ud83d"}}']
WHOLE = [b'{"parameters": {"note": "soon ', b'\\ud83d\\ude00"}}']
RUN = "/api/deployments/1/create_flow_run"


def asked(path: str, parts: list[bytes]) -> tuple[int, bytes]:
    """Status, and the body as the server behind the door reads it."""
    messages = [{"type": "http.request", "body": part, "more_body": part is not parts[-1]} for part in parts]
    read, said = [], list[dict[str, Any]]()

    async def server(_scope: Any, receive: Any, send: Any) -> None:
        while True:
            message = await receive()
            read.append(message["body"])
            if not message["more_body"]:
                break
        await send({"type": "http.response.start", "status": 201})

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        said.append(message)

    asyncio.run(WholeText(server)({"type": "http", "method": "POST", "path": path}, receive, send))
    return said[0]["status"], b"".join(read)


def test_a_run_with_half_a_character_is_refused_before_the_server_reads_it() -> None:
    assert asked(RUN, HALF) == (422, b"")
    assert asked("/api/flow_runs/", HALF) == (422, b"")


@pytest.mark.parametrize(("path", "parts"), [(RUN, WHOLE), (RUN, [b"{no JSON \\ud83d"]), ("/api/logs/", HALF)])
def test_every_other_body_reaches_the_server_as_it_is(path: str, parts: list[bytes]) -> None:
    assert asked(path, parts) == (201, b"".join(parts))
