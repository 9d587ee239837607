"""How the sample of civic.band answers: sizes cut without a word, 404 as a web page."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any
from urllib.parse import parse_qsl, urlencode

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

SIZE_WITHOUT_KEY = 100
CHALLENGE = b"<!doctype html><html><head><title>Making sure you're not a bot!</title></head><body>anubis</body></html>"
NOT_FOUND = b"<!DOCTYPE html><html><head><title>404</title></head><body>Page not found</body></html>"


def cut_size(query: bytes) -> bytes:
    """The query of a caller without a key: a page size above 100 is lowered without a word."""
    pairs = parse_qsl(query.decode(), keep_blank_values=True)
    cut = [(name, str(min(int(value), SIZE_WITHOUT_KEY)) if name == "_size" else value) for name, value in pairs]
    return urlencode(cut).encode()


def feed(towns: Iterable[str]) -> bytes:
    """The feed of the platform: every town once as added, the first of them also as updated."""
    listed = sorted(towns)
    items = "".join(
        f"<item><title>{town}</title><link>https://{town}.civic.band/</link></item>" for town in [*listed, *listed[:1]]
    )
    own = "<link>https://civic.band/rss.xml</link>"
    return f'<?xml version="1.0" encoding="UTF-8"?><rss version="2.0"><channel>{own}{items}</channel></rss>'.encode()


def themed(send: Send) -> Send:
    """Turns every 404 into a web page, as the theme of the real server does."""
    is_missing = False

    async def pass_on(message: MutableMapping[str, Any]) -> None:
        nonlocal is_missing
        if message["type"] == "http.response.start" and message["status"] == 404:
            is_missing = True
            await answer_html(send, 404, NOT_FOUND)
        elif not is_missing:
            await send(message)

    return pass_on


async def start_answer(send: Send, status: int, headers: Mapping[str, str]) -> None:
    """Status line and headers; the body must follow."""
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})


async def answer(send: Send, status: int, body: Any) -> None:
    """JSON."""
    await start_answer(send, status, {"content-type": "application/json"})
    await send({"type": "http.response.body", "body": json.dumps(body).encode()})


async def answer_html(send: Send, status: int, body: bytes) -> None:
    """A web page."""
    await start_answer(send, status, {"content-type": "text/html; charset=utf-8"})
    await send({"type": "http.response.body", "body": body})
