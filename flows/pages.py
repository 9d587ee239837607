"""Where a person's browser finds a run or a source.

All are pages of one UI: Prefect's V2, whose form for Resume shows a whole review, which V1 cuts.
"""

from __future__ import annotations

from urllib.parse import urlsplit


def run_page(ui_url: str, flow_run_id: object) -> str:
    """The page of a flow run.

    >>> run_page("http://prefect", 1)
    'http://prefect/v2/runs/flow-run/1'
    >>> run_page("https://app.prefect.cloud/account/a/workspace/w", 1)
    'https://app.prefect.cloud/account/a/workspace/w/runs/flow-run/1'
    """
    return f"{_pages(ui_url)}/runs/flow-run/{flow_run_id}"


def form_page(ui_url: str, deployment_id: object) -> str:
    """The form that runs a deployment; it takes ``?parameters=`` and their JSON."""
    return f"{_pages(ui_url)}/deployments/deployment/{deployment_id}/run"


def coverage_page(ui_url: str, inbox_url: str, source: str) -> str:
    """The calendar of a source: beside the inbox where there is one, as Prefect lists an artifact's versions first.

    >>> coverage_page("http://prefect", "", "bdl_box_scores")
    'http://prefect/v2/artifacts/key/calendar-bdl-box-scores'
    >>> coverage_page("http://prefect", "http://inbox", "bdl_box_scores")
    'http://inbox/calendar/bdl_box_scores'
    """
    if inbox_url:
        return f"{inbox_url}/calendar/{source}"
    return f"{_pages(ui_url)}/artifacts/key/{artifact_key('calendar', source)}"


def artifact_key(kind: str, source: str) -> str:
    """The key of a source's artifact, of which every run makes a newer version.

    >>> artifact_key("coverage", "bdl_box_scores")
    'coverage-bdl-box-scores'
    """
    return f"{kind}-{source.replace('_', '-')}"


def _pages(ui_url: str) -> str:
    """Prefect Cloud has one UI, whose pages are at the address itself."""
    host = urlsplit(ui_url).hostname or ""
    return ui_url if host == "prefect.cloud" or host.endswith(".prefect.cloud") else f"{ui_url}/v2"
