"""What clients of the stack find in their environment, and what the shell that starts it may say of sources."""

from __future__ import annotations

import json
import os
import urllib.request
from pathlib import Path

import pytest

from alerting.errors import ConfigurationError
from deployments.local.process_id import ProcessId
from deployments.local.processes import Child
from deployments.local.stack import Stack
from deployments.local.stack_environment import (
    LOCAL_URLS_VARIABLE,
    calendar_environment,
    client_environment,
    exports_of_sources,
)
from deployments.local.stack_state import StackState, load_state, save_state

PORTS = {
    "prefect": {"http": 4200},
    "gcs": {"http": 4443},
    "bigquery": {"http": 9050, "grpc": 9060},
    "inbox": {"http": 8025, "smtp": 1025},
    "upstream": {
        "box_scores": 8080,
        "civic": 8081,
        "racing": 8082,
        "odds": 8083,
        "nba": 8084,
        "drive": 8085,
        "sold": 8086,
    },
}

NBA = "http://127.0.0.1:8084"


def _running(exports: dict[str, dict[str, str]] | None = None) -> StackState:
    identity = ProcessId.of(os.getpid())
    assert identity is not None
    children = [
        Child(name, identity, f"http://127.0.0.1:{next(iter(ports.values()))}", Path("log"), "", dict(ports))
        for name, ports in PORTS.items()
    ]
    return StackState(token="t", children=children, auth="gapless:x", exports=exports or {})


def _of_sources(state: StackState, name: str) -> dict[str, str]:
    return json.loads(client_environment(Path("x"), state)[f"GAPLESS_SOURCE_{name}"])


def test_each_source_is_pointed_at_its_own_world():
    urls = _of_sources(_running(), "URLS")
    assert urls["bdl_box_scores"] == "http://127.0.0.1:8080"
    assert urls["civic_band"] == "http://127.0.0.1:8081/{site}"
    assert {urls[f"racing_{name}"] for name in ("reference", "cards", "results")} == {"http://127.0.0.1:8082"}
    assert urls["odds_history"] == urls["odds_events"] == "http://127.0.0.1:8083"
    assert {urls[f"nba_{name}"] for name in ("schedule", "playbyplay")} == {f"{NBA}/{{site}}"}
    assert {urls[f"nba_{name}"] for name in ("scoreboard", "boxscores", "gamelog")} == {f"{NBA}/stats"}
    state = _running()
    state.child("upstream").ports.pop("civic")  # type: ignore[union-attr]
    assert "civic_band" not in _of_sources(state, "URLS")


def test_the_key_of_the_service_account_names_the_token_endpoint_of_its_own_stack_alone():
    key = _of_sources(_running(), "SECRETS")["drive_service_account"]
    assert json.loads(key)["token_uri"] == "http://127.0.0.1:8085/token"
    assert exports_of_sources({"GAPLESS_SOURCE_SECRETS": json.dumps({"drive_service_account": key})}) == {}
    mine = json.dumps({**json.loads(key), "client_email": "me@project.example"})
    exports = exports_of_sources({"GAPLESS_SOURCE_SECRETS": json.dumps({"drive_service_account": mine})})
    assert _of_sources(_running(exports), "SECRETS")["drive_service_account"] == mine


def test_what_the_shell_exports_wins_source_by_source_and_the_rest_is_kept():
    exports = exports_of_sources(
        {
            "GAPLESS_SOURCE_URLS": '{"racing_cards": "https://api.theracingapi.com", "ecb_rates": "http://127.0.0.1:1"}',
            "GAPLESS_SOURCE_SECRETS": '{"racing_api_user": "me"}',
        }
    )
    state = _running(exports)
    urls, secrets = _of_sources(state, "URLS"), _of_sources(state, "SECRETS")
    assert urls["racing_cards"] == "https://api.theracingapi.com"
    assert urls["ecb_rates"] == "http://127.0.0.1:1"
    assert urls["racing_results"] == "http://127.0.0.1:8082"
    assert secrets["racing_api_user"] == "me"
    assert secrets["bdl_api_key"] == "sample-key"
    assert _of_sources(state, "ENTITIES")["civic_band"]


def test_what_a_stack_itself_gave_is_no_wish_of_the_shell():
    given = client_environment(Path("x"), _running())
    assert exports_of_sources(given) == {}
    mine = {**json.loads(given["GAPLESS_SOURCE_URLS"]), "odds_events": "http://127.0.0.1:1"}
    assert exports_of_sources({**given, "GAPLESS_SOURCE_URLS": json.dumps(mine)}) == {
        "GAPLESS_SOURCE_URLS": {"odds_events": "http://127.0.0.1:1"}
    }
    # Another stack, started from a shell of the first one, has its own ports.
    assert json.loads(given[LOCAL_URLS_VARIABLE]) == json.loads(given["GAPLESS_SOURCE_URLS"])


@pytest.mark.parametrize("text", ["{planted", "[]", "planted", '"planted"'])
def test_an_export_that_is_no_json_object_stops_everything_before_it_starts(tmp_path, monkeypatch, text):
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("GAPLESS_SOURCE_SECRETS", text)
    with pytest.raises(
        ConfigurationError, match=r"GAPLESS_SOURCE_SECRETS: expected a JSON object.*Nothing was"
    ) as said:
        Stack(tmp_path / "s").up()
    assert "planted" not in str(said.value)
    assert not (tmp_path / "s").exists()


def test_a_running_stack_refuses_exports_that_its_worker_would_not_hear_of(tmp_path, monkeypatch):
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    file = tmp_path / "stack.json"
    save_state(file, _running({"GAPLESS_SOURCE_URLS": {"odds_events": "http://127.0.0.1:1"}}))
    assert file.stat().st_mode & 0o077 == 0
    monkeypatch.setenv("GAPLESS_SOURCE_URLS", '{"odds_events": "http://127.0.0.1:2"}')
    with pytest.raises(ConfigurationError, match=r"GAPLESS_SOURCE_URLS of this shell.*Nothing was changed"):
        Stack(tmp_path).up()
    for same in ('{"odds_events": "http://127.0.0.1:1"}', ""):
        monkeypatch.setenv("GAPLESS_SOURCE_URLS", same)
        Stack(tmp_path).up()
        assert '"odds_events": "http://127.0.0.1:1"' in (tmp_path / "env").read_text()
    assert load_state(file).exports == {"GAPLESS_SOURCE_URLS": {"odds_events": "http://127.0.0.1:1"}}


def test_the_page_of_calendars_reads_the_bucket_and_the_entities_of_its_own_stack():
    state = _running({"GAPLESS_SOURCE_ENTITIES": {"civic_band": ["a-town"]}})
    found = calendar_environment(state)
    theirs = client_environment(Path("x"), state)
    assert found == {name: theirs[name] for name in found}
    assert {name for name in found if name.endswith("_EMULATOR_HOST")} == {
        "STORAGE_EMULATOR_HOST",
        "BIGQUERY_EMULATOR_HOST",
    }
    assert json.loads(found["GAPLESS_SOURCE_ENTITIES"])["civic_band"] == ["a-town"]


@pytest.mark.parametrize(
    ("source", "account", "url"),
    [
        ("hemnet_sales", "hemnet", "https://www.hemnet.se"),
        ("nba_boxscores", "nba_stats", "https://stats.nba.com"),
        ("bdl_stats", "balldontlie", "https://api.balldontlie.io"),
    ],
)
def test_only_a_sample_is_asked_without_pauses_and_faster_than_the_source_allows(source, account, url):
    sample, real = _running(), _running({"GAPLESS_SOURCE_URLS": {source: url}})
    paces = {name: _of_sources(sample, name) for name in ("PAUSE_S", "RATE_PER_MINUTE")}
    assert any(account in pace for pace in paces.values())
    for name, pace in paces.items():
        assert _of_sources(real, name) == {one: value for one, value in pace.items() if one != account}
    sample.child("upstream").ports.clear()  # type: ignore[union-attr]
    assert _of_sources(sample, "PAUSE_S") == _of_sources(sample, "RATE_PER_MINUTE") == {}


def test_this_machine_is_asked_without_a_proxy_whichever_case_the_shell_says_so_in(monkeypatch):
    """Of ``no_proxy`` and ``NO_PROXY`` the Prefect client believes the lower one: a corporate shell has it."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"no_proxy": "corp.example", "http_proxy": "http://proxy.example:3128"}.items():
        monkeypatch.setenv(name, value)
    for name, value in client_environment(Path("x"), _running()).items():
        monkeypatch.setenv(name, value)
    assert urllib.request.proxy_bypass_environment("127.0.0.1:4200")
    assert urllib.request.proxy_bypass_environment("corp.example")
    assert not urllib.request.proxy_bypass_environment("api.example")
