"""The digest: one mail about the live alerts of a day."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed
from pydantic import Field

from alerting.errors import PipelineError
from alerting.pending_alerts import LONGEST_DIGEST_HOURS
from alerting.wording import plural
from flows.log import failed, lets_out_redacted
from flows.wiring import build_services


@lets_out_redacted
@flow(name="digest", flow_run_name="digest of {hours:g} h", retries=0, persist_result=False)
async def digest(hours: Annotated[float, Field(gt=0, le=LONGEST_DIGEST_HOURS)] = 24.0) -> State[Any]:
    """Sends one mail about every live alert of the last hours, those that were held back included.

    Args:
        hours: How far back, from the start of this run; further when the digest before it is longer ago.
    """
    try:
        sent = await asyncio.to_thread(build_services().alerts.send_digest, hours)
    except PipelineError as error:
        return failed(error)
    return Completed(message="sent" if sent else f"no alert in {plural(hours, 'hour')}, no mail")
