"""What is said of a failure: whose it is, and what to do."""

from __future__ import annotations

import inspect

import pytest

from alerting import errors
from alerting.advice import _UNKNOWN, advice_of
from alerting.errors import PipelineError
from alerting.incident import Incident
from flows.closing.dropping import NOT_APPROVED
from flows.ledger.entry import NARROWED, REOPENED
from flows.views.inspection import BLAME

# A mail that could not be sent, and a command that was typed wrongly: neither is a failure of a date.
OF_NO_DATE = {"DeliveryFailed", "WrongUsage"}
KINDS = [
    kind
    for kind in vars(errors).values()
    if inspect.isclass(kind)
    and issubclass(kind, PipelineError)
    and not set(kind.__subclasses__()) - {errors.WrongUsage}
]


@pytest.mark.parametrize("kind", [one for one in KINDS if one.__name__ not in OF_NO_DATE])
def test_every_kind_of_failure_says_whose_it_is_and_what_to_do(kind: type[PipelineError]) -> None:
    assert kind.__name__ in BLAME
    said = advice_of(Incident.from_error(kind("x"), source="s", partition="2025-01-01", stage="scrape", attempts=1))
    assert said not in ("Retry.", _UNKNOWN)


@pytest.mark.parametrize("marker", [NARROWED, REOPENED, NOT_APPROVED])
def test_what_stands_in_place_of_an_error_is_not_called_ours(marker: str) -> None:
    assert BLAME[marker].startswith("nobody: ")
