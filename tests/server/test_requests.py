"""What a request may say: spellings, unknown fields, and every field at its extremes."""

import asyncio
import json

import pytest

from bvllm.server.fields import ChatRequest, ResponsesRequest
from bvllm.server.settings import Ceilings
from tests.server.asgi import call, post, question, request

CHAT, RESPONSES, SEARCH = "/v1/chat/completions", "/v1/responses", "/v1/search"

SPELLINGS = [
    {"type": "video_url", "video_url": {"url": "a.mp4"}},
    {"type": "video_url", "video_url": "a.mp4"},
    {"type": "video", "video": "a.mp4"},
    {"type": "video", "video": {"url": "a.mp4"}},
    {"type": "video", "url": "a.mp4"},
    {"type": "input_video", "input_video": {"url": "a.mp4"}},
    {"type": "input_video", "video_url": "a.mp4"},
    {"type": "input_file", "file_url": "a.mp4"},
    {"type": "file", "file": {"file_url": "a.mp4"}},
    {"type": "image_url", "image_url": {"url": "a.mp4", "detail": "low"}},
    {"type": "input_image", "image_url": "a.mp4"},
    {"video_url": {"url": "a.mp4"}},
]


@pytest.mark.parametrize("part", SPELLINGS)
def test_every_spelling_of_a_video_is_taken(server, part):
    for text in ({"type": "text", "text": "what?"}, {"type": "input_text", "text": "what?"}, "what?"):
        asked = {"messages": [{"role": "user", "content": [part, text]}]}
        assert post(server.app, CHAT, asked).status == 200


def test_pictures_are_the_frames_of_one_clip(server, videos):
    (videos / "b.png").write_bytes(b"\x89PNG")
    parts = [{"type": "image_url", "image_url": {"url": name}} for name in ("a.mp4", "b.png")]
    asked = {"messages": [{"role": "user", "content": [*parts, {"type": "text", "text": "what?"}]}]}
    assert post(server.app, CHAT, asked).status == 200


def test_the_last_turn_is_answered_about_the_last_video_and_that_is_said(server):
    first = question("who is it?")["messages"][0]
    asked = [
        {"role": "system", "content": "be brief"},
        first,
        {"role": "assistant", "content": "a cat"},
        {"role": "user", "content": "what is it?"},
    ]
    found = post(server.app, CHAT, {"messages": asked}).json
    assert server.engine.asked[-1].question.stem == "what is it?"
    assert "earlier turns" in found["trace"]["warnings"][0]


@pytest.mark.parametrize(
    "messages, code",
    [
        ([], "invalid_value"),
        ([{"role": "user", "content": "what?"}], "no_video_part"),
        (question("")["messages"], "invalid_value"),
        ([{"role": "user", "content": 7}], "invalid_value"),
        ([{"role": "user", "content": [7]}], "invalid_value"),
        ([{"role": "user", "content": [{"type": "input_audio"}]}], "unknown_part"),
        ([{"role": "user", "content": [{"type": "video_url"}]}], "invalid_value"),
        ([{"role": "user", "content": [{"type": "video_url", "video_url": {"url": 7}}]}], "invalid_value"),
        ([{"role": "user", "content": [{"type": "text", "text": None}]}], "invalid_value"),
        ([{"role": "robot", "content": "what?"}], "invalid_value"),
        ([*question()["messages"], {"role": "assistant", "content": "x"}], "invalid_value"),
        (
            [{"role": "user", "content": [*[{"type": "video", "video": v} for v in "ab"], "q"]}],
            "invalid_value",
        ),
        ([{"role": "user", "content": [SPELLINGS[0], SPELLINGS[9], "q"]}], "invalid_value"),
        ([{"role": "user", "content": [*[SPELLINGS[9]] * 70, "q"]}], "invalid_value"),
        ([{"role": "user", "content": [SPELLINGS[0], "q" * 30_000]}], "invalid_value"),
        (
            [{"role": "user", "content": [SPELLINGS[0], {"type": "text", "text": "q" * 300_000}]}],
            "invalid_value",
        ),
        ([{"role": "user", "content": [SPELLINGS[0], "q" * 300_000]}], "invalid_value"),
    ],
)
def test_messages_that_make_no_question_are_refused(server, messages, code):
    reply = post(server.app, CHAT, {"messages": messages})
    assert (reply.status, reply.code) == (400, code)
    assert server.engine.asked == []


@pytest.mark.parametrize(
    "more, code, says",
    [
        ({"token_budgt": 5}, "unknown_field", "did you mean 'token_budget'?"),
        ({"colour": 5}, "unknown_field", "remove it"),
        ({"pipeline": {"merge_token": "tome"}}, "unknown_field", "did you mean 'merge_tokens'?"),
        ({"pipeline": {"merge_tokens": "tom"}}, "invalid_value", "tome"),
        ({"n": 2}, "unsupported_field", "n must be left out"),
        ({"logprobs": True}, "unsupported_field", "logprobs"),
        ({"response_format": {"type": "json_object"}}, "unsupported_field", "response_format"),
        ({"tools": [{"type": "function"}]}, "unsupported_field", "tools"),
        ({"model": "gpt"}, "model_not_found", "'stub'"),
        ({"start": 5, "end": 2}, "invalid_value", "end"),
        ({"frames": 8, "media_io_kwargs": {"video": {"num_frames": 9}}}, "invalid_value", "once"),
        ({"options": ["a"]}, "invalid_value", "options must be 2 to 8"),
    ],
)
def test_one_rule_for_fields_that_cannot_be_honoured(server, more, code, says):
    reply = post(server.app, CHAT, question(**more))
    assert (reply.status, reply.code) == (400, code)
    assert says in reply.json["error"]["message"]


def test_fields_that_change_nothing_are_taken(server):
    same = {
        "user": "me",
        "metadata": {"a": "b"},
        "seed": 7,
        "store": False,
        "n": 1,
        "logprobs": False,
        "tools": [],
        "presence_penalty": 0,
        "response_format": {"type": "text"},
        "stop": None,
        "service_tier": "auto",
        "model": "stub",
    }
    assert post(server.app, CHAT, question(**same)).json["trace"]["warnings"] == []
    warned = post(server.app, CHAT, question(temperature=0.7)).json["trace"]["warnings"]
    assert "greedy" in warned[0]


def test_lmms_evals_words_for_frames_are_ours(server):
    knobs = {"video": {"num_frames": 8, "fps": 2}}
    assert post(server.app, CHAT, question(media_io_kwargs=knobs)).status == 200
    assert (server.engine.asked[-1].budget.frames, server.engine.asked[-1].fps) == (8, 2.0)


EXTREMES = [
    0,
    -1,
    2**31,
    2**63,
    10**400,
    -(10**400),
    0.0,
    -0.0,
    1e-308,
    1e308,
    1.5,
    True,
    "",
    "1",
    "x" * 70_000,
    "\0",
    "\ud800",
    [],
    [[]],
    ["x"] * 2000,
    {},
    {"a": {}},
    {"type": "text"},
    None,
]


async def statuses(server, asked):
    """The answers to many requests, one after the other, and that none of them is a mistake."""
    found = []
    for route, given in asked:
        body = json.dumps(given).encode()
        reply = await request(server.app, "POST", route, body, content_type="application/json")
        assert reply.status < 500, (given, reply.body)
        assert reply.body.startswith((b"{", b"data:", b"event:", b":"))
        found.append(reply.status)
    return found


def test_every_field_at_its_extremes_is_answered_or_refused_never_a_mistake(server):
    messages = question()["messages"]
    ours = [*ChatRequest.model_fields, "n", "logit_bias", "tool_choice", "metadata", "nonsense"]
    theirs = [name for name in ResponsesRequest.model_fields if name not in ChatRequest.model_fields]
    asked = [(CHAT, {"messages": messages, name: value}) for name in ours for value in EXTREMES]
    asked += [(RESPONSES, {"input": messages, name: value}) for name in theirs for value in EXTREMES]
    found = asyncio.run(statuses(server, asked))
    assert len(found) > 500
    assert {200, 400} <= set(found) <= {200, 400, 403, 413}


def test_every_part_at_its_extremes_is_refused(server):
    asked = []
    for value in EXTREMES:
        for part in ({"type": value}, {"type": "video_url", "video_url": value}, value):
            asked.append((CHAT, {"messages": [{"role": "user", "content": [part, "q?"]}]}))
        asked += [(CHAT, {"messages": [{"role": value, "content": "q"}]}), (CHAT, value)]
        asked += [(SEARCH, {"query": value, "top": 0}), (SEARCH, {"query": "q", "top": value})]
    found = asyncio.run(statuses(server, asked))
    assert set(found) <= {200, 400, 403, 413}
    assert found.count(200) <= 2  # top: null


def test_no_knob_goes_above_its_ceiling(make):
    server = make(ceilings=Ceilings(tokens=100, frames=10, fps=5, answer_tokens=20))
    for name, most in (("token_budget", 100), ("frames", 10), ("fps", 5), ("max_tokens", 20)):
        assert post(server.app, CHAT, question(**{name: most})).status == 200
        reply = post(server.app, CHAT, question(**{name: most + 1}))
        assert (reply.status, reply.json["error"]["param"]) == (400, name)
        assert str(most) in reply.json["error"]["message"]
    limits = call(server.app, "GET", "/v1/models").json["data"][0]["limits"]
    assert (limits["token_budget"], limits["frames"]) == (100, 10)


def test_ceilings_must_be_positive():
    with pytest.raises(ValueError, match=r"--max-answer-tokens must be positive .*, got 0: raise it"):
        Ceilings(answer_tokens=0)
    assert Ceilings(waiting=0).waiting == 0
