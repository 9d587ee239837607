"""Google's own client on the local BigQuery, and a dataset of its own for every test."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery


@pytest.fixture
def client(bigquery_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[bigquery.Client]:
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", bigquery_endpoint)
    with bigquery.Client(project="contract", credentials=AnonymousCredentials()) as made:
        yield made


@pytest.fixture
def dataset(client: bigquery.Client) -> str:
    name = f"d{uuid.uuid4().hex[:10]}"
    client.create_dataset(name)
    return name
