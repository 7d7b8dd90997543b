"""transformers' video models behind a budget: as they are with all tokens, as if masked with fewer."""

import copy
import inspect

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM, TextIteratorStreamer

from bvllm.common.text import Question
from bvllm.evaluation.ablate import copied_tokens, no_tokens, shuffled_time
from bvllm.inference.balance import balance
from bvllm.inference.balanced import BalancedModel
from bvllm.inference.balanced_prompt import side_by_side
from bvllm.inference.scorer import load_scorer
from bvllm.methods.names import MethodNames
from bvllm.model.backbones.families import FAMILIES, placeholder_id, tokens_per_frame
from bvllm.types import Budget, FrameSelection
from tests.model.backbones.tiny_families import MAKERS, make, save_clip

SIDE = 24
FRAMES = 5
SECONDS = torch.tensor([0.0, 2.0, 3.0, 9.0, 30.0])
EVERY = MethodNames(merge_tokens="none", select_frames="none")


@pytest.fixture(scope="module", params=sorted(MAKERS))
def wrapped(request) -> BalancedModel:
    model, processor = make(request.param)
    return balance(model, processor, pipeline="uniform", frame_size=(SIDE, SIDE))


def pictures(count: int = FRAMES) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randint(0, 256, (count, 3, SIDE, SIDE), generator=generator, dtype=torch.uint8)


def reduced(wrapped: BalancedModel, tokens: int, methods: MethodNames = EVERY, seconds=SECONDS):
    asked = wrapped.read(Question("what colour is the star"))
    patches = wrapped.patch_features(pictures(len(seconds)))
    selection = FrameSelection.of(torch.arange(len(seconds)), seconds.double())
    visual = wrapped.reduce(patches, selection, asked, Budget(tokens=tokens), methods)
    return asked, patches, visual


def written(wrapped: BalancedModel, asked, seconds=SECONDS) -> dict[str, torch.Tensor]:
    """The prompt and the pixels as the family's own processor makes them, all frames at once."""
    full = wrapped.prompt.written(asked, [seconds])
    shown = pictures(len(seconds))
    if wrapped.family.pictures:
        pixels = wrapped.processor.image_processor(list(shown), return_tensors="pt")
        return full | {"pixel_values": pixels["pixel_values"]}
    if wrapped.family.pairs:
        shown = shown.repeat_interleave(2, dim=0)
    ticks = torch.arange(len(shown))
    pixels = dict(wrapped.encoder.processed_video(shown, ticks))
    if wrapped.family.flat:
        pixels = {"pixel_values": pixels["pixel_values_videos"].flatten(0, 1)}
    return full | {k: v for k, v in pixels.items() if isinstance(v, torch.Tensor)}


def test_every_family_has_a_tiny_model():
    assert set(MAKERS) == set(FAMILIES)


@torch.no_grad()
def test_frames_give_different_tokens(wrapped):
    """A feature that is nothing, or the same for all, would prove nothing below."""
    patches = wrapped.patch_features(pictures())
    assert patches.std() > 1e-3
    assert (patches - patches.mean(dim=0)).std() > 1e-4
    assert (patches - patches.mean(dim=1, keepdim=True)).std() > 1e-4


@torch.no_grad()
def test_with_all_tokens_it_is_the_plain_model(wrapped):
    """From pixels: the family's own forward pass over the whole video, and ours frame by frame."""
    asked, _, visual = reduced(wrapped, 10_000)
    given = wrapped.prompt.inputs(asked, visual)
    plain = written(wrapped, asked)
    assert torch.equal(given["input_ids"], plain["input_ids"])
    if "position_ids" in given:  # at the frames' true times, which the family cannot know
        plain["position_ids"] = given["position_ids"]
    torch.testing.assert_close(
        wrapped.model(**given).logits, wrapped.model(**plain).logits, atol=2e-5, rtol=1e-5
    )
    said = wrapped.model.generate(**plain, max_new_tokens=6, do_sample=False)
    words = wrapped.processor.tokenizer.decode(
        said[0, plain["input_ids"].shape[1] :], skip_special_tokens=True
    )
    assert wrapped.generate(asked, visual, 6) == words.strip()


@torch.no_grad()
def test_frames_that_traded_places_stand_at_the_times_of_their_rows(wrapped):
    """The ablation "shuffled-time": as many tokens, the same times, other frames behind them."""
    asked, patches, visual = reduced(wrapped, 10_000)
    own = FrameSelection.of(torch.arange(FRAMES), SECONDS.double())
    traded = shuffled_time(own)
    assert traded.frames.tolist() != own.frames.tolist()
    swapped = wrapped.reduce(patches[traded.frames], traded, asked, Budget(tokens=10_000), EVERY)
    [clip], [plain] = (list(wrapped.prompt.placed(asked, seen)) for seen in (swapped, visual))
    assert torch.equal(clip.seconds, plain.seconds)
    assert torch.equal(clip.kept, plain.kept)
    assert not torch.equal(clip.features, plain.features)
    ids = [wrapped.prompt.inputs(asked, seen)["input_ids"] for seen in (swapped, visual)]
    assert torch.equal(*ids)


@torch.no_grad()
def test_beams_sampling_and_streams_are_transformers_own(wrapped):
    """Beams over all tokens are the plain model's; over fewer, a sample repeats itself, streamed or not."""
    asked, _, visual = reduced(wrapped, 10_000)
    plain = written(wrapped, asked)
    given = wrapped.prompt.inputs(asked, visual)
    if "position_ids" in given:
        plain["position_ids"] = given["position_ids"]
    read, words = plain["input_ids"].shape[1], wrapped.processor.tokenizer
    beams = {"num_beams": 3, "num_return_sequences": 2, "max_new_tokens": 4, "do_sample": False}
    said = [
        words.decode(row[read:], skip_special_tokens=True) for row in wrapped.model.generate(**plain, **beams)
    ]
    assert wrapped.generate_as(asked, visual, **beams) == [text.strip() for text in said]
    asked, _, visual = reduced(wrapped, 12)
    told = []
    for _ in range(2):
        torch.manual_seed(3)
        told += wrapped.generate_as(asked, visual, do_sample=True, max_new_tokens=4)
    stream = TextIteratorStreamer(words, skip_prompt=True, skip_special_tokens=True)
    torch.manual_seed(3)
    wrapped.generate_as(asked, visual, do_sample=True, max_new_tokens=4, streamer=stream)
    assert told[0] == told[1] == "".join(stream).strip()


@torch.no_grad()
@pytest.mark.parametrize("tokens", [1, 3, 11, 30])
@pytest.mark.parametrize("merge", ["bipartite", "divprune", "none"])
def test_with_fewer_it_is_the_model_whose_other_tokens_are_masked(wrapped, tokens, merge):
    tokens += wrapped.family.tail
    asked, patches, visual = reduced(wrapped, tokens, MethodNames(merge_tokens=merge, select_frames="none"))
    assert visual.lengths == [tokens]
    given = wrapped.prompt.inputs(asked, visual)
    ids, place = given["input_ids"][0], placeholder_id(wrapped.model)
    assert int((ids == place).sum()) == tokens
    [kept] = visual.tokens
    shown = kept.frame.unique()
    full = wrapped.prompt.written(asked, [SECONDS[shown]])
    places = (full["input_ids"][0] == place).nonzero()[:, 0]
    each = patches.shape[1]
    features = torch.randn(len(shown) * each + wrapped.family.tail, patches.shape[-1])
    rows = torch.searchsorted(shown, kept.frame) * each + kept.row * visual.grid[1] + kept.column
    features[rows] = kept.features
    if wrapped.family.tail:
        features[-1] = wrapped.model.base_model.image_newline
    mask = torch.ones_like(full["input_ids"])
    mask[0, places] = 0
    mask[0, places[rows]] = 1
    if wrapped.family.tail:
        mask[0, places[-1]] = 1
    oracle = {k: v for k, v in full.items() if k in ("input_ids", "token_type_ids", "mm_token_type_ids")}
    positions = wrapped.prompt.positions(full, list(wrapped.prompt.placed(asked, visual)), [places])
    oracle["position_ids"] = (mask.cumsum(-1) - 1).clamp_min(0)
    if positions is not None:
        positions[0] = oracle["position_ids"]
        oracle["position_ids"] = positions
    oracle["mm_encoder_outputs"] = {
        wrapped.family.modality: wrapped.family.passed(features, wrapped.prompt.width)
    }
    masked = wrapped.model(**oracle, attention_mask=mask).logits[0, mask[0].bool()]
    torch.testing.assert_close(wrapped.model(**given).logits[0], masked, atol=2e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_a_batch_says_what_each_row_says_alone(wrapped, dtype):
    """Rows of other lengths, questions and budgets, padded on the left."""
    model = copy.deepcopy(wrapped.model).to(dtype)
    made = balance(model, wrapped.processor, pipeline="uniform", frame_size=(SIDE, SIDE))
    rows = []
    for tokens, count, question in (
        (30, 5, "what is red"),
        (7, 3, "where does the star move first"),
        (1, 1, "a"),
    ):
        asked = made.read(Question(question))
        selection = FrameSelection.of(torch.arange(count), SECONDS[:count].double())
        patches = made.patch_features(pictures(count))
        rows.append((asked, made.reduce(patches, selection, asked, Budget(tokens=tokens), EVERY)))
    together = model(**side_by_side(made.prompt, rows)).logits
    for row, (asked, visual) in enumerate(rows):
        alone = model(**made.prompt.inputs(asked, visual)).logits[0]
        off = (together[row, -len(alone) :] - alone).float().norm() / alone.float().norm()
        assert off < (1e-5 if dtype == torch.float32 else 0.05)
    if dtype == torch.float32:
        assert made.generate_together(rows, 5) == [made.generate(a, v, 5) for a, v in rows]


@torch.no_grad()
def test_a_single_token_is_a_patch_of_a_frame(wrapped):
    asked, _, visual = reduced(wrapped, 1)
    assert visual.lengths == [len(visual.tokens[0])] == [1]
    ids = wrapped.prompt.inputs(asked, visual)["input_ids"]
    assert int((ids == placeholder_id(wrapped.model)).sum()) == 1


@torch.no_grad()
@pytest.mark.parametrize("swap", [no_tokens, copied_tokens])
def test_what_is_swapped_reaches_the_language_model(wrapped, swap):
    asked, _, visual = reduced(wrapped, 12)
    one, other = (
        wrapped.model(**wrapped.prompt.inputs(asked, v)).logits[0, -1] for v in (visual, swap(visual))
    )
    assert not torch.allclose(one, other, atol=1e-3)


@torch.no_grad()
def test_true_times_reach_the_model(wrapped):
    """Frames at other times are another prompt, where the family says anything of time."""
    asked, _, visual = reduced(wrapped, 10_000)
    _, _, later = reduced(wrapped, 10_000, seconds=torch.tensor([0.0, 2.0, 3.0, 9.0, 600.0]))
    one, other = (wrapped.model(**wrapped.prompt.inputs(asked, v)).logits[0, -1] for v in (visual, later))
    placed, written = ("qwen2_vl", "qwen2_5_vl"), ("qwen3_vl", "video_llama_3", "smolvlm")
    told = wrapped.model.config.model_type in (*placed, *written)
    assert torch.allclose(one, other, atol=1e-6) is not told
    if wrapped.model.config.model_type in placed:
        positions = wrapped.prompt.inputs(asked, visual)["position_ids"][1, 0]
        placed = positions[
            wrapped.prompt.inputs(asked, visual)["input_ids"][0] == placeholder_id(wrapped.model)
        ]
        step = wrapped.family.seconds_per_position or 0.5
        since = (placed.unflatten(0, (FRAMES, -1))[:, 0] - placed[0]) * step
        assert since.tolist() == SECONDS.tolist()


@torch.no_grad()
def test_the_likeliest_option_is_the_one_the_model_would_say(wrapped):
    """Scores behind one reading of the prompt, and each reply read whole."""
    asked, _, visual = reduced(wrapped, 20)
    given = wrapped.prompt.inputs(asked, visual)
    words = wrapped.processor.tokenizer
    replies = [
        words(text, add_special_tokens=False)["input_ids"] for text in ("red", "the blue star", "green a")
    ]
    found = wrapped._reply_scores(given, replies)
    for reply, score in zip(replies, found.tolist()):
        whole, length = dict(given), given["input_ids"].shape[1]
        tail = torch.tensor([reply])
        whole["input_ids"] = torch.cat([given["input_ids"], tail], dim=1)
        whole["attention_mask"] = torch.ones_like(whole["input_ids"])
        for name in ("token_type_ids", "mm_token_type_ids"):
            if name in whole:
                whole[name] = torch.cat([given[name], torch.zeros_like(tail)], dim=1)
        if "position_ids" in given:
            then = torch.arange(len(reply))
            last = int(given["position_ids"][1:].max()) + 1
            more = torch.stack([length + then, *[last + then] * 3])[:, None]
            whole["position_ids"] = torch.cat([given["position_ids"], more], dim=-1)
        logits = wrapped.model(**whole).logits[0, length - 1 : -1].log_softmax(dim=-1)
        assert score == pytest.approx(float(logits.gather(-1, tail[0][:, None]).sum()), abs=1e-4)


def test_gradients_reach_the_language_model_under_a_budget(wrapped):
    asked, _, visual = reduced(wrapped, 12)
    given = wrapped.prompt.inputs(asked, visual)
    wrapped.model.zero_grad()
    loss = wrapped.model(**given, labels=given["input_ids"]).loss
    loss.backward()
    grown = [p for p in wrapped.model.get_output_embeddings().parameters() if p.grad is not None]
    assert grown
    assert all(bool(p.grad.abs().sum() > 0) for p in grown)
    wrapped.model.zero_grad()


def test_the_question_chooses_frames_by_the_scorer(wrapped, tmp_path_factory):
    """Relevance is the scorer's cosine; swapped for noise, other frames are chosen."""
    clip = save_clip(tmp_path_factory.mktemp("clip"))
    scorer = load_scorer(str(clip), torch.device("cpu"))
    chosen = balance(wrapped.model, wrapped.processor, scorer=scorer, frame_size=(SIDE, SIDE))
    frames = pictures(40)
    features = chosen.frame_features(frames)
    assert torch.allclose(features.norm(dim=-1), torch.ones(40), atol=1e-5)
    text = scorer.model.get_text_features(
        **scorer.tokenizer("the red star", return_tensors="pt")
    ).pooler_output
    expected = features @ torch.nn.functional.normalize(text[0].detach(), dim=-1)
    torch.testing.assert_close(
        2 * scorer.relevance(features, "the red star") - 1, expected, atol=1e-5, rtol=0
    )
    seconds, budget = torch.arange(40.0).double(), Budget(tokens=120, frames=6)
    assert chosen.tokens_per_frame == chosen.patch_features(frames[:1]).shape[1]
    asked = chosen.read(Question("the red star"))
    found = chosen.select(features, seconds, asked, budget)
    assert len(found) == 6
    assert bool((found.scores > 0).all())
    assert found.scores.max() == 1.0, "the most relevant frame of all is among them"
    patches = torch.randn(len(found), 9, 4)
    spent = chosen.reduce(patches, found, asked, Budget(tokens=30))
    each = [int((spent.tokens[0].frame == frame).sum()) for frame in found.frames]
    surest, least = int(found.scores.argmax()), int(found.scores.argmin())
    assert each[surest] > each[least], "a more relevant frame keeps more tokens"
    few = chosen.select(features, seconds, asked, Budget(tokens=chosen.tokens_per_frame, frames=6))
    assert len(few) == 2, "a small budget goes to fewer frames, half of whose tokens it holds"
    other = chosen.select(features, seconds, chosen.read(Question("where does it move")), budget)
    assert found.frames.tolist() != other.frames.tolist()


def test_tokens_are_counted_from_the_configuration(wrapped):
    """Of a frame in the usual size, by the family's own encoder."""
    config = wrapped.model.config
    made = balance(wrapped.model, wrapped.processor, pipeline="uniform")
    blank = torch.zeros(1, 3, *made.frame_size, dtype=torch.uint8)
    assert made.patch_features(blank).shape[1] == tokens_per_frame(config)
    asked = made.read(Question("what colour is the star"))
    full = made.prompt.written(asked, [SECONDS])
    count = int((full["input_ids"] == placeholder_id(made.model)).sum())
    assert count == FRAMES * tokens_per_frame(config) + made.family.tail


@torch.no_grad()
def test_two_tokens_that_stand_in_one_place_are_both_read(wrapped):
    """A mean over time and one over space have the first patch of the first frame in common."""
    methods = MethodNames(merge_tokens="red_villm", select_frames="none")
    asked, _, visual = reduced(wrapped, 10 + wrapped.family.tail, methods)
    [tokens] = visual.tokens
    stand = list(zip(tokens.frame.tolist(), tokens.row.tolist(), tokens.column.tolist()))
    assert len(set(stand)) < len(stand)
    ids = wrapped.prompt.inputs(asked, visual)["input_ids"]
    assert int((ids == placeholder_id(wrapped.model)).sum()) == sum(visual.lengths)
    assert isinstance(wrapped.generate(asked, visual, 2), str)


@torch.no_grad()
def test_a_method_that_asks_for_words_hears_the_question(wrapped):
    """With one token a frame, the one like the question's word is kept."""
    embed, tokenizer = wrapped.model.get_input_embeddings(), wrapped.processor.tokenizer
    patches = torch.zeros(1, 9, embed.weight.shape[1])
    for place, word in ((3, "star"), (7, "blue")):
        ids = torch.tensor(tokenizer(word, add_special_tokens=False)["input_ids"])
        patches[0, place] = embed(ids).mean(dim=0)
    selection = FrameSelection.of(torch.arange(1), torch.zeros(1))
    budget = Budget(tokens=1 + (wrapped.family.tail and 1 + wrapped.family.tail))
    for place, word in ((3, "star"), (7, "blue")):
        asked, methods = wrapped.read(Question(word)), MethodNames(merge_tokens="catp")
        [kept] = wrapped.reduce(patches, selection, asked, budget, methods).tokens
        assert place in (kept.row * 3 + kept.column).tolist()


def test_wrong_use_is_one_clear_line(wrapped):
    model, processor = wrapped.model, wrapped.processor
    with pytest.raises(ValueError, match="scorer must be named, got none: add --scorer"):
        balance(model, processor)
    with pytest.raises(ValueError, match=r"pipeline must be one of .* did you mean 'balanced'"):
        balance(model, processor, pipeline="balance", scorer="x")
    other = make("internvl" if wrapped.model.config.model_type != "internvl" else "smolvlm")[1]
    for wrong in (processor.tokenizer, other):
        with pytest.raises(ValueError, match=r"processor must be the model's own \w+, got \w+: load it"):
            balance(model, wrong, pipeline="uniform")
    plain = Qwen2ForCausalLM(Qwen2Config(hidden_size=8, num_hidden_layers=1, num_attention_heads=1))
    with pytest.raises(
        ValueError, match=r"model must be of a family that can be reduced \(.*\), got 'qwen2'"
    ):
        balance(plain, processor, pipeline="uniform")
    with pytest.raises(ValueError, match="scorer must be named for a method that asks"):
        wrapped.methods(MethodNames(select_frames="relevant"))
    with pytest.raises(ValueError, match="select_frames must be a method without trained weights"):
        wrapped.methods(MethodNames(select_frames="qformer"))


def test_nothing_of_transformers_is_replaced(wrapped):
    kind, before = type(wrapped.model), {}
    for owner in (kind, type(wrapped.model.base_model), type(wrapped.processor)):
        before[owner] = dict(inspect.getmembers_static(owner))
    asked, _, visual = reduced(wrapped, 9)
    wrapped.generate(asked, visual, 2)
    for owner, members in before.items():
        assert all(inspect.getattr_static(owner, name) is value for name, value in members.items())
    assert "forward" not in vars(wrapped.model)
    assert "generate" not in vars(wrapped.model)
