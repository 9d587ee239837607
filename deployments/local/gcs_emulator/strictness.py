"""What Cloud Storage refuses and fake-gcs-server takes; on when ``GAPLESS_STRICT`` is set.

* A second write to one object name within a second: 429. https://docs.cloud.google.com/storage/quotas#objects
* Object names over 1,024 bytes of UTF-8, or with a line end: 400. https://docs.cloud.google.com/storage/docs/objects#naming
* Custom metadata over 8 KiB, keys and values together: 400. https://docs.cloud.google.com/storage/quotas#objects

Pure but for the clock that it is given.
"""

from __future__ import annotations

import json
import time
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass

SAME_NAME_INTERVAL_S = 1.0
MAX_NAME_BYTES = 1024
MAX_METADATA_BYTES = 8 * 1024
_UPLOAD = "/upload/storage/v1/b/"


@dataclass(frozen=True, slots=True)
class Write:
    """One write as its request names it; ``generation`` is what it must replace, None without precondition."""

    bucket: str
    name: str
    metadata_bytes: int
    generation: int | None
    is_resumable: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """Status, Google's reason word, and a sentence."""

    status: int
    reason: str
    message: str

    def body(self) -> bytes:
        """As Cloud Storage words it."""
        errors = [{"domain": "global", "reason": self.reason, "message": self.message}]
        return json.dumps({"error": {"code": self.status, "message": self.message, "errors": errors}}).encode()


def is_upload(method: str, target: str) -> bool:
    """Whether the request begins a write whose object is named in the body or the query."""
    return method == "POST" and target.startswith(_UPLOAD)


def write_of(target: str, body: bytes, *, is_whole: bool) -> Write | None:
    """Reads the write off the target and the beginning of the body of an upload; None when it cannot be told yet.

    The body describes the object, the query may name it: only when the body ``is_whole`` the query alone will do.

    >>> target = "/upload/storage/v1/b/b/o?uploadType=resumable&ifGenerationMatch=0"
    >>> write_of(target, b'{"name": "ledger/x.json"}', is_whole=False)
    Write(bucket='b', name='ledger/x.json', metadata_bytes=0, generation=0, is_resumable=True)
    """
    parts = urllib.parse.urlsplit(target)
    query = dict(urllib.parse.parse_qsl(parts.query))
    described = _json_in(body)
    if not described and not is_whole:
        return None
    name = described.get("name") or query.get("name")
    if not isinstance(name, str):
        return None
    kept = described.get("metadata")
    size_bytes = sum(len(f"{key}{value}".encode()) for key, value in kept.items()) if isinstance(kept, dict) else 0
    expected = query.get("ifGenerationMatch")
    return Write(
        bucket=urllib.parse.unquote(parts.path.removeprefix(_UPLOAD).partition("/")[0]),
        name=name,
        metadata_bytes=size_bytes,
        generation=int(expected) if expected is not None and expected.isdigit() else None,
        is_resumable=query.get("uploadType") == "resumable",
    )


def _json_in(body: bytes) -> dict[str, object]:
    """The first JSON object of a body: all of it, or the first part of a multipart one. Empty while it is cut off."""
    begin = body.find(b"{")
    if begin < 0:
        return {}
    try:
        found = json.JSONDecoder().raw_decode(body[begin:].decode("utf-8", "replace"))[0]
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


class Strictness:
    """Remembers when each object was written last.

    Args:
        monotonic: Clock in seconds.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._written_s: dict[tuple[str, str], float] = {}

    def refused(self, write: Write) -> Refused | None:
        """Why Cloud Storage would not take the write; None lets it pass and counts it."""
        size_bytes = len(write.name.encode("utf-8", "replace"))
        if not 0 < size_bytes <= MAX_NAME_BYTES or "\n" in write.name or "\r" in write.name:
            return Refused(400, "invalid", f"an object name has 1 to {MAX_NAME_BYTES} bytes and no line end")
        if write.metadata_bytes > MAX_METADATA_BYTES:
            told = f"the metadata has {write.metadata_bytes} bytes, {MAX_METADATA_BYTES} are allowed"
            return Refused(400, "invalid", told)
        now_s, key = self._monotonic(), (write.bucket, write.name)
        before_s = self._written_s.get(key)
        if before_s is not None and now_s - before_s < SAME_NAME_INTERVAL_S:
            told = f"The object {write.bucket}/{write.name} exceeded the rate limit for object mutation operations"
            return Refused(429, "rateLimitExceeded", told)
        self._written_s[key] = now_s
        return None
