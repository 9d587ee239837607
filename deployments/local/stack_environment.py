"""What a client of the local stack finds in its environment, and what must not be there."""

from __future__ import annotations

import json
import os
from pathlib import Path

from alerting.errors import ConfigurationError
from deployments.local.prefect_children import client_settings
from deployments.local.processes import ChildFailed
from deployments.local.stack_state import StackState
from deployments.local.upstreams.civic_towns import LOCAL_CIVIC_KEY, SAMPLE_TOWNS

GOOGLE_PROJECT = "gapless-local"
LOCAL_API_KEY = "sample-key"


def client_environment(state_dir: Path, state: StackState) -> dict[str, str]:
    """Variables for Prefect, the Google clients and our own settings.

    Raises:
        ChildFailed: No stack is recorded.
    """
    at = {child.name: child for child in state.children}
    if missing := {"prefect", "gcs", "bigquery", "inbox"} - set(at):
        raise ChildFailed(f"no stack in {state_dir}: {', '.join(sorted(missing))} not started", hint="make up")
    upstream = {"bdl_box_scores": at["upstream"].endpoint} if "upstream" in at else {}
    if "civic" in at:
        upstream["civic_band"] = f"{at['civic'].endpoint}/{{site}}"
    return {
        **client_settings(state_dir / "prefect", at["prefect"].ports["http"], state.auth),
        "STORAGE_EMULATOR_HOST": at["gcs"].endpoint,
        "BIGQUERY_EMULATOR_HOST": at["bigquery"].endpoint,
        "GOOGLE_CLOUD_PROJECT": GOOGLE_PROJECT,
        "GAPLESS_PROJECT": GOOGLE_PROJECT,
        "GAPLESS_SMTP_HOST": "127.0.0.1",
        "GAPLESS_SMTP_PORT": str(at["inbox"].ports["smtp"]),
        "GAPLESS_SMTP_SECURITY": "none",
        "GAPLESS_MAIL_TO": "you@localhost",
        "GAPLESS_INBOX_URL": at["inbox"].endpoint,
        "GAPLESS_UI_URL": at["prefect"].endpoint,
        "GAPLESS_SOURCE_URLS": json.dumps(upstream),
        "GAPLESS_SOURCE_SECRETS": json.dumps({"bdl_api_key": LOCAL_API_KEY, "civic_band_api_key": LOCAL_CIVIC_KEY}),
        "GAPLESS_SOURCE_ENTITIES": json.dumps({"civic_band": list(SAMPLE_TOWNS)}),
        "GAPLESS_SOURCE_RATE_PER_MINUTE": json.dumps({"civic_band": 6000}),
        "NO_PROXY": ",".join(filter(None, [os.environ.get("NO_PROXY", ""), "127.0.0.1,localhost"])),
    }


def refuse_real_credentials() -> None:
    """Raises ``ConfigurationError`` if the environment names real Google credentials."""
    if os.environ.get("GOOGLE_APPLICATION_CREDENTIALS"):
        raise ConfigurationError(
            "GOOGLE_APPLICATION_CREDENTIALS is set. The local stack needs no credentials, and with them one forgotten "
            "emulator variable would write to a real project. Nothing was started",
            hint="unset GOOGLE_APPLICATION_CREDENTIALS",
        )
