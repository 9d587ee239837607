"""The client of BigQuery: how it connects, and how it takes the values of a query."""

from __future__ import annotations

import datetime as dt
from typing import Any

from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from requests.adapters import HTTPAdapter

from processors.load_plan import QueryValue
from scrapers.google_session import settle_way_out

_CONNECTIONS = 16


def open_client(project: str, location: str, endpoint: str) -> bigquery.Client:
    """A client; ``endpoint`` is an emulator with scheme, "" the real service."""
    options: dict[str, Any] = {}
    if endpoint:
        options = {
            "credentials": AnonymousCredentials(),  # type: ignore[no-untyped-call]
            "client_options": {"api_endpoint": endpoint},
        }
    # A SELECT is answered by the request that asks it, without a job, where BigQuery can:
    # https://docs.cloud.google.com/bigquery/docs/running-queries#optional-job-creation
    mode = bigquery.enums.JobCreationMode.JOB_CREATION_OPTIONAL
    client = bigquery.Client(project=project, location=location, default_job_creation_mode=mode, **options)
    # The library has no public way to its session, nor to size its pool of ten connections.
    session = client._http
    settle_way_out(session, str(client._connection.API_BASE_URL), is_emulator=bool(endpoint))
    adapter = HTTPAdapter(pool_maxsize=_CONNECTIONS, pool_block=True)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return client


def query_parameter(name: str, value: QueryValue) -> bigquery.ArrayQueryParameter | bigquery.ScalarQueryParameter:
    """A named parameter: text, whole number, date or instant, or a sequence of one of them that is not empty."""
    if isinstance(value, str | int | dt.date):
        return bigquery.ScalarQueryParameter(name, _kind(value), value)
    return bigquery.ArrayQueryParameter(name, _kind(value[0]), list(value))


def _kind(value: str | int | dt.date) -> str:
    if isinstance(value, dt.datetime):
        return "TIMESTAMP"
    return "DATE" if isinstance(value, dt.date) else "INT64" if isinstance(value, int) else "STRING"
