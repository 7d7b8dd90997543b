"""The server answers as `bvllm.ask` does, with a real model: from memory, from the index, many at once."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import bvllm
from bvllm.common.cancelling import Cancellation, Cancelled
from bvllm.common.reply import ANSWER_TOKENS
from bvllm.common.text import Question
from bvllm.index import IndexFolder
from bvllm.inference.session import Session
from bvllm.inference.stop_points import stopping_between
from bvllm.methods.names import MethodNames
from bvllm.server.app import create_app
from bvllm.server.engine import Asked, Engine
from bvllm.server.library import FoundVideo
from bvllm.server.settings import ServerSettings
from bvllm.server.speaking import Speaker
from bvllm.server.state import ServerState
from bvllm.types import Budget
from bvllm.video import Limits
from tests.server.asgi import call, post, question

QUESTIONS = [
    "which colour is the star?",
    "what number is written?",
    "when is it?",
    "what is shown at the end?",
]


@pytest.fixture(scope="module")
def loaded():
    """Nano, whose answers are words, not noise."""
    return bvllm.load_model("nano")


@pytest.fixture(scope="module")
def engine(loaded, tmp_path_factory):
    return Engine(loaded, IndexFolder(tmp_path_factory.mktemp("index")), Limits(), name="nano")


def asked(text="which colour is the star?", tokens=64):
    return Asked(Question.parse(text), 1.0, 0.0, None, Budget(tokens, 32), MethodNames(), ANSWER_TOKENS)


def found(video):
    return (FoundVideo("", video, None, "video"),)


def test_an_answer_is_what_the_command_line_gives(engine, loaded, video):
    answered = engine.ask(found(video), asked())
    same = bvllm.ask(video, "which colour is the star?", loaded, budget=Budget(64, 32))
    assert answered.answer == same
    assert answered.heard.tokens > 0
    again = engine.ask(found(video), asked())
    assert (answered.cached, again.cached) == (False, True)
    assert again.answer == same


def test_a_question_in_a_process_that_starts_anew_comes_from_the_index(engine, loaded, video):
    first = engine.ask(found(video), asked())
    fresh = Engine(loaded, engine.index, Limits(), name="nano")
    answered = fresh.ask(found(video), asked())
    assert answered.answer == first.answer
    assert not answered.cached
    assert "find in the index" in answered.answer.timings


def test_no_client_learns_where_the_model_lies(loaded, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    assert Engine(loaded, IndexFolder(tmp_path), Limits(), name=str(tmp_path)).name == tmp_path.name


def test_of_several_that_ask_about_a_new_video_one_encodes_it(loaded, video, tmp_path):
    engine = Engine(loaded, IndexFolder(tmp_path), Limits(), name="nano")
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda text: engine.ask(found(video), asked(text)), QUESTIONS))
    assert sorted(a.cached for a in answers) == [False, True, True, True]
    for text, answered in zip(QUESTIONS, answers):
        assert answered.answer == engine.ask(found(video), asked(text)).answer


def test_answers_that_are_said_together_are_those_said_alone(engine, loaded, video):
    """Prompts of different lengths, padded: what padding adds would show in the words."""
    seen = engine.ask(found(video), asked()).encoded
    wanted = [(text, 16 + 24 * k) for k, text in enumerate(QUESTIONS * 2)]
    alone = [
        bvllm.answer(seen, text, loaded, budget=Budget(tokens, 32), session=Session()).free_text
        for text, tokens in wanted
    ]
    speaker = Speaker(loaded)
    ready = threading.Barrier(len(wanted))
    heard = [[] for _ in wanted]

    def one(number):
        text, tokens = wanted[number]
        speak = speaker.speak(heard[number].append)

        def together(*given):
            ready.wait(10)
            return speak(*given)

        budget = Budget(tokens, 32)
        return bvllm.answer(seen, text, loaded, budget=budget, session=Session(), speak=together).free_text

    with ThreadPoolExecutor(len(wanted)) as pool:
        assert list(pool.map(one, range(len(wanted)))) == alone
    assert speaker.batches < len(wanted) == speaker.answers
    assert ["".join(h.text for h in row) for row in heard] == alone
    assert all(row[-1].ended for row in heard)
    assert len(set(alone)) > 1


def test_reading_a_prompt_stops_between_two_layers_and_hooks_are_removed(engine, loaded, video):
    cancellation = Cancellation()
    seen = engine.ask(found(video), asked()).encoded
    before = [len(layer._forward_pre_hooks) for layer in loaded.layers]
    calls = []
    layers = loaded.layers
    with stopping_between(layers):
        watch = layers[-1].register_forward_pre_hook(lambda *_: calls.append(1))
        cancellation.cancel("client_gone")
        with cancellation.during(), pytest.raises(Cancelled, match="client_gone"):
            bvllm.answer(seen, "which colour?", loaded)
        watch.remove()
        assert calls == []  # the last layer was never reached
        assert bvllm.answer(seen, "which colour?", loaded).text  # others go on
    assert [len(layer._forward_pre_hooks) for layer in loaded.layers] == before


def test_decoding_stops_with_the_one_that_waits_for_it(engine, video, tmp_path):
    cancellation = Cancellation()
    other = Engine(engine.loaded, IndexFolder(tmp_path), Limits(), name="nano")

    def leave(step, done, total):
        cancellation.cancel("client_gone")

    with cancellation.during(), pytest.raises(Cancelled):
        other.ask(found(video), asked(), progress=leave)
    assert other.ask(found(video), asked()).answer.text  # nothing was left half done


@pytest.fixture(scope="module")
def app(engine, video, tmp_path_factory):
    settings = ServerSettings(allow_paths=(video.parent,), upload_dir=tmp_path_factory.mktemp("up"))
    state = ServerState.of(settings, engine)
    yield create_app(state)
    state.close()


def test_a_second_question_costs_a_fraction_of_the_first_over_http(engine, app, video):
    engine.index.path.mkdir(exist_ok=True)
    took = []
    for text in ("which colour is the circle?", "which colour is the square?"):
        began = time.monotonic()
        reply = post(app, "/v1/chat/completions", question(text, video.name, fps=0.7))
        took.append(time.monotonic() - began)
        assert reply.status == 200
    assert reply.json["trace"]["seen_before"]


def test_frames_of_an_answer_can_be_looked_at_with_and_without_heat(app, video):
    trace = post(app, "/v1/chat/completions", question(QUESTIONS[0], video.name)).json["trace"]
    assert sum(frame["tokens"] for frame in trace["frames"]) == trace["tokens_used"] <= trace["tokens_asked"]
    plain = call(app, "GET", "/" + trace["frames"][0]["url"])
    hot = call(app, "GET", "/" + trace["frames"][0]["url"] + "&heat=1")
    assert plain.body.startswith(b"\xff\xd8")
    assert plain.body != hot.body


def test_search_finds_moments_of_indexed_videos(engine, app, video):
    engine.ask(found(video), asked())
    reply = post(app, "/v1/search", {"query": "a red circle", "top": 2}).json
    [listed] = [v for v in call(app, "GET", "/v1/videos").json["data"] if v["name"] == video.name]
    assert listed["indexed"]
    assert {moment["video"] for moment in reply["data"]} == {listed["id"]}
    assert len(reply["data"]) <= 2
    assert post(app, "/v1/search", {"query": "xyzzy"}).status == 400


def test_a_file_that_is_no_video_is_an_error_of_the_file(app, engine, video):
    from tests.server.asgi import FORM, form

    for data, codes in ((b"no video at all" * 99, {"unsupported_container", "corrupt"}), (b"x", {"corrupt"})):
        id = call(app, "POST", "/v1/files", form(data), **FORM).json["id"]
        reply = post(app, "/v1/chat/completions", question(video=id))
        assert reply.status in (400, 422)
        assert reply.code in codes | {"unsupported_container"}
