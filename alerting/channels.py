"""Where a mail goes. A channel either delivers, or raises ``DeliveryFailed``: never silence.

Every channel takes the same ``EmailMessage``; chat channels post its subject and text part.
"""

from __future__ import annotations

import contextlib
import copy
import datetime as dt
import logging
import re
import smtplib
import ssl
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from alerting.errors import ConfigurationError, TransientError
from alerting.headers import Mailbox, mailbox, wire_bytes
from alerting.incident import Severity
from alerting.message import text_of
from alerting.private_files import FOLDER_MODE, open_private
from alerting.redaction import one_line, redact
from alerting.smtp_session import (
    BrokenOff,
    ContentRefused,
    SmtpServer,
    Taken,
    answer_of,
    hand_over,
    is_temporary,
    smtp_session,
)

Kind = Literal["mail", "chat", "console"]
_log = logging.getLogger("gapless.alerting")


class DeliveryFailed(TransientError):
    """A channel did not take a mail; it stays in the outbox and is tried again."""


class MessageRefused(DeliveryFailed):
    """A channel will never take this mail as it is (too big, or its content); a smaller one it may."""


class EveryoneRefused(DeliveryFailed):
    """No recipient was taken. ``refused`` and ``later`` as in ``Delivery``."""

    def __init__(self, message: str, refused: Mapping[str, str], later: frozenset[str]) -> None:
        super().__init__(message, stage="alert")
        self.refused, self.later = refused, later


class _HungUp(DeliveryFailed):
    def __init__(self, where: str, broken: BrokenOff) -> None:
        self.recipient, self.answer = broken.recipient, f"hung up at this recipient: {broken}"
        self.is_temporary = is_temporary(str(broken))
        super().__init__(
            f"{where} did not take the mail: it hung up at {redact(broken.recipient.given)}: {one_line(str(broken))}",
            stage="alert",
        )


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a channel accepted. ``refused`` maps a recipient to the server's answer; the others have the mail.

    ``later`` are those of the refused to whom the server said "not now" (4xx, as greylisting does).
    """

    detail: str = ""
    refused: Mapping[str, str] = field(default_factory=dict)
    later: frozenset[str] = frozenset()


@runtime_checkable
class Channel(Protocol):
    """A transport. ``name`` is unique among the channels of a run: deliveries are recorded under it."""

    @property
    def name(self) -> str:
        """Short and stable, e.g. ``smtp``."""

    @property
    def kind(self) -> Kind:
        """``console`` never counts as having told a person."""

    def preflight(self) -> None:
        """Raises ``ConfigurationError`` or ``DeliveryFailed`` when a mail could not be sent now; sends nothing."""

    def send(self, mail: EmailMessage, *, severity: Severity = "INFO") -> Delivery:
        """Returns once the other side has accepted it. Raises ``DeliveryFailed``."""


class SmtpChannel:
    """Mail by SMTP.

    Args:
        server: Its address, and who logs in.
        recipients: Who gets everything.
        by_severity: Replaces ``recipients`` for a severity, e.g. ``{"CRITICAL": ("oncall@x.org",)}``.
        envelope_sender: Takes the bounces; default is ``sender``.
    """

    kind: Kind = "mail"

    def __init__(
        self,
        server: SmtpServer,
        *,
        sender: str,
        recipients: Sequence[str],
        by_severity: Mapping[Severity, Sequence[str]] | None = None,
        envelope_sender: str = "",
        name: str = "smtp",
    ) -> None:
        self.server, self.name = server, name
        self.sender, self.envelope_sender = sender, envelope_sender or sender
        self.recipients = tuple(recipients)
        self.by_severity = {level: tuple(given) for level, given in (by_severity or {}).items()}
        self._from, self._envelope = mailbox(self.sender), mailbox(self.envelope_sender)
        everybody = (typed for group in (self.recipients, *self.by_severity.values()) for typed in group)
        self._boxes = {typed: mailbox(typed) for typed in everybody}

    def preflight(self) -> None:
        """Connects, logs in, says NOOP; raises ``ConfigurationError`` when somebody would never receive anything."""
        if not self.recipients and not self.by_severity:
            raise ConfigurationError(
                "no recipients: every alert would be lost", stage="alert", hint="set the recipients"
            )
        with self._session() as session:
            code, answer = session.noop()
            if code >= 400:
                raise DeliveryFailed(f"{self.server.where} answered {code} {answer!r}", stage="alert")
            named = dict.fromkeys((self._from, self._envelope, *self._boxes.values()))
            if beyond := [box.given for box in named if self._out_of_reach(session, box)]:
                raise ConfigurationError(
                    f"{self.server.where} cannot carry {redact(', '.join(beyond))}: it does not offer SMTPUTF8",
                    stage="alert",
                    hint="give an address that is ASCII before the @, or another mail server",
                )

    def send(self, mail: EmailMessage, *, severity: Severity = "INFO", only: Collection[str] | None = None) -> Delivery:
        """Some refused recipients are returned; all refused, or any other trouble, is ``DeliveryFailed``.

        ``only`` are recipients whom an earlier send returned as ``later``: the others have the mail.
        """
        recipients = [self._boxes[typed] for typed in self.by_severity.get(severity, self.recipients)]
        if only is not None:
            everybody = dict.fromkeys(self._boxes.values())
            recipients = [box for box in everybody if box.given in only]
        # Who is named twice, also by another name, has one mailbox.
        recipients = list({(box.local, box.domain.lower()): box for box in recipients}.values())
        if not recipients:
            raise DeliveryFailed(f"no recipients for severity {severity}", stage="alert", hint="set the recipients")
        refused, hung_up = dict[Mailbox, str](), set[Mailbox]()
        while True:
            try:
                taken = self._converse(mail, [box for box in recipients if box not in refused])
                break
            except _HungUp as error:
                # One bad recipient stops nobody else; where it is the server's mood, the next connection tells.
                refused[error.recipient] = error.answer
                if error.is_temporary:
                    hung_up.add(error.recipient)
                if len(refused) == len(recipients):
                    raise
        refused |= taken.refused
        answers = {box.given: one_line(answer) for box, answer in refused.items()}
        later = frozenset(box.given for box, answer in refused.items() if box in hung_up or is_temporary(answer))
        if not taken.accepted:
            told = "; ".join(f"{who}: {answer}" for who, answer in answers.items())
            raise EveryoneRefused(f"{self.server.where} refused every recipient: {redact(told)}", answers, later)
        for who, answer in answers.items():
            _log.error("recipient %s refused by %s: %s", who, self.server.where, answer)
        return Delivery(f"{self.server.where} accepted for {len(taken.accepted)} of {len(recipients)}", answers, later)

    def _converse(self, mail: EmailMessage, recipients: Sequence[Mailbox]) -> Taken:
        """One session. What fails after somebody has the mail is an answer and no error: it must not be sent twice."""
        with self._session() as session:
            if self._out_of_reach(session, self._from) or self._out_of_reach(session, self._envelope):
                raise DeliveryFailed(
                    f"{self.server.where} does not offer SMTPUTF8, which the sender's address needs", stage="alert"
                )
            beyond = [box for box in recipients if self._out_of_reach(session, box)]
            taken = Taken(refused=dict.fromkeys(beyond, "needs SMTPUTF8, which the server does not offer"))
            for group in self._groups(box for box in recipients if box not in taken.refused):
                try:
                    here = hand_over(session, self._envelope, group, self._bytes_for(mail, group))
                except (ContentRefused, smtplib.SMTPException, OSError) as error:
                    if not taken.accepted:
                        raise
                    here = Taken(refused=dict.fromkeys(group, answer_of(error)))
                taken.accepted += here.accepted
                taken.refused |= here.refused
        return taken

    @staticmethod
    def _groups(recipients: Iterable[Mailbox]) -> list[list[Mailbox]]:
        """Who needs SMTPUTF8 gets a mail of his own: the next server may not have it, and the others must not care."""
        groups: dict[bool, list[Mailbox]] = {False: [], True: []}
        for box in recipients:
            groups[box.needs_smtputf8].append(box)
        return [group for group in groups.values() if group]

    def _bytes_for(self, mail: EmailMessage, recipients: Sequence[Mailbox]) -> bytes:
        message = copy.deepcopy(mail)
        for header in ("From", "To", "Bcc"):
            del message[header]
        return (
            f"From: {self._from.header}\r\n".encode()
            + f"To: {f',{chr(13)}{chr(10)} '.join(box.header for box in recipients)}\r\n".encode()
            + wire_bytes(message)
        )

    @staticmethod
    def _out_of_reach(session: smtplib.SMTP, box: Mailbox) -> bool:
        return box.needs_smtputf8 and not session.has_extn("smtputf8")

    @contextlib.contextmanager
    def _session(self) -> Iterator[smtplib.SMTP]:
        try:
            with smtp_session(self.server) as session:
                yield session
        except ContentRefused as error:
            raise MessageRefused(
                f"{self.server.where} refused the message for good: {one_line(error.answer)[:300]}", stage="alert"
            ) from None
        except BrokenOff as error:
            raise _HungUp(self.server.where, error) from error
        except smtplib.SMTPAuthenticationError as error:
            where, code = self.server.where, error.smtp_code
            if code // 100 == 4:
                raise DeliveryFailed(
                    f"{where} refused the login for now ({code})",
                    stage="alert",
                    hint="look at the mail server: it may take the same login later",
                ) from None
            beyond_ascii = not f"{self.server.username}{self.server.password}".isascii()
            raise DeliveryFailed(
                f"{where} refused the login ({code}{_enhanced(error.smtp_error)})"
                f"{'; user or password is outside ASCII and was sent as UTF-8' if beyond_ascii else ''}",
                stage="alert",
                hint="check the mail user and password",
            ) from None
        except (smtplib.SMTPException, OSError, ValueError) as error:
            raise DeliveryFailed(
                f"{self.server.where} did not take the mail: {type(error).__name__} {one_line(str(error))[:300]}",
                stage="alert",
                hint=_next_step(error),
            ) from error


def _enhanced(answer: bytes | str) -> str:
    """The code behind the code (RFC 3463), as in 535 5.7.139: what providers explain a refusal by; "" without one.

    Nothing else of an answer to a login is shown: servers echo what they were sent.
    """
    text = answer.decode("ascii", "replace") if isinstance(answer, bytes) else answer
    found = re.match(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}\b", text)
    return f" {found[0]}" if found else ""


def _next_step(error: Exception) -> str:
    """Where encryption or a login, and not the mail, is what the server did not take; "" elsewhere."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return "let this machine trust the server's certificate, or use the name that it is for"
    is_wanted = isinstance(error, smtplib.SMTPResponseException) and error.smtp_code in (523, 530, 538)
    if is_wanted and re.search(r"(?i)authenti", str(error)) and not re.search(r"(?i)tls|ssl|encrypt", str(error)):
        return "set the mail user and password: the server takes no mail without a login"
    if is_wanted or isinstance(error, ssl.SSLError) or "STARTTLS" in str(error):
        return "check port and encryption: starttls is for 587 and 25, tls for 465"
    return ""


class FileChannel:
    """Each mail becomes one ``.eml`` file that any mail program opens. A transport that counts: for local stacks."""

    kind: Kind = "mail"

    def __init__(self, folder: Path | str, name: str = "file") -> None:
        self.folder, self.name = Path(folder), name

    def preflight(self) -> None:
        """Makes the folder and writes to it."""
        try:
            self.folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
            probe = self.folder / f".probe-{uuid.uuid4().hex}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise ConfigurationError(
                f"mail folder {self.folder} cannot be written: {error.strerror}", stage="alert"
            ) from error

    def send(self, mail: EmailMessage, *, severity: Severity = "INFO") -> Delivery:
        """The file appears complete or not at all."""
        stamp = dt.datetime.now(dt.UTC).strftime("%Y%m%dT%H%M%S.%f")
        target = self.folder / f"{stamp}-{severity}-{uuid.uuid4().hex[:8]}.eml"
        try:
            self.folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
            fresh = target.with_suffix(".tmp")
            with open_private(fresh, "wb") as file:
                file.write(wire_bytes(mail))
            fresh.rename(target)
        except OSError as error:
            raise DeliveryFailed(f"mail file {target} not written: {error.strerror}", stage="alert") from error
        return Delivery(str(target))


class LogChannel:
    """Writes subject and text to the log: the explicit "console only"."""

    kind: Kind = "console"

    def __init__(self, name: str = "log", logger: logging.Logger | None = None) -> None:
        self.name, self._logger = name, logger or _log

    def preflight(self) -> None:
        """A log is always there."""

    def send(self, mail: EmailMessage, *, severity: Severity = "INFO") -> Delivery:
        """CRITICAL and ERROR are logged at their level, the rest as INFO."""
        level = {"CRITICAL": logging.CRITICAL, "ERROR": logging.ERROR}.get(severity, logging.INFO)
        self._logger.log(level, "%s\n\n%s", mail["Subject"], redact(text_of(mail)))
        return Delivery("logged")
