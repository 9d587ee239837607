"""A person in a browser: the form of the deployed backfill, filled and submitted, ends with rows and one mail."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from flows.pages import artifact_key

if TYPE_CHECKING:
    from .conftest import Bench

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600, func_only=True)]
RANGE = ("2025-01-02", "2025-01-08")
MONTH, FAILING = ("2024-03-01", "2024-03-20"), "2024-03-13"
CORRECTED = ("2024-02-06", "2024-02-07")
PATIENCE_MS = 120_000


def shoot(page: Any, name: str, **rest: Any) -> None:
    """Keeps a picture for the documentation when ``GAPLESS_SCREENSHOTS`` names a folder (`make screenshots`)."""
    if folder := os.environ.get("GAPLESS_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=str(Path(folder) / name), **rest)


@pytest.fixture(scope="module")
def signed_in(running: Bench, browser: Any) -> Iterator[Any]:
    """A browser in which somebody opened the stack's sign-in page, once."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(running.stack.sign_in_page.as_uri())
    page.wait_for_function("localStorage.getItem('prefect-password')", timeout=PATIENCE_MS)
    yield context
    context.close()


def opened(browser: Any, url: str, width: int = 1200, height: int = 900) -> Any:
    page = browser.new_page()
    page.set_viewport_size({"width": width, "height": height})
    # Prefect's pages ask the internet for logos and statistics, which a test does not need.
    page.route(re.compile(r"^https://"), lambda route: route.abort())
    page.goto(url, wait_until="domcontentloaded", timeout=PATIENCE_MS)
    return page


def pick(page: Any, shown: str, day: int) -> None:
    """Chooses a day of the month that a date field shows, in its calendar."""
    page.locator("button", has_text=shown).first.click()
    page.locator("[role=gridcell]").get_by_text(str(day), exact=True).first.click()
    page.keyboard.press("Escape")


def test_a_person_fills_the_form_and_gets_rows_and_one_mail(bench: Bench, signed_in: Any) -> None:
    bench.forget(*RANGE)
    deployment = bench.api("/deployments/name/backfill/bdl_box_scores")
    root = bench.env["PREFECT_UI_URL"]
    # As a link in a mail does it; the dates themselves are then chosen in the calendars.
    given = {"source": "bdl_box_scores", "start_date": "2025-01-15", "end_date": "2025-01-16", "reason": "gap_repair"}
    link = f"{root}/v2/deployments/deployment/{deployment['id']}/run?parameters={quote(json.dumps(given))}"
    page = opened(signed_in, link, height=1500)
    page.get_by_text("max_concurrency").first.wait_for(timeout=PATIENCE_MS)
    for description in ("First date, inclusive", "Last date, inclusive", "Why this is run", "Only show the plan"):
        assert page.get_by_text(description, exact=False).count(), description
    pick(page, "January 15th, 2025", 2)
    pick(page, "January 16th, 2025", 8)
    page.locator("button", has_text="January 8th, 2025").first.wait_for(timeout=PATIENCE_MS)
    page.get_by_text("Run Name").first.scroll_into_view_if_needed()
    shoot(page, "ui-form.png")
    with page.expect_response(lambda answer: answer.url.endswith("/create_flow_run"), timeout=PATIENCE_MS) as created:
        page.locator("button[type=submit]").last.click()
    run_id = created.value.json()["id"]
    asked = bench.api(f"/flow_runs/{run_id}")["parameters"]
    assert (asked["start_date"], asked["end_date"]) == RANGE

    ended = bench.wait(run_id)
    assert ended.message.startswith("COMPLETE"), ended.message
    assert bench.table_hash("nba_bdl_games", *RANGE)[0] > 0
    (mail,) = bench.mails(ended.backfill_id)
    assert "[OK 7/7]" in mail["subject"]

    run_page = opened(signed_in, f"{root}/v2/runs/flow-run/{run_id}", height=1000)
    run_page.get_by_text("Completed").first.wait_for(timeout=PATIENCE_MS)
    run_page.get_by_role("tab", name="Subflow Runs").click()
    run_page.get_by_text(f"bdl_box_scores {RANGE[1]}").first.wait_for(timeout=PATIENCE_MS)
    # The graph of the run is drawn after everything else; only the picture needs it.
    run_page.wait_for_timeout(8000 if os.environ.get("GAPLESS_SCREENSHOTS") else 0)
    shoot(run_page, "ui-run.png")
    artifacts = bench.api(
        "/artifacts/filter",
        {
            "artifacts": {
                "key": {"any_": [artifact_key("coverage", "bdl_box_scores")]},
                "flow_run_id": {"any_": [run_id]},
            }
        },
    )
    calendar = opened(signed_in, f"{root}/v2/artifacts/artifact/{artifacts[0]['id']}", height=700)
    calendar.get_by_text("2025").first.wait_for(timeout=PATIENCE_MS)
    shoot(calendar, "ui-coverage.png")
    inbox = bench.stack.urls()["inbox"]
    shoot(opened(signed_in, inbox, height=700), "inbox.png")
    whole = opened(signed_in, f"{inbox}/calendar")
    assert whole.locator("section[data-source=bdl_box_scores] pre").count()
    whole.goto(f"{inbox}/calendar/bdl_box_scores/{RANGE[0]}")
    whole.get_by_role("link", name="in Prefect").click()
    whole.wait_for_url(f"**/runs/flow-run/{run_id}")


def test_from_a_failure_mail_on_a_phone_to_a_running_retry_without_a_shell(bench: Bench, signed_in: Any) -> None:
    bench.forget(*MONTH)
    bench.trouble({"kind": "500", "dates": [FAILING]})
    failed = bench.run(*MONTH)
    bench.trouble()
    bench.forget_calls()
    (mail,) = bench.mails(failed.backfill_id)
    shown = f"{bench.stack.urls()['inbox']}/messages/{mail['id']}/html"
    for width in (1200, 360):
        page = opened(signed_in, shown, width, 900)
        shoot(page, f"mail-{width}.png")
    with page.context.expect_page() as clicked:
        page.get_by_role("link", name="Retry in the form").click()
    form = clicked.value
    form.set_viewport_size({"width": 360, "height": 900})
    form.get_by_text("max_concurrency").first.wait_for(timeout=PATIENCE_MS)
    with form.expect_response(lambda answer: answer.url.endswith("/create_flow_run"), timeout=PATIENCE_MS) as created:
        form.locator("button[type=submit]").last.click()
    run_id = created.value.json()["id"]
    asked = bench.api(f"/flow_runs/{run_id}")["parameters"]
    assert (asked["dates"], asked["reason"]) == (FAILING, "errors")
    assert bench.wait(run_id).message.startswith("COMPLETE")
    assert bench.calls()["by_date"] == {FAILING: 1}
    page.goto(shown)
    with page.context.expect_page() as clicked:
        page.get_by_role("link", name="Coverage").first.click()
    clicked.value.get_by_text("partitions done").first.wait_for(timeout=PATIENCE_MS)
    if folder := os.environ.get("GAPLESS_SCREENSHOTS"):
        compose(signed_in, Path(folder))


def test_a_person_publishes_on_a_phone_what_the_provider_corrected(bench: Bench, signed_in: Any) -> None:
    bench.forget(*CORRECTED)
    bench.trouble()
    assert bench.run(*CORRECTED).message.startswith("COMPLETE")
    before = bench.table_hash("nba_bdl_games", *CORRECTED)[0]
    bench.trouble({"kind": "one_game", "dates": [CORRECTED[1]]})
    run_id = bench.start(*CORRECTED, mode="full", publish="after_approval")
    page = opened(signed_in, f"{bench.env['PREFECT_UI_URL']}/v2/runs/flow-run/{run_id}", 360, 800)
    page.get_by_text("Suspended").first.wait_for(timeout=PATIENCE_MS)
    page.get_by_role("button", name="Open menu").click()
    page.get_by_role("menuitem", name="Resume").click()
    form = page.get_by_role("dialog")
    form.get_by_text(f"FEWER ROWS THAN USUAL on {CORRECTED[1]}").wait_for(timeout=PATIENCE_MS)
    page.wait_for_timeout(1000 if os.environ.get("GAPLESS_SCREENSHOTS") else 0)
    shoot(page, "ui-approval-360.png")
    form.get_by_text("Select", exact=True).click()
    page.get_by_role("option", name="publish").click()
    form.get_by_role("textbox").first.fill("maria")
    form.get_by_role("button", name="Resume", exact=True).click()
    ended = bench.wait(run_id)
    assert ended.message.endswith("publish by maria"), ended.message
    assert bench.table_hash("nba_bdl_games", *CORRECTED)[0] < before
    bench.trouble()


def test_each_form_asks_for_what_its_source_has(bench: Bench, signed_in: Any) -> None:
    root = bench.env["PREFECT_UI_URL"]
    for name, asked, not_asked in (
        ("bdl_box_scores", ("First date, inclusive", "Last date, inclusive"), "all, or names separated by commas"),
        ("civic_band", ("all, or names separated by commas",), "First date, inclusive"),
    ):
        deployment = bench.api(f"/deployments/name/backfill/{name}")
        page = opened(signed_in, f"{root}/v2/deployments/deployment/{deployment['id']}/run", height=1500)
        page.get_by_text("max_concurrency").first.wait_for(timeout=PATIENCE_MS)
        for description in asked:
            assert page.get_by_text(description).count() == 1, (name, description)
        assert page.get_by_text(not_asked).count() == 0, name
        # A date that may be left out would be a choice of types before it is a calendar.
        pickers = page.locator("button", has_text="Pick a date").count()
        assert pickers == (2 if name == "bdl_box_scores" else 0)
        page.close()


def compose(browser: Any, folder: Path) -> None:
    """The README's one picture: the finished run, and its mail as a phone shows it."""
    shown = {name: base64.b64encode((folder / f"{name}.png").read_bytes()).decode() for name in ("ui-run", "mail-360")}
    page = browser.new_page()
    page.set_viewport_size({"width": 1200, "height": 640})
    page.set_content(
        "<body style='margin:0;background:#e8ebf0;display:flex;gap:24px;padding:24px;box-sizing:border-box'>"
        "<style>img{border-radius:10px;box-shadow:0 4px 18px #0003;height:592px;object-fit:cover;object-position:top}"
        "</style>"
        f"<img style='width:780px;object-position:left top' src='data:image/png;base64,{shown['ui-run']}'>"
        f"<img style='width:348px' src='data:image/png;base64,{shown['mail-360']}'></body>"
    )
    page.screenshot(path=str(folder / "overview.png"))
