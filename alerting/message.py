"""From a rendered mail to the bytes that travel: headers that thread, filter, and stop out-of-office loops."""

from __future__ import annotations

import datetime as dt
import email
import re
import zlib
from collections.abc import Iterator
from email.message import EmailMessage

from alerting.headers import WIRE, wire_bytes
from alerting.outbox import OutboxEntry
from alerting.redaction import one_line, printable
from alerting.summary import RenderedMail

_LONGEST_TOKEN = 160
_FIRST_SCREEN = 1_500


def message_id(entry: OutboxEntry, role: str) -> str:
    """``<gapless.{id}.{attempt}.{role}@host>``: the same for every process that ever sends this mail.

    ``role`` is ``final``, ``human`` or ``progress-<n>``.
    """
    return f"<gapless.{_token(entry.backfill_id)}.{entry.attempt}.{role}@{_token(entry.mail_host)}>"


def _token(text: str) -> str:
    """Distinct ids stay distinct: what had to be cut ends in a checksum of the whole."""
    token = re.sub(r"[^A-Za-z0-9.-]+", "-", text).strip(".-") or "x"
    if len(token) <= _LONGEST_TOKEN:
        return token
    return f"{token[:_LONGEST_TOKEN]}-{zlib.crc32(text.encode('utf-8', 'replace')):08x}"


def header_text(text: str) -> str:
    """One line, redacted, without control characters: what may become a header."""
    return one_line(text)[:400]


def plain_mail(subject: str, text: str, *, source: str = "", now: dt.datetime | None = None) -> EmailMessage:
    """A mail of one text part, with the headers that every automatic mail carries."""
    mail = EmailMessage(policy=WIRE)
    mail["Subject"] = header_text(subject)
    mail["Date"] = (now or dt.datetime.now(dt.UTC)).astimezone(dt.UTC)
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Auto-Response-Suppress"] = "All"
    mail["List-Id"] = f"<backfill.{_token(source or 'gapless')}>"
    mail.set_content(printable(text))
    return mail


def backfill_mail(
    entry: OutboxEntry, subject: str, text: str, *, role: str, outcome: str, now: dt.datetime
) -> EmailMessage:
    """``plain_mail`` that belongs to the thread of one backfill."""
    mail = plain_mail(subject, text, source=entry.source, now=now)
    root = f"<gapless.{_token(entry.backfill_id)}.root@{_token(entry.mail_host)}>"
    mail["Message-ID"] = message_id(entry, role)
    mail["In-Reply-To"] = root
    mail["References"] = root
    mail["X-Backfill-Id"] = header_text(entry.backfill_id)
    mail["X-Backfill-Outcome"] = header_text(outcome)
    mail["X-Backfill-Source"] = header_text(entry.source)
    return mail


def summary_mail(entry: OutboxEntry, rendered: RenderedMail, now: dt.datetime) -> EmailMessage:
    """The summary: ``multipart/alternative`` (text first, then HTML), attachments around it. No From and To yet."""
    mail = backfill_mail(entry, rendered.subject, rendered.text, role="final", outcome=rendered.outcome, now=now)
    mail.add_alternative(rendered.html, subtype="html")
    for attachment in rendered.attachments:
        maintype, _, subtype = attachment.mime.partition("/")
        mail.add_attachment(attachment.data, maintype=maintype, subtype=subtype, filename=attachment.filename)
    return mail


def smaller_mails(mail: EmailMessage, refusal: str, kept_at: str) -> Iterator[EmailMessage]:
    """What may pass where the whole mail was refused, one after the other: its text, the first screen, the news alone.

    Each begins with a CRITICAL note about the refusal, and keeps subject, thread and Message-ID of ``mail``.
    """
    text = text_of(mail)
    kept = f"It is kept at {kept_at}" if kept_at else "Its whole text is in the log of the run"
    note = f"CRITICAL: the mail server refused the whole mail. {refusal}\n{kept}.\n"
    first_screen = text[:_FIRST_SCREEN].rpartition("\n")[0] or text[:_FIRST_SCREEN]
    texts = [text] if mail.is_multipart() else []
    texts += [f"{first_screen}\n[...]\n"] if len(text) > _FIRST_SCREEN else []
    for body in (*texts, ""):
        smaller = EmailMessage(policy=WIRE)
        for name, value in mail.items():
            if not name.lower().startswith(("content-", "mime-")):
                smaller[name] = value
        smaller.set_content(printable(f"{note}\n{body}"))
        yield smaller


def text_of(mail: EmailMessage) -> str:
    """The plain text part."""
    body = mail.get_body(preferencelist=("plain",))
    return str(body.get_content()) if body else ""


def to_bytes(mail: EmailMessage) -> bytes:
    """The wire form; kept in the outbox so that a retry sends the same bytes."""
    return wire_bytes(mail)


def from_bytes(data: bytes) -> EmailMessage:
    """The inverse of ``to_bytes``."""
    return email.message_from_bytes(data, policy=WIRE)
