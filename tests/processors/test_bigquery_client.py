"""How the client of BigQuery leaves this machine."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from requests import Request

from processors.bigquery_client import open_client


def test_a_login_of_netrc_does_not_take_the_place_of_googles_token_and_a_proxy_is_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password of-another-server\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    for name in ("https_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    signed_in = partial(bigquery.Client, credentials=AnonymousCredentials())  # type: ignore[no-untyped-call]
    monkeypatch.setattr(bigquery, "Client", signed_in)
    session = open_client("project", "EU", "")._http
    asked = Request("GET", "https://bigquery.googleapis.com/v2", headers={"Authorization": "Bearer token"})
    assert session.prepare_request(asked).headers["Authorization"] == "Bearer token"
    assert session.proxies["https"] == "http://proxy.example:3128"
