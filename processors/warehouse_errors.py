"""The one table from what BigQuery's client raises to the taxonomy.

Reasons: https://docs.cloud.google.com/bigquery/docs/error-messages. A 403 can be a burst (``rateLimitExceeded``), a
used-up day (``quotaExceeded``) or a missing grant (``accessDenied``): only the reason word tells them apart.
"""

from __future__ import annotations

import concurrent.futures
import datetime as dt
import re
from typing import Any

from google.api_core import exceptions as api
from google.auth import exceptions as auth
from requests.exceptions import RequestException

from alerting.errors import (
    AuthenticationError,
    BudgetExhausted,
    ConfigurationError,
    CriticalError,
    LoadRejected,
    PipelineError,
    WarehouseBusy,
)
from alerting.redaction import one_line
from processors.table_budget import reset_hint

_BUSY = frozenset(
    {
        "rateLimitExceeded",
        "jobRateLimitExceeded",
        "backendError",
        "jobBackendError",
        "internalError",
        "jobInternalError",
        "badGateway",
        "tableUnavailable",
        "timeout",
        "userRateLimitExceeded",
        # Somebody cancelled the job; the next id is tried.
        "stopped",
        # Another process changed the table since it was looked at.
        "conditionNotMet",
    }
)
_REFUSED = frozenset({"invalid", "invalidQuery", "duplicate", "resourceInUse", "policyViolation"})
_DENIED = frozenset({"accessDenied", "authError", "required", "forbidden"})
_USED_UP = frozenset({"quotaExceeded", "dailyLimitExceeded", "customQuotaExceeded"})
_SWITCHED_OFF = frozenset({"accessNotConfigured", "SERVICE_DISABLED"})
_BILLING = frozenset({"billingNotEnabled", "billingTierLimitExceeded", "blocked"})
_FINAL = _REFUSED | _DENIED | _SWITCHED_OFF | _BILLING | {"bytesBilledLimitExceeded"}
# Both come as 400 with a reason that stands for hopeless queries, and both pass by themselves.
_PASSING_TEXTS = ("Could not serialize access", "concurrent update", "Too many DML statements outstanding")
_MESSAGE_LIMIT_CHARS = 300
_CALL = re.compile(r"[A-Z]+ https?://\S+: ")


def translated(error: Exception, action: str, *, dataset: str, now: dt.datetime | None = None) -> PipelineError:
    """The taxonomy's error for ``error``; one that is already of the taxonomy is returned as it is.

    Args:
        error: Raised by the BigQuery client, google-auth or requests.
        action: What was being done, for the message.
        dataset: ``project.dataset``.
        now: For the hint at the quota's reset.
    """
    if isinstance(error, PipelineError):
        return error
    word = reason(error)
    facts: dict[str, Any] = {"stage": "load", "dataset": dataset, "reason": word or type(error).__name__}
    message = f"{action}: {_text(error)}"
    if word in _USED_UP:
        hint = reset_hint(now or dt.datetime.now(dt.UTC))
        return BudgetExhausted(f"{message}; tables are as they were, landed payloads are kept", hint=hint, **facts)
    # A staging table ends after a day; the next try stages the rows again.
    staging_gone = isinstance(error, api.NotFound) and ".stg_" in str(error)
    if word in _BUSY or staging_gone or _passes(error, word):
        return WarehouseBusy(message, **facts)
    if word in _SWITCHED_OFF:
        return ConfigurationError(message, hint="gcloud services enable bigquery.googleapis.com", **facts)
    if word in _BILLING:
        return ConfigurationError(message, hint="enable billing for the project", **facts)
    if word == "bytesBilledLimitExceeded":
        hint = "look at what grew, then raise GAPLESS_MAX_BYTES_BILLED"
        return ConfigurationError(f"{message}; nothing was read, the table is as it was", hint=hint, **facts)
    if word in _DENIED or isinstance(error, api.Unauthorized | api.Forbidden | auth.GoogleAuthError):
        hint = (
            "gcloud auth application-default login, or grant roles/bigquery.dataEditor on the dataset and "
            "roles/bigquery.jobUser on the project"
        )
        return AuthenticationError(message, hint=hint, **facts)
    if isinstance(error, api.NotFound):
        return ConfigurationError(message, hint="python -m deployments.provision", **facts)
    if word in _REFUSED or isinstance(error, api.BadRequest):
        return LoadRejected(f"{message}; the table is as it was", **facts)
    return CriticalError(f"{message} (not understood, so not retried)", **facts)


def reason(error: Exception) -> str:
    """BigQuery's reason word, "" when it gave none. Looks through the client's ``RetryError``."""
    if isinstance(error, api.RetryError) and isinstance(error.cause, Exception):
        return reason(error.cause)
    if isinstance(error, api.GoogleAPICallError) and error.errors:
        first = error.errors[0]
        return str(first.get("reason", "")) if isinstance(first, dict) else ""
    return ""


def _passes(error: Exception, word: str) -> bool:
    if any(text in str(error) for text in _PASSING_TEXTS):
        return True
    if isinstance(error, auth.GoogleAuthError) and error.retryable:
        return True
    if isinstance(error, api.GoogleAPICallError):
        return _is_passing_status(error.code or 0, word)
    return isinstance(
        error,
        api.RetryError
        | auth.TransportError
        | RequestException
        | ConnectionError
        | TimeoutError
        | concurrent.futures.TimeoutError,
    )


def _is_passing_status(code: int, word: str) -> bool:
    """A 5xx whatever its word, and what a proxy says; 501 stays as it is."""
    if code >= 500:
        return word not in _FINAL and (code != 501 or not word)
    return not word and (code in (408, 409, 412, 425, 429, 499) or 200 <= code < 400)


def _text(error: Exception) -> str:
    """BigQuery's own first sentence; never a URL of ours, which requests' exceptions carry."""
    if isinstance(error, api.RetryError) and isinstance(error.cause, Exception):
        return f"gave up retrying after: {_text(error.cause)}"
    if isinstance(error, api.GoogleAPICallError):
        first = error.errors[0] if error.errors else {}
        text = first.get("message") if isinstance(first, dict) else ""
        text = text or _CALL.sub("", str(error.message)) or type(error).__name__
        return one_line(str(text))[:_MESSAGE_LIMIT_CHARS]
    return f"no usable answer ({type(error).__name__})"
