"""Where a mail goes. A channel either delivers, or raises ``DeliveryFailed``: never silence.

Every channel takes the same ``EmailMessage``; chat channels post its subject and text part.
"""

from __future__ import annotations

import contextlib
import copy
import datetime as dt
import email.policy
import logging
import smtplib
import ssl
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import getaddresses
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from alerting.errors import ConfigurationError, TransientError
from alerting.incident import Severity
from alerting.redaction import redact

Kind = Literal["mail", "chat", "console"]
_log = logging.getLogger("gapless.alerting")


class DeliveryFailed(TransientError):
    """A channel did not take a mail; it stays in the outbox and is tried again."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a channel accepted. ``refused`` maps a recipient to the server's answer; the others have the mail."""

    detail: str = ""
    refused: Mapping[str, str] = field(default_factory=dict)


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


def text_of(mail: EmailMessage) -> str:
    """The plain text part."""
    body = mail.get_body(preferencelist=("plain",))
    return str(body.get_content()) if body else ""


def _addresses(recipients: Sequence[str]) -> tuple[str, ...]:
    for recipient in recipients:
        parsed = getaddresses([recipient])
        if any(char in recipient for char in "\r\n\0") or len(parsed) != 1 or "@" not in parsed[0][1]:
            raise ConfigurationError(
                f"not one mail address: {redact(recipient)!r}", stage="alert", hint="fix ALERT recipients"
            )
    return tuple(recipients)


class SmtpChannel:
    """Mail by SMTP.

    Args:
        security: ``starttls`` (refuses to go on without it), ``tls`` (from the first byte), ``none``.
        recipients: Who gets everything.
        by_severity: Replaces ``recipients`` for a severity, e.g. ``{"CRITICAL": ("oncall@x.org",)}``.
        envelope_sender: Takes the bounces; default is ``sender``.
    """

    kind: Kind = "mail"

    def __init__(
        self,
        host: str,
        port: int = 587,
        *,
        sender: str,
        recipients: Sequence[str],
        by_severity: Mapping[Severity, Sequence[str]] | None = None,
        security: Literal["starttls", "tls", "none"] = "starttls",
        username: str = "",
        password: str = "",
        envelope_sender: str = "",
        timeout_s: float = 30.0,
        name: str = "smtp",
        tls_context: ssl.SSLContext | None = None,
    ) -> None:
        self.host, self.port, self.name, self.security, self.timeout_s = host, port, name, security, timeout_s
        self.sender = _addresses([sender])[0]
        self.envelope_sender = _addresses([envelope_sender])[0] if envelope_sender else self.sender
        self.recipients = _addresses(recipients)
        self.by_severity = {level: _addresses(given) for level, given in (by_severity or {}).items()}
        self._username, self._password = username, password
        self._tls_context = tls_context

    def preflight(self) -> None:
        """Connects, logs in, says NOOP; raises ``ConfigurationError`` when nobody would receive anything."""
        if not self.recipients and not self.by_severity:
            raise ConfigurationError(
                "no recipients: every alert would be lost", stage="alert", hint="set the recipients"
            )
        with self._session() as session:
            code, answer = session.noop()
            if code >= 400:
                raise DeliveryFailed(f"{self._where()} answered {code} {answer!r}", stage="alert")

    def send(self, mail: EmailMessage, *, severity: Severity = "INFO") -> Delivery:
        """Some refused recipients are returned; all refused, or any other trouble, is ``DeliveryFailed``."""
        recipients = self.by_severity.get(severity, self.recipients)
        if not recipients:
            raise DeliveryFailed(f"no recipients for severity {severity}", stage="alert", hint="set the recipients")
        message = copy.deepcopy(mail)
        for header, value in (("From", self.sender), ("To", ", ".join(recipients))):
            del message[header]
            message[header] = value
        bare = [getaddresses([recipient])[0][1] for recipient in recipients]
        with self._session() as session:
            refused = session.send_message(message, getaddresses([self.envelope_sender])[0][1], bare)
        answers = {who: redact(f"{code} {_answer(text)}") for who, (code, text) in refused.items()}
        for who, answer in answers.items():
            _log.error("recipient %s refused by %s: %s", who, self._where(), answer)
        return Delivery(f"{self._where()} accepted for {len(bare) - len(answers)} of {len(bare)}", answers)

    def _where(self) -> str:
        return f"smtp {self.host}:{self.port}"

    @contextlib.contextmanager
    def _session(self) -> Iterator[smtplib.SMTP]:
        context = self._tls_context or ssl.create_default_context()
        try:
            if self.security == "tls":
                session: smtplib.SMTP = smtplib.SMTP_SSL(self.host, self.port, timeout=self.timeout_s, context=context)
            else:
                session = smtplib.SMTP(self.host, self.port, timeout=self.timeout_s)
            with session:
                if self.security == "starttls":
                    session.starttls(context=context)
                if self._username:
                    session.login(self._username, self._password)
                yield session
        except smtplib.SMTPAuthenticationError as error:
            raise DeliveryFailed(
                f"{self._where()} refused the login ({error.smtp_code})",
                stage="alert",
                hint="check the mail user and password",
            ) from None
        except smtplib.SMTPRecipientsRefused as error:
            answers = "; ".join(f"{who}: {code} {_answer(text)}" for who, (code, text) in error.recipients.items())
            raise DeliveryFailed(
                f"{self._where()} refused every recipient: {redact(answers)}", stage="alert"
            ) from error
        except (smtplib.SMTPException, OSError) as error:
            raise DeliveryFailed(
                f"{self._where()} did not take the mail: {type(error).__name__} {redact(str(error))[:300]}",
                stage="alert",
            ) from error


def _answer(text: bytes | str) -> str:
    return text.decode("utf-8", "replace") if isinstance(text, bytes) else text


class FileChannel:
    """Each mail becomes one ``.eml`` file that any mail program opens. A transport that counts: for local stacks."""

    kind: Kind = "mail"

    def __init__(self, folder: Path | str, name: str = "file") -> None:
        self.folder, self.name = Path(folder), name

    def preflight(self) -> None:
        """Makes the folder and writes to it."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
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
            self.folder.mkdir(parents=True, exist_ok=True)
            fresh = target.with_suffix(".tmp")
            fresh.write_bytes(mail.as_bytes(policy=email.policy.SMTP))
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
