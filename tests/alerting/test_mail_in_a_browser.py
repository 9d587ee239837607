"""The page of the mail as a browser lays it out: on a telephone and a desk, by day and by night, offline."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PAGES = {path.stem: path.read_text(encoding="utf-8") for path in (Path(__file__).parent / "golden").glob("*.html")}
# For every text: the contrast of its colour with the first opaque background behind it (WCAG 2.2, 1.4.3).
UNREADABLE = """() => {
  const parsed = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = (rgb) => rgb.slice(0, 3).map(v => v / 255)
    .map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const behind = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const colour = parsed(getComputedStyle(at).backgroundColor);
      if (colour.length && (colour[3] === undefined || colour[3] > .99)) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode, parent = node.parentElement, style = getComputedStyle(parent);
    // Marks in the calendar repeat its colours, and the hidden line is for the list of mails.
    const mark = parent.hasAttribute("bgcolor") || parent.clientWidth === 11;
    if (mark || !node.textContent.trim() || style.opacity === "0") continue;
    const [a, b] = [light(parsed(style.color)), light(behind(parent))].sort((x, y) => y - x);
    const contrast = (a + .05) / (b + .05);
    if (contrast < 4.5) found.push(contrast.toFixed(2) + " " + node.textContent.trim().slice(0, 40));
  }
  return found;
}"""


@pytest.fixture(
    params=[(360, "light"), (360, "dark"), (1200, "light"), (1200, "dark")], ids=lambda it: f"{it[0]}-{it[1]}"
)
def view(browser: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    """An empty page of a width and a colour scheme; ``view.asked`` is what it wanted from elsewhere."""
    width, scheme = request.param
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    page.asked = []
    page.on("request", lambda request: page.asked.append(request.url))
    page.width, page.scheme = width, scheme
    yield page
    context.close()


def test_every_mail_fits_the_screen_is_readable_and_asks_the_internet_for_nothing(view: Any) -> None:
    for name, content in PAGES.items():
        view.set_content(content)
        assert view.asked == [], name
        assert view.evaluate("document.documentElement.scrollWidth") <= view.width, f"{name} scrolls sideways"
        assert view.evaluate(UNREADABLE) == [], name
        background = view.evaluate("getComputedStyle(document.body).backgroundColor")
        assert background == {"light": "rgb(255, 255, 255)", "dark": "rgb(13, 17, 23)"}[view.scheme], name


def test_a_page_without_its_colours_for_the_night_is_found_unreadable(browser: Any) -> None:
    page = browser.new_page(color_scheme="dark")
    page.set_content(PAGES["1_cause"].replace(".dim{color:#9da7b3!important}", ""))
    assert page.evaluate(UNREADABLE)
    page.close()


def test_a_thumb_finds_the_links_on_the_first_screen_of_a_telephone(browser: Any) -> None:
    page = browser.new_page(viewport={"width": 360, "height": 740})
    for name in ("1_cause", "3_causes"):
        page.set_content(PAGES[name])
        links = page.locator("a.line")
        assert links.all_inner_texts() == ["Open run", "Retry in the form", "Coverage"], name
        for box in (link.bounding_box() for link in links.all()):
            assert box["height"] >= 44, name
            assert box["y"] + box["height"] < 740, name
    page.close()


def test_verdict_and_first_command_are_on_the_first_screen_of_a_telephone(browser: Any) -> None:
    page = browser.new_page(viewport={"width": 360, "height": 740})
    for name in ("1_cause", "3_causes", "1826_errors", "crashed_run"):
        page.set_content(PAGES[name])
        for place in ("h1", "p", "pre.code"):
            assert page.locator(place).first.bounding_box()["y"] < 740, (name, place)
    page.close()
