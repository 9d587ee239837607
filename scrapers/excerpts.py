"""The beginning of a body, as evidence for people. Pure."""

from __future__ import annotations

from alerting.redaction import one_line

EXCERPT_CHARS = 200
# More than is kept, so that no secret is cut in two before it is found.
_SEARCHED_BYTES = 16_384

# Also of a byte-order mark, of blanks without a width, and of those that do not break.
_BLANKS = b" \t\r\n\x0b\x0c\0\xef\xbb\xbf\xff\xfe\xc2\xa0\xe2\x80\x8b\xa8\xa9"


def is_blank(body: bytes) -> bool:
    """Whether nothing is in it that anybody could read.

    >>> is_blank(b"\\xff\\xfe"), is_blank(b"\\xc2\\xa0 \\r\\n"), is_blank(b"[]")
    (True, True, False)
    """
    return not body.lstrip(_BLANKS)


def excerpt(body: bytes) -> str:
    """The beginning of a body: redacted, on one line, at most 200 characters."""
    text = one_line(body[:_SEARCHED_BYTES].decode("utf-8", "replace"), 20 * EXCERPT_CHARS)
    return " ".join(text.split())[:EXCERPT_CHARS]
