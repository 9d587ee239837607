"""Chat rooms and pagers: a plain webhook, and everything that Apprise knows (Slack, Teams, Discord, ntfy ...)."""

from __future__ import annotations

import http.client
import json
import re
import socket
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from email.message import EmailMessage
from typing import Any

from alerting.channels import Delivery, DeliveryFailed, Kind
from alerting.errors import ConfigurationError
from alerting.incident import Severity
from alerting.message import text_of
from alerting.redaction import redact, register_secret

MAX_CHAT_CHARACTERS = 3_000
# Letters and digits mixed, or very long: a part of an address that is no host and no word.
_TOKEN = re.compile(r"(?<![\w.-])(?:(?=[A-Za-z_-]*\d)(?=[\d_-]*[A-Za-z])[\w-]{8,}|[A-Za-z0-9]{24,})(?![\w.-])")
Payload = Callable[[str, str, Severity], Mapping[str, Any]]


def slack_payload(subject: str, text: str, severity: Severity) -> Mapping[str, Any]:
    """Slack, Mattermost, Rocket.Chat: one text; ``& < >`` escaped, so that nobody is pinged by an error message.

    Source: https://api.slack.com/reference/surfaces/formatting#escaping
    """
    body = f"{severity} {subject}\n{text}"
    for char, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        body = body.replace(char, entity)
    return {"text": body}


def discord_payload(subject: str, text: str, severity: Severity) -> Mapping[str, Any]:
    """Discord takes 2,000 characters; mentions are switched off."""
    return {"content": f"**{severity} {subject}**\n{text}"[:2000], "allowed_mentions": {"parse": []}}


def json_payload(subject: str, text: str, severity: Severity) -> Mapping[str, Any]:
    """For a receiver of one's own."""
    return {"subject": subject, "text": text, "severity": severity}


def register_address(url: str) -> None:
    """Masks the address, and the tokens in it wherever they stand alone; its host and its words stay readable.

    A webhook at ``http://host/gapless`` must not mask every command.
    """
    rest = url.partition("://")[2]
    for secret in (url, *_TOKEN.findall(rest), rest.rpartition("@")[0].partition(":")[2]):
        register_secret(secret)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    # Followed, a POST becomes a GET of a login page that answers 200: an alert lost without a trace.
    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def chat_text(mail: EmailMessage) -> tuple[str, str]:
    """Subject, and as much of the text part as a chat shows."""
    text = redact(text_of(mail)).strip()
    if len(text) > MAX_CHAT_CHARACTERS:
        text = text[:MAX_CHAT_CHARACTERS].rpartition("\n")[0] + "\n[the mail has the rest]"
    return redact(str(mail["Subject"])), text


class WebhookChannel:
    """Posts JSON to one URL. The URL is a secret: it is masked everywhere from here on.

    Args:
        payload: Shape of the body: ``slack_payload``, ``discord_payload``, ``json_payload`` or one's own.
    """

    kind: Kind = "chat"

    def __init__(
        self, url: str, *, payload: Payload = slack_payload, timeout_s: float = 10.0, name: str = "webhook"
    ) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or any(char in url for char in "\r\n\0 "):
            raise ConfigurationError(
                f"channel {name}: not a webhook URL", stage="alert", hint="an address with https://"
            )
        register_address(url)
        self._url, self._parts, self._payload = url, parts, payload
        self.timeout_s, self.name = timeout_s, name
        self._opener = urllib.request.build_opener(_NoRedirect)

    def preflight(self) -> None:
        """Connects to the host; a webhook cannot be tried without posting (that is what ``test_alert`` does)."""
        host = self._parts.hostname or ""
        port = self._parts.port or (443 if self._parts.scheme == "https" else 80)
        try:
            with socket.create_connection((host, port), timeout=self.timeout_s) as plain:
                if self._parts.scheme == "https":
                    ssl.create_default_context().wrap_socket(plain, server_hostname=host).close()
        except OSError as error:
            raise DeliveryFailed(
                f"webhook host {host}:{port} not reached: {type(error).__name__}", stage="alert"
            ) from error

    def send(self, mail: EmailMessage, *, severity: Severity = "INFO") -> Delivery:
        """Only a 2xx counts."""
        request = urllib.request.Request(  # noqa: S310 - the scheme was checked
            self._url,
            data=json.dumps(self._payload(*chat_text(mail), severity)).encode(),
            headers={"Content-Type": "application/json", "User-Agent": "gapless"},
            method="POST",
        )
        try:
            with self._opener.open(request, timeout=self.timeout_s) as answer:
                status = int(answer.status)
        except urllib.error.HTTPError as error:
            error.close()
            raise DeliveryFailed(f"webhook {self._parts.hostname} answered {error.code}", stage="alert") from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise DeliveryFailed(
                f"webhook {self._parts.hostname} did not answer: {redact(str(reason))[:200]}", stage="alert"
            ) from None
        return Delivery(f"webhook {self._parts.hostname} answered {status}")


class AppriseChannel:
    """Any service of https://github.com/caronc/apprise/wiki by its URL. The URLs are secrets and are never shown."""

    kind: Kind = "chat"

    def __init__(self, urls: Sequence[str], *, name: str = "apprise") -> None:
        import apprise  # the library takes 0.4 s to import; a run without it should not pay

        self.name, self._types = name, apprise.NotifyType
        self._service = apprise.Apprise()
        for position, url in enumerate(urls, start=1):
            if not self._service.add(url):
                raise ConfigurationError(
                    f"channel {name}: address {position} is not one that Apprise knows",
                    stage="alert",
                    hint="see its wiki",
                )
            register_address(url)

    def preflight(self) -> None:
        """At least one address; Apprise has no way to try one without posting."""
        if not len(self._service):
            raise ConfigurationError(f"channel {self.name} has no address: its alerts would be lost", stage="alert")

    def send(self, mail: EmailMessage, *, severity: Severity = "INFO") -> Delivery:
        """Every address must take it."""
        subject, text = chat_text(mail)
        kind = {"CRITICAL": self._types.FAILURE, "ERROR": self._types.FAILURE, "WARNING": self._types.WARNING}
        try:
            taken = self._service.notify(title=subject, body=text, notify_type=kind.get(severity, self._types.INFO))
        except Exception as error:
            raise DeliveryFailed(f"apprise: {type(error).__name__} {redact(str(error))[:200]}", stage="alert") from None
        if not taken:
            raise DeliveryFailed("apprise: at least one service did not take the message", stage="alert")
        return Delivery(f"apprise: {len(self._service)} services took it")
