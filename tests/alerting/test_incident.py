from __future__ import annotations

import datetime as dt
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting import errors
from alerting.incident import Incident
from alerting.tracebacks import MAX_LINES
from alerting.wording import shorten


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        raise error from cause
    except BaseException as caught:
        return caught


NAMED = sorted(
    name
    for name, kind in vars(errors).items()
    if isinstance(kind, type)
    and issubclass(kind, errors.PipelineError)
    and kind not in (errors.PipelineError, errors.CriticalError)
)


def own_code(path: str, source: str) -> dict[str, Any]:
    """What a file of the project at ``path`` defines."""
    names: dict[str, Any] = {}
    exec(compile(source, path, "exec"), names)
    return names


class Mute(Exception):
    """As some libraries make them: its text cannot be had."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


DEEP: dict[str, Any] = {}
for _ in range(5_000):
    DEEP = {"d": DEEP}


@pytest.mark.parametrize(
    "reported",
    [
        Mute(),
        {"error": Mute(), "date": "2025-01-03"},
        {"error": "x", "context": Mute()},
        {"error": "x", "details": DEEP},
        {"error": "x", "details": {"n": 10**5_000}},
        {"error": "x", "attempts": "9" * 5_000},
        {"error": "x", "attempts": "²", "status": "²²²"},
        {"error": "x", "timestamp": "0001-01-01T00:00:00+05:00"},
        {"error": "x", 5: "five", None: "nothing"},
    ],
    ids=lambda one: type(one).__name__ if isinstance(one, Exception) else "-".join(map(str, one)),
)
def test_whatever_is_reported_becomes_an_incident_and_no_other_error(reported):
    incident = Incident.of(reported, "nba")
    assert incident.source == "nba"
    assert Incident.from_json(incident.to_json()) == incident


def test_an_incident_survives_json():
    error = raised(errors.SourceUnavailable("503", status=503, endpoint="/v1/games", hint="wait"), TimeoutError("slow"))
    incident = Incident.from_error(error, source="nba", partition="2025-01-03", stage="scrape", attempts=3)
    assert Incident.from_json(incident.to_json()) == incident
    assert incident.exception_chain == ("SourceUnavailable", "TimeoutError")
    assert (incident.date, incident.status, incident.endpoint, incident.retryable) == (
        "2025-01-03",
        503,
        "/v1/games",
        True,
    )


@given(
    st.text(max_size=200),
    st.dictionaries(st.text(max_size=10), st.one_of(st.text(max_size=20), st.integers(), st.none())),
)
def test_any_text_and_any_facts_become_an_incident_that_survives_json(text, facts):
    incident = Incident.from_mapping({"error": text, "details": facts})
    assert Incident.from_json(incident.to_json()).to_json() == incident.to_json()


@pytest.mark.parametrize(
    ("error", "severity", "retryable"),
    [
        (errors.AuthenticationError("dead key"), "CRITICAL", False),
        (errors.RateLimited("slower", retry_after_s=2.0), "ERROR", True),
        (errors.NothingPublished("empty"), "WARNING", True),
        (errors.RowRejected("bad row"), "ERROR", False),
        (TypeError("got an unexpected keyword"), "CRITICAL", False),
    ],
)
def test_severity_and_retry_follow_the_taxonomy_and_the_unknown_is_critical(error, severity, retryable):
    incident = Incident.from_error(error, source="nba")
    assert (incident.severity, incident.retryable) == (severity, retryable)


@pytest.mark.parametrize(
    ("data", "source", "date", "error_type"),
    [
        (
            {"scraper": "bdl", "date": "2024-01-05", "error_type": "Timeout", "error": "slow"},
            "bdl",
            "2024-01-05",
            "Timeout",
        ),
        (
            {"processor": "box", "error": "no", "details": {"date": "2024-01-05", "run_id": "r1"}},
            "box",
            "2024-01-05",
            "UnknownError",
        ),
        ({"scraper": "bdl", "error": "ReadTimeout: took 30 s"}, "bdl", "", "ReadTimeout"),
        (
            {"scraper": "bdl", "error": ValueError("bad"), "date": dt.date(2024, 1, 5)},
            "bdl",
            "2024-01-05",
            "ValueError",
        ),
        ({}, "", "", "UnknownError"),
    ],
)
def test_the_dictionaries_of_the_old_callers_are_understood(data, source, date, error_type):
    incident = Incident.from_mapping(data)
    assert (incident.source, incident.date, incident.error_type) == (source, date, error_type)
    assert incident.occurred_at.tzinfo is not None


def test_a_traceback_is_short_has_no_machine_path_and_starts_with_our_own_frame():
    def deep(level: int) -> None:
        if level:
            deep(level - 1)
        raise RuntimeError("deep")

    with pytest.raises(RuntimeError) as caught:
        deep(40)
    incident = Incident.from_error(caught.value)
    assert len(incident.traceback.splitlines()) <= MAX_LINES
    assert "/home/" not in incident.traceback
    assert not incident.traceback.startswith("/")
    assert incident.frame.endswith("test_incident.py:deep")


@pytest.mark.parametrize("name", NAMED)
def test_a_failure_that_the_taxonomy_names_carries_no_traceback(name):
    incident = Incident.from_error(raised(getattr(errors, name)("expected"), TimeoutError("slow")))
    assert incident.traceback == ""
    assert incident.frame.endswith("test_incident.py:raised"), "where it was raised stays"


@pytest.mark.parametrize("kind", [errors.PipelineError, errors.CriticalError, RuntimeError, KeyError])
def test_a_failure_that_nobody_expected_keeps_its_traceback(kind):
    assert "in raised" in Incident.from_error(raised(kind("odd"))).traceback


def test_a_traceback_shows_own_frames_only_however_deep_the_libraries_are():
    read = own_code("/srv/app/flows/odd.py", "import json\ndef read(text):\n    return json.loads(text)\n")["read"]
    with pytest.raises(ValueError, match="Expecting") as caught:
        read("{")
    text = Incident.from_error(caught.value).traceback
    assert text.splitlines()[0].startswith("flows/odd.py:3 in read")
    assert "json/" not in text
    assert "decode" not in text


def test_a_hundred_kilobyte_message_keeps_its_head_and_its_tail():
    incident = Incident.from_error(ValueError("start " + "x" * 100_000 + " end"))
    assert len(incident.message) < 5_000
    assert incident.message.startswith("start")
    assert incident.message.endswith("end")
    cut = shorten(incident.message, 700)
    told, kept = int(re.search(r"\[(\d+) characters\]", cut)[1]), re.sub(r"… \[\d+ characters\] …", "", cut)
    assert told + len(kept) == 100_010, "cut twice, it still says how much is gone in all"
