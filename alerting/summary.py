"""The one mail of a backfill: run facts and incidents in, subject, text, HTML and attachments out. Pure."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import Field, dataclass, field, replace
from email.message import EmailMessage
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import jinja2
import markupsafe

from alerting.advice import is_command
from alerting.coverage import coverage_text, shortened
from alerting.fingerprint import Causes, group_incidents
from alerting.headers import WIRE
from alerting.incident import Incident
from alerting.ranges import compress_dates
from alerting.redaction import one_line, printable, visible
from alerting.run_facts import RunFacts
from alerting.summary_rows import planned_keys
from alerting.summary_view import SummaryView, build_view
from alerting.verdict import PAUSED
from alerting.wording import command_lines, shorten, span, wrap


class _View(Protocol):
    """Any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


V = TypeVar("V", bound=_View)

_DATE = re.compile(r"\d{4}-\d\d-\d\d")
MAX_HTML_BYTES = 80_000
MAX_ATTACHMENT_BYTES = 1_000_000
_PLAIN_ATTACHMENT_BYTES = 200_000


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file beside the mail's text."""

    filename: str
    mime: str
    data: bytes


@dataclass(frozen=True, slots=True)
class RenderedMail:
    """``memories`` is what the next run of each source compares itself with (``RunFacts.previous_run``)."""

    subject: str
    text: str
    html: str
    attachments: tuple[Attachment, ...] = ()
    outcome: str = ""
    left_out: tuple[str, ...] = ()
    memories: dict[str, dict[str, Any]] = field(default_factory=dict)
    critical: bool = False


def render(run_facts: RunFacts, incidents: Iterable[Incident], *, full_list: str = "") -> RenderedMail:
    """Renders the summary. Reads ``incidents`` once; memory does not grow with their number.

    Args:
        run_facts: Whatever is known; nothing is required.
        incidents: In any order, e.g. ``IncidentJournal.read``.
        full_list: Where every incident is kept (URI), shown beside the attachment.

    The HTML stays under 80 KB as encoded for the wire: tracebacks go first, then causes past the tenth, then tables;
    ``left_out`` and the mail itself say so.
    """
    attached = IncidentFile()
    causes = group_incidents(attached.passing(incidents))
    attachments = attached.finish()
    run_facts = run_facts.redacted()
    view = build_view(run_facts, causes)
    every = f"All {causes.incidents:,} incidents are" if causes.incidents != 1 else "The one incident is"
    listed = f"{every} attached ({attachments[0].filename})." if attachments else ""
    if causes.incidents and not attachments:
        listed = f"The list of all {causes.incidents:,} incidents is too big to attach."
    if causes.incidents and full_list:
        listed += f" Journal: {full_list}"
    view = replace(view, full_list=listed.strip())
    html, left_out = html_within_budget(_HTML, view, smaller_views(view))
    return RenderedMail(
        view.subject,
        printable(_TEXT.render(v=view)),
        visible(html),
        attachments,
        view.outcome,
        left_out,
        {run_facts.source: memory_of(run_facts, view, causes)},
        view.outcome not in ("OK", "OK-WITH-GAPS", PAUSED),
    )


def render_bare(run_facts: RunFacts, error: Exception, full_list: str) -> RenderedMail:
    """What can be said in any case: for a summary that could not be drawn."""
    outcome = run_facts.outcome or "FAILED"
    place = one_line(f"{run_facts.source or run_facts.backfill_id} {span(run_facts.start_date, run_facts.end_date)}")
    counts = ", ".join(f"{count:,} {verdict}" for verdict, count in run_facts.verdict_counts.items()) or "not known"
    text = printable(
        f"Backfill {run_facts.backfill_id} of {place}: {outcome}, {run_facts.verdict or 'no verdict'}.\n"
        f"Partitions: {counts}.\n\n"
        f"The full summary could not be rendered ({type(error).__name__}). Please report this fault of Gapless.\n"
        f"Nothing is lost: every error is in {full_list}\n"
    )
    html = f"<!DOCTYPE html><html><body><pre style='white-space:pre-wrap'>{markupsafe.escape(text)}</pre></body></html>"
    return RenderedMail(f"[backfill][{outcome}] {place} · summary not rendered", text, html, (), outcome, critical=True)


def _unbroken(text: str) -> markupsafe.Markup:
    """Dates that a narrow screen does not break at their hyphens."""
    return markupsafe.Markup(_DATE.sub(r"<nobr>\g<0></nobr>", str(markupsafe.escape(text))))  # noqa: S704 - escaped in this line


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=jinja2.select_autoescape(["html.j2"], default_for_string=True),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        auto_reload=False,
    )
    environment.globals.update(coverage_lines=coverage_text, shortened=shortened)
    environment.tests.update(command=is_command)
    environment.filters.update(wrap=wrap, command_lines=command_lines, shorten=shorten, unbroken=_unbroken)
    return environment


ENVIRONMENT = _environment()
_TEXT = ENVIRONMENT.get_template("summary.txt.j2")
_HTML = ENVIRONMENT.get_template("summary.html.j2")


def encoded_size(html: str) -> int:
    """Bytes of the HTML part as it travels, in the encoding that the mail chooses."""
    part = EmailMessage(policy=WIRE)
    part.set_content(html, subtype="html")
    return len(part.as_bytes())


def html_within_budget(
    template: jinja2.Template, view: V, smaller_ones: Iterable[tuple[str, V]]
) -> tuple[str, tuple[str, ...]]:
    """The page, and what is left out of it: it drops what ``smaller_ones`` name, in their order, until it fits."""
    left_out: list[str] = []
    html = template.render(v=view)
    for told, smaller in smaller_ones:
        # No encoding makes it four times as long.
        if 4 * len(html.encode()) <= MAX_HTML_BYTES or encoded_size(html) <= MAX_HTML_BYTES:
            break
        left_out.append(told)
        html = template.render(v=replace(smaller, left_out=tuple(left_out)))
    return html, tuple(left_out)


def smaller_views(view: SummaryView) -> Iterator[tuple[str, SummaryView]]:
    """What is given up for a smaller page, one after the other, and the view without it; always as many."""
    view = replace(view, causes=tuple(replace(cause, traceback="", samples=()) for cause in view.causes))
    yield "tracebacks", view
    view = replace(view, more_causes=())
    yield "the causes after the tenth", view
    view = replace(view, tables=(), coverage=None)
    yield "tables and calendar", view
    for keep, limit in ((10, 300), (3, 200)):
        causes = tuple(
            replace(cause, message=shorten(cause.message, limit), ranges=_fewer(cause.ranges), step=None)
            for cause in view.causes[:keep]
        )
        steps = tuple(step for step in view.steps if len(step.text) <= 4_000)
        view = replace(view, causes=causes, steps=steps, audit=view.audit[:8], notes=view.notes[:5])
        yield f"details of causes after the first {keep}", view


def _fewer(ranges: tuple[str, ...]) -> tuple[str, ...]:
    return (*(shorten(item, 80) for item in ranges[:6]), "and more") if len(ranges) > 6 else ranges


class IncidentFile:
    """Collects the incidents that stream through as gzipped NDJSON, until that would be too big to attach."""

    def __init__(self) -> None:
        self._packed = bytearray()
        # A compressor and not a GzipFile: a file that is given up half-written complains when it is collected.
        self._packer = zlib.compressobj(1, wbits=zlib.MAX_WBITS | 16)
        self._is_too_big = False
        self._plain_bytes = 0

    def passing(self, incidents: Iterable[Incident]) -> Iterator[Incident]:
        """Keeps every incident, and passes it on."""
        for incident in incidents:
            if not self._is_too_big:
                line = incident.to_json(("traceback", "facts", "exception_chain", "frame")) + b"\n"
                self._plain_bytes += len(line)
                self._packed += self._packer.compress(line)
                self._is_too_big = len(self._packed) > MAX_ATTACHMENT_BYTES - 70_000
            yield incident

    def finish(self) -> tuple[Attachment, ...]:
        """The file; none for no incidents, nor for too many."""
        if self._is_too_big or not self._plain_bytes:
            return ()
        packed = bytes(self._packed) + self._packer.flush()
        if self._plain_bytes <= _PLAIN_ATTACHMENT_BYTES:
            return (Attachment("incidents.ndjson", "application/x-ndjson", gzip.decompress(packed)),)
        return (Attachment("incidents.ndjson.gz", "application/gzip", packed),)


def memory_of(facts: RunFacts, view: SummaryView, causes: Causes) -> dict[str, Any]:
    """What the next run of the source compares itself with."""
    known: dict[str, Any] = facts.previous_run.get("causes") or {}
    ended_at = facts.finished_at or facts.started_at
    return {
        "backfill_id": facts.backfill_id,
        "attempt": facts.attempt,
        "outcome": view.outcome,
        "finished_at": ended_at.isoformat() if ended_at else "",
        "planned": compress_dates(planned_keys(facts, {key for group in causes.groups for key in group.partitions})),
        "failed": view.failed_ranges,
        "causes": {
            group.fingerprint: {
                "ranges": compress_dates(group.partitions),
                "title": f"{group.sample.error_type}: {shorten(group.sample.message, 120)}",
                "since": known.get(group.fingerprint, {}).get("since") or group.first_at.isoformat(),
                "times": int(known.get(group.fingerprint, {}).get("times", 0)) + 1,
            }
            for group in causes.groups[:200]
        },
    }
