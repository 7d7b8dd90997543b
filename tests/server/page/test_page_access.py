"""The page for everybody: by keyboard alone, by a screen reader's rules, on a phone, in both colours."""

import pytest

from tests.server.page.test_page import ANSWER, ask, frames, settled, upload

pytestmark = pytest.mark.browser

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def breaches(page) -> list[str]:
    """What axe finds, one line each."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    found = axe.run(page, options={"runOnly": RULES}).response["violations"]
    return [f"{rule['id']}: {node['html'][:120]}" for rule in found for node in rule["nodes"]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing_in_any_state(visit, playable, width, scheme):
    page = visit(width, scheme)
    page.locator("#videos button").wait_for()
    assert breaches(page) == []
    page.get_by_text("More settings").click()
    upload(page, playable)
    ask(page, "what does the dog do?")
    frames(page).first.wait_for()
    page.get_by_text("Where the time went").click()
    assert breaches(page) == []
    ask(page, "corrupt")
    page.get_by_role("alert").wait_for()
    assert breaches(page) == []


def test_axe_finds_nothing_in_the_dialog_and_in_hits(visit, stub):
    page = visit()
    page.locator("#search").fill("a green square")
    page.locator("#search").press("Enter")
    page.locator("#hits button").wait_for()
    assert breaches(page) == []
    stub.key = "right"
    page.reload()
    page.get_by_role("dialog").wait_for()
    assert breaches(page) == []


def test_the_keyboard_alone_does_everything(visit):
    page = visit()
    page.locator("#videos button").wait_for()

    def tab_to(selector: str, key: str = "Tab", most: int = 30) -> None:
        for _ in range(most):
            page.keyboard.press(key)
            if page.evaluate("s => document.activeElement.matches(s)", selector):
                return
        raise AssertionError(f"{selector} must be reached by {key}")

    tab_to("#videos button")
    page.keyboard.press("Enter")
    tab_to("#question")
    page.keyboard.type("what is shown?")
    page.keyboard.press("Enter")
    frames(page).first.wait_for()
    tab_to(".frame")
    tab_to(".frame")
    page.keyboard.press("Enter")
    settled(page, 1.5 * 12 / 8)
    tab_to("#timeline", "Shift+Tab")
    page.keyboard.press("ArrowRight")
    settled(page, 7.25)
    tab_to("#budget")
    page.keyboard.press("ArrowLeft")
    page.wait_for_function("() => document.querySelectorAll('#frames li').length === 4")
    tab_to("#history .entry")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_a_screen_reader_is_told_the_answer_once_and_whole(visit, playable):
    page = visit()
    page.evaluate(
        "() => { window.heard = []; const place = document.querySelector('#said');"
        "new MutationObserver(() => heard.push(place.textContent)).observe(place, { childList: true }); }"
    )
    upload(page, playable)
    ask(page)
    frames(page).first.wait_for()
    assert page.evaluate("heard") == ["square.mp4 is on the server", f"Answer: {ANSWER}"]
    label = frames(page).nth(1).get_attribute("aria-label")
    assert label == "Go to 0:02: 30 tokens, score 0.50"


@pytest.mark.parametrize("width", [390, 320])
def test_a_phone_shows_everything_without_sideways_scrolling(visit, playable, width):
    page = visit(width, height=700)
    page.locator("#videos button").wait_for()
    sideways = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(sideways) == 0
    upload(page, playable)
    ask(page, "pneumonoultramicroscopicsilicovolcanoconiosis" * 3)
    frames(page).nth(7).wait_for()
    assert page.evaluate(sideways) == 0
    small = page.evaluate(
        "[...document.querySelectorAll('button')]"
        ".filter(b => b.checkVisibility() && !b.matches('.moment') && b.offsetHeight < 36).length"
    )
    assert small == 0, "a finger needs room"
    frames(page).nth(7).click()
    assert page.locator("#stage").evaluate("s => s.getBoundingClientRect().top >= -1"), (
        "the player comes into view"
    )
