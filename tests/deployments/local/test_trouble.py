"""Trouble by one command, as docs/break-it.md types it: a sample obeys, and what cannot be is told."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from deployments.local.inbox.server import InboxClient
from deployments.local.trouble import main
from deployments.local.upstreams.box_scores_upstream import Upstream


def test_a_rule_of_the_command_line_strikes_and_no_rule_ends_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Upstream(api_key="k") as upstream:
        monkeypatch.setenv("GAPLESS_SOURCE_URLS", json.dumps({"bdl_box_scores": upstream.url}))

        def asked() -> int:
            url = f"{upstream.url}/v1/box_scores?date=2025-01-03"
            try:
                request = urllib.request.Request(url, headers={"Authorization": "k"})
                return int(urllib.request.urlopen(request, timeout=10).status)
            except urllib.error.HTTPError as refused:
                return refused.code

        assert main(["bdl_box_scores", '{"kind": "500", "dates": ["2025-01-03"]}']) == 0
        assert asked() == 500
        assert main(["bdl_box_scores", '{"kind": "slow", "seconds": 2}']) == 1
        assert "0.seconds: Extra inputs are not permitted" in capsys.readouterr().err
        assert asked() == 500, "what cannot be understood ends no trouble"
        assert main(["bdl_box_scores"]) == 0
        assert asked() == 200
        assert main(["bdl_box_scores", '{"kind": "nonsense"}']) == 1
        assert main(["bdl_box_scores", "{"]) == 1
        assert main(["nosuch"]) == 1
        assert "Next: make up; source .gapless/env" in capsys.readouterr().err


@pytest.mark.parametrize("program", ["trouble", "weather", "gcs_emulator.front", "demo", "simulate_samples"])
def test_the_help_of_a_program_keeps_the_lines_that_can_be_pasted(program: str) -> None:
    module = f"deployments.local.{program}"
    command = [sys.executable, "-m", module, "--help"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    told = importlib.import_module(module).__doc__ or ""
    assert set(told.strip().splitlines()) <= set(said.splitlines())


def test_the_mail_server_goes_down_and_comes_back(inbox: InboxClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAPLESS_INBOX_URL", inbox.url)
    url = f"{inbox.url}/api/trouble"
    for mode in ("down", "none"):
        assert main(["--mail", mode]) == 0
        assert json.loads(urllib.request.urlopen(url, timeout=10).read())["mode"] == mode
    assert main(["--mail", "nonsense"]) == 1
