"""Provisioning by its command line, where nothing can be provisioned."""

from __future__ import annotations

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from deployments.provision import main


@pytest.mark.parametrize("arguments", [[], ["--automations", "x.yaml"]])
@pytest.mark.parametrize(
    ("address", "told"),
    [(None, "PREFECT_API_URL is not set"), ("http://127.0.0.1:9/api", "http://127.0.0.1:9/api does not answer")],
    ids=["no address", "no server"],
)
def test_without_a_server_nothing_is_provisioned_and_one_line_says_why(address, told, arguments, monkeypatch):
    """Without an address Prefect would start a server of its own, and call it provisioned."""
    monkeypatch.setattr("deployments.provision.build_services", lambda: pytest.fail("something was provisioned"))
    with (
        temporary_settings(
            updates={} if address is None else {PREFECT_API_URL: address},
            restore_defaults=[PREFECT_API_URL] if address is None else [],
        ),
        pytest.raises(SystemExit) as ended,
    ):
        main(arguments)
    assert told in str(ended.value.code)
    assert "nothing was provisioned" in str(ended.value.code)
    assert "Next: " in str(ended.value.code)
