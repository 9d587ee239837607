"""One object by one multipart request over the session of Google's client: with its login, connections and retries.

``Blob.upload_from_file`` sends the same bytes for a third more CPU: 0.98 ms a write, of which a blob, its trace, and
the settings of a session merged into those of a request are 0.2. A date is four such writes.
https://docs.cloud.google.com/storage/docs/uploading-objects#multipart-upload
"""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Callable, Mapping
from typing import Any, cast

import google_crc32c
from google.api_core import exceptions as api
from google.api_core.retry import Retry
from requests import PreparedRequest, Request, Response, Session
from requests.cookies import RequestsCookieJar
from requests.hooks import default_hooks
from requests.structures import CaseInsensitiveDict

MOST_BYTES = 8 * 2**20
"""What is longer goes in pieces, each of which can be sent again."""

_HEAD = (
    "--{boundary}\r\ncontent-type: application/json; charset=UTF-8\r\n\r\n{facts}\r\n"
    "--{boundary}\r\ncontent-type: {kind}\r\n\r\n"
)


class Uploader:
    """Writes objects of one bucket. Safe to use from many threads.

    Args:
        session: The client's. It prepares what is sent here from now on without looking at cookies and proxies.
        agent: The client's name for itself.
        url: Where its objects are uploaded, without a query.
    """

    def __init__(self, session: Session, agent: str, url: str) -> None:
        self._session, self._agent = session, agent
        prepared = PreparedRequest()
        prepared.prepare_url(url, {"uploadType": "multipart"})
        self._url = str(prepared.url)
        self._headers = {name: str(value) for name, value in self._session.headers.items()}
        self._prepare: Callable[[Request], PreparedRequest] = self._session.prepare_request
        self._session.prepare_request = self._prepared  # type: ignore[method-assign]

    def upload(
        self,
        facts: Mapping[str, Any],
        data: bytes,
        *,
        if_generation: int | None,
        timeout: tuple[float, float],
        retry: Retry,
    ) -> Any:
        """The answer's JSON. Raises what Google's and requests' exceptions are.

        Args:
            facts: ``name``, ``contentType`` and ``metadata`` of the object.
            data: Its content.
            if_generation: Precondition; 0 for a new object, None for none.
            timeout: Seconds to connect, and to wait for the answer.
            retry: When and how long the request is sent again.
        """
        checksum = base64.b64encode(google_crc32c.value(data).to_bytes(4, "big")).decode()
        boundary = uuid.uuid4().hex
        told = json.dumps({**facts, "crc32c": checksum})
        head = _HEAD.format(boundary=boundary, facts=told, kind=facts["contentType"])
        body = b"".join((head.encode(), data, f"\r\n--{boundary}--".encode()))
        url = self._url if if_generation is None else f"{self._url}&ifGenerationMatch={if_generation}"
        headers = {
            "Accept": "application/json",
            "Content-Type": f'multipart/related; boundary="{boundary}"',
            "Content-Length": str(len(body)),
            "User-Agent": self._agent,
            # One for all tries, by which Google knows them as one.
            "x-goog-api-client": f"{self._agent} gccl-invocation-id/{uuid.uuid4()}",
        }

        def send() -> Response:
            answer: Response = self._session.request("POST", url, data=body, headers=headers, timeout=timeout)
            if answer.status_code != 200:
                raise _error_of(answer)
            return answer

        return retry(send)().json()

    def _prepared(self, request: Request) -> PreparedRequest:
        """As the session prepares it, which for an upload takes a sixth of its CPU and changes nothing."""
        if not str(request.url).startswith(self._url):
            return self._prepare(request)
        prepared = PreparedRequest()
        prepared.method, prepared.url, prepared.body = "POST", str(request.url), cast("bytes", request.data)
        # With the login, which the session has added.
        prepared.headers = CaseInsensitiveDict({**self._headers, **request.headers})
        prepared.hooks, prepared._cookies = default_hooks(), RequestsCookieJar()
        return prepared


def _error_of(answer: Response) -> Exception:
    """As the client raises it, with Google's reason in its text."""
    error: Exception = api.from_http_status(answer.status_code, answer.text, response=answer)  # type: ignore[no-untyped-call]
    return error
