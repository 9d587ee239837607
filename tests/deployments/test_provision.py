"""Provisioning by its command line, where nothing can be provisioned."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL, temporary_settings

from alerting.errors import ConfigurationError
from deployments.provision import main, provision_automations


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


@pytest.mark.parametrize("name", ["ALL_PROXY", "HTTP_PROXY"])
def test_a_socks_proxy_without_its_package_is_said_and_not_that_the_server_is_missing(name, monkeypatch):
    monkeypatch.setenv(name, "socks5://127.0.0.1:9")
    # As where it is not installed.
    monkeypatch.setitem(sys.modules, "socksio", None)
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}), pytest.raises(SystemExit) as ended:
        main([])
    assert "cannot be asked: Using SOCKS proxy" in str(ended.value.code)
    assert f"Next: unset {name} {name.lower()};" in str(ended.value.code)


class NoDeployments:
    """A server that has none, and takes no automation."""

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        return None

    async def read_deployment_by_name(self, name):
        raise ObjectNotFound(http_exc=Exception(name))


ONE = """
  - name: rebuild
    trigger: {type: event, posture: Reactive, threshold: 1, within: 0, expect: [gapless.partitions.verified]}
    actions: [{type: %s, source: selected, deployment: dbt-build/after-gapless}]
"""


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "FileNotFoundError"),
        ("automations: [", "ParserError"),
        ("- name: rebuild", "TypeError"),
        ("automations:\n  - trigger: {}", "KeyError: 'actions'"),
        (f"automations:{ONE % 'run-deployment'}", "there is no deployment 'dbt-build/after-gapless'"),
    ],
)
def test_a_file_of_automations_that_is_none_or_names_no_deployment_is_refused_before_any_effect(
    text, told, monkeypatch, tmp_path: Path
):
    monkeypatch.setattr("deployments.provision.get_client", NoDeployments)
    file = tmp_path / "automations.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigurationError) as refused:
        asyncio.run(provision_automations(file))
    assert told in refused.value.message
    assert refused.value.message.endswith("Nothing was provisioned")
