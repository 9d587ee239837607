"""What a run asks of storage: money and quota in the cloud, and 50 ms each."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

    from .conftest import Place, Ran

DATES = 24


def test_a_date_costs_four_writes_and_no_read_of_storage(
    place: Place, ran: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: Counter[str] = Counter()
    for kind in ("read", "write"):
        monkeypatch.setattr(place.store, kind, _counted(asked, kind, getattr(place.store, kind)))
    _, facts = ran("2025-01-03", "2025-01-26", max_concurrency=4)
    assert facts.verdict == "COMPLETE"
    by_date = Counter(
        {name: count for name, count in asked.items() if name.split()[1] in ("landing/source", "ledger/source")}
    )
    assert by_date == {"write landing/source": 2 * DATES, "write ledger/source": 2 * DATES}


def _counted(asked: Counter[str], kind: str, call: Any) -> Any:
    def counting(name: str, *args: Any, **rest: Any) -> Any:
        asked[f"{kind} {name.partition('=')[0]}"] += 1
        return call(name, *args, **rest)

    return counting
