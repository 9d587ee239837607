"""The one mail of a family of sources: the verdict of the whole, and a section per source. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from alerting.family_view import FamilyView, Section, build_family_view, read_sections
from alerting.redaction import printable, visible
from alerting.run_facts import RunFacts
from alerting.summary import (
    ENVIRONMENT,
    IncidentFile,
    RenderedMail,
    html_within_budget,
    memory_of,
    smaller_views,
)
from alerting.verdict import NOT_BEGUN, PAUSED

_TEXT = ENVIRONMENT.get_template("family.txt.j2")
_HTML = ENVIRONMENT.get_template("family.html.j2")


def render_family(run_facts: RunFacts, sections: Sequence[Section]) -> RenderedMail:
    """Renders the summary. Reads the incidents of each section once.

    Args:
        run_facts: Of the family run: its counts are sums over the sources.
        sections: The sources in the order in which they were run.

    The HTML stays under the same 80 KB as that of one source, and gives up the same things in the same order.
    """
    attached = IncidentFile()
    run_facts = run_facts.redacted()
    read = [read_sections(section, attached) for section in sections]
    attachments = attached.finish()
    incidents = sum(one.causes.incidents for one in read)
    full_list = ""
    if incidents:
        every = f"All {incidents:,} incidents are" if incidents != 1 else "The one incident is"
        full_list = f"{every} attached ({attachments[0].filename})." if attachments else ""
        full_list = full_list or f"The list of all {incidents:,} incidents is too big to attach."
    view = build_family_view(run_facts, read, full_list)
    html, left_out = html_within_budget(_HTML, view, _smaller_families(view))
    memories: dict[str, dict[str, Any]] = {
        one.facts.source: memory_of(one.facts, one.view, one.causes) for one in read if one.facts.verdict != NOT_BEGUN
    }
    return RenderedMail(
        view.subject,
        printable(_TEXT.render(v=view)),
        visible(html),
        attachments,
        view.outcome,
        left_out,
        memories,
        view.outcome not in ("OK", "OK-WITH-GAPS", PAUSED),
    )


# -- within 80 KB -----------------------------------------------------------------------------------------------


def _smaller_families(view: FamilyView) -> Iterator[tuple[str, FamilyView]]:
    for changes in zip(*(smaller_views(section.view) for section in view.sections), strict=True):
        sections = tuple(
            replace(section, view=smaller) for section, (_, smaller) in zip(view.sections, changes, strict=True)
        )
        yield changes[0][0], replace(view, sections=sections)
    bare = tuple(
        replace(section, view=replace(section.view, causes=(), more_causes=(), steps=(), tables=(), notes=()))
        for section in view.sections
    )
    yield "causes and commands of the sources", replace(view, sections=bare)
