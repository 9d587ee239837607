"""The beginning of a body, as evidence for people. Pure."""

from __future__ import annotations

from alerting.redaction import one_line

EXCERPT_CHARS = 200
# More than is kept, so that no secret is cut in two before it is found.
_SEARCHED_BYTES = 16_384


def excerpt(body: bytes) -> str:
    """The beginning of a body: redacted, on one line, at most 200 characters."""
    text = one_line(body[:_SEARCHED_BYTES].decode("utf-8", "replace"), 20 * EXCERPT_CHARS)
    return " ".join(text.split())[:EXCERPT_CHARS]
