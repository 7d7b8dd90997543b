"""Ask a Dynamic-VLM: the budget is kept at any size, frames stand in time, memory lets frames go."""

import dataclasses

import pytest
import torch

from bvllm.common.text import Question
from bvllm.inference.answer import answer
from bvllm.inference.ask import ask, load_model
from bvllm.inference.ask import chat as talk
from bvllm.inference.dynamic import LoadedDynamic
from bvllm.inference.encode import encode_video
from bvllm.inference.evidence.write import write_evidence
from bvllm.inference.loading import LoadedModel
from bvllm.inference.planned_model import planned_model
from bvllm.inference.results import notes_lines
from bvllm.inference.stop_points import layers_of
from bvllm.methods.names import MethodNames
from bvllm.model.text_encoder import TextEncoder
from bvllm.stages.frame_grids import Grid
from bvllm.types import Budget
from bvllm.video import FrameList
from tests.model import tiny
from tests.model.dynamic.tiny_dynamic import chat, dynamic_model, dynamic_processor
from tests.test_messages import HOUSE

FRAMES = FrameList(tiny.frames(20), [2.0 * k for k in range(20)])


@pytest.fixture(scope="module")
def dynamic():
    model = dynamic_model(clock=True)
    return LoadedDynamic(model, dynamic_processor(model), "tiny")


@pytest.mark.parametrize("tokens", [1, 7, 16, 100, 320, 5000])
def test_any_budget_is_kept_and_nearly_spent(tokens, dynamic):
    found = ask(FRAMES, "what is shown?", dynamic, budget=Budget(tokens, 256), max_new_tokens=2)
    assert found.tokens <= tokens
    assert found.tokens >= 0.95 * min(tokens, 320)
    assert len(found.frames) == min(20, tokens)
    assert sum(found.tokens_per_frame) == found.tokens


def test_it_says_what_the_hugging_face_model_says(dynamic):
    found = ask(FRAMES, "what is shown?", dynamic, budget=Budget(40, 256), max_new_tokens=5)
    inputs = dynamic.processor.apply_chat_template(
        [chat(FRAMES, "what is shown?")], tokenize=True, add_generation_prompt=True
    )
    said = dynamic.model.generate(**inputs, max_new_tokens=5)[0, -5:]
    assert found.free_text == dynamic.processor.tokenizer.decode(said, skip_special_tokens=True).strip()


SECOND = FrameList(tiny.frames(7, seed=5), [float(k) for k in range(7)])
PICTURE = tiny.frames(1, seed=9)[0]


def parts(*clips):
    return chat(*clips)[0]["content"]


@pytest.mark.parametrize("budget", [3, 11, 40, 1000])
def test_of_several_clips_it_says_what_the_hugging_face_model_says(budget, dynamic):
    found = ask(
        parts(FRAMES, SECOND, PICTURE), "which?", dynamic, budget=Budget(budget, 256), max_new_tokens=5
    )
    assert [clip.kind for clip in found.clips] == ["video", "video", "image"]
    assert 0.95 * min(budget, 28 * 16) <= found.tokens <= budget
    inputs = dynamic.processor.apply_chat_template(
        [chat(FRAMES, SECOND, PICTURE, "which?")],
        tokenize=True,
        add_generation_prompt=True,
        budget_tokens=budget,
    )
    said = dynamic.model.generate(**inputs, max_new_tokens=5)[0, -5:]
    assert found.free_text == dynamic.processor.tokenizer.decode(said, skip_special_tokens=True).strip()


def test_a_conversation_about_pictures_is_read_whole(dynamic):
    turns = [
        *chat(PICTURE, "what ?"),
        {"role": "assistant", "content": [{"type": "text", "text": "red"}]},
        *chat(FRAMES, "and here ?"),
    ]
    said = talk(turns, dynamic, budget=Budget(30, 256), max_new_tokens=4).free_text
    inputs = dynamic.processor.apply_chat_template(
        [turns], tokenize=True, add_generation_prompt=True, budget_tokens=30
    )
    wanted = dynamic.model.generate(**inputs, max_new_tokens=4)[0, -4:]
    assert said == dynamic.processor.tokenizer.decode(wanted, skip_special_tokens=True).strip()


def test_frames_are_of_each_video_and_what_several_clips_do_not_go_with_is_refused(dynamic):
    found = ask(parts(FRAMES, SECOND), "which?", dynamic, budget=Budget(100, 4), max_new_tokens=1)
    assert [clip.frames for clip in found.clips] == [4, 4]
    for budget, slots, said in (
        (Budget(1, 256), {}, "budget.tokens must be at least one for each of 2 videos"),
        (None, {"sample_tokens": "tome"}, "sample_tokens must be 'dynamic' for several clips, got 'tome'"),
    ):
        with pytest.raises(ValueError, match=said) as error:
            ask(parts(FRAMES, SECOND), "which?", dynamic, budget=budget, **slots)
        assert HOUSE.search(str(error.value))


def test_options_are_told_apart_and_the_falling_rate_is_noted(dynamic):
    found = ask(FRAMES, "which?", dynamic, budget=Budget(4, 256), options=["red", "blue"], max_new_tokens=2)
    assert found.text in ("red", "blue")
    assert sum(found.likelihoods) == pytest.approx(1)
    assert any("4 of 20 sampled frames are read" in line for line in notes_lines(found))


def test_frames_arrive_one_by_one_and_give_what_all_together_give(dynamic):
    encoded = encode_video(FRAMES, dynamic)
    asked, budget = dynamic.read(Question.parse("what?")), Budget(50, 256)
    chosen = dynamic.select(encoded.frame_features, encoded.seconds, asked, budget)
    patches = dynamic.patch_features(encoded.store.get(range(20)))
    alive = []

    def stream():
        for k, row in enumerate(patches):
            alive.append(k)
            yield row

    one_by_one = dynamic.reduce_stream(stream(), chosen, asked, budget)
    together = dynamic.reduce(patches, chosen, asked, budget)
    assert torch.equal(one_by_one.pooler_output[0], together.pooler_output[0])
    origin = one_by_one.tokens[0].origin
    torch.testing.assert_close(origin.combine(patches.flatten(0, 1)), one_by_one.tokens[0].features)


def test_asking_never_holds_many_frames_patches(dynamic, monkeypatch):
    sizes = []
    real = LoadedDynamic.patch_features

    def counted(self, frames):
        sizes.append(len(frames))
        return real(self, frames)

    monkeypatch.setattr(LoadedDynamic, "patch_features", counted)
    encoded = encode_video(FrameList(tiny.frames(60), [float(k) for k in range(60)]), dynamic)
    got = []
    store = encoded.store.get
    monkeypatch.setattr(encoded.store, "get", lambda k: got.append(len(k)) or store(k))
    answer(encoded, "what?", dynamic, budget=Budget(64, 256), max_new_tokens=1)
    assert max(got) <= 16
    assert sum(got) == sum(sizes) == 60


def test_a_selector_in_front_chooses_frames_and_the_budget_is_shared_among_those(dynamic):
    words = TextEncoder(["red", "star"], dynamic.model.config.vision_config.hidden_size)
    able = dataclasses.replace(dynamic, words=words)
    few = ask(
        FRAMES,
        "where is the red star?",
        able,
        budget=Budget(64, 4),
        select_frames="relevant",
        max_new_tokens=1,
    )
    assert len(few.frames) == 4
    assert few.tokens == 64
    with pytest.raises(ValueError, match="asks for no relevance") as error:
        dynamic.methods(MethodNames(select_frames="relevant"))
    assert HOUSE.search(str(error.value))


@pytest.mark.parametrize("method", ["tome", "divprune", "uniform"])
def test_other_methods_fill_the_slot(method, dynamic):
    found = ask(FRAMES, "what?", dynamic, budget=Budget(60, 256), sample_tokens=method, max_new_tokens=1)
    assert found.tokens == 60


def test_places_reach_other_methods_and_scores_of_other_frames(dynamic):
    """Each path reads patches as the model's own compressor does."""
    model = dynamic_model(place_channels=4, compressor="prune")
    loaded, seen = LoadedDynamic(model, dynamic_processor(model), "tiny"), []

    def said():
        found = ask(FRAMES, "what?", loaded, budget=Budget(60, 256), sample_tokens="none", max_new_tokens=1)
        return found.visual.pooler_output[0]

    before = said()
    with torch.no_grad():
        model.model.places.proj.weight.add_(1.0)
    assert not torch.allclose(before, said())
    model.model.compressor.scorer.register_forward_hook(lambda _, given, __: seen.append(given[0]))
    patches, grids = torch.randn(1, 16, 16), [Grid(2, 2)]
    model.compress(patches, grids)
    model.compress(patches, grids, patches)
    torch.testing.assert_close(seen[0], seen[-1])


def test_trained_parts_of_another_model_are_refused(dynamic):
    with pytest.raises(ValueError, match="select_frames must be a method without trained weights") as error:
        dynamic.methods(MethodNames(select_frames="qformer"))
    assert HOUSE.search(str(error.value))


def test_a_folder_is_loaded_planned_and_shown(dynamic, tmp_path):
    dynamic.model.save_pretrained(tmp_path)
    dynamic.processor.save_pretrained(tmp_path)
    again = load_model(str(tmp_path))
    assert isinstance(again, LoadedDynamic)
    encoded = encode_video(FRAMES, again)
    found = answer(encoded, "what is shown?", again, budget=Budget(40, 256), max_new_tokens=3)
    assert (
        found.tokens
        == ask(FRAMES, "what is shown?", dynamic, budget=Budget(40, 256), max_new_tokens=3).tokens
    )
    write_evidence(tmp_path / "shown.html", encoded, found)
    assert (tmp_path / "shown.html").stat().st_size > 1000
    plan, cost = planned_model(str(tmp_path)), again.cost(Budget(40, 256))
    assert plan.parameters == cost.parameters
    assert cost.tokens == 40
    assert plan.chosen(600, Budget(4000, 300)) == 256


@pytest.fixture(scope="module")
def in_front():
    """The embedded model with the selector of the other embedded one, and two scenes to choose from."""
    colours = torch.tensor([[220, 30, 30]] * 30 + [[30, 30, 220]] * 30, dtype=torch.uint8)
    noise = torch.randint(0, 30, (60, 3, 96, 96), generator=torch.Generator().manual_seed(0))
    frames = (colours[:, :, None, None] + noise).clamp(max=255).to(torch.uint8)
    return load_model("dynamic-nano", scorer="nano"), FrameList(frames, list(map(float, range(60))))


def test_a_selector_in_front_chooses_the_frames_that_its_own_model_chooses(in_front):
    loaded, frames = in_front
    nano, question = load_model("nano"), Question.parse("what colour is the star?")
    encoded, budget = encode_video(frames, loaded), Budget(64, 32)
    chosen = loaded.select(encoded.frame_features, encoded.seconds, loaded.read(question), budget)
    own = nano.select(encode_video(frames, nano).frame_features, encoded.seconds, nano.read(question), budget)
    assert chosen.frames.tolist() == own.frames.tolist()
    assert chosen.frames.tolist() != torch.linspace(0, 59, len(chosen)).round().tolist()
    found = ask(frames, question.stem, loaded, budget=budget, max_new_tokens=3)
    assert found.tokens <= 64
    assert not any("rate falls" in line for line in notes_lines(found))
    assert found.used.select == "learned"
    assert {frame.index for frame in found.frames} == set(own.frames.tolist())


@pytest.mark.parametrize(("frames", "tokens"), [(60, 3), (7, 64)])
def test_all_queries_choose_however_small_budget_or_video(in_front, monkeypatch, frames, tokens):
    """They learned to share frames: a few of them would leave asked scenes out."""
    loaded, whole = in_front
    short = FrameList(whole.frames[:frames], list(map(float, range(frames))))
    asked, real = [], LoadedModel.select

    def select(self, features, seconds, question, budget, methods):
        asked.append(budget.frames)
        return real(self, features, seconds, question, budget, methods)

    monkeypatch.setattr(LoadedModel, "select", select)
    found = ask(short, "which star?", loaded, budget=Budget(tokens, 256), max_new_tokens=2)
    assert asked == [32]
    assert len(found.frames) <= min(frames, tokens)
    assert found.tokens <= tokens


def test_a_selector_costs_its_weights_and_bounds_the_frames(in_front):
    loaded, _ = in_front
    alone = load_model("dynamic-nano")
    assert loaded.cost(Budget(512, 256)).frames == 32
    assert loaded.cost(Budget(512, 256)).parameters > alone.cost(Budget(512, 256)).parameters
    assert loaded.selector.model.model.vision_tower is loaded.model.vision_tower
    asked = {id(layer) for layer in loaded.layers}  # before each a question may be given up
    assert asked >= {id(layer) for layer in layers_of(loaded.selector.model.frame_selector)}


def test_another_method_stands_in_for_the_selector(in_front):
    loaded, frames = in_front
    assert loaded.methods(MethodNames(select_frames="uniform"))["merge_frames"] == "none"
    found = ask(
        frames,
        "what?",
        loaded,
        budget=Budget(16, 8),
        methods=MethodNames(select_frames="uniform"),
        max_new_tokens=2,
    )
    assert [frame.index for frame in found.frames] == [3, 11, 18, 26, 33, 41, 48, 56]


def test_a_frame_that_was_chosen_alone_has_its_second_and_a_picture_has_none(dynamic):
    def written(second):
        chat_ = [{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": "when?"}]}]
        ids = dynamic.processor.prompt_of_clips(chat_, [([2], [second])])["input_ids"][0]
        return dynamic.processor.tokenizer.decode(ids)

    assert "7 s:" in written(7.0) or "7s:" in written(7.0)
    assert "0s:" not in written(0.0).replace(" ", "")


def test_a_pipeline_is_refused_by_name():
    with pytest.raises(ValueError, match="pipeline must be left out") as error:
        load_model("dynamic-nano", scorer="nano", pipeline="uniform")
    assert HOUSE.search(str(error.value))


@pytest.mark.parametrize(
    ("scorer", "said"),
    [
        ("dynamic-nano", "a B-VLLM with a frame selector"),
        ("llava-nano", "a B-VLLM with a frame selector"),
        ("tiny", "the vision tower"),
    ],
)
def test_a_selector_that_reads_other_features_is_refused(scorer, said, tmp_path):
    if scorer == "tiny":
        model = tiny.model()
        model.save_pretrained(tmp_path)
        tiny.processor(model.config).save_pretrained(tmp_path)
        scorer = str(tmp_path)
    with pytest.raises(ValueError, match=said) as error:
        load_model("dynamic-nano", scorer=scorer)
    assert HOUSE.search(str(error.value))
