"""Chat rooms, pagers and webhooks: whatever Apprise knows (Slack, Teams, Discord, ntfy, JSON to an address ...)."""

from __future__ import annotations

import re
from collections.abc import Callable
from email.message import EmailMessage

from alerting.channels import Delivery, DeliveryFailed, Kind
from alerting.errors import ConfigurationError
from alerting.incident import Severity
from alerting.message import text_of
from alerting.redaction import redact, register_secret

MAX_CHAT_CHARACTERS = 3_000
_REST = "[the mail has the rest]"
# A workflow behind a webhook may answer when it has ended: what is given up sooner comes again, and again.
_ANSWER_S = 30.0
# Letters and digits mixed, or very long: a part of an address that is no host and no word.
_TOKEN = re.compile(r"(?<![\w.-])(?:(?=[A-Za-z_-]*\d)(?=[\d_-]*[A-Za-z])[\w-]{8,}|[A-Za-z0-9]{24,})(?![\w.-])")


def register_address(url: str) -> None:
    """Masks the address, and the tokens in it wherever they stand alone; its host and its words stay readable.

    A webhook at ``json://host/gapless`` must not mask every command.
    """
    rest = url.partition("://")[2]
    for secret in (url, *_TOKEN.findall(rest), rest.rpartition("@")[0].partition(":")[2]):
        register_secret(secret)


def chat_text(mail: EmailMessage, fits: Callable[[str, str], bool] = lambda *_: True) -> tuple[str, str]:
    """Subject, and as much of the text part as a chat shows and, with the subject, ``fits`` the service."""
    subject, text = redact(str(mail["Subject"])), redact(text_of(mail)).strip()

    def is_shown(kept: str) -> bool:
        return len(kept) <= MAX_CHAT_CHARACTERS and fits(subject, kept)

    if is_shown(text):
        return subject, text
    kept = text[:MAX_CHAT_CHARACTERS]
    while kept and not is_shown(f"{kept}\n{_REST}"):
        shorter = kept[: len(kept) * 9 // 10]
        kept = shorter.rpartition("\n")[0] or shorter
    return subject, f"{kept}\n{_REST}".strip()


class AppriseChannel:
    """One address of a service of https://github.com/caronc/apprise/wiki. It is a secret and is never shown."""

    kind: Kind = "chat"

    def __init__(self, url: str, *, name: str = "apprise") -> None:
        import apprise  # the library takes 0.4 s to import; a run without it should not pay

        self.name, self._types = name, apprise.NotifyType
        # Followed, a POST becomes a GET of a login page that answers 200: an alert lost without a trace.
        self._service = apprise.Apprise(asset=apprise.AppriseAsset(http_redirects=False))
        if not self._service.add(url):
            raise ConfigurationError(
                f"channel {name}: its address is not one that Apprise knows",
                stage="alert",
                hint="slack://, discord://, json://host/path ...: https://github.com/caronc/apprise/wiki",
            )
        register_address(url)
        targets = sum(map(len, self._service))
        if targets > 1:
            raise ConfigurationError(
                f"channel {name}: its address has {targets} targets; what one of them refuses, the others would get "
                "again and again",
                stage="alert",
                hint="give each target an address of its own",
            )
        (self._target,) = self._service
        if self._target.socket_read_timeout == apprise.URLBase.socket_read_timeout:
            self._target.socket_read_timeout = _ANSWER_S
        self._text = apprise.NotifyFormat.TEXT

    def preflight(self) -> None:
        """Nothing: Apprise has no way to try an address without posting (that is what ``test_alert`` does)."""

    def send(self, mail: EmailMessage, *, severity: Severity = "INFO") -> Delivery:
        """Raises ``DeliveryFailed`` unless the service took it."""
        subject, text = chat_text(mail, self._fits)
        kind = {"CRITICAL": self._types.FAILURE, "ERROR": self._types.FAILURE, "WARNING": self._types.WARNING}
        try:
            taken = self._service.notify(
                title=subject,
                body=text,
                notify_type=kind.get(severity, self._types.INFO),
                # Else a service of HTML takes "in <module>" for markup, and refuses it.
                body_format=self._text,
            )
        except Exception as error:
            raise DeliveryFailed(
                f"{self.name}: {type(error).__name__} {redact(str(error))[:200]}", stage="alert"
            ) from None
        if not taken:
            raise DeliveryFailed(f"{self.name}: the service did not take the message", stage="alert")
        return Delivery(f"{self.name}: the service took it")

    def _fits(self, subject: str, text: str) -> bool:
        """Whether the service takes it: Apprise itself sends what is too long, and the service refuses it.

        The subject counts: many services have it in front of the text.
        """
        from apprise.conversion import convert_between

        target = self._target
        whole = f"{subject}\r\n{text}"
        written: str = convert_between(self._text, target.notify_format, content=whole)  # type: ignore[no-untyped-call]
        return len(written) <= target.body_maxlen or target.overflow_mode != "upstream"
