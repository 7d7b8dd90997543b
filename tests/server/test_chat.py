"""Questions in the shape of OpenAI's API: whole, streamed, refused, broken off."""

import asyncio
import json
import time

import pytest

from benchmarks.server_load.stub import stub_answer
from bvllm.inference.loading import ModelError
from bvllm.server.settings import Ceilings
from bvllm.video import VideoError
from tests.server.asgi import call, post, question, request

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
SAID = stub_answer("what is it?")


def test_an_answer_carries_words_usage_and_what_it_rests_on(server):
    found = post(server.app, CHAT, question(token_budget=64, fps=2, start=1, end=9)).json
    assert found["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": SAID, "refusal": None},
            "finish_reason": "stop",
            "logprobs": None,
        }
    ]
    assert found["usage"]["total_tokens"] == 23
    trace = found["trace"]
    assert [frame["time"] for frame in trace["frames"]] == [0.0, 1.0]
    assert (trace["tokens_asked"], trace["tokens_used"]) == (64, 16)
    [asked] = server.engine.asked
    assert (asked.fps, asked.start, asked.end, asked.budget.tokens) == (2.0, 1.0, 9.0, 64)
    kept = call(server.app, "GET", f"/v1/traces/{found['id']}").json
    assert kept["frames"][0]["time"] == 0.0
    picture = call(server.app, "GET", "/" + trace["frames"][1]["url"])
    assert (picture.status, picture.headers["content-type"]) == (200, "image/jpeg")
    assert picture.body.startswith(b"\xff\xd8")
    assert call(server.app, "GET", f"/v1/traces/{found['id']}/frames/2.jpg").code == "frame_not_found"


@pytest.mark.parametrize("log_text", [False, True])
def test_words_are_logged_only_where_the_operator_wants_it(make, caplog, log_text):
    server = make(log_text=log_text)
    with caplog.at_level("INFO", "bvllm.server"):
        post(server.app, CHAT, question("a very private matter?"))
    assert ("very private" in caplog.text) is log_text
    assert (stub_answer("a very private matter?") in caplog.text) is log_text


def test_a_stream_ends_with_the_reason_the_trace_and_done(server):
    events = post(server.app, CHAT, question(stream=True, stream_options={"include_usage": True})).events
    words = "".join(e["choices"][0]["delta"].get("content", "") for e in events[:-2] if e["choices"])
    assert words == SAID
    assert sum(bool(e["choices"][0]["delta"].get("content")) for e in events[:-2]) == 3  # as they were said
    assert events[-3]["choices"][0]["finish_reason"] == "stop"
    assert events[-3]["trace"]["frames"]
    assert events[-2]["choices"] == []
    assert events[-2]["usage"]["completion_tokens"] == 3
    assert events[-1] == "[DONE]"
    assert all(e["usage"] is None for e in events[:-2])


def test_words_to_stop_at_are_cut_off_and_not_streamed_before(server):
    first, second, _ = SAID.split()
    found = post(server.app, CHAT, question(stop=[second])).json
    assert found["choices"][0]["message"]["content"] == f"{first} "
    events = post(server.app, CHAT, question(stop=second, stream=True)).events
    assert [e["choices"][0]["delta"].get("content") for e in events[:-1]] == ["", f"{first} ", None]


def test_responses_have_their_own_shape(server):
    asked = [
        {
            "role": "user",
            "content": [
                {"type": "input_video", "video_url": "a.mp4"},
                {"type": "input_text", "text": "what is it?"},
            ],
        }
    ]
    found = post(server.app, RESPONSES, {"input": asked}).json
    assert found["output"][0]["content"][0]["text"] == SAID
    assert (found["status"], found["usage"]["output_tokens"]) == ("completed", 3)
    events = post(server.app, RESPONSES, {"input": asked, "stream": True}).events
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert "".join(e["delta"] for e in events if e["type"] == "response.output_text.delta") == SAID
    assert events[-1]["type"] == "response.completed"
    assert events[-1]["response"]["trace"]["frames"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "error, status, code",
    [
        (VideoError("corrupt", "video must decode, got /tmp/secret.mp4: convert it"), 422, "corrupt"),
        (VideoError("missing", "video must be there, got '/usr/x'"), 404, "missing"),
        (VideoError("limit", "video must be shorter, got one that is not: cut it"), 400, "limit"),
        (ModelError("NaN in /var/x/model"), 500, "model_error"),
        (RuntimeError("<object at 0x7f0000000000>"), 500, "internal_error"),
        (ValueError("options must differ, got two: change one"), 400, "invalid_value"),
    ],
)
def test_an_error_has_its_kind_and_tells_nothing_of_the_server(make, error, status, code, stream):
    server = make(error=error)
    found = post(server.app, CHAT, question(stream=stream))
    assert (found.status, found.code) == (status, code)
    assert found.headers.get("retry-after") or found.headers["x-should-retry"] == "false"
    assert server.state.queue.accepting
    assert server.state.queue.running == server.state.queue.waiting == 0


def test_an_error_in_mid_stream_is_an_object_and_no_done(make):
    server = make(seconds=1.2, error=VideoError("corrupt", "video must decode, got none: convert it"))
    found = post(server.app, CHAT, question(stream=True))
    assert found.status == 200
    assert found.events[-1]["error"]["code"] == "corrupt"
    assert b": decode and encode 1/2" in found.body
    assert b"[DONE]" not in found.body


def test_one_question_more_than_there_are_places_is_refused_at_once(make):
    server = make(seconds=0.4, ceilings=Ceilings(running=1, waiting=1))

    async def three():
        body = b'{"messages":[{"role":"user","content":[{"type":"video","video":"a.mp4"},"what is it?"]}]}'
        asking = [request(server.app, "POST", CHAT, body, content_type="application/json") for _ in range(3)]
        return await asyncio.gather(*asking)

    found = asyncio.run(three())
    assert sorted(reply.status for reply in found) == [200, 200, 503]
    [refused] = [reply for reply in found if reply.status == 503]
    assert (refused.code, refused.headers["retry-after"]) == ("queue_full", "2")
    assert post(server.app, CHAT, question()).status == 200


def test_a_question_that_takes_too_long_is_given_up(make):
    server = make(seconds=30, ceilings=Ceilings(request_seconds=0.2))
    found = post(server.app, CHAT, question())
    assert (found.status, found.code) == (408, "deadline")
    assert server.engine.working == 0


@pytest.mark.parametrize("stream", [False, True])
def test_work_stops_when_the_client_has_left(make, stream):
    server = make(seconds=30)
    began = time.monotonic()
    asyncio.run(
        request(
            server.app,
            "POST",
            CHAT,
            question_bytes(stream=stream),
            leaves_after=0.3,
            content_type="application/json",
        )
    )
    assert time.monotonic() - began < 1.3
    assert server.engine.working == 0
    assert server.state.queue.running == server.state.queue.waiting == 0
    assert b'finished_reason="abort",model_name="stub"} 1.0' in server.state.metrics.text()


def test_a_client_that_leaves_the_line_gives_its_place_back_at_once(make):
    server = make(seconds=30, ceilings=Ceilings(running=1, waiting=1))

    async def line():
        def ask(**more):
            return request(
                server.app, "POST", CHAT, question_bytes(), content_type="application/json", **more
            )

        running = asyncio.ensure_future(ask())
        await asyncio.sleep(0.1)
        await ask(leaves_after=0.1)
        assert (server.state.queue.running, server.state.queue.waiting) == (1, 0)
        server.state.queue.cancel_all("shutting_down")
        await running

    asyncio.run(line())


def question_bytes(**more):
    return json.dumps(question(**more)).encode()


def test_a_stopping_server_takes_nothing_and_says_so_to_what_runs(make):
    server = make(seconds=30)

    async def stopped():
        asking = asyncio.ensure_future(
            request(server.app, "POST", CHAT, question_bytes(), content_type="application/json")
        )
        await asyncio.sleep(0.2)
        server.state.queue.drain()
        refused = await request(server.app, "POST", CHAT, question_bytes(), content_type="application/json")
        ready = await request(server.app, "GET", "/ready")
        server.state.queue.cancel_all("shutting_down")
        return refused, ready, await asking

    refused, ready, running = asyncio.run(stopped())
    assert (refused.status, refused.code) == (503, "shutting_down")
    assert (ready.status, running.status, running.code) == (503, 503, "shutting_down")
