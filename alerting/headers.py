"""Headers as they travel: a text is data and never header syntax, whatever characters it holds.

The standard library reads encoded words in what a header is set to, so that ``=?utf-8?q?=0D=0ABcc...?=`` becomes a
header of its own, and its folding breaks texts outside ASCII; both on Python 3.11 to 3.13. ``WIRE`` does neither.
"""

from __future__ import annotations

import email.policy
import functools
import re
from dataclasses import dataclass
from email.base64mime import header_encode as base64_word
from email.charset import SHORTEST, Charset
from email.errors import HeaderParseError
from email.header import Header, decode_header, make_header
from email.headerregistry import Address, HeaderRegistry
from email.message import EmailMessage
from email.quoprimime import header_encode as quoted_word
from typing import TYPE_CHECKING, Any

import idna

from alerting.errors import ConfigurationError
from alerting.redaction import redact

MAX_NAME_BYTES = 600
_LINE = 76
# Apprise changes how the whole process writes headers in UTF-8 when it is imported.
_UTF_8 = Charset("utf-8")
_UTF_8.header_encoding = SHORTEST
_LONGEST_WORD = 900
_BREAKS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_ADDRESSES = frozenset(["from", "to", "cc", "bcc", "reply-to", "sender"])
_STRUCTURED = _ADDRESSES | {
    "date",
    "mime-version",
    "content-type",
    "content-disposition",
    "content-transfer-encoding",
}


def _header_value(name: str, text: str) -> str:
    """``text`` as the value of header ``name``: ASCII, folded with CRLF, and read back as exactly this text.

    Line breaks and control characters become one blank. Readable where it can be, else encoded words (RFC 2047).

    >>> _header_value("Subject", "3 causes"), _header_value("Subject", "3 causes · 1 action")
    ('3 causes', '=?utf-8?q?3_causes_=C2=B7_1_action?=')
    >>> _header_value("X-Backfill-Source", "=?utf-8?q?=0D?=")
    '=?utf-8?b?PT91dGYtOD9xPz0wRD89?='
    """
    text = _BREAKS.sub(" ", text.encode("utf-8", "replace").decode()).strip()
    words = text.split(" ")
    plain = text.isascii() and "=?" not in text and all(words) and max(map(len, words)) <= _LONGEST_WORD
    if not plain and text:
        return Header(text, _UTF_8, header_name=name, maxlinelen=_LINE).encode(linesep="\r\n", maxlinelen=_LINE)
    lines, room = [words[0]], _LINE - len(name) - 2
    for word in words[1:]:
        if len(lines[-1]) + 1 + len(word) <= room:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
            room = _LINE - 1
    return "\r\n ".join(lines)


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A person's or machine's address; ``domain`` is ASCII (IDNA), ``local`` may not be, ``given`` as it was typed."""

    name: str
    local: str
    domain: str
    given: str

    @property
    def address(self) -> str:
        """What stands in the envelope."""
        return f"{self.local}@{self.domain}"

    @property
    def needs_smtputf8(self) -> bool:
        """A local part outside ASCII has no other way to travel."""
        return not self.local.isascii()

    @property
    def header(self) -> str:
        """What stands in From or To."""
        return f"{_phrase(self.name)} <{self.address}>" if self.name else self.address


_LOCAL = re.compile(r'(?:[^\s@<>(),:;"\\\[\]]+|"(?:[^"\\]|\\.)*")')
_LABEL = r"[^\s@<>(),:;\"\\\[\].]{1,63}"
_DOMAIN = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*\.?|\[[0-9A-Za-z.:]+\])")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_ENCODED_WORDS = re.compile(r"(?:=\?[^?\s]+\?[bqBQ]\?[^?\s]*\?=\s*)+")
_ATOMS = re.compile(r"[\w!#$%&'*+/=?^`{|}~ -]+", re.ASCII)


def mailbox(text: str) -> Mailbox:
    """One address, with or without a display name. Raises ``ConfigurationError``.

    A name may hold anything but control characters; quotes around it are syntax, and so are encoded words outside of
    quotes. Runs of blanks in it become one, as mail programs read it.

    >>> mailbox("Jörg Müller <ops@münchen.example>").header
    '=?utf-8?b?SsO2cmcgTcO8bGxlcg==?= <ops@xn--mnchen-3ya.example>'
    >>> mailbox('"Müller, Jörg" <a@b.example>').name
    'Müller, Jörg'
    """
    given = text.strip()
    name, _, address = given[:-1].rpartition("<") if given.endswith(">") else ("", "", given)
    name = _display_name(name.strip())
    local, _, domain = address.strip().rpartition("@")
    if _BREAKS.search(given + name) or not _LOCAL.fullmatch(local) or not _DOMAIN.fullmatch(domain):
        raise _no_address(given)
    if not local.isprintable():
        raise _no_address(given, " (a character of it is invisible)")
    try:
        (name + local).encode()
        ascii_domain = domain if domain.isascii() else idna.encode(domain, uts46=True).decode()
    except UnicodeError as error:
        raise _no_address(given, f" ({error})") from None
    if len(name.encode()) > MAX_NAME_BYTES:
        raise _no_address(given, f" (a display name of more than {MAX_NAME_BYTES} bytes)")
    return Mailbox(_one_blank(name), local, ascii_domain, address.strip())


def _one_blank(text: str) -> str:
    return re.sub(r" \s+", " ", text).strip(" ")


def _no_address(given: str, why: str = "") -> ConfigurationError:
    shown = given if len(given) <= 120 else f"{given[:120]}…"
    return ConfigurationError(
        f"not one mail address: {redact(ascii(shown))}{redact(why)[:200]}", stage="alert", hint="fix ALERT recipients"
    )


def _display_name(phrase: str) -> str:
    if quoted := _QUOTED.fullmatch(phrase):
        return re.sub(r"\\(.)", r"\1", quoted[1])
    if _ENCODED_WORDS.fullmatch(phrase):
        try:
            return str(make_header(decode_header(phrase)))
        except (HeaderParseError, LookupError, ValueError):
            return phrase
    return phrase


def _phrase(name: str) -> str:
    """Atoms, a quoted string, or one encoded word of any length: between two the standard library reads a blank."""
    if not name.isascii() or "=?" in name:
        data = name.encode()
        return min(base64_word(data, "utf-8"), quoted_word(data, "utf-8"), key=len)
    if _ATOMS.fullmatch(name):
        return name
    return '"' + re.sub(r'(["\\])', r"\\\1", name) + '"'


if TYPE_CHECKING:
    _EmailPolicy = email.policy.EmailPolicy[EmailMessage]
else:
    _EmailPolicy = email.policy.EmailPolicy


class WirePolicy(_EmailPolicy):
    """``email.policy.SMTP`` that takes the text of a header as it is, and writes 7-bit mails in short lines."""

    def header_store_parse(self, name: str, value: Any) -> tuple[str, Any]:
        """A text is stored encoded, so that nothing reads syntax out of it; line breaks in it are refused."""
        if name.lower() in _STRUCTURED or hasattr(value, "name"):
            return super().header_store_parse(name, value)
        if re.search(r"[\r\n]", value):
            raise ValueError("a header's text holds a line break")
        return name, _header_value(name, value)

    def fold(self, name: str, value: Any) -> str:
        """The header as text of whole lines."""
        if not hasattr(value, "name"):
            if self._travels(value):
                return f"{name}: {value}{self.linesep}"
            value = self.header_fetch_parse(name, value)
        if name.lower() in _ADDRESSES and not value.defects:
            boxes = [_of_header(address).header for address in value.addresses]
            return f"{name}: {f',{self.linesep} '.join(boxes)}{self.linesep}"
        if name.lower() in _STRUCTURED:
            return str(super().fold(name, value))
        return f"{name}: {_header_value(name, str(value))}{self.linesep}"

    def fold_binary(self, name: str, value: Any) -> bytes:
        """``fold`` as bytes; outside ASCII only for an address that has no other form."""
        return self.fold(name, value).encode("utf-8", "replace")

    def _travels(self, value: str) -> bool:
        return value.isascii() and max(map(len, value.split(self.linesep))) < _LONGEST_WORD + 80


def _of_header(address: Address) -> Mailbox:
    try:
        return mailbox(f"{_phrase(_one_blank(address.display_name))} <{address.addr_spec}>")
    except ConfigurationError:
        return Mailbox("", address.username, address.domain, address.addr_spec)


class _ParsedOnce(HeaderRegistry):
    """Headers of a mail are read again with every look at them, and each reading makes a class of its own."""

    def __call__(self, name: str, value: Any) -> Any:
        """See ``HeaderRegistry``. What it makes cannot be changed."""
        return self._parsed(name, value) if type(value) is str else super().__call__(name, value)

    @functools.lru_cache(maxsize=500)  # noqa: B019 - there is one registry, for good
    def _parsed(self, name: str, value: str) -> Any:
        return super().__call__(name, value)

    @functools.lru_cache(maxsize=500)  # noqa: B019 - the same
    def __getitem__(self, name: str) -> Any:
        return super().__getitem__(name)


WIRE = WirePolicy(linesep="\r\n", cte_type="7bit", refold_source="none", header_factory=_ParsedOnce())


def wire_bytes(mail: EmailMessage) -> bytes:
    """The mail as it travels: CRLF, 7 bits, no line over 998 characters; whichever policy it was made with."""
    return mail.as_bytes(policy=WIRE)
