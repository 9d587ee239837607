from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from alerting.errors import ConfigurationError
from alerting.memory_store import MemoryObjectStore
from alerting.redaction import redact
from deployments.local.processes import free_port
from flows import secret_blocks
from flows.alert_wiring import build_channels
from flows.settings import Settings
from flows.wiring import Services


@pytest.fixture(autouse=True)
def _nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("GAPLESS_SOURCE_SECRETS", "GAPLESS_SMTP_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    secret_blocks.secret_from_block.cache_clear()
    yield
    secret_blocks.secret_from_block.cache_clear()


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, object]]:
    """Blocks of a pretended server, and every name that was asked for under ``asked``."""
    held: dict[str, object] = {"asked": []}

    def ask(name: str) -> object:
        asked = held["asked"]
        assert isinstance(asked, list)
        asked.append(name)
        return held.get(name, "")

    monkeypatch.setattr(secret_blocks, "_ask", ask)
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        yield held


def test_the_environment_wins_and_no_server_is_asked(blocks):
    blocks["gapless-bdl-api-key"] = "from-the-block-123"
    settings = Settings(source_secrets={"bdl_api_key": "from-the-environment"}, smtp_password="mail-environment")
    assert settings.secret("bdl_api_key") == "from-the-environment"
    assert settings.secret("smtp_password") == "mail-environment"
    assert blocks["asked"] == []


def test_without_it_in_the_environment_the_block_of_its_name_is_read_once(blocks):
    blocks["gapless-bdl-api-key"] = "from-the-block-123"
    assert [Settings().secret("bdl_api_key") for _ in range(3)] == ["from-the-block-123"] * 3
    assert blocks["asked"] == ["gapless-bdl-api-key"]


def test_a_secret_that_is_nowhere_is_empty(blocks):
    assert Settings().secret("nobody_has_it") == ""


def test_without_a_prefect_server_nothing_is_asked(monkeypatch):
    monkeypatch.setattr(secret_blocks, "_ask", lambda name: pytest.fail("asked"))
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        assert Settings().secret("bdl_api_key") == ""


def test_a_server_that_does_not_answer_is_a_hard_error_that_names_the_block(monkeypatch):
    monkeypatch.setattr(secret_blocks, "TIMEOUT_S", 0.5)
    with (
        temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{free_port()}/api"}),
        pytest.raises(ConfigurationError, match="Secret block gapless-bdl-api-key could not be read"),
    ):
        Settings().secret("bdl_api_key")


def test_what_the_server_says_in_an_error_is_not_repeated(blocks):
    blocks["gapless-bdl-api-key"] = ValueError("stored value: hunter2-hunter2")
    with pytest.raises(ConfigurationError) as caught:
        Settings().secret("bdl_api_key")
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_secrets_from_either_place_are_masked_everywhere_from_then_on(blocks):
    blocks["gapless-bdl-api-key"] = "block-value-0123456789"
    settings = Settings(smtp_password="environment-value-0123456789")
    text = f"{settings.secret('bdl_api_key')} {settings.secret('smtp_password')}"
    assert "0123456789" not in redact(f"failed with {text}")
    assert "0123456789" not in repr(settings)


def test_a_running_event_loop_is_no_obstacle(blocks):
    blocks["gapless-bdl-api-key"] = "from-the-block-123"

    async def inside() -> str:
        return Settings().secret("bdl_api_key")

    assert asyncio.run(inside()) == "from-the-block-123"


def test_a_source_client_gets_its_own_secret_and_no_other(blocks):
    blocks["gapless-bdl-api-key"] = "from-the-block-123"
    services = Services(Settings(project="p", source_secrets={"other_key": "not-yours-0123456"}))
    services.__dict__["store"] = MemoryObjectStore()
    client = services.source_kit("bdl_box_scores").client
    assert dict(client._access.secrets) == {"bdl_api_key": "from-the-block-123"}
    client.close()


def test_a_mail_server_without_login_asks_for_no_password(blocks):
    build_channels(Settings(smtp_host="127.0.0.1", mail_to="you@example.org"))
    assert blocks["asked"] == []
    build_channels(Settings(smtp_host="127.0.0.1", mail_to="you@example.org", smtp_user="gapless"))
    assert blocks["asked"] == ["gapless-smtp-password"]
