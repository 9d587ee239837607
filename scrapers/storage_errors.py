"""What went wrong at Cloud Storage, as an error of the taxonomy, in words that hold no URL."""

from __future__ import annotations

import re
from typing import Any, Literal

from alerting.errors import (
    AuthenticationError,
    BudgetExhausted,
    ConfigurationError,
    CriticalError,
    LandingUnavailable,
    PipelineError,
)

_REASON_WORD = re.compile(r'"reason":\s*"(\w+)"')


Trouble = Literal["missing", "vanished", "passing", "refused", "exhausted", "billing", "held", "unknown"]
"""The bucket is missing; it was there a moment ago; transient; this account may not; a quota is used up; nobody pays;
the bucket keeps its objects by a policy; we do not know."""


def storage_trouble(kind: Trouble, action: str, *, bucket: str, project: str, reason: str) -> PipelineError:
    """The error of the taxonomy for a failed ``action`` (``read of a/b``); ``reason`` holds no URL."""
    uri = f"gs://{bucket}"
    where: dict[str, Any] = {"stage": "land", "uri": uri, "reason": reason}
    if kind == "missing":
        return ConfigurationError(
            f"{action}: bucket {bucket} does not exist; nothing was written",
            hint=f"gcloud storage buckets create {uri} --project {project}, or fix the setting",
            **where,
        )
    if kind == "vanished":
        return LandingUnavailable(f"{action}: not found in a bucket that was there a moment ago", **where)
    if kind == "passing":
        return LandingUnavailable(f"{action}: Cloud Storage gave no usable response", **where)
    if kind == "refused":
        return AuthenticationError(
            f"{action}: Cloud Storage refused this account",
            hint="gcloud auth application-default login, or grant roles/storage.objectUser and "
            "roles/storage.legacyBucketReader on the bucket",
            **where,
        )
    if kind == "exhausted":
        return BudgetExhausted(
            f"{action}: a quota of Cloud Storage is used up; what is stored is kept",
            hint=f"look at the quotas of project {project}",
            **where,
        )
    if kind == "billing":
        hint = f"enable billing for project {project}"
        return ConfigurationError(f"{action}: the project has no billing account that works", hint=hint, **where)
    if kind == "held":
        return ConfigurationError(
            f"{action}: the bucket keeps its objects as they are, by a retention policy or a hold",
            hint="give Gapless a bucket without them: ledger and leases are written over",
            **where,
        )
    return CriticalError(f"{action}: Cloud Storage failed in an unknown way", **where)


def unreachable(endpoint: str, **where: Any) -> LandingUnavailable:
    """Storage that has never answered; ``endpoint`` is the emulator's, "" for the real service."""
    return LandingUnavailable(
        f"Cloud Storage cannot be reached at {endpoint or 'storage.googleapis.com'} ({where['reason']}); nothing was "
        "started",
        hint="make up, if it is the local stack; then gapless preflight"
        if endpoint
        else "gapless preflight, when the network is back; outages: https://status.cloud.google.com",
        **where,
    )


def reason_of(error: BaseException) -> str:
    """Class, status and Google's reason words. Never the text: it holds URLs with upload ids.

    Reads what the exceptions of google-api-core (``code``, ``errors``, ``cause``) and of uploads and downloads
    (``response``) have in common.
    """
    cause = getattr(error, "cause", None)
    if isinstance(cause, Exception):
        return f"gave up retrying after {reason_of(cause)}"
    parts = [type(error).__name__]
    status = getattr(error, "code", None) or getattr(getattr(error, "response", None), "status_code", None)
    if status is not None:
        parts.append(str(int(status)))
        # Uploads and downloads leave the reason in the text only.
        listed = [str(item.get("reason", "")) for item in getattr(error, "errors", None) or ()]
        parts += listed or _REASON_WORD.findall(str(error))
    return " ".join(part for part in parts if part)
