"""A source is simulated with the answers that it gave to real runs, without being asked again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from alerting.errors import ConfigurationError
from flows.asked import Asked
from flows.simulate.explore import explore
from flows.simulate.recorded import take_landed
from flows.simulate.subject import Subject, subject_of

if TYPE_CHECKING:
    from ..conftest import Place

SOURCE, FIRST, LAST = "bdl_box_scores", "2025-06-05", "2025-06-06"


def of_place(place: Place) -> Subject:
    given = {"source": SOURCE, "start_date": FIRST, "end_date": LAST, "max_concurrency": 2}
    return subject_of(place.services.settings, Asked.model_validate(given))


def test_what_was_landed_answers_every_simulated_call_and_the_source_none(place: Place) -> None:
    place.fill(FIRST, 2)
    calls, objects = place.upstream.calls.report()["total"], place.objects()
    subject = of_place(place)
    assert take_landed(subject, place.services) == calls == 2
    found = explore(subject, seed=0, schedules=3, faults=True)
    assert found.broken == []
    assert found.truth is not None
    assert found.truth.verdicts == {FIRST: "verified", LAST: "empty_ok"}
    assert place.upstream.calls.report()["total"] == calls
    assert place.objects() == objects, "nothing of the user's is written"


def test_no_simulation_begins_with_the_raw_zone_where_nothing_is_landed(place: Place) -> None:
    with pytest.raises(ConfigurationError, match=f"nothing of {FIRST}..{LAST} is landed in gs://"):
        take_landed(of_place(place), place.services)
