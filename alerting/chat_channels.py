"""Chat rooms, pagers and webhooks: whatever Apprise knows (Slack, Teams, Discord, ntfy, JSON to an address ...)."""

from __future__ import annotations

import re
from email.message import EmailMessage

from alerting.channels import Delivery, DeliveryFailed, Kind
from alerting.errors import ConfigurationError
from alerting.incident import Severity
from alerting.message import text_of
from alerting.redaction import redact, register_secret

MAX_CHAT_CHARACTERS = 3_000
# Letters and digits mixed, or very long: a part of an address that is no host and no word.
_TOKEN = re.compile(r"(?<![\w.-])(?:(?=[A-Za-z_-]*\d)(?=[\d_-]*[A-Za-z])[\w-]{8,}|[A-Za-z0-9]{24,})(?![\w.-])")


def register_address(url: str) -> None:
    """Masks the address, and the tokens in it wherever they stand alone; its host and its words stay readable.

    A webhook at ``json://host/gapless`` must not mask every command.
    """
    rest = url.partition("://")[2]
    for secret in (url, *_TOKEN.findall(rest), rest.rpartition("@")[0].partition(":")[2]):
        register_secret(secret)


def chat_text(mail: EmailMessage) -> tuple[str, str]:
    """Subject, and as much of the text part as a chat shows."""
    text = redact(text_of(mail)).strip()
    if len(text) > MAX_CHAT_CHARACTERS:
        text = text[:MAX_CHAT_CHARACTERS].rpartition("\n")[0] + "\n[the mail has the rest]"
    return redact(str(mail["Subject"])), text


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

    def preflight(self) -> None:
        """Nothing: Apprise has no way to try an address without posting (that is what ``test_alert`` does)."""

    def send(self, mail: EmailMessage, *, severity: Severity = "INFO") -> Delivery:
        """Raises ``DeliveryFailed`` unless the service took it."""
        subject, text = chat_text(mail)
        kind = {"CRITICAL": self._types.FAILURE, "ERROR": self._types.FAILURE, "WARNING": self._types.WARNING}
        try:
            taken = self._service.notify(title=subject, body=text, notify_type=kind.get(severity, self._types.INFO))
        except Exception as error:
            raise DeliveryFailed(
                f"{self.name}: {type(error).__name__} {redact(str(error))[:200]}", stage="alert"
            ) from None
        if not taken:
            raise DeliveryFailed(f"{self.name}: the service did not take the message", stage="alert")
        return Delivery(f"{self.name}: the service took it")
