"""The calendar as a page: small, right on a telephone and at a desk, by night, without colours and without a script."""

from __future__ import annotations

import dataclasses
import datetime as dt
import html
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ten_years import NOW, daily, entities_of_days, months, towns

from alerting.coverage import LOOKS
from flows.truth.whole_history import Cell, History
from flows.views.calendar_page import Links, Way, calendar_page, ways_for
from scrapers.partition import Partition

BUCKET = Links.of_bucket("gs://gapless-raw")
# For every text: the contrast of its colour with the first background behind it (WCAG 2.2, 1.4.3).
UNREADABLE = """() => {
  const parsed = text => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = rgb => rgb.slice(0, 3).map(v => v / 255)
    .map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const behind = node => {
    for (let at = node; at; at = at.parentElement) {
      const colour = parsed(getComputedStyle(at).backgroundColor);
      if (colour.length && (colour[3] === undefined || colour[3] > .99)) return colour;
    }
    return [255, 255, 255];
  };
  const found = new Set(), walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const parent = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || parent.tagName === "SCRIPT") continue;
    const [a, b] = [light(parsed(getComputedStyle(parent).color)), light(behind(parent))].sort((x, y) => y - x);
    const name = `${parent.tagName}.${parent.className} ${parent.textContent.slice(0, 20)}`;
    if ((a + .05) / (b + .05) < 4.5) found.add(name);
  }
  return [...found];
}"""


def test_ten_years_of_eight_sources_are_smaller_than_300_kb() -> None:
    histories = [dataclasses.replace(daily(seed), source=f"source_{seed}") for seed in range(8)]
    assert sum(len(one.cells) for one in histories) > 28_900
    assert len(calendar_page(histories, BUCKET, NOW).encode()) < 300_000


def test_it_stays_so_when_every_day_was_its_own_run_and_no_two_neighbours_look_alike() -> None:
    histories = []
    for seed in range(8):
        cells = [
            dataclasses.replace(
                cell,
                state="verified" if number % 2 else "failed_retryable",
                why="" if number % 2 else f"another reason {seed} {number}",
                backfill_id=f"daily-{seed}{number:011x}",
            )
            for number, cell in enumerate(daily(seed).cells)
        ]
        histories.append(History(f"source_{seed}", "", "day", tuple(cells)))
    assert len(calendar_page(histories, BUCKET, NOW).encode()) < 700_000


def test_what_needs_attention_is_told_in_words_with_its_command() -> None:
    page = html.unescape(calendar_page([daily(1)], BUCKET, NOW))
    assert "SourceUnavailable" in page
    assert "gapless retry-failed toy --reason errors" in page
    planned = "2019-03-05..2019-03-08,2022-03-05..2022-03-08,2025-03-05..2025-03-08"
    assert f"gapless run toy 2019-03-05 2025-03-08 --dates {planned} --reason gap_repair" in page


@pytest.mark.parametrize(
    ("state", "keys", "command"),
    [
        ("verified", ["2025-01-03"], None),
        ("planned", ["2025-01-03", "2025-01-04"], "gapless run toy 2025-01-03 2025-01-04 --reason gap_repair"),
        (
            "planned",
            ["2025-01-07", "2025-01-03", "2025-01-04"],
            "gapless run toy 2025-01-03 2025-01-07 --dates 2025-01-03..2025-01-04,2025-01-07 --reason gap_repair",
        ),
        ("planned", ["2025-01", "2025-02"], "gapless run toy 2025-01-01 2025-02-28 --reason gap_repair"),
        ("failed_permanent", ["2025-01-03"], "gapless retry-failed toy --reason errors"),
        ("doubted", ["2025-01-03", "2025-01-09"], "gapless repair toy 2025-01-03 2025-01-09 --reason gap_repair"),
        ("staged", ["2025-01-03"], "gapless reviews --source toy"),
        ("planned", ["a.ca~agendas", "b.ca"], "gapless run toy --entities 'a.ca~agendas,b.ca' --reason gap_repair"),
        ("planned", ["season24"], "gapless run toy --entities season24 --reason gap_repair"),
        ("planned", ["lakers@2025-01-03"], "gapless repair toy --reason gap_repair"),
    ],
)
def test_the_command_is_the_one_for_its_state_and_its_kind_of_key(
    state: str, keys: list[str], command: str | None
) -> None:
    assert ways_for("toy", state, keys) == ((Way(command),) if command else ())


@pytest.mark.parametrize(
    ("keys", "what"),
    [
        (["2025-01-03"], "2025-01-03 2025-01-03"),
        (["2025-01-03", "2025-01-09"], "2025-01-03 2025-01-09 --dates 2025-01-03,2025-01-09"),
        (["season24"], "--entities season24"),
        (["shop@2025-01-03"], "2025-01-03 2025-01-03 --dates shop@2025-01-03"),
    ],
)
def test_who_meets_a_shrunk_date_may_ask_again_accept_it_or_leave_it(keys: list[str], what: str) -> None:
    assert ways_for("toy", "shrunk", keys) == (
        Way(f"gapless run toy {what} --reason gap_repair", "If the source is wrong"),
        Way(
            f"gapless run toy {what} --accept-shrink --reason WHY",
            "If it is right; else leave it, the old rows stay",
        ),
    )
    cell = Cell(Partition.day(dt.date(2025, 1, 3), "UTC"), "shrunk", "fewer rows", 1, "bf-1", NOW)
    page = calendar_page([History("toy", "", "day", (cell,))], BUCKET, NOW)
    for way in ways_for("toy", "shrunk", ["2025-01-03"]):
        assert f"{way.when}:<code>{way.command}</code>" in page


def test_names_and_reasons_of_strangers_stay_text() -> None:
    nasty = "</script><script>alert(1)</script>\u202e"
    cell = Cell(Partition.whole(nasty, "UTC"), "failed_permanent", nasty, 1, nasty, NOW)
    page = calendar_page([History("toy", nasty, "whole", (cell,))], BUCKET, NOW)
    assert page.count("<script") == 2
    assert "alert(1)</script>" not in page
    assert "\u202e" not in page


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("calendar") / "calendar.html"
    histories = [daily(1), months(), entities_of_days(), towns()]
    file.write_text(calendar_page(histories, BUCKET, NOW), encoding="utf-8")
    return file


@pytest.fixture(
    params=[(360, "light"), (360, "dark"), (1200, "light"), (1200, "dark")], ids=lambda it: f"{it[0]}-{it[1]}"
)
def view(browser: Any, request: pytest.FixtureRequest, page_file: Path) -> Iterator[Any]:
    """The page at a width and in a colour scheme; ``view.said`` is what the browser complained of or asked for."""
    width, scheme = request.param
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    page.said, page.width, page.scheme = [], width, scheme
    page.on("console", lambda message: page.said.append(message.text))
    page.on("pageerror", lambda error: page.said.append(str(error)))
    page.on("request", lambda request: page.said.append(request.url))
    page.goto(page_file.as_uri())
    yield page
    context.close()


def test_it_fits_the_screen_is_readable_and_asks_for_nothing(view: Any, page_file: Path) -> None:
    assert view.said == [page_file.as_uri()]
    assert view.evaluate("document.documentElement.scrollWidth") <= view.width
    assert view.evaluate(UNREADABLE) == []
    folder = os.environ.get("GAPLESS_SCREENSHOTS")
    if folder and (view.width, view.scheme) in ((1200, "light"), (360, "dark")):
        view.screenshot(path=str(Path(folder) / f"calendar-{view.width}.png"))


def brought_up(page: Any, grid: Any) -> dict[str, float]:
    """Where the grid lies in the middle of the screen, with nothing before it."""
    page.keyboard.press("Escape")
    grid.evaluate("at => at.scrollIntoView({block: 'center'})")
    box: dict[str, float] = grid.bounding_box()
    return box


def test_the_cell_under_the_pointer_is_the_date_that_the_panel_names(view: Any) -> None:
    grid = view.locator('section[data-source=toy] pre[data-year="2019"]')
    for month, day, told in ((3, 5, "not attempted"), (3, 4, "verified"), (12, 31, "verified"), (8, 1, "rest")):
        box = brought_up(view, grid)
        at = box["x"] + box["width"] * (3.5 + day) / 35, box["y"] + box["height"] * (month - 0.5) / 12
        view.mouse.click(*at)
        said = view.inner_text("#panel")
        assert f"toy 2019-{month:02d}-{day:02d}: {told}" in said
        view.mouse.click(*at)
        assert not view.locator("#panel").is_visible()
    view.mouse.click(*at)
    assert "bf-" in view.locator("#panel a").nth(1).inner_text()
    target = "/landing/source%3Dtoy/partition%3D2019-08-01"
    assert str(view.locator("#panel a").first.get_attribute("href")).endswith(target)
    assert "gapless verify toy 2019-08-01 2019-08-01" in view.inner_text("#panel")


def test_keys_alone_lead_to_a_cell_its_links_and_back(view: Any) -> None:
    view.focus('section[data-source=toy] pre[data-year="2019"]')
    view.keyboard.press("Shift+Tab")
    view.keyboard.press("Tab")
    panel = view.locator("#panel")
    assert panel.get_attribute("role") == "status"
    # The first that needs attention; then two days on, over the end of a short month, and where no further cell is.
    assert panel.inner_text().startswith("F toy 2019-01-09: failed, 6 attempts. SourceUnavailable. Run bf-")
    for keys, date in (
        (["ArrowRight", "ArrowRight"], "2019-01-11"),
        (["ArrowRight"] * 25, "2019-01-31"),
        (["ArrowDown"], "2019-03-31"),
        (["ArrowUp", "ArrowLeft"], "2019-01-30"),
    ):
        for key in keys:
            view.keyboard.press(key)
        assert f" toy {date}: " in panel.inner_text()
    view.keyboard.press("Enter")
    assert view.evaluate("document.activeElement.textContent") == "Payloads"
    assert "gapless verify toy 2019-01-30 2019-01-30" in panel.inner_text()
    view.keyboard.press("Escape")
    assert view.evaluate("document.activeElement.dataset.year") == "2019"
    view.keyboard.press("Escape")
    assert not panel.is_visible()


def test_the_months_of_a_folded_year_stand_at_their_places(tmp_path: Path, browser: Any) -> None:
    days = [Cell(Partition.day(dt.date(2024, 11, day), "UTC"), "verified") for day in range(1, 31)]
    file = tmp_path / "calendar.html"
    file.write_text(calendar_page([History("toy", "", "day", tuple(days))] * 2, Links(), NOW), encoding="utf-8")
    page = browser.new_page()
    page.goto(file.as_uri())
    letters = page.locator("summary code").first
    inside = "at => at.querySelector('b').getBoundingClientRect().left - at.getBoundingClientRect().left"
    # November is the eleventh of twelve letters.
    assert letters.evaluate(inside) > 0.8 * letters.bounding_box()["width"]
    page.close()


def test_each_kind_of_source_names_its_cell(view: Any) -> None:
    for source, place, told in (
        ("monthly", (5.5 / 17, 0.5), "monthly 2025-01: verified"),
        ("entities", (5.5 / 17, 0.5), "entities celtics@2025-01: blocked"),
    ):
        grid = view.locator(f"section[data-source={source}] pre").first
        box = brought_up(view, grid)
        view.mouse.click(box["x"] + box["width"] * place[0], box["y"] + box["height"] * place[1])
        assert told in view.inner_text("#panel")
    letter = brought_up(view, view.locator("section[data-source=towns] pre b").first)
    view.mouse.click(letter["x"] + letter["width"] / 4, letter["y"] + letter["height"] / 2)
    assert "towns alameda.ca~agendas: verified" in view.inner_text("#panel")


def test_every_look_has_a_letter_of_its_own_so_that_no_colour_is_needed(page_file: Path) -> None:
    letters = [look.letter for look in LOOKS]
    assert len(set(letters)) == len(letters)
    assert all(look.letter.isupper() == look.needs_attention for look in LOOKS)
    text = re.sub(r"<script.*?</script>|<style.*?</style>", "", page_file.read_text(), flags=re.DOTALL)
    grid = re.findall(r'<pre class="day".*?data-year="2019".*?>(.*?)</pre>', text, flags=re.DOTALL)[0]
    lines = re.sub(r"<[^>]+>", "", grid).splitlines()
    assert [line[:3] for line in lines][:3] == ["Jan", "Feb", "Mar"]
    assert lines[2][4:12] == "vvvvNNNN"
    assert len(lines[1]) == 4 + 28


def test_dates_of_the_calendar_lie_where_a_calendar_has_them() -> None:
    leap = [
        Cell(Partition.day(dt.date(2024, 1, 1) + dt.timedelta(days=number), "UTC"), "verified") for number in range(366)
    ]
    page = calendar_page([History("toy", "", "day", tuple(leap))], Links(), NOW)
    grid = re.findall(r"<pre.*?>(.*?)</pre>", page, flags=re.DOTALL)[0]
    lengths = [len(line) - 4 for line in re.sub(r"<[^>]+>", "", grid).splitlines()]
    assert lengths == [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
