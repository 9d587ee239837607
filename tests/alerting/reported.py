"""What scrapers report, and what mails then say, for several test modules."""

from __future__ import annotations

from email.message import EmailMessage
from typing import Any


def fail(day: int, **rest: Any) -> dict[str, Any]:
    """An error of one day of January 2024, as a caller of ``record_error`` describes it."""
    return {
        "scraper": "nba",
        "date": f"2024-01-{day:02d}",
        "error_type": "Timeout",
        "error": f"slow on day {day}",
        **rest,
    }


def text(mail: EmailMessage) -> str:
    """The plain part."""
    body = mail.get_body(("plain",))
    assert body is not None
    found: str = body.get_content()
    return found
