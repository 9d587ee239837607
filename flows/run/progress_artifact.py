"""The progress artifact of a run, as whichever process closes the run brings it to its end."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterType
from prefect.client.schemas.objects import Artifact
from prefect.settings import get_current_settings

from flows.run.interruption import impatient_client

LOG = logging.getLogger("gapless.progress")
DONE = 100.0


def artifact_name(backfill_id: str) -> str:
    """The key of a run's progress artifact, which has no underscores.

    >>> artifact_name("bf-0123456789ab-racing_cards")
    'progress-bf-0123456789ab-racing-cards'
    """
    return f"progress-{backfill_id}".replace("_", "-")


def has_page(flow_run_id: str) -> bool:
    """Whether anything can be shown of a flow run: there is one, and a server."""
    return bool(flow_run_id and get_current_settings().api.url)


def end_progress(flow_run_id: str, told: str, results: Sequence[ArtifactCreate] = ()) -> None:
    """Sets every progress artifact of a flow run to 100 %, with how it ended; adds ``results``. Blocking; repeatable.

    100 % means that nothing more comes of this run; ``told`` says how much of the plan is good. A run that was killed
    cannot say so itself, so this asks the server for what it had written. A server that does not answer is logged: the
    mail is out, and nothing waits for a picture.
    """
    _show(flow_run_id, told, DONE, results)


def tell_progress(flow_run_id: str, told: str) -> None:
    """Puts ``told`` in place of the description, and leaves the percentage: for a run that is suspended."""
    _show(flow_run_id, told, None)


def _show(flow_run_id: str, told: str, percent: float | None, results: Sequence[ArtifactCreate] = ()) -> None:
    if not has_page(flow_run_id):
        return
    try:
        with impatient_client() as client:
            for found in _progress_artifacts(client, flow_run_id):
                data = found.data if percent is None else percent
                client.update_artifact(found.id, ArtifactUpdate(data=data, description=told))
            for result in results:
                client.create_artifact(result)
    except Exception as problem:  # Prefect passes on what its HTTP library raises, which is not imported here
        LOG.warning("the page of flow run %s is not brought up to date: %s", flow_run_id, problem)


def _progress_artifacts(client: SyncPrefectClient, flow_run_id: str) -> list[Artifact]:
    return client.read_artifacts(
        artifact_filter=ArtifactFilter(
            flow_run_id=ArtifactFilterFlowRunId(any_=[UUID(flow_run_id)]),
            type=ArtifactFilterType(any_=["progress"]),
        )
    )
