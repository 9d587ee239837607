"""A generated racing year through the family run, with troubles and kills, against the truth of its generator.

Two months of it, or as many days as GAPLESS_RACING_DAYS says: 358 are what the results go back.
"""

from __future__ import annotations

import datetime as dt
import importlib.util
import os
from pathlib import Path
from typing import Any

import pytest
from killed_family import FamilyPlace, troubles

from deployments.local.inbox.server import InboxClient
from deployments.local.upstreams.racing_upstream import RACING_PASSWORD, RACING_USER, RacingUpstream

# Tests are no package, so the helpers that know the truth are loaded by their path.
_PATH = Path(__file__).parents[1] / "processors" / "test_racing_tables.py"
_spec = importlib.util.spec_from_file_location("racing_truth_checks", _PATH)
assert _spec is not None
assert _spec.loader is not None
racing = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(racing)

DAYS = int(os.environ.get("GAPLESS_RACING_DAYS", "62"))
SOURCES = ("racing_reference", "racing_cards", "racing_results")
LOGIN = {"racing_api_user": RACING_USER, "racing_api_password": RACING_PASSWORD}


def last_days(count: int) -> list[dt.date]:
    """Those that both sources answer for."""
    last = dt.datetime.now(dt.UTC).date() - dt.timedelta(days=4)
    return [last - dt.timedelta(days=count - 1 - at) for at in range(count)]


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("results_first", [False, True])
def test_a_racing_year_with_troubles_and_three_kills_equals_the_truth_in_either_order_of_arrival(
    provisioned: Any, inbox: InboxClient, monkeypatch: pytest.MonkeyPatch, results_first: bool
) -> None:
    days = last_days(DAYS)
    asked = {"family": "racing", "start_date": days[0].isoformat(), "end_date": days[-1].isoformat()}
    with RacingUpstream(world=racing.WORLD, per_second=0) as upstream:
        place = FamilyPlace(provisioned, inbox, monkeypatch, dict.fromkeys(SOURCES, upstream.url), LOGIN)
        upstream.trouble(*troubles(days, "short_page"))
        if results_first:
            place.ran(**asked, skip=("racing_cards",), ignore_requires=True)
        for at in (4, 5, 3) if results_first else (4, 7, 3):
            place.killed(at, **asked)
        assert place.completed(3, **asked)[1] == "COMPLETE: 3 of 3 sources complete"
        calls = upstream.calls.report()["total"]
        assert place.ran(**asked)[1] == "COMPLETE: 3 of 3 sources complete"
        assert upstream.calls.report()["total"] == calls, "a rerun makes no call"
    mails = place.mails()
    assert set(mails.values()) == {1}
    assert len(mails) >= 5, "the killed ones, too"
    racing.check(place, days)
    assert racing.without_master(place) == dict.fromkeys(racing.MASTERS, 0)
