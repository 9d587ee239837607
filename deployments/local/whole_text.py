"""Refuses text that Prefect's server would take and could never give back.

Half a character (a lone surrogate) can be written in JSON and not in UTF-8. A flow run with one in its parameters is
stored, and from then on every worker that asks the pool for work is answered 500 (Prefect 3.8.8): no run begins.
"""

from __future__ import annotations

import json

from deployments.local.browser_guard import App, Message, Receive, Scope, Send

_PATHS = ("/api/deployments", "/api/flow_runs")
_ANSWER = json.dumps({"detail": "a text in it ends in the middle of a character (a lone surrogate)"}).encode()


class WholeText:
    """An ASGI application to which nobody writes half a character where flow runs are made of it."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Reads the body first where it makes deployments, schedules or runs; passes everything else on."""
        is_writing = scope["type"] == "http" and scope["method"] in ("POST", "PATCH", "PUT")
        if not is_writing or not scope["path"].startswith(_PATHS):
            await self._app(scope, receive, send)
            return
        messages = [await receive()]
        while messages[-1].get("more_body"):
            messages.append(await receive())
        if has_half_a_character(b"".join(message.get("body", b"") for message in messages)):
            headers = [(b"content-type", b"application/json"), (b"content-length", str(len(_ANSWER)).encode())]
            await send({"type": "http.response.start", "status": 422, "headers": headers})
            await send({"type": "http.response.body", "body": _ANSWER})
            return

        async def again() -> Message:
            return messages.pop(0) if messages else await receive()

        await self._app(scope, again, send)


def has_half_a_character(body: bytes) -> bool:
    r"""Whether a text in a JSON document is one that UTF-8 cannot write.

    >>> has_half_a_character(rb'{"note": "\ud83d"}'), has_half_a_character(rb'{"note": "\ud83d\ude00 \\ud83d"}')
    (True, False)
    """
    if b"\\ud" not in body.lower():
        return False
    try:
        json.dumps(json.loads(body), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    except ValueError:
        return False  # no JSON: the server says so itself
    return False
