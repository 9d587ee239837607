"""The one table from what BigQuery's client raises to the taxonomy.

Reasons: https://docs.cloud.google.com/bigquery/docs/error-messages. A 403 can be a burst (``rateLimitExceeded``), a
used-up day (``quotaExceeded``) or a missing grant (``accessDenied``): only the reason word tells them apart.
"""

from __future__ import annotations

import concurrent.futures
import datetime as dt
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
    }
)
_REFUSED = frozenset({"invalid", "invalidQuery", "duplicate", "resourceInUse", "policyViolation"})
_DENIED = frozenset({"accessDenied", "authError", "required", "forbidden"})
_BILLING = frozenset({"billingNotEnabled", "billingTierLimitExceeded", "blocked"})
# Both come as 400 with a reason that stands for hopeless queries, and both pass by themselves.
_PASSING_TEXTS = ("Could not serialize access", "concurrent update", "Too many DML statements outstanding")
_MESSAGE_LIMIT_CHARS = 300


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
    if word == "quotaExceeded":
        hint = reset_hint(now or dt.datetime.now(dt.UTC))
        return BudgetExhausted(f"{message}; tables are as they were, landed payloads are kept", hint=hint, **facts)
    # A staging table ends after a day; the next try stages the rows again.
    staging_gone = isinstance(error, api.NotFound) and ".stg_" in str(error)
    if word in _BUSY or staging_gone or _passes(error, word):
        return WarehouseBusy(message, **facts)
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
    if isinstance(error, api.GoogleAPICallError):
        return not word and (isinstance(error, api.ServerError | api.TooManyRequests) or error.code == 408)
    return isinstance(
        error,
        api.RetryError
        | auth.TransportError
        | RequestException
        | ConnectionError
        | TimeoutError
        | concurrent.futures.TimeoutError,
    )


def _text(error: Exception) -> str:
    """BigQuery's own first sentence; never a URL of ours, which requests' exceptions carry."""
    if isinstance(error, api.RetryError) and isinstance(error.cause, Exception):
        return f"gave up retrying after: {_text(error.cause)}"
    if isinstance(error, api.GoogleAPICallError):
        first = error.errors[0] if error.errors else {}
        text = first.get("message") if isinstance(first, dict) else ""
        return str(text or error.message or type(error).__name__)[:_MESSAGE_LIMIT_CHARS]
    return f"no usable answer ({type(error).__name__})"
