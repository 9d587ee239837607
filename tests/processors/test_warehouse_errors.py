"""What BigQuery says, and what happens next."""

from __future__ import annotations

import concurrent.futures
import datetime as dt

import pytest
from google.api_core import exceptions as api
from google.auth import exceptions as auth
from requests.exceptions import ConnectionError as RequestsConnectionError

from alerting.errors import (
    AuthenticationError,
    BudgetExhausted,
    ConfigurationError,
    CriticalError,
    LoadRejected,
    RowRejected,
    WarehouseBusy,
)
from processors.warehouse_errors import translated

NOW = dt.datetime(2025, 7, 1, 20, 0, tzinfo=dt.UTC)


def said(kind, reason, message="m"):
    return kind(message, errors=[{"reason": reason, "message": message}])


CASES = [
    (said(api.Forbidden, "rateLimitExceeded"), WarehouseBusy),
    (said(api.TooManyRequests, "rateLimitExceeded"), WarehouseBusy),
    (said(api.Forbidden, "quotaExceeded"), BudgetExhausted),
    (said(api.Forbidden, "accessDenied"), AuthenticationError),
    (said(api.Forbidden, "billingNotEnabled"), ConfigurationError),
    (said(api.InternalServerError, "bytesBilledLimitExceeded"), ConfigurationError),
    (api.Forbidden("no reason at all"), AuthenticationError),
    (said(api.Unauthorized, "authError"), AuthenticationError),
    (auth.RefreshError("gone"), AuthenticationError),
    (said(api.InternalServerError, "backendError"), WarehouseBusy),
    (said(api.ServiceUnavailable, "backendError"), WarehouseBusy),
    (said(api.InternalServerError, "internalError"), WarehouseBusy),
    (api.BadGateway("html"), WarehouseBusy),
    (said(api.BadRequest, "invalid"), LoadRejected),
    (said(api.BadRequest, "invalidQuery"), LoadRejected),
    (
        said(api.BadRequest, "invalidQuery", "Could not serialize access to table t due to concurrent update"),
        WarehouseBusy,
    ),
    (
        said(api.BadRequest, "resourcesExceeded", "Too many DML statements outstanding against table t, limit is 20"),
        WarehouseBusy,
    ),
    (said(api.NotFound, "notFound"), ConfigurationError),
    (said(api.NotFound, "notFound", "Not found: Table p:d.stg_games_1 was not found"), WarehouseBusy),
    (api.RetryError("t", said(api.Forbidden, "rateLimitExceeded")), WarehouseBusy),
    (api.RetryError("t", said(api.Forbidden, "quotaExceeded")), BudgetExhausted),
    (concurrent.futures.TimeoutError(), WarehouseBusy),
    (RequestsConnectionError("http://secret"), WarehouseBusy),
    (auth.TransportError("x"), WarehouseBusy),
    (ValueError("a bug"), CriticalError),
    (said(api.BadRequest, "stopped", "Job execution was cancelled: User requested cancellation"), WarehouseBusy),
    (said(api.PreconditionFailed, "conditionNotMet"), WarehouseBusy),
    (said(api.ServiceUnavailable, "aReasonOfTomorrow"), WarehouseBusy),
    (said(api.Forbidden, "userRateLimitExceeded"), WarehouseBusy),
    (said(api.Forbidden, "customQuotaExceeded"), BudgetExhausted),
    (said(api.Forbidden, "accessNotConfigured"), ConfigurationError),
    (said(api.MethodNotImplemented, "notImplemented"), CriticalError),
    (auth.RefreshError("the metadata server is busy", retryable=True), WarehouseBusy),
    (api.from_http_status(202, "{}"), WarehouseBusy),
    (api.from_http_status(499, ""), WarehouseBusy),
    (api.from_http_status(599, ""), WarehouseBusy),
    (api.from_http_status(413, ""), CriticalError),
]


@pytest.mark.parametrize(("error", "expected"), CASES, ids=[repr(case[0])[:60] for case in CASES])
def test_each_refusal_has_its_consequence(error, expected):
    assert type(translated(error, "load", dataset="p.d", now=NOW)) is expected


def test_a_used_up_quota_names_the_moment_of_its_reset():
    found = translated(said(api.Forbidden, "quotaExceeded"), "load", dataset="p.d", now=NOW)
    assert "2025-07-02 07:00 UTC" in found.hint


def test_an_address_in_an_exception_is_not_repeated():
    assert "secret" not in str(translated(RequestsConnectionError("http://secret"), "load", dataset="p.d"))


def test_a_page_of_a_proxy_is_one_line_without_our_address():
    error = api.from_http_status(403, "POST https://secret.example/v2: <html>\n<h1>No</h1>")
    assert str(translated(error, "load", dataset="p.d")).startswith("load: <html> <h1>No</h1> (")


def test_an_error_of_ours_passes_through():
    error = RowRejected("x")
    assert translated(error, "load", dataset="p.d") is error
