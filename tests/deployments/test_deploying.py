"""What prefect.yaml describes, as it is put on the server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from alerting.errors import ConfigurationError
from deployments.deploying import described_deployments, facts_of
from deployments.provision import prefect_file
from flows.settings import code_version
from scrapers.registry import families, scraper, sources

ENTRIES = described_deployments(prefect_file())


def _source_of(entry: dict[str, Any]) -> str:
    parameters = entry.get("parameters", {})
    return str(parameters.get("source", entry["name"] if "window" in entry["tags"] else ""))


def test_every_entry_is_deployed_with_all_that_it_says() -> None:
    plain = yaml.safe_load(prefect_file().read_text())["deployments"]
    for entry, described in zip(ENTRIES, plain, strict=True):
        facts = facts_of(entry)
        for name in ("tags", "entrypoint"):
            assert facts[name] == described[name]
        assert facts["parameters"] == described.get("parameters", {})
        assert facts["description"] == described.get("description", facts["description"])
        assert (facts["work_pool_name"], facts["work_queue_name"]) == tuple(described["work_pool"].values())
        assert facts["version"] == code_version()
        assert facts["enforce_parameter_schema"] is described.get("enforce_parameter_schema", True)
        assert facts["parameter_openapi_schema"]["type"] == "object"


def test_the_deployments_of_a_source_are_found_together_by_family_and_tag() -> None:
    kinds = {"backfill", "daily", "window"}
    for entry in ENTRIES:
        source, tags = _source_of(entry), set(entry["tags"])
        if source in sources():
            family = scraper(source).family
            assert tags == {"gapless", source, *({family} if family else ()), *(tags & kinds)}, entry["name"]
            assert len(tags & kinds) == 1
    assert {tag for entry in ENTRIES for tag in entry["tags"]} >= {*sources(), *families()}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("    concurrency_limit: 1", "has concurrency_limit in a"),
        ("    triggers: []", "has triggers in a"),
        ("    schedules: [{interval: 60, timezone: UTC, slug: s}]", "has interval in "),
    ],
)
def test_what_would_be_left_out_is_refused_before_anything_is_deployed(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "prefect.yaml"
    head = (
        "deployments:\n  - name: a\n    entrypoint: flows.audit:audit\n    work_pool: {name: p, work_queue_name: q}\n"
    )
    file.write_text(f"{head}{text}\n")
    with pytest.raises(ConfigurationError, match=told) as refused:
        described_deployments(file)
    assert f"prefect --no-prompt deploy --all --prefect-file {file}" in refused.value.hint
