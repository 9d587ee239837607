"""A look at sources side by side, kept as tables of the dataset: what the command shows, for SQL and dashboards.

Kept at the end of a family's run, by the audit, and by ``gapless coverage --keep``.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import secrets
from collections.abc import Iterable, Iterator

from alerting.errors import PipelineError
from flows.planning.requirements import partitions_of_key
from flows.truth.disagreements import Disagreement
from flows.truth.item_states import THERE
from flows.truth.side_by_side import SideBySide, read_side_by_side
from flows.truth.standing import COUNTS, StandingOn
from flows.wiring import Services
from processors.coverage_tables import CoverageRow, DisagreementRow, replace_looked_at
from scrapers.registry import families, sources_of_family

LOG = logging.getLogger("gapless.truth")


def keep_look(services: Services, found: SideBySide, now: dt.datetime) -> None:
    """Puts ``found`` in the place of earlier looks at the same sources and dates.

    Raises what storage and BigQuery raise; each table is then as it was, or as it should be.
    """
    # Of a date that nobody began and that has nothing there is nothing to say.
    known = [one for one in found.dates if one.verdict or one.expected or one.more]
    rows: list[CoverageRow | DisagreementRow] = [_coverage_row(one, now) for one in known]
    rows += [row for one in found.disagreements for row in _disagreement_rows(one, now)]
    replace_looked_at(
        services.warehouse,
        services.store,
        rows,
        [one.source for one in found.standings],
        [found.first + dt.timedelta(days=at) for at in range((found.last - found.first).days + 1)],
        f"look-{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}",
    )


def keep_look_at(services: Services, sources: Iterable[str], first: dt.date, last: dt.date, now: dt.datetime) -> None:
    """Reads those of ``sources`` of which an oracle says something side by side, and keeps it.

    Raises nothing: what could not be read or written is logged, and the next look makes up for it.
    """
    with _logged(f"sources side by side from {first} to {last}"):
        if held := _held(services, sources):
            keep_look(services, read_side_by_side(services, held, first, last, now), now)


def keep_looks_at_families(services: Services, now: dt.datetime) -> None:
    """The same for every family, from the first to the last date that the ledger knows of any of its sources."""
    for family in families():
        with _logged(f"the sources of {family} side by side"):
            sources = _held(services, sources_of_family(family))
            known = [date for name in sources for date in _known_dates(services, name)]
            if known:
                keep_look_at(services, sources, min(known), max(known), now)


@contextlib.contextmanager
def _logged(what: str) -> Iterator[None]:
    try:
        yield
    except PipelineError as error:
        LOG.warning("%s: not kept: %s", what, error)


def _held(services: Services, sources: Iterable[str]) -> list[str]:
    kits = map(services.source_kit, sources)
    return [kit.source for kit in kits if kit.scraper.oracles or kit.scraper.compared]


def _known_dates(services: Services, source: str) -> list[dt.date]:
    keys = services.source_kit(source).ledger.refresh()
    return [date for key in ({min(keys), max(keys)} if keys else ()) for date in partitions_of_key(key)]


def _coverage_row(one: StandingOn, now: dt.datetime) -> CoverageRow:
    counts = {name: getattr(one, name) for name in COUNTS}
    return CoverageRow(
        date=one.partition.start,
        source=one.source,
        oracle=one.oracle,
        item=one.item,
        **(dict.fromkeys(counts) if one.doubt else counts),
        verdict=one.verdict or None,
        error=one.error or None,
        doubt=one.doubt or None,
        looked_at=now,
    )


def _disagreement_rows(one: Disagreement, now: dt.datetime) -> Iterator[DisagreementRow]:
    there_in = ", ".join(sorted(source for source, state in one.states.items() if state == THERE))
    for source, kind in one.kinds.items():
        yield DisagreementRow(
            date=one.starts_on,
            item_key=one.key,
            source=source,
            item=one.item,
            kind=kind,
            other_dates=", ".join(one.others.get(source, ())) or None,
            there_in=there_in or None,
            looked_at=now,
        )
