"""A page that signs a browser in at the Prefect UI with one click.

Both versions of the UI of Prefect 3.8.8 keep base64 of ``name:password`` in ``localStorage`` under ``prefect-password``
and send it with every call; without it they show a form. The page takes it from the fragment of its own address, which
a browser sends to no server, stores it there, removes it from the address and opens the UI. ``.gapless/sign-in.html``,
readable by its owner alone, leads here.
"""

from __future__ import annotations

import base64
import hashlib

from deployments.local.browser_guard import App, Receive, Scope, Send

SIGN_IN_PATH = "/gapless/sign-in"
_SCRIPT = """
const given = location.hash.slice(1);
history.replaceState(null, "", location.pathname);
if (given) { localStorage.setItem("prefect-password", given); location.replace("/"); }
"""
_PAGE = (
    '<!doctype html><meta charset="utf-8"><title>Gapless</title>'
    f"<p>Open sign-in.html of the stack's folder to sign in.</p><script>{_SCRIPT}</script>\n"
).encode()
_HASH = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
_POLICY = f"default-src 'none'; frame-ancestors 'none'; script-src 'sha256-{_HASH}'"


class SignIn:
    """An ASGI application with the page added."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers the page itself, and leaves everything else to the application."""
        if scope["type"] != "http" or scope["path"] != SIGN_IN_PATH:
            await self._app(scope, receive, send)
            return
        headers = {
            "content-type": "text/html; charset=utf-8",
            "content-length": str(len(_PAGE)),
            "content-security-policy": _POLICY,
            "referrer-policy": "no-referrer",
            "cache-control": "no-store",
        }
        pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": 200, "headers": pairs})
        await send({"type": "http.response.body", "body": _PAGE})
