"""How Google's clients send their requests, and leave this machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.auth.credentials import Credentials
from google.auth.transport.requests import AuthorizedSession
from requests import PreparedRequest, Response, Session
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict

_REFRESH_TIMEOUT_S = 300
"""As the clients give it to a session of theirs."""


def send_by(adapter: HTTPAdapter, client: Any, address: str, *, is_emulator: bool) -> None:
    """Lets a client of Google that has sent nothing yet send all by ``adapter``; none has a public way to that.

    Proxies and certificates are taken from the environment, once; an emulator of this machine is asked without a proxy.
    Looked up for each request, they and netrc cost a fifth of a session's CPU. A login that netrc has for the address,
    or for all, would take the place of Google's token, and each request would be refused.
    """
    session = _GoogleSession(client._credentials)
    if not is_emulator:
        found = session.merge_environment_settings(address, {}, None, None, None)
        session.proxies, session.verify = found["proxies"], found["verify"]
    session.trust_env = False
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    client._http_internal = session


class _AsItStands(Session):
    """Sends what is complete already.

    ``requests`` reads and quotes each address again, merges cookies, hooks and settings, and looks for redirects: a
    quarter of the CPU of a small write. Google's clients quote their addresses, there are no cookies, and a redirect is
    the answer of something between Google and us.
    """

    def request(  # type: ignore[override]
        self,
        method: str,
        url: str,
        data: bytes | str | None = None,
        headers: Mapping[str, str | bytes] | None = None,
        timeout: Any = None,
        *,
        stream: bool = False,
    ) -> Response:
        """The answer, read to its end without ``stream``. Raises what the adapter raises."""
        asked = PreparedRequest()
        asked.method, asked.url = method, url
        asked.body = data.encode() if isinstance(data, str) else data or None
        asked.headers = CaseInsensitiveDict(self.headers)
        asked.headers.update(headers or {})
        if asked.body is not None or method not in ("GET", "HEAD"):
            asked.headers["Content-Length"] = str(len(asked.body or b""))
        answer = self.get_adapter(url).send(
            asked, stream=stream, timeout=timeout, verify=self.verify, cert=self.cert, proxies=self.proxies
        )
        if not stream:
            _ = answer.content
        return answer


class _GoogleSession(AuthorizedSession, _AsItStands):  # type: ignore[misc]
    """Adds the credentials, renews them, and sends the request as it stands."""

    def __init__(self, credentials: Credentials) -> None:
        super().__init__(credentials, refresh_timeout=_REFRESH_TIMEOUT_S)  # type: ignore[no-untyped-call]
