"""The mail about a run that was refused before it began."""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from alerting.channels import Channel
from alerting.errors import PipelineError
from alerting.fingerprint import fingerprint
from alerting.incident import Incident
from alerting.limiter import Limiter, Permit
from alerting.message import backfill_mail
from alerting.notices import deliver
from alerting.outbox import OutboxEntry
from alerting.redaction import redact
from alerting.wording import command_lines, plural

_log = logging.getLogger("gapless.alerting")
REFUSALS_OF_A_CAUSE, REFUSALS_WITHIN_MINUTES = 5, 60.0


@dataclass(frozen=True, slots=True)
class Refusal:
    """A run that was refused before it began: ``place`` is source and range, ``command`` asks for the same again, or is
    "" where that would be refused as well."""

    place: str
    error: PipelineError
    command: str = ""


def send_refusal(
    channels: Sequence[Channel], entry: OutboxEntry, refusal: Refusal, limiter: Limiter | None, now: dt.datetime
) -> bool:
    """Tells who would wait for a run that it was refused; True when a channel took it.

    Of one cause at most five an hour, as a schedule may be refused every minute; all of them without a ``limiter``,
    where it is the store that cannot be reached.
    """
    error, place = refusal.error, refusal.place
    permit = _permit_for(limiter, Incident.from_error(error, source=entry.source, stage="start"))
    if permit is None:
        _log.warning(
            "%s: this refusal is not mailed, as %d for the same reason were within an hour",
            entry.backfill_id,
            REFUSALS_OF_A_CAUSE,
        )
        return False
    held_back = permit.suppressed
    lines = [
        f"REFUSED - {place}",
        "",
        textwrap.fill(_nothing_done(redact(error.message)), 76, break_long_words=False, break_on_hyphens=False),
        "",
        *([f"Do this: {redact(error.hint)}", ""] if error.hint else []),
        *(["Then run it again:", "", command_lines(redact(refusal.command)), ""] if refusal.command else []),
        *([f"Not mailed: {plural(held_back, 'earlier refusal')} for this reason."] if held_back else []),
        f"At:  {now:%Y-%m-%d %H:%M:%S} UTC",
        *(f"{name}: {url}" for name, url in entry.run_facts.links.items()),
        "",
        "No summary follows: this run has ended.",
    ]
    subject = f"[backfill][REFUSED] {place} · {type(error).__name__}"
    mail = backfill_mail(entry, subject, "\n".join(lines), role="refused", outcome="REFUSED", now=now)
    delivered, problems = deliver(mail, channels, "ERROR", {}, now)
    if problems:
        _log.error("nobody was told that %s was refused: %s", entry.backfill_id, "; ".join(problems))
    if limiter is not None:
        with _unlimited():
            (limiter.confirm if delivered else limiter.failed)(permit)
    return bool(delivered)


def _permit_for(limiter: Limiter | None, refused: Incident) -> Permit | None:
    if limiter is not None:
        with _unlimited():
            key = f"refused {fingerprint(refused)}"
            return limiter.ask_among(key, REFUSALS_OF_A_CAUSE, REFUSALS_WITHIN_MINUTES)
    return Permit("", 0, None)


@contextlib.contextmanager
def _unlimited() -> Iterator[None]:
    """A limiter that cannot be read must not silence: one mail too many is the smaller harm."""
    try:
        yield
    except (PipelineError, OSError) as error:
        _log.error("alert limiter unavailable, sending unlimited: %s", redact(str(error)))


def _nothing_done(message: str) -> str:
    """The refusal as sentences, of which one says so.

    >>> _nothing_done("bf-1 works on it"), _nothing_done("no key. Nothing was done")
    ('bf-1 works on it. Nothing was done.', 'no key. Nothing was done.')
    """
    said = message.rstrip(". ")
    return f"{said}." if said.lower().endswith("nothing was done") else f"{said}. Nothing was done."
