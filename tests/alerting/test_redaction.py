from __future__ import annotations

import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.incident import Incident
from alerting.redaction import RedactingFilter, redact, redact_value, register_secret

PLANTED = "pl4nted-S3cret-value"


@pytest.mark.parametrize(
    "text",
    [
        f"GET https://api.test/v4/odds?apiKey={PLANTED}&date=2024-01-01",
        f"GET https://api.test/v4/odds?date=1&api_key={PLANTED}",
        f"https://api.test/?key={PLANTED}",
        f"https://storage.test/o?X-Goog-Credential={PLANTED}&X-Goog-Signature={PLANTED}&X-Goog-Expires=60",
        f"https://s3.test/o?X-Amz-Security-Token={PLANTED}",
        f"Authorization: {PLANTED}",
        f"Authorization: Basic {PLANTED}",
        f"{{'Authorization': 'Bearer {PLANTED}'}}",
        f'{{"authorization": "{PLANTED}", "page": 1}}',
        f"Cookie: cf_clearance={PLANTED}; other={PLANTED}",
        f"Set-Cookie: session={PLANTED}; HttpOnly",
        f"Bearer {PLANTED}",
        f"postgres://me:{PLANTED}@db.test/prices",
        f"https://{PLANTED}@sentry.test/1",
        f"password={PLANTED}",
        f'"client_secret": "{PLANTED}"',
        f'{{\\"apiKey\\": \\"{PLANTED}\\"}}',
        f"X-Api-Key: {PLANTED}",
        f"access_token={PLANTED}",
        f"-----BEGIN PRIVATE KEY-----\n{PLANTED}\n-----END PRIVATE KEY-----",
        f"https://hooks.slack.com/services/T0/B0/{PLANTED}",
        f"apiKey%3D{PLANTED}",
    ],
)
def test_a_secret_is_masked_in_every_place_where_one_is_found_in_practice(text):
    assert PLANTED not in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "2021-03-04: 1,000 rows where 1,200 were announced",
        "partition key=2021-03-04 is missing",
        "GET /v1/box_scores?date=2021-03-04&per_page=100 answered 503",
        "the token bucket is empty, authentication is not to blame",
        "basic checks failed for 3 keys",
    ],
)
def test_honest_text_stays_as_it_is(text):
    assert redact(text) == text


def test_a_registered_secret_is_masked_wherever_it_is_quoted():
    register_secret("Tr0ub4dor&3/x")
    assert redact("a Tr0ub4dor&3/x b Tr0ub4dor%263%2Fx c") == "a *** b *** c"


def test_secrets_in_dict_keys_and_below_sensitive_names_are_masked():
    masked = json.dumps(
        redact_value({f"apiKey={PLANTED}": 1, "X-Api-Key": [PLANTED], "a": {"cookies": {"s": PLANTED}}})
    )
    assert PLANTED not in masked


@given(st.text(max_size=300))
def test_redaction_never_fails_and_is_stable(text):
    once = redact(text)
    assert redact(once) == once


def test_a_log_record_and_its_traceback_are_redacted(caplog):
    record = logging.LogRecord("x", logging.ERROR, "f.py", 1, "url %s", (f"https://a.test/?apiKey={PLANTED}",), None)
    try:
        raise ValueError(f"password={PLANTED}")
    except ValueError as error:
        record.exc_info = (type(error), error, error.__traceback__)
    assert RedactingFilter().filter(record)
    assert PLANTED not in logging.Formatter().format(record)


def test_an_incident_holds_no_secret_from_message_facts_traceback_or_hint():
    try:
        raise ConnectionError(f"https://u:{PLANTED}@a.test/?token={PLANTED} refused; password='{PLANTED}'")
    except ConnectionError as error:
        incident = Incident.from_error(error, source="nba", headers={"Authorization": PLANTED}, url=f"?sig={PLANTED}")
    assert PLANTED not in incident.to_json().decode()
    assert "test_redaction.py" in incident.traceback
