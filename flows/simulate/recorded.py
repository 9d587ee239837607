"""Answers that a source gave to a real run, as they lie in the raw zone: questions that need not be asked again."""

from __future__ import annotations

from collections.abc import Iterator

from alerting.errors import ConfigurationError
from alerting.wording import plural
from flows.asked import Asked
from flows.planning.known_first_date import known_scraper
from flows.planning.requested import Selection, requested_partitions
from flows.simulate.subject import Subject, required_first
from flows.simulate.world import question
from flows.wiring import Services
from scrapers.addressing import address_of
from scrapers.answers import Answer
from scrapers.manifest import Manifest


def take_landed(subject: Subject, services: Services) -> int:
    """Gives ``subject`` what was landed of its range, and of what has to be done first; how many answers that are.

    Reads the ledger and the landed pages of ``services``, and writes nothing. Raises ``ConfigurationError`` where
    nothing is landed, ``LandingDamaged`` where what is landed is not whole.
    """
    of_all = [*required_first(services, subject.asked, subject.begins_at), subject.asked]
    found = {asked.source: dict(_answers(services, asked, subject)) for asked in of_all}
    if not found[subject.asked.source]:
        raise ConfigurationError(
            f"nothing of {subject.asked.range_text} is landed in {services.store.root_uri}: there is no answer to "
            "simulate with. Nothing was done",
            source=subject.asked.source,
            stage="simulate",
            hint=f"gapless run {subject.asked.source} {subject.asked.range_text.replace('..', ' ')}, or without "
            "--answers landing: the source itself is asked then",
        )
    for answers in found.values():
        subject.answers.known.update(answers)
    return sum(map(len, found.values()))


def told(count: int) -> str:
    """For people."""
    return f"{plural(count, 'answer')} from the raw zone; what was never landed is asked of the source, once"


def _answers(services: Services, asked: Asked, subject: Subject) -> Iterator[tuple[str, Answer]]:
    kit = services.source_kit(asked.source)
    selected = Selection(asked.start_date, asked.end_date, entities=asked.entities)
    keys = {one.key for one in requested_partitions(known_scraper(services, asked.source), selected, subject.begins_at)}
    entries = kit.ledger.refresh(min(keys), max(keys))
    for key in sorted(keys & entries.keys()):
        if name := entries[key].manifest_name:
            yield from _of_manifest(services, services.landing.read_manifest(name), kit.access.base_url)


def _of_manifest(services: Services, manifest: Manifest, base_url: str) -> Iterator[tuple[str, Answer]]:
    for record in manifest.pages:
        url = address_of(base_url.rstrip("/"), record.site) + record.path
        asked = question(record.method, url, record.params, content=record.json_body.encode())
        yield asked, Answer(record.status, record.headers, services.landing.read_page(record), record.fetched_at)
