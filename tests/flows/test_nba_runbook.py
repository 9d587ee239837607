"""The runbook of a season, command by command in its order, against the sample season; on emulators, without a server.

On the whole stack it is executed by `tests/e2e/test_docs.py`.
"""

from __future__ import annotations

import asyncio
import shlex
from contextlib import ExitStack
from typing import Any

import pytest
from killed_family import RUNS, FamilyPlace

from deployments.local.inbox.server import InboxClient
from deployments.local.upstreams.box_scores_upstream import Upstream
from deployments.local.upstreams.drive_upstream import DriveUpstream
from deployments.local.upstreams.nba_upstream import NbaUpstream
from flows.asked import Asked
from flows.backfill import run_backfill
from flows.run.plain_orchestrator import PlainOrchestrator
from flows.wiring import build_services
from scrapers.registry import scraper, sources_of_family

PAGE = "docs/sources/nba-runbook.md"
# Without a server nothing is started by a deployment, looked up there, or found by the id of a run.
WITH_A_SERVER = ("prefect ", "make ", "gapless preflight", "gapless record")
KEY = "sample-key-7d1f"


def options_of(words: list[str]) -> tuple[list[str], dict[str, str]]:
    """What is not an option, and the options, each of which has a value."""
    begin = next((at for at, word in enumerate(words) if word.startswith("--")), len(words))
    return words[:begin], dict(zip(words[begin::2], words[begin + 1 :: 2], strict=True))


@pytest.mark.long
@pytest.mark.timeout(3_600)
def test_the_runbook_of_a_season_does_in_its_order_what_it_says(
    provisioned: Any,
    inbox: InboxClient,
    monkeypatch: pytest.MonkeyPatch,
    gapless: Any,
    documented_commands: list[Any],
) -> None:
    with ExitStack() as worlds:
        bdl = worlds.enter_context(Upstream(api_key=KEY, has_postponements=True))
        nba, drive = worlds.enter_context(NbaUpstream()), worlds.enter_context(DriveUpstream())
        urls = dict.fromkeys(sources_of_family("nba"), drive.url)
        for name in urls:
            if name.startswith("bdl_"):
                urls[name] = bdl.url
            if name.startswith("nba_"):
                urls[name] = f"{nba.url}/{{site}}" if "{site}" in scraper(name).base_url else f"{nba.url}/stats"
        secrets = {"bdl_api_key": KEY, "drive_service_account": drive.key_file}
        place = FamilyPlace(provisioned, inbox, monkeypatch, urls, secrets)

        def ran(words: list[str]) -> str:
            (name, *dates), options = options_of(words)
            given = {"start_date": dates[0], "end_date": dates[1]} if dates else {"entities": options["--entities"]}
            if name == "nba":
                return place.ran(family=name, **given)[1]
            asked = Asked.model_validate({"source": name, "mode": options.get("--mode", "incremental"), **given})
            state = asyncio.run(run_backfill(build_services(), asked, next(RUNS), PlainOrchestrator(tries_again=True)))
            return str(state.message)

        page = [one.text for one in documented_commands if one.page == PAGE]
        page = [text for text in page if not text.startswith(WITH_A_SERVER)]
        assert len(page) > 18
        wrong = []
        for text in page:
            verb, *words = shlex.split(text)[1:]
            if verb == "run":
                told = ran(words)
                wrong += [] if told.startswith("COMPLETE") else [f"{text}: {told}"]
                continue
            answered = gapless(verb, *words)
            if answered.code:
                wrong.append(f"{text}: {answered.code} {answered.out[-600:]} {answered.err[-300:]}")
        assert not wrong, "\n".join(wrong)
        assert {*place.mails().values()} == {1}
