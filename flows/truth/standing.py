"""How far a source is with what an oracle expects of it: counts of items."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from scrapers.partition import Partition


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Items.

    Attributes:
        expected: Those that the oracle says must be there.
        landed: On dates whose answer is in the bucket, as far as that is known: what is in the tables, and all of
            dates that are not loaded yet.
        loaded: Those that have rows.
        verified: Those of verified dates.
        more: Items with rows that nobody expects.
    """

    expected: int = 0
    landed: int = 0
    loaded: int = 0
    verified: int = 0
    more: int = 0


COUNTS = tuple(one.name for one in dataclasses.fields(Counts))


@dataclass(frozen=True, slots=True)
class Standing(Counts):
    """How far one source is with what one oracle expects of it. ``unjudged`` are dates of which the oracle is not
    believed, by reason."""

    source: str
    oracle: str
    item: str
    unjudged: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StandingOn(Counts):
    """The same of one partition, with its verdict ("" for none yet) and the error that it has.

    With a ``doubt`` the oracle is not believed of it, and nothing is counted.
    """

    partition: Partition
    source: str
    oracle: str
    item: str
    verdict: str = ""
    error: str = ""
    doubt: str = ""
