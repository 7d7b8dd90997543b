"""What goes wrong is said in plain words, with what to change, and the page goes on."""

import pytest

from tests.server.page.test_page import ANSWER, ask, frames, upload

pytestmark = pytest.mark.browser


def problem(page) -> str:
    box = page.get_by_role("alert")
    box.wait_for()
    return box.inner_text()


def test_a_file_that_is_no_video_says_what_to_try(visit, playable):
    page = visit()
    upload(page, playable)
    ask(page, "corrupt")
    said = problem(page)
    assert "This file cannot be read as a video" in said
    assert "Try another file" in said
    assert "got no frame in 12 packets" in said
    ask(page, "what is shown?")
    frames(page).first.wait_for()
    assert not page.get_by_role("alert").is_visible()


def test_a_busy_server_is_tried_again_by_a_button(visit, stub, playable):
    page = visit()
    upload(page, playable)
    ask(page, "busy")
    assert "The server is busy" in problem(page)
    page.get_by_role("button", name="Try again").click()
    page.wait_for_function("() => !document.querySelector('#cancel').checkVisibility()")
    assert len(stub.bodies) == 2


def test_a_stream_that_ends_early_is_no_answer(visit, playable):
    page = visit()
    upload(page, playable)
    ask(page, "break")
    assert "The answer broke off" in problem(page)
    assert not page.locator("#cost").is_visible()
    assert not page.locator("#history-part").is_visible(), "half an answer is not kept"


def test_a_server_that_is_gone_is_said_to_be(visit, playable):
    page = visit()
    upload(page, playable)
    page.route("**/v1/chat/completions", lambda route: route.abort())
    ask(page)
    assert "The server does not answer" in problem(page)


def test_cancelling_stops_the_server_and_frees_the_page(visit, stub, playable):
    page = visit()
    upload(page, playable)
    ask(page, "slow")
    page.wait_for_function("() => document.querySelector('#answer').textContent.includes('word 3')")
    page.get_by_role("button", name="Cancel").click()
    assert page.locator("#ask").is_enabled()
    assert not page.locator("#busy").is_visible()
    assert "word 3" in page.locator("#answer").inner_text(), "what was said stays"
    page.wait_for_timeout(500)
    assert stub.gone == ["slow"]
    ask(page, "what is shown?")
    frames(page).first.wait_for()
    assert page.locator("#answer").inner_text() == ANSWER


def test_cancelling_while_the_upload_runs_keeps_the_upload(visit, stub, playable):
    page = visit()
    page.route("**/v1/files", lambda route: (page.wait_for_timeout(1500), route.continue_()))
    upload(page, playable)
    ask(page)
    page.get_by_role("button", name="Cancel").click()
    assert page.locator("#ask").is_enabled()
    assert page.locator("#uploading").is_visible()
    page.locator("#uploading").wait_for(state="hidden")
    assert list(stub.files) == ["file-0"]
    assert stub.bodies == []


def test_another_question_replaces_the_one_under_way(visit, stub, playable):
    page = visit()
    upload(page, playable)
    ask(page, "slow")
    page.wait_for_function("() => document.querySelector('#answer').textContent.includes('word 2')")
    page.locator("#budget").press("ArrowLeft")
    page.wait_for_function("() => !document.querySelector('#answer').textContent.includes('word 2')")
    page.get_by_role("button", name="Other video").click()
    page.wait_for_timeout(500)
    assert stub.gone == ["slow", "slow"]
    assert page.get_by_text("Drop a video here").is_visible()


def test_a_refused_upload_brings_the_choice_back(visit, playable):
    page = visit()
    refusal = '{"error": {"message": "a file must be at most 5 MB, got 9 MB", "code": "video_too_large"}}'
    page.route("**/v1/files", lambda route: route.fulfill(status=413, body=refusal))
    upload(page, playable)
    said = problem(page)
    assert "This file is too large for this server" in said
    assert "at most 5 MB" in said
    assert page.get_by_text("Drop a video here").is_visible()


def test_a_key_is_asked_for_and_kept_in_the_tab_alone(visit, stub, playable):
    stub.key = "right"
    page = visit()
    dialog = page.get_by_role("dialog")
    page.get_by_label("API key", exact=True).fill("wrong")
    page.get_by_role("button", name="Use this key").click()
    page.get_by_text("This key was not taken").wait_for()
    page.get_by_label("API key", exact=True).fill("right")
    page.get_by_label("API key", exact=True).press("Enter")
    page.locator("#videos button").click()
    assert not dialog.is_visible()
    ask(page)
    frames(page).first.wait_for()
    page.wait_for_function("() => document.querySelector('#player').readyState >= 1")
    kept = page.evaluate("[localStorage.length, document.cookie, location.href, document.body.innerText]")
    assert "right" not in str(kept)
    assert page.evaluate("sessionStorage.getItem('bvllm-key')") == "right"
