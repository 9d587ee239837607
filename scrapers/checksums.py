"""The checksum that a server sends with a body: what comes with another one is damaged, however well it reads. Pure.

Known are ``Content-MD5``, ``Digest``, ``Content-Digest``, ``Repr-Digest`` (RFC 1864, 3230, 9530), ``x-goog-hash`` and
``x-amz-checksum-sha256``, with MD5, SHA-256 and SHA-512. All are of the body as it is packed; servers that pack it
after that send those of the plain one, so either is taken.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator, Mapping

from alerting.errors import SourceUnavailable

_ALGORITHMS = {"md5": "md5", "sha-256": "sha256", "sha-512": "sha512", "sha256": "sha256"}
_SINGLE = {"content-md5": "md5", "x-amz-checksum-sha256": "sha256"}
_LISTS = ("digest", "content-digest", "repr-digest", "x-goog-hash")
_PAIR = re.compile(r"\s*([A-Za-z0-9-]{2,12})=:?([A-Za-z0-9+/]{16,120}={0,2}):?\s*")

Checksum = tuple[str, str, bytes]
"""Header, algorithm of hashlib, digest."""


def checksums(headers: Mapping[str, str]) -> list[Checksum]:
    """Those that can be checked; names of headers are lower case. What is none, or of an unknown kind, is left out.

    >>> checksums({"x-goog-hash": "crc32c=AAAAAA==, md5=1B2M2Y8AsgTpgAmy7PhCfg=="})[0][:2]
    ('x-goog-hash', 'md5')
    >>> checksums({"content-md5": "none", "digest": "sha-256=x"})
    []
    """
    pairs = [(name, kind, headers[name].strip()) for name, kind in _SINGLE.items() if name in headers]
    for name in _LISTS:
        if name == "x-goog-hash" and _is_of_another_packing(headers):
            continue
        found = filter(None, map(_PAIR.fullmatch, headers.get(name, "").split(",")))
        pairs += [(name, _ALGORITHMS.get(one[1].lower(), ""), one[2]) for one in found]
    return [(name, kind, digest) for name, kind, text in pairs if (digest := _digest(kind, text))]


def _is_of_another_packing(headers: Mapping[str, str]) -> bool:
    """Google unpacks stored gzip on the way, and sends the hash of what is stored.

    https://docs.cloud.google.com/storage/docs/transcoding
    """
    stored = headers.get("x-goog-stored-content-encoding", "").strip().lower()
    return bool(stored) and stored != (headers.get("content-encoding", "").strip().lower() or "identity")


class Summed:
    """Passes a body on as it comes, and knows its digests afterwards."""

    def __init__(self, chunks: Iterable[bytes], promised: Iterable[Checksum]) -> None:
        self._chunks = chunks
        self._sums = {kind: hashlib.new(kind, usedforsecurity=False) for _, kind, _ in promised}

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            for one in self._sums.values():
                one.update(chunk)
            yield chunk

    def digest(self, kind: str) -> bytes:
        """Of all that was passed on."""
        return self._sums[kind].digest()


def refuse_damaged(promised: Iterable[Checksum], received: Summed, body: bytes) -> None:
    """Raises ``SourceUnavailable`` where neither the received bytes nor the unpacked ``body`` have a checksum of it."""
    for name, kind, wanted in promised:
        got = received.digest(kind)
        if hmac.compare_digest(got, wanted):
            continue
        if hmac.compare_digest(hashlib.new(kind, body, usedforsecurity=False).digest(), wanted):
            continue
        raise SourceUnavailable(
            f"the body is damaged: {name} promises {kind} {wanted.hex()[:16]}…, and {len(body):,} bytes came with "
            f"{got.hex()[:16]}…; nothing of it was kept",
            hint="where that header is never right, let has_checksums of the scraper be False",
        )


def _digest(kind: str, text: str) -> bytes:
    """b"" for what is no digest of that kind."""
    if not kind:
        return b""
    try:
        found = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
    return found if len(found) == hashlib.new(kind, usedforsecurity=False).digest_size else b""
