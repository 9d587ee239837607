"""The parameter forms of the backfill flows, as the UI gets them."""

from __future__ import annotations

import datetime as dt
import functools
import json
import re
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from prefect import Flow
from prefect.exceptions import ParameterTypeError
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools.validation import ValidationError, validate

import scrapers.sources
from alerting.advice import Step, actions_of
from alerting.run_facts import RunFacts
from flows.asked import Asked, AskedFamily
from flows.backfill import backfill
from flows.backfill_entities import backfill_entities
from flows.backfill_family import backfill_family
from flows.backfill_series import backfill_series
from flows.cli.start import extra_parameters
from flows.daily import daily
from flows.dates import dates
from flows.dropdowns import sources_by
from flows.operate import operate
from flows.parameters import Mode, Reason
from scrapers.registry import families, scraper, sources, sources_of_family

PREFECT_YAML = Path(__file__).parents[2] / "prefect.yaml"
COMMAND = "prefect deployment run 'backfill/bdl_box_scores' -p start_date=2025-01-01 -p end_date=2025-01-02"
FLOWS: dict[str, Flow[..., Any]] = {
    "flows.backfill:backfill": backfill,
    "flows.backfill_entities:backfill_entities": backfill_entities,
    "flows.backfill_series:backfill_series": backfill_series,
}


@functools.cache
def form(flow: Flow[..., Any]) -> dict[str, Any]:
    return parameter_schema(flow).model_dump()


def fields(flow: Flow[..., Any]) -> dict[str, Any]:
    """What the form shows, whether in its group or not."""
    shown = dict(form(flow)["properties"])
    group = shown.pop("advanced", None)
    return {**shown, **(form(flow)["definitions"][group["$ref"].rpartition("/")[2]]["properties"] if group else {})}


def offered(flow: Flow[..., Any], kind: str) -> list[str]:
    names: list[str] = form(flow)["definitions"][kind]["enum"]
    return names


def test_each_form_demands_what_its_sources_are_asked_by() -> None:
    dates, entities, series = form(backfill), form(backfill_entities), form(backfill_series)
    assert series["required"] == dates["required"]
    assert series["properties"]["entities"]["default"] == "all"
    assert dates["required"] == ["source", "start_date", "end_date", "reason"]
    assert entities["required"] == ["source", "entities", "reason"]
    for name in ("start_date", "end_date"):
        # Without "or None", which the UI would show as a choice of types in place of the calendar.
        for one in (dates, series):
            assert (one["properties"][name]["type"], one["properties"][name]["format"]) == ("string", "date")
        assert name not in entities["properties"]
    assert "entities" not in dates["properties"]
    assert not [
        name for one in (dates, entities, series) for name, field in one["properties"].items() if "anyOf" in field
    ]


def test_each_dropdown_offers_exactly_the_sources_its_form_can_ask() -> None:
    by_date, by_entity = offered(backfill, "DateSource"), offered(backfill_entities, "EntitySource")
    series = offered(backfill_series, "SeriesSource")
    assert sorted(by_date + by_entity + series) == sources()
    assert all(scraper(name).step != "whole" and not scraper(name).has_series for name in by_date)
    assert all(scraper(name).step == "whole" for name in by_entity)
    assert all(scraper(name).has_series for name in series)
    assert offered(daily, "AnySource") == sources()


@pytest.mark.parametrize("flow", [*FLOWS.values(), backfill_family, daily])
def test_every_field_of_a_form_is_explained(flow: Flow[..., Any]) -> None:
    silent = [name for name, field in fields(flow).items() if len(field.get("description", "")) < 8]
    assert silent == []


@pytest.mark.parametrize("flow", [*FLOWS.values(), backfill_family, daily])
def test_every_number_of_a_form_names_its_unit_and_zero_is_as_usual_wherever_it_may_be_given(
    flow: Flow[..., Any],
) -> None:
    for name, field in fields(flow).items():
        if field.get("type") not in ("integer", "number"):
            continue
        # Commands use the name, so the title begins with it.
        assert field["title"].startswith(f"{name} ("), name
        assert ("0: default" in field["title"]) == (field["minimum"] <= 0), name


def test_a_browser_refuses_what_no_run_could_mean() -> None:
    for flow in FLOWS.values():
        shown = fields(flow)
        for name in ("failed_of", "plan_of"):
            assert re.fullmatch(shown[name]["pattern"], "bf-0123456789ab-r2")
            assert re.fullmatch(shown[name]["pattern"], "")
            assert not re.fullmatch(shown[name]["pattern"], "yesterday's")


@pytest.mark.parametrize(
    ("flow", "given"),
    [
        (backfill, {"source": "bdl_box_scores", "start_date": "2025-01-01", "end_date": "2025-01-02"}),
        (backfill_entities, {"source": "civic_band", "entities": "all"}),
        (backfill_family, {"family": "nba", "period": "2024-25"}),
    ],
    ids=["dates", "entities", "family"],
)
def test_the_form_groups_what_is_rarely_set_and_hides_what_only_a_run_sets(
    flow: Flow[..., Any], given: dict[str, Any]
) -> None:
    assert len(form(flow)["properties"]) <= 17
    assert [name for name, field in fields(flow).items() if field["title"].split()[0] != name] == []
    assert "resume_of" not in fields(flow)
    for schema_or_run in (partial(validate, schema=form(flow), raise_on_error=True), flow.validate_parameters):
        schema_or_run({**given, "reason": "test", "advanced": {"resume_of": "bf-0123456789ab"}})
    # The server lets through what the form hides, so the run refuses what nobody knows.
    with pytest.raises(ParameterTypeError, match=r"advanced\.max_calls"):
        flow.validate_parameters({**given, "reason": "test", "advanced": {"max_calls": "many"}})
    with pytest.raises(ValidationError, match=r"advanced\.deadline_h"):
        validate({**given, "reason": "test", "advanced": {"deadline_h": -1}}, form(flow), raise_on_error=True)


def test_a_command_names_rare_parameters_alone_and_the_run_gets_them_in_their_group() -> None:
    given = {"start_date": "2025-01-01", "end_date": "2025-01-02", **extra_parameters(["max_calls=5", "plan_of=bf-1"])}
    asked = Asked.model_validate({"source": "bdl_box_scores", **given})
    assert asked.given()["advanced"] == {"max_calls": 5, "plan_of": "bf-1"}
    backfill.validate_parameters(asked.given())
    assert Asked.model_validate(asked.given()) == asked


@pytest.mark.parametrize(
    "command",
    [
        "gapless retry-failed bdl_box_scores",
        f"{COMMAND} -p reason=errors -p wait_for_lease_s=21600",
        f"""{COMMAND} -p reason=test -p advanced='{{"max_calls": 5}}'""",
    ],
)
def test_the_form_takes_what_the_link_of_a_mail_fills_in(command: str) -> None:
    facts = RunFacts(
        backfill_id="bf-0123456789ab",
        source="bdl_box_scores",
        start_date="2025-01-01",
        end_date="2025-01-02",
        form_url="http://127.0.0.1/run",
    )
    (action,) = actions_of(facts, [Step(command, 2, "days", "", "")])
    (given,) = parse_qs(urlsplit(action.url).query)["parameters"]
    validate(json.loads(given), form(backfill), raise_on_error=True)
    backfill.validate_parameters(json.loads(given))


def test_the_deployment_of_an_operator_has_no_parameter_that_its_form_lacks() -> None:
    known = yaml.safe_load(PREFECT_YAML.read_text())["deployments"]
    (deployment,) = [one for one in known if one["entrypoint"] == "flows.operate:operate"]
    assert set(deployment["parameters"]) <= set(form(operate)["properties"])


def test_an_operators_command_is_one_line_as_in_a_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def answered(words: list[str]) -> int:
        print("said")
        asked.append(words)
        return 0 if words != ["gaps"] else 2

    monkeypatch.setattr("flows.operate.main", answered)
    monkeypatch.setattr("flows.operate.create_markdown_artifact", lambda **_: None)
    assert list(form(operate)["properties"]) == ["command"]
    line = "gapless run nba 2025-01-01 2025-01-02 --reason 'a gap'"
    assert operate.fn(line).message == "said"
    assert operate.fn("gaps").message == "exit code 2: said"
    assert asked == [["run", "nba", "2025-01-01", "2025-01-02", "--reason", "a gap"], ["gaps"]]
    refused = operate.fn("run 'nba")
    assert refused.is_failed()
    assert refused.message == 'exit code 2: No closing quotation in "run \'nba". Nothing was done'
    assert operate.fn(" gapless ").message.startswith("exit code 2: no command was given. Nothing was done. Next: ")


def test_a_window_without_dates_is_refused_by_its_form() -> None:
    with pytest.raises(ValidationError, match="partitions"):
        validate({"source": "nba", "backfill_id": "bf-1", "partitions": []}, form(dates), raise_on_error=True)


def test_all_forms_ask_for_parts_of_one_and_the_same_run() -> None:
    asked = [set(fields(flow)) for flow in FLOWS.values()]
    assert asked[0] | asked[1] == asked[2] == set(Asked.model_fields) - {"part_of", "resume_of"}
    assert asked[0] ^ asked[1] == {"start_date", "end_date", "dates", "order", "entities"}
    assert {flow.name for flow in FLOWS.values()} == {"backfill"}, "commands say backfill/<source> for every source"


def test_every_deployment_has_the_form_of_its_source_and_no_parameter_that_it_lacks() -> None:
    for deployment in yaml.safe_load(PREFECT_YAML.read_text())["deployments"]:
        if flow := FLOWS.get(deployment["entrypoint"]):
            given = deployment["parameters"]
            assert set(given) <= set(form(flow)["properties"]), deployment["name"]
            (kind,) = {"DateSource", "EntitySource", "SeriesSource"} & set(form(flow)["definitions"])
            assert given["source"] in offered(flow, kind)


def test_a_family_is_asked_for_by_a_period_or_by_dates_and_each_family_has_one_deployment() -> None:
    assert form(backfill_family)["required"] == ["family", "reason"]
    shown = fields(backfill_family)
    assert set(shown) == set(AskedFamily.model_fields) - {"resume_of"}
    assert offered(backfill_family, "Family") == families()
    assert offered(backfill_family, "FamilySource") == sorted(
        one for family in families() for one in sources_of_family(family)
    )
    for name in ("start_date", "end_date"):
        field = shown[name]
        assert (field["type"], field["format"], field["default"]) == ("string", "date", "")
    for name in ("skip", "also"):
        assert shown[name]["items"] == {"$ref": "#/definitions/FamilySource"}
    period = shown["period"]["pattern"]
    assert all(re.fullmatch(period, one) for one in ("", "2024", "2024-25", "2024-03"))
    assert not re.fullmatch(period, "last season")
    known = yaml.safe_load(PREFECT_YAML.read_text())["deployments"]
    ours = [one for one in known if one["entrypoint"] == "flows.backfill_family:backfill_family"]
    assert sorted(one["name"] for one in ours) == families()
    assert all(one["parameters"] == {"family": one["name"]} for one in ours)
    assert set(families()).isdisjoint(sources()), "a family's lease lies beside those of sources"


def test_a_run_that_goes_on_after_a_pause_fits_the_form_it_came_from() -> None:
    by_date = Asked(
        source="bdl_box_scores", start_date=dt.date(2025, 1, 1), end_date=dt.date(2025, 1, 2), mode=Mode.FULL
    )
    by_entity = Asked(source="civic_band", entities="all", reason=Reason.TEST, retry_failed=True)
    days = {"start_date": dt.date(2026, 6, 1), "end_date": dt.date(2026, 6, 1)}
    series = Asked(source="coffee_shops", entities="a.example", **days)
    for flow, asked in ((backfill, by_date), (backfill_entities, by_entity), (backfill_series, series)):
        schema, given = form(flow), asked.resumed("bf-1")
        assert set(schema["required"]) <= set(given) <= set(schema["properties"])
        flow.validate_parameters(given)


def test_a_source_file_that_cannot_be_imported_does_not_take_the_forms_of_the_others_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken.py").write_text("import no_such_module_anywhere\n")
    monkeypatch.setattr(scrapers.sources, "__path__", [*scrapers.sources.__path__, str(tmp_path)])
    assert "broken" in sources()
    assert {"bdl_box_scores", "broken"} <= set(sources_by("date"))
    assert {"civic_band", "nba_schedule", "racing_reference"} <= set(sources_by("entity"))


def test_a_note_of_any_characters_and_any_length_can_be_stored_and_mailed() -> None:
    for family in (False, True):
        given = {"family": "nba", "period": "2024-25"} if family else {"source": "s"}
        for note in ("half an emoji \ud83d", "a\0b", "ü" * 100_000):
            asked = (AskedFamily if family else Asked).model_validate({**given, "note": note})
            assert len(json.dumps(asked.given(), ensure_ascii=False).encode()) < 10_000
            assert "\0" not in asked.reason_text
