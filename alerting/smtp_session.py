"""One conversation with a mail server: login of any characters, one transaction, and a goodbye that changes nothing.

``smtplib`` logs in with ASCII only, and its context manager takes a bad answer to QUIT for a failed delivery.
"""

from __future__ import annotations

import base64
import contextlib
import hmac
import re
import smtplib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Literal

from alerting.headers import Mailbox

Security = Literal["starttls", "tls", "none"]
_GOODBYE_S = 5.0
_TOO_BIG = 552
_LONGEST_TIMEOUTS = 20
_TIMEOUTS_AFTER_DATA = 8
# Of the sender, a full mailbox or a spent allowance, which Exchange, Google, Amazon and SendGrid tell only after the
# data: a smaller mail is refused alike, and this one is welcome as soon as somebody has put it right.
_NOT_OF_THE_CONTENT = re.compile(
    r"(?i)\b5\.(?:1\.[78]|2\.2|4\.[56]|7\.(?:2[0-9]|[5-9][0-9]|[1-9][0-9]{2}))\b|not verified|send ?as\b"
    r"|verified sender|sender (?:identity|signature|address)|from address|(?:not |un)authori[sz]ed|authenticat"
    r"|permission|over ?quota|quota exceeded|mailbox (?:is )?full|credits|suspended"
    r"|(?:daily|hourly|sending) (?:\w+ ){0,2}(?:limit|quota|rate)"
)


class ContentRefused(Exception):
    """The server has taken sender and recipients and refuses the message itself for good. ``answer`` is its own."""

    def __init__(self, answer: str) -> None:
        super().__init__(answer)
        self.answer = answer


class BrokenOff(smtplib.SMTPServerDisconnected):
    """The server hung up at one recipient, before anybody had the message."""

    def __init__(self, recipient: Mailbox, answer: str) -> None:
        super().__init__(answer)
        self.recipient = recipient


@dataclass
class Taken:
    """Recipients for whom the server has taken the message, and its answers for those it has not."""

    accepted: list[Mailbox] = field(default_factory=list)
    refused: dict[Mailbox, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """How a mail server is reached, and who logs in; without a user nobody does.

    Args:
        timeout_s: Of each answer, eight of them for that to the message itself, which the server may search for
            viruses first; a whole conversation ends after twenty.
        security: ``starttls`` (refuses to go on without it), ``tls`` (from the first byte), ``none``.
        tls_context: None trusts what this machine trusts.
    """

    host: str
    port: int = 587
    security: Security = "starttls"
    username: str = ""
    password: str = field(default="", repr=False)
    timeout_s: float = 30.0
    tls_context: ssl.SSLContext | None = field(default=None, repr=False)

    @property
    def where(self) -> str:
        """Its address, for people."""
        return f"smtp {self.host}:{self.port}"


@contextlib.contextmanager
def smtp_session(server: SmtpServer) -> Iterator[smtplib.SMTP]:
    """Connected, encrypted as told, logged in. What QUIT answers is of no interest: it cannot take anything back.

    Raises ``smtplib.SMTPException``, ``OSError`` and, for what no command can carry, ``ValueError``.
    """
    session: _Session
    if server.security == "tls":
        session = _TlsSession(server.host, server.port, timeout=server.timeout_s, context=_trusted_by(server))
    else:
        session = _Session(server.host, server.port, timeout=server.timeout_s)
    try:
        if server.security == "starttls":
            session.starttls(context=_trusted_by(server))
        session.ehlo_or_helo_if_needed()
        if server.username:
            _log_in(session, server.username, server.password)
        yield session
        with contextlib.suppress(smtplib.SMTPException, OSError):
            session.ends_within(min(server.timeout_s, _GOODBYE_S))
            session.quit()
    finally:
        session.close()


class _Session(smtplib.SMTP):
    """One whose whole conversation ends: the time-out is one per read, and a server that says ``220-wait`` every few
    seconds never meets it."""

    def __init__(self, host: str, port: int, *, timeout: float, **rest: Any) -> None:
        self._ending: threading.Timer | None = None
        self.ends_within(_LONGEST_TIMEOUTS * timeout)
        self.last_code, self.cut_reply = 0, b""
        try:
            super().__init__(host, port, timeout=timeout, **rest)
        except BaseException:
            self._let_be()
            raise

    def ends_within(self, seconds: float) -> None:
        """Whatever the server says by then, and however slowly."""
        self._let_be()
        self._ending = threading.Timer(seconds, self._end)
        self._ending.daemon = True
        self._ending.start()

    def _let_be(self) -> None:
        if self._ending is not None:
            self._ending.cancel()

    def getreply(self) -> tuple[int, bytes]:
        """As the base's; what a reply has begun with is kept as ``cut_reply`` when the server hangs up, or says more in
        a line than smtplib reads."""
        if self.file is None and self.sock is not None:
            self.file = _Noted(self.sock.makefile("rb"))
        lines, self.cut_reply = self.file, b""
        try:
            self.last_code, answer = super().getreply()
        except smtplib.SMTPException:
            self.cut_reply = lines.last if isinstance(lines, _Noted) else b""
            raise
        return self.last_code, answer

    def _end(self) -> None:
        with contextlib.suppress(OSError):
            if self.sock is not None:
                self.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Also where the server, or smtplib, ended it."""
        self._let_be()
        super().close()


class _Noted:
    """The lines that a server says, with the last one."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.last = file, b""

    def readline(self, size: int = -1) -> bytes:
        """The next line, b"" at the end."""
        line = self._file.readline(size)
        self.last = line or self.last
        return line

    def close(self) -> None:
        """Closes it."""
        self._file.close()


class _TlsSession(_Session, smtplib.SMTP_SSL):
    """Encrypted from the first byte."""


def _trusted_by(server: SmtpServer) -> ssl.SSLContext:
    """Made only for a session with TLS, because reading what this machine trusts takes 40 ms."""
    return server.tls_context or ssl.create_default_context()


def hand_over(session: smtplib.SMTP, sender: Mailbox, recipients: Sequence[Mailbox], data: bytes) -> Taken:
    """Offers ``data`` to all recipients; those for whom the server wants a transaction of its own (452) get one.

    Raises ``ContentRefused``, ``smtplib.SMTPException`` and ``OSError`` when nobody has it.
    """
    taken, left = Taken(), list(recipients)
    while left:
        try:
            here = _transaction(session, sender, left, data)
        except (ContentRefused, smtplib.SMTPException, OSError) as error:
            if not taken.accepted:
                raise
            # Some have it: sent again, they would have it twice.
            taken.refused.update(dict.fromkeys(left, answer_of(error)))
            break
        taken.accepted += here.accepted
        taken.refused.update(here.refused)
        left = [box for box, answer in here.refused.items() if answer.startswith("452") and here.accepted]
        for box in left:
            del taken.refused[box]
    return taken


def _transaction(session: smtplib.SMTP, sender: Mailbox, recipients: Sequence[Mailbox], data: bytes) -> Taken:
    taken = Taken()
    utf8 = any(box.needs_smtputf8 for box in (sender, *recipients))
    session.command_encoding = "utf-8" if utf8 else "ascii"
    options = [f"SIZE={len(data)}"] if session.has_extn("size") else []
    options += ["SMTPUTF8", "BODY=8BITMIME"] if utf8 else []
    code, answer = session.docmd("MAIL", " ".join([f"FROM:<{sender.address}>", *options]))
    if code == _TOO_BIG:
        session.rset()
        raise ContentRefused(answer_text(code, answer))
    if code // 100 != 2:
        raise smtplib.SMTPSenderRefused(code, answer, sender.address)
    for box in recipients:
        try:
            code, answer = session.docmd("RCPT", f"TO:<{box.address}>")
        except smtplib.SMTPServerDisconnected as error:
            raise BrokenOff(box, str(error)) from error
        if code == 421:
            raise BrokenOff(box, answer_text(code, answer))
        if code // 100 == 2:
            taken.accepted.append(box)
        else:
            taken.refused[box] = answer_text(code, answer)
    if not taken.accepted:
        session.rset()
        return taken
    is_sent = True
    try:
        code, answer = _sent(session, data)
    except smtplib.SMTPDataError as error:
        # DATA itself was not answered with 354, so that no byte of the message went out; 250 is no yes to it.
        is_sent, code, answer = False, error.smtp_code, _bytes(error.smtp_error)
    except (smtplib.SMTPServerDisconnected, smtplib.SMTPResponseException):
        if not _is_taken(session):
            raise
        return taken
    if is_sent and code // 100 == 2:
        return taken
    told = answer_text(code, answer)
    if code // 100 == 5 and not (is_sent and _NOT_OF_THE_CONTENT.search(told)):
        raise ContentRefused(told)
    raise smtplib.SMTPDataError(code, answer)


def _sent(session: smtplib.SMTP, data: bytes) -> tuple[int, bytes]:
    """The answer to the message. Who gives up before it comes sends the message again, although the server has it
    (RFC 1047; RFC 5321, 4.5.3.2.6 asks for ten minutes)."""
    patience_s = session.timeout
    if session.sock is not None:
        session.sock.settimeout(_TIMEOUTS_AFTER_DATA * patience_s)
    try:
        return session.data(data)
    finally:
        if session.sock is not None:
            session.sock.settimeout(patience_s)


def _is_taken(session: smtplib.SMTP) -> bool:
    """Whether it said that it has the message and did not come to an end: ``250-queued``, and no last line behind it.

    The first line has the code of the whole reply (RFC 5321, 4.2.1). Sent again, everybody would have it twice.
    """
    begun = getattr(session, "cut_reply", b"")
    return getattr(session, "last_code", 0) == 354 and re.match(rb"2\d\d[- ]", begun) is not None


def _log_in(session: smtplib.SMTP, username: str, password: str) -> None:
    """CRAM-MD5, PLAIN or LOGIN, whatever the server offers, in UTF-8 (RFC 4616)."""
    offered = session.esmtp_features.get("auth", "").upper().split()
    known: dict[str, Callable[[], tuple[int, bytes]]] = {
        "CRAM-MD5": lambda: _cram_md5(session, username, password),
        "PLAIN": lambda: _plain(session, _base64(f"{chr(0)}{username}{chr(0)}{password}")),
        "LOGIN": lambda: _login(session, username, password),
    }
    usable = [name for name in known if name in offered]
    if not usable:
        raise smtplib.SMTPNotSupportedError(
            f"it offers no login that is known here (CRAM-MD5, PLAIN, LOGIN); it offers {' '.join(offered) or 'none'}"
        )
    code, answer = 0, b""
    for name in usable:
        code, answer = known[name]()
        if code in (235, 503):
            return
    raise smtplib.SMTPAuthenticationError(code, answer)


def _plain(session: smtplib.SMTP, login: str) -> tuple[int, bytes]:
    code, answer = session.docmd("AUTH", f"PLAIN {login}")
    # Some servers take no login beside the command, and ask for it.
    return session.docmd(login) if code == 334 else (code, answer)


def _cram_md5(session: smtplib.SMTP, username: str, password: str) -> tuple[int, bytes]:
    code, answer = session.docmd("AUTH", "CRAM-MD5")
    if code != 334:
        return code, answer
    try:
        digest = hmac.new(password.encode(), base64.b64decode(answer), "md5").hexdigest()
    except ValueError:  # MD5 is forbidden on this machine, or the challenge is none: the next login has its turn
        return session.docmd("*")
    return session.docmd(_base64(f"{username} {digest}"))


def _login(session: smtplib.SMTP, username: str, password: str) -> tuple[int, bytes]:
    code, answer = session.docmd("AUTH", "LOGIN")
    for text in (username, password):
        if code != 334:
            break
        code, answer = session.docmd(_base64(text))
    return code, answer


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def answer_text(code: int, answer: bytes | str) -> str:
    """``552 5.3.4 too big``."""
    return f"{code} {answer.decode('utf-8', 'replace') if isinstance(answer, bytes) else answer}"


def answer_of(error: Exception) -> str:
    """The server's own words where it had some; where the connection broke, what it says before it closes one."""
    if isinstance(error, smtplib.SMTPResponseException):
        return answer_text(error.smtp_code, error.smtp_error)
    text = str(error)
    return text if text[:3].isdigit() or not isinstance(error, OSError) else f"421 {text or type(error).__name__}"


def is_temporary(answer: str) -> bool:
    """Whether the server said "not now": 4xx, as greylisting does.

    >>> is_temporary("451 4.7.1 greylisted, try again"), is_temporary("550 no such user"), is_temporary("")
    (True, False, False)
    """
    return len(answer) > 2 and answer[0] == "4" and answer[:3].isdigit()


def _bytes(answer: bytes | str) -> bytes:
    return answer if isinstance(answer, bytes) else answer.encode()
