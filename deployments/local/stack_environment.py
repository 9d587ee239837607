"""What a client of the local stack finds in its environment, and what must not be there."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from alerting.errors import ConfigurationError
from deployments.local.prefect_children import client_settings
from deployments.local.processes import ChildFailed
from deployments.local.stack_state import StackState
from deployments.local.upstreams.civic_towns import LOCAL_CIVIC_KEY, SAMPLE_TOWNS
from deployments.local.upstreams.drive_key import is_sample_key, key_file
from deployments.local.upstreams.odds_upstream import ODDS_KEY
from deployments.local.upstreams.racing_upstream import RACING_PASSWORD, RACING_USER
from deployments.local.upstreams.shops_world import SETTINGS
from deployments.local.upstreams.sold_world import AREAS
from scrapers.registry import scraper
from scrapers.transport import socks_remedy

GOOGLE_PROJECT = "gapless-local"
LOCAL_API_KEY = "sample-key"
LOCAL_URLS_VARIABLE = "GAPLESS_LOCAL_SOURCE_URLS"
"""The URLs that a stack itself has given: an inherited one of them is nobody's wish."""

_WORLD_OF_SOURCE = {
    "bdl_box_scores": ("box_scores", ""),
    "bdl_games": ("box_scores", ""),
    "bdl_stats": ("box_scores", ""),
    "bdl_players": ("box_scores", ""),
    "bdl_teams": ("box_scores", ""),
    "bdl_injuries": ("box_scores", ""),
    "civic_band": ("civic", "/{site}"),
    "racing_reference": ("racing", ""),
    "racing_cards": ("racing", ""),
    "racing_results": ("racing", ""),
    "odds_events": ("odds", ""),
    "odds_history": ("odds", ""),
    "bigdataball_playbyplay": ("drive", ""),
    "nba_schedule": ("nba", "/{site}"),
    "nba_scoreboard": ("nba", "/stats"),
    "nba_boxscores": ("nba", "/stats"),
    "nba_gamelog": ("nba", "/stats"),
    "nba_playbyplay": ("nba", "/{site}"),
    "hemnet_sales": ("sold", ""),
    "hemnet_details": ("sold", ""),
    "coffee_shops": ("shops", "/{site}"),
}
_OF_SOURCES: dict[str, dict[str, Any]] = {
    "GAPLESS_SOURCE_URLS": {},
    "GAPLESS_SOURCE_SECRETS": {
        "bdl_api_key": LOCAL_API_KEY,
        "civic_band_api_key": LOCAL_CIVIC_KEY,
        "racing_api_user": RACING_USER,
        "racing_api_password": RACING_PASSWORD,
        "odds_api_key": ODDS_KEY,
    },
    "GAPLESS_SOURCE_ENTITIES": {
        "civic_band": list(SAMPLE_TOWNS),
        "hemnet_sales": list(AREAS),
        "coffee_shops": SETTINGS,
    },
    "GAPLESS_SOURCE_RATE_PER_MINUTE": {"civic_band": 6000, "balldontlie": 6000, "nba_stats": 6000, "nba_cdn": 6000},
    "GAPLESS_SOURCE_PAUSE_S": {"hemnet": [0.0, 0.02], "nba_stats": [0.0, 0.0], "nba_cdn": [0.0, 0.0]},
}
"""JSON objects by variable: the stack's own entries, those of the running samples aside."""
_OF_NO_PROXY, _HERE = ("no_proxy", "NO_PROXY"), ("127.0.0.1", "localhost")
_PACES = ("GAPLESS_SOURCE_RATE_PER_MINUTE", "GAPLESS_SOURCE_PAUSE_S")


def client_environment(state_dir: Path, state: StackState) -> dict[str, str]:
    """Variables for Prefect, the Google clients and our own settings.

    Raises:
        ChildFailed: No stack is recorded.
    """
    at = {child.name: child for child in state.children}
    if missing := {"prefect", "gcs", "bigquery", "inbox"} - set(at):
        raise ChildFailed(f"no stack in {state_dir}: {', '.join(sorted(missing))} not started", hint="make up")
    ports = at["upstream"].ports if "upstream" in at else {}
    on_the_way = at["weather"].ports if "weather" in at else {}
    weather = {route: f"http://127.0.0.1:{port}" for route, port in on_the_way.items()}
    of_sources = settings_of_sources(ports)
    # Only a sample is asked that fast, which else would take half an hour: anything else gets its own pace.
    hurried = _accounts_of_samples(ports, state.exports.get("GAPLESS_SOURCE_URLS", {}))
    for name in _PACES:
        of_sources[name] = {account: pace for account, pace in of_sources[name].items() if account in hurried}
    return {
        **client_settings(state_dir / "prefect", at["prefect"].ports["http"], state.auth),
        **({"PREFECT_API_URL": f"{weather['prefect']}/api"} if weather else {}),
        "STORAGE_EMULATOR_HOST": weather.get("storage", at["gcs"].endpoint),
        "BIGQUERY_EMULATOR_HOST": weather.get("bigquery", at["bigquery"].endpoint),
        "GOOGLE_CLOUD_PROJECT": GOOGLE_PROJECT,
        "GAPLESS_PROJECT": GOOGLE_PROJECT,
        "GAPLESS_SMTP_HOST": "127.0.0.1",
        "GAPLESS_SMTP_PORT": str(at["inbox"].ports["smtp"]),
        "GAPLESS_SMTP_SECURITY": "none",
        "GAPLESS_MAIL_TO": "you@localhost",
        "GAPLESS_INBOX_URL": at["inbox"].endpoint,
        "GAPLESS_UI_URL": at["prefect"].endpoint,
        **{name: json.dumps({**own, **state.exports.get(name, {})}) for name, own in of_sources.items()},
        LOCAL_URLS_VARIABLE: json.dumps(of_sources["GAPLESS_SOURCE_URLS"]),
        **dict.fromkeys(_OF_NO_PROXY, without_proxy(os.environ)),
    }


def without_proxy(environment: Mapping[str, str]) -> str:
    """Which hosts are asked without a proxy: those of the shell, and this machine.

    Of two variables that differ in case the lower one is believed by most programs, so that it is set as well.

    >>> without_proxy({"no_proxy": "corp.example", "NO_PROXY": "ignored.example"})
    'corp.example,127.0.0.1,localhost'
    """
    given = next((environment[name] for name in _OF_NO_PROXY if name in environment), "")
    return ",".join(filter(None, [*given.split(","), *(host for host in _HERE if host not in given.split(","))]))


def settings_of_sources(ports: Mapping[str, int]) -> dict[str, dict[str, Any]]:
    """What reaches the samples: an object by variable; ``ports`` are those of the worlds that run."""
    urls = {
        source: f"http://127.0.0.1:{ports[world]}{rest}"
        for source, (world, rest) in _WORLD_OF_SOURCE.items()
        if world in ports
    }
    of_sources = {**_OF_SOURCES, "GAPLESS_SOURCE_URLS": urls}
    if "drive" in ports:
        # The key of a service account names the address of its token endpoint.
        key = {"drive_service_account": key_file(f"http://127.0.0.1:{ports['drive']}/token")}
        of_sources["GAPLESS_SOURCE_SECRETS"] = {**_OF_SOURCES["GAPLESS_SOURCE_SECRETS"], **key}
    return of_sources


def _accounts_of_samples(ports: Mapping[str, int], elsewhere: Collection[str]) -> set[str]:
    """Accounts of which no source is asked anywhere else than at a sample that runs."""
    real = {name for name, (world, _) in _WORLD_OF_SOURCE.items() if world not in ports or name in elsewhere}
    return {scraper(name).account_name for name in _WORLD_OF_SOURCE} - {scraper(name).account_name for name in real}


def calendar_environment(state: StackState) -> dict[str, str]:
    """What the page of calendars needs of the stack whose servers are started: where the ledger lies."""
    at = {child.name: child for child in state.children}
    entities = {**_OF_SOURCES["GAPLESS_SOURCE_ENTITIES"], **state.exports.get("GAPLESS_SOURCE_ENTITIES", {})}
    return {
        "STORAGE_EMULATOR_HOST": at["gcs"].endpoint,
        "BIGQUERY_EMULATOR_HOST": at["bigquery"].endpoint,
        "GOOGLE_CLOUD_PROJECT": GOOGLE_PROJECT,
        "GAPLESS_PROJECT": GOOGLE_PROJECT,
        "GAPLESS_SOURCE_ENTITIES": json.dumps(entities),
    }


def exports_of_sources(environment: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """What somebody exported for single sources, by variable; it wins over what the stack itself says.

    What a stack has given, by ``source .gapless/env`` or to a process that starts another one, is left out.

    Raises:
        ConfigurationError: A variable is no JSON object. Its value is not shown.
    """
    given = _json_object(environment, LOCAL_URLS_VARIABLE)
    exports = {}
    for name, own in _OF_SOURCES.items():
        by_stack = {**own, **given} if name == "GAPLESS_SOURCE_URLS" else own
        exported = _json_object(environment, name)
        mine = {key: value for key, value in exported.items() if by_stack.get(key) != value}
        exports[name] = {key: value for key, value in mine.items() if not is_sample_key(value)}
    return {name: exported for name, exported in exports.items() if exported}


def _json_object(environment: Mapping[str, str], name: str) -> dict[str, Any]:
    text = environment.get(name, "")
    try:
        read = json.loads(text or "{}")
    except ValueError:
        read = None
    if not isinstance(read, dict):
        raise ConfigurationError(
            f"{name}: expected a JSON object, got {len(text)} characters that are none. Nothing was started",
            hint=f'export {name}=\'{{"<name>": "..."}}\', or unset {name}',
        )
    return read


def refuse_real_credentials() -> None:
    """Raises ``ConfigurationError`` if the environment names real Google credentials."""
    if os.environ.get("GOOGLE_APPLICATION_CREDENTIALS"):
        raise ConfigurationError(
            "GOOGLE_APPLICATION_CREDENTIALS is set. The local stack needs no credentials, and with them one forgotten "
            "emulator variable would write to a real project. Nothing was started",
            hint="unset GOOGLE_APPLICATION_CREDENTIALS",
        )


def refuse_socks_proxy() -> None:
    """Raises ``ConfigurationError`` for a proxy of which Prefect's client makes no request at all."""
    if remedy := socks_remedy():
        raise ConfigurationError(
            "the environment names a SOCKS proxy, which needs the package socksio. Nothing was started", hint=remedy
        )
