"""One person, one video, in a real browser: upload, ask, seek, budget, history, search, two tabs."""

import re

import pytest

pytestmark = pytest.mark.browser

ANSWER = "a green square at 0:04, <b>not bold</b>"


def ask(page, question: str = "what is shown?") -> None:
    page.get_by_label("Ask about it").fill(question)
    page.get_by_role("button", name="Ask", exact=False).first.click()


def upload(page, video) -> None:
    page.set_input_files("#file", video)


def frames(page):
    return page.locator("#frames button")


def position(page) -> float:
    return page.evaluate("document.querySelector('#player').currentTime")


def settled(page, seconds: float) -> None:
    page.wait_for_function(
        "t => Math.abs(document.querySelector('#player').currentTime - t) < 0.3", arg=seconds
    )


def test_a_newcomer_sees_what_to_do_first(visit):
    page = visit()
    assert page.get_by_text("Drop a video here").is_visible()
    page.get_by_role("button", name="Ask").click()
    assert "Choose a video first" in page.locator("#ask-hint").inner_text()
    assert page.evaluate("document.activeElement.id") == "file"
    assert page.title() == "bvllm: ask a video"


def test_an_uploaded_video_is_asked_about_and_its_answer_is_text_not_markup(visit, stub, playable):
    page = visit()
    upload(page, playable)
    ask(page)
    frames(page).nth(7).wait_for()
    assert page.locator("#answer").inner_text() == ANSWER
    assert page.locator("#answer b").count() == 0
    (body,) = stub.bodies
    assert body["messages"][0]["content"][0] == {"type": "video_url", "video_url": {"url": "file-0"}}
    assert body["token_budget"] == 256
    assert body["stream"] is True
    assert stub.files["file-0"] == ("square.mp4", playable.read_bytes())
    cost = page.locator("#cost").inner_text()
    assert "240 of 256 allowed" in cost
    assert "Where the time went" in cost


def test_a_file_may_be_dropped_anywhere(visit, stub):
    page = visit()
    page.evaluate(
        """() => {
            const dropped = new DataTransfer();
            dropped.items.add(new File(["no matter what"], "dropped.mp4", { type: "video/mp4" }));
            document.querySelector("#answer-card").dispatchEvent(
                new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer: dropped }));
        }"""
    )
    page.get_by_role("heading", name="dropped.mp4").wait_for()
    page.locator("#uploading").wait_for(state="hidden")
    assert stub.files["file-0"] == ("dropped.mp4", b"no matter what")


def test_an_upload_may_be_stopped(visit, stub, playable):
    page = visit()
    page.route("**/v1/files", lambda route: None)  # never on its way
    upload(page, playable)
    page.get_by_role("button", name="Stop").click()
    assert page.get_by_text("Drop a video here").is_visible()
    assert not page.get_by_role("alert").is_visible(), "what was stopped is no error"
    page.locator("#videos button").click()
    ask(page)
    frames(page).first.wait_for()
    assert stub.files == {}


def test_a_link_that_ended_is_renewed_where_the_player_stood(visit):
    page = visit()
    page.locator("#videos button").click()
    page.wait_for_function("() => document.querySelector('#player').readyState >= 1")
    page.locator("#timeline").press("ArrowRight")
    settled(page, 5)
    with page.expect_request("**/signed_url"):
        page.evaluate("() => { document.querySelector('#player').dispatchEvent(new Event('error')); }")
    settled(page, 5)
    assert not page.locator("#still-note").is_visible()


def test_a_question_typed_while_the_upload_runs_waits_for_it(visit, stub, playable):
    page = visit()
    page.route("**/v1/files", lambda route: (page.wait_for_timeout(400), route.continue_()))
    upload(page, playable)
    ask(page)
    assert page.get_by_text("Waiting for the upload").is_visible()
    frames(page).first.wait_for()
    assert len(stub.bodies) == 1


def test_a_frame_and_the_time_line_move_the_player(visit, playable):
    page = visit()
    upload(page, playable)
    ask(page)
    frames(page).nth(3).click()
    settled(page, 3.5 * 12 / 8)
    line = page.locator("#timeline")
    box = line.bounding_box()
    page.mouse.click(box["x"] + box["width"] * 0.75, box["y"] + box["height"] / 2)
    settled(page, 9)
    line.press("ArrowLeft")
    settled(page, 4)
    line.press("PageDown")
    settled(page, 3.75)
    line.press("PageUp")
    settled(page, 5.25)
    assert line.get_attribute("aria-valuetext") == "0:05 of 0:12"


def test_a_time_in_the_answer_goes_there(visit, playable):
    page = visit()
    upload(page, playable)
    ask(page)
    page.get_by_role("button", name="Go to 0:04", exact=True).click()
    settled(page, 4)


def test_ticks_stand_where_the_frames_are_and_show_the_score(visit, playable):
    page = visit()
    upload(page, playable)
    ask(page)
    frames(page).first.wait_for()
    ticks = page.evaluate(
        "[...document.querySelectorAll('.tick')].map(t => [parseFloat(t.style.left), t.offsetHeight])"
    )
    assert [left for left, _ in ticks] == pytest.approx([100 * (k + 0.5) / 8 for k in range(8)], abs=0.2)
    assert ticks[0][1] > ticks[7][1], "the stub's first frame scores highest"


def test_a_tick_under_the_mouse_shows_its_frame(visit, playable):
    page = visit()
    upload(page, playable)
    ask(page)
    frames(page).first.wait_for()
    box = page.locator("#timeline").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 2.5 / 8, box["y"] + box["height"] / 2)
    assert page.locator("#peek").inner_text() == "0:03.8"
    assert page.locator("#peek-picture").get_attribute("src").endswith("/frames/2.jpg?t=1")
    page.mouse.move(box["x"] + box["width"] * 3 / 8, box["y"] + box["height"] / 2)
    assert not page.locator("#peek").is_visible()


def test_the_budget_asks_again_without_another_upload(visit, stub, playable):
    page = visit()
    upload(page, playable)
    ask(page)
    frames(page).nth(7).wait_for()
    page.locator("#budget").press("ArrowLeft")
    page.locator("#budget").press("ArrowLeft")
    page.wait_for_function("() => document.querySelectorAll('#frames li').length === 2")
    assert [body["token_budget"] for body in stub.bodies] == [256, 64], "one question for two quick steps"
    assert len(stub.files) == 1
    rows = page.locator("#history .entry")
    assert [re.sub(r"\D.*", "", text) for text in rows.all_inner_texts()] == ["64", "256"]
    rows.nth(1).click()
    page.wait_for_function("() => document.querySelectorAll('#frames li').length === 8")
    assert len(stub.bodies) == 2, "an old answer is shown again, not asked again"


def test_more_settings_are_sent_and_left_out_where_empty(visit, stub, playable):
    page = visit()
    upload(page, playable)
    page.get_by_text("More settings").click()
    page.locator("#start").fill("2.5")
    page.locator("#frames-most").fill("4")
    ask(page)
    frames(page).first.wait_for()
    (body,) = stub.bodies
    assert (body["start"], body["frames"]) == (2.5, 4)
    assert not {"end", "fps"} & set(body)


def test_the_heat_map_is_another_picture_of_the_same_frame(visit, playable):
    page = visit()
    upload(page, playable)
    ask(page)
    frames(page).first.wait_for()
    source = "document.querySelector('#frames img').src"
    assert "heat=1" in page.evaluate(source)
    page.get_by_role("switch").click()
    assert "heat" not in page.evaluate(source)
    assert page.evaluate(source).endswith("/frames/0.jpg?t=1")


def test_a_moment_found_in_the_folder_opens_there(visit, stub):
    page = visit()
    page.locator("#search").fill("a green square")
    page.locator("#search").press("Enter")
    page.locator("#hits button").click()
    settled(page, 4)
    ask(page)
    frames(page).first.wait_for()
    assert stub.bodies[0]["messages"][0]["content"][0]["video_url"]["url"] == "file-folder0"


def test_a_search_without_a_hit_says_so_and_keeps_the_folder(visit):
    page = visit()
    page.locator("#search").fill("nothing")
    page.locator("#search").press("Enter")
    page.get_by_text("Nothing like it among the indexed videos").wait_for()
    assert page.locator("#videos button").is_visible()


def test_what_was_asked_outlives_a_reload_but_not_the_tab(visit, playable):
    page = visit()
    upload(page, playable)
    ask(page, "what is shown?")
    frames(page).first.wait_for()
    page.reload()
    page.locator("#history .entry").click()
    frames(page).nth(7).wait_for()
    assert page.locator("#answer").inner_text() == ANSWER
    assert page.locator("#question").input_value() == "what is shown?"
    page.get_by_role("button", name="Clear").click()
    assert not page.locator("#history-part").is_visible()
    assert page.evaluate("[localStorage.length, document.cookie]") == [0, ""]


def test_two_tabs_ask_at_the_same_time_and_keep_their_own_history(visit, stub, playable):
    one, two = visit(), visit()
    for page, question in ((one, "slow: in the first tab"), (two, "in the second tab")):
        upload(page, playable)
        ask(page, question)
    frames(two).first.wait_for()
    assert one.locator("#cancel").is_visible(), "the first is still under way"
    frames(one).first.wait_for()
    assert "word 99" in one.locator("#answer").inner_text()
    assert one.locator("#history .q").all_inner_texts() == ["slow: in the first tab"]
    assert two.locator("#history .q").all_inner_texts() == ["in the second tab"]


def test_a_video_that_the_browser_cannot_play_is_shown_as_its_frames(visit, unplayable):
    page = visit()
    upload(page, unplayable)
    page.get_by_text("This browser cannot play this file").wait_for()
    ask(page)
    frames(page).nth(5).click()
    assert page.locator("#still").get_attribute("src").endswith("/frames/5.jpg?t=1")
    assert page.locator("#still").get_attribute("alt") == "Frame at 0:08.3"
    page.locator("#timeline").press("PageDown")
    assert page.locator("#still").get_attribute("src").endswith("/frames/4.jpg?t=1")
    assert page.locator("#play").is_disabled()
