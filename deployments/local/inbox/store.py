"""Mails as ``.eml`` files in one folder, and what there is to say about one."""

from __future__ import annotations

import base64
import itertools
import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from email.utils import format_datetime, getaddresses
from pathlib import Path
from typing import Any

_ID = re.compile(r"[0-9]{8}T[0-9]{12}Z-[0-9]+-[0-9]+")


@dataclass(frozen=True)
class Attachment:
    """A named part of a mail, decoded."""

    name: str
    content_type: str
    data: bytes


class Mail:
    """One stored mail.

    Attributes:
        id: File name without its end; sorts by arrival.
        raw: Bytes as stored: the mail as received below the trace headers this server put on top.
    """

    def __init__(self, mail_id: str, raw: bytes) -> None:
        self.id = mail_id
        self.raw = raw
        self.message: EmailMessage = BytesParser(policy=policy.default).parsebytes(raw)

    @property
    def received_at(self) -> datetime:
        """Arrival, aware UTC."""
        return datetime.strptime(self.id.partition("-")[0], "%Y%m%dT%H%M%S%fZ").replace(tzinfo=UTC)

    def header(self, name: str) -> str:
        """A header decoded to text; empty if it is missing or broken beyond reading."""
        try:
            return str(self.message[name] or "")
        except (ValueError, IndexError, AttributeError):
            return ""

    def headers(self) -> list[tuple[str, str]]:
        """All headers in order, decoded; one that cannot be parsed is given as it came."""
        return [(name, self._decoded(name, value)) for name, value in self.message.raw_items()]

    @staticmethod
    def _decoded(name: str, value: Any) -> str:
        try:
            return str(policy.default.header_fetch_parse(name, value))
        except (ValueError, IndexError, AttributeError):
            return str(value)

    def part(self, kind: str) -> str:
        """The ``plain`` or ``html`` body; empty if there is none."""
        body = self.message.get_body(preferencelist=(kind,))
        if body is None:
            return ""
        try:
            return str(body.get_content()).replace("\r\n", "\n")
        except (LookupError, ValueError):
            data = body.get_payload(decode=True)
            return data.decode("utf-8", "replace") if isinstance(data, bytes) else ""

    def html_with_images(self) -> str:
        """The HTML body with ``cid:`` images as data URIs, so that it needs nothing from anywhere."""
        html = self.part("html")
        for part in self.message.walk():
            cid, data = str(part.get("Content-ID") or "").strip("<> "), part.get_payload(decode=True)
            if cid and isinstance(data, bytes) and part.get_content_maintype() == "image":
                html = html.replace(
                    f"cid:{cid}", f"data:{part.get_content_type()};base64,{base64.b64encode(data).decode()}"
                )
        return html

    def attachments(self) -> list[Attachment]:
        """All attachments in order."""
        found = []
        for number, part in enumerate(self.message.iter_attachments(), start=1):
            payload = part.get_payload(decode=True)
            data = payload if isinstance(payload, bytes) else part.as_bytes()
            found.append(Attachment(part.get_filename() or f"part-{number}", part.get_content_type(), data))
        return found

    def summary(self) -> dict[str, Any]:
        """One line of the list, as JSON: who, what, when, how big, and the first of each header."""
        return {
            "id": self.id,
            "subject": self.header("Subject"),
            "from": self.header("From"),
            "to": [one for _, one in getaddresses([self.header("To"), self.header("Cc")]) if one],
            "delivered_to": [value for name, value in self.headers() if name == "Delivered-To"],
            "date": self.header("Date"),
            "received_at": self.received_at.isoformat(),
            "message_id": self.header("Message-ID"),
            "size_bytes": len(self.raw),
            "headers": dict(reversed(self.headers())),
        }

    def details(self) -> dict[str, Any]:
        """The summary with text, HTML and the list of attachments."""
        listed = [
            {"name": one.name, "content_type": one.content_type, "size_bytes": len(one.data)}
            for one in self.attachments()
        ]
        return {**self.summary(), "text": self.part("plain"), "html": self.part("html"), "attachments": listed}


class MailStore:
    """The folder. Several threads may use one store; every mail appears whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._numbers = itertools.count(1)
        folder.mkdir(parents=True, exist_ok=True)

    def keep(self, content: bytes, mail_from: str, recipients: list[str]) -> str:
        """Stores a mail under trace headers (Return-Path, Delivered-To, Received); returns its id or raises OSError."""
        now = datetime.now(UTC)
        mail_id = f"{now:%Y%m%dT%H%M%S%f}Z-{os.getpid()}-{next(self._numbers)}"
        trace = [f"Return-Path: <{_one_line(mail_from)}>", *(f"Delivered-To: {_one_line(one)}" for one in recipients)]
        trace.append(f"Received: by 127.0.0.1 (gapless inbox); {format_datetime(now)}")
        unfinished = self.folder / f".{mail_id}.tmp"
        try:
            with unfinished.open("wb") as file:
                file.write("\r\n".join([*trace, ""]).encode("utf-8", "replace") + content)
                file.flush()
                os.fsync(file.fileno())
            unfinished.rename(self.folder / f"{mail_id}.eml")
        finally:
            unfinished.unlink(missing_ok=True)
        return mail_id

    def mails(self) -> list[Mail]:
        """All mails, newest first."""
        ids = sorted((file.stem for file in self.folder.glob("*.eml") if _ID.fullmatch(file.stem)), reverse=True)
        return [mail for mail in map(self.mail, ids) if mail]

    def mail(self, mail_id: str) -> Mail | None:
        """One mail; None if there is none of that id."""
        if not _ID.fullmatch(mail_id):
            return None
        try:
            return Mail(mail_id, (self.folder / f"{mail_id}.eml").read_bytes())
        except FileNotFoundError:
            return None

    def clear(self) -> int:
        """Deletes all mails; returns how many."""
        files = [file for file in self.folder.glob("*.eml") if _ID.fullmatch(file.stem)]
        for file in files:
            file.unlink(missing_ok=True)
        return len(files)


def _one_line(text: str) -> str:
    return re.sub(r"[\r\n]", "", text)
