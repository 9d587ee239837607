"""The beginning of a body, as evidence for people. Pure."""

from __future__ import annotations

from alerting.redaction import one_line

EXCERPT_CHARS = 200


def excerpt(body: bytes) -> str:
    """The beginning of a body: redacted, on one line, at most 200 characters."""
    text = one_line(body[: 20 * EXCERPT_CHARS].decode("utf-8", "replace"))
    return " ".join(text.split())[:EXCERPT_CHARS]
