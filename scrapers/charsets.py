"""Text in another character set than UTF-8, by the name that its header gives it. Pure.

Nothing is guessed: bytes that are UTF-8 are left as they are, whatever their label, as text of another set is UTF-8
only by a rare accident; and what has no label is left to its reader, which says what is no UTF-8.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import replace

from alerting.errors import SourceContractError
from alerting.redaction import one_line
from scrapers.answers import Answer, is_data_type

_CHARSET = re.compile(r"""(?i);\s*charset\s*=\s*["']?([A-Za-z0-9_:.-]{1,40})""")
# As browsers read these labels: Latin-1 of the web is Windows-1252 (https://encoding.spec.whatwg.org/#names-and-labels).
_LATIN_1 = re.compile(r"(?i)(?:iso[-_]?8859[-_]?1|latin[-_]?1|l1|us-ascii|ascii|windows-1252|cp1252|x-cp1252)")
_OTHERS = re.compile(
    r"(?i)(?:iso[-_]?8859[-_]?(?:[2-9]|1[013-6])|(?:windows-|cp)(?:125[013-8]|874|932|949)|koi8-[ru]|macintosh"
    r"|shift[-_]jis|sjis|euc-(?:jp|kr)|gbk|gb2312|gb18030|big5|tis-620|utf-?16(?:[-_]?[lb]e)?|utf-?32(?:[-_]?[lb]e)?)"
)
_MARKS_OF_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_CODECS = {"macintosh": "mac_roman", "windows-874": "cp874", "windows-932": "cp932", "windows-949": "cp949"}


def in_utf8(answer: Answer, accept: str, declared: str = "") -> Answer:
    """An answer of text in UTF-8; ``declared`` is the set that the source has where its header names none."""
    if not is_data_type(accept) and not accept.startswith("text/"):
        return answer
    body = as_utf8(answer.body, charset_of(answer.headers.get("content-type", "")) or declared)
    return answer if body is answer.body else replace(answer, body=body)


def evidence_in_utf8(body: bytes, content_type: str) -> bytes:
    """The beginning of an error in UTF-8, as far as it can be read: what its words refuse is asked of it in any script.

    >>> evidence_in_utf8("слишком часто".encode("cp1251"), "text/plain; charset=windows-1251").decode()
    'слишком часто'
    >>> evidence_in_utf8('{"m":"é"}'.encode("utf-16"), "application/json").decode()
    '{"m":"é"}'
    """
    charset = charset_of(content_type) or ("utf-16" if body.startswith(_MARKS_OF_UTF_16) else "")
    try:
        return as_utf8(body, charset)
    except SourceContractError:
        # Cut within a character, or mislabelled.
        codec = _codec_of(charset)
        return body.decode(_CODECS.get(codec.lower(), codec), "replace").encode() if codec else body


def charset_of(content_type: str) -> str:
    """As a header names it, "" where it does not.

    >>> charset_of('text/csv; charset="ISO-8859-1"'), charset_of("application/json")
    ('ISO-8859-1', '')
    """
    found = _CHARSET.search(content_type)
    return found[1] if found else ""


def as_utf8(body: bytes, charset: str) -> bytes:
    """``body`` in UTF-8, itself where it is that already, or where ``charset`` says nothing of another.

    Raises ``SourceContractError`` for what is neither UTF-8 nor of the set that it claims to be.

    >>> as_utf8("Dončić".encode("cp1250"), "windows-1250").decode(), as_utf8("é".encode(), "latin1").decode()
    ('Dončić', 'é')
    """
    codec = _codec_of(charset)
    if not codec or (_is_utf8(body) and not (b"\0" in body and codec.lower().startswith("utf"))):
        return body
    try:
        return body.decode(_CODECS.get(codec.lower(), codec)).encode()
    except (UnicodeError, LookupError) as error:
        raise SourceContractError(
            f"the body is neither UTF-8 nor what its label says, {one_line(charset)}; nothing of it was taken",
            reason=str(error)[:120],
        ) from None


def _codec_of(charset: str) -> str:
    return "cp1252" if _LATIN_1.fullmatch(charset) else charset if _OTHERS.fullmatch(charset) else ""


def _is_utf8(body: bytes) -> bool:
    if body.isascii():
        return True
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True
