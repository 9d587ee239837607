"""Google's own client on the local BigQuery, and a dataset of its own for every test."""

from __future__ import annotations

import importlib.util
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

# Tests are no package, so the file beside this one is loaded by its path, for the tests to import.
_spec = importlib.util.spec_from_file_location("bigquery_loading", Path(__file__).with_name("bigquery_loading.py"))
assert _spec is not None
assert _spec.loader is not None
_module = importlib.util.module_from_spec(_spec)
sys.modules["bigquery_loading"] = _module
_spec.loader.exec_module(_module)


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
