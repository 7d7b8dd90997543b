"""Several videos, and pictures beside them, in one prompt: every family that says it can, and no other."""

import pytest
import torch
from tokenizers.processors import TemplateProcessing

from bvllm.common.text import Question
from bvllm.inference.balance import balance
from bvllm.inference.balanced import BalancedModel
from bvllm.inference.balanced_prompt import side_by_side
from bvllm.inference.frame_encoder import TICKS, metadata
from bvllm.inference.model import AskedQuestion
from bvllm.inference.turns import ClipPlace, Turn, kinds_in, one_turn
from bvllm.methods.names import MethodNames
from bvllm.model.backbones.families import FAMILIES
from bvllm.model.backbones.several import SEVERAL, families_table, picture_form, picture_listed
from bvllm.types import Budget, FrameSelection
from tests.model.backbones.tiny_families import MAKERS, make

SIDE = 24
EVERY = MethodNames(merge_tokens="none", select_frames="none")
MERGED = MethodNames(merge_tokens="bipartite", select_frames="none")
PLAIN_SECONDS = torch.arange(3.0)
PLACED = sorted(kind for kind, family in FAMILIES.items() if family.seconds_per_position is not None)
QUESTION = Question("what colour is the star")


@pytest.fixture(scope="module", params=sorted(MAKERS))
def wrapped(request) -> BalancedModel:
    return balance(*make(request.param), pipeline="uniform", frame_size=(SIDE, SIDE))


def pictures(count: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, SIDE, SIDE), generator=generator, dtype=torch.uint8)


def layout(wrapped: BalancedModel, *, pictures: bool = True) -> tuple[Turn, ...]:
    """Two videos between words and turns, and two pictures where the family reads them."""
    record = SEVERAL[wrapped.model.config.model_type]
    kinds = ["video", *["image"] * bool(pictures and record.picture), "video"]
    kinds += ["image"] * bool(pictures and record.picture)
    first, *others = (ClipPlace(k, kind) for k, kind in enumerate(kinds))
    return (
        Turn("user", (first, "where is the sign")),
        Turn("assistant", ("first",)),
        Turn("user", (*others, QUESTION.stem)),
    )


def shown(wrapped: BalancedModel, turns, seconds, tokens: int, methods=EVERY, seeds=range(4)):
    """The clips of a conversation, encoded and reduced: asked, their frames, visual tokens."""
    kinds = kinds_in(turns)
    times = [torch.zeros(1) if kind == "image" else next(seconds) for kind in kinds]
    frames = [pictures(len(t), seed) for t, seed in zip(times, seeds)]
    patches = [
        wrapped.picture_features(f) if kind == "image" else wrapped.patch_features(f)
        for f, kind in zip(frames, kinds)
    ]
    chosen = [FrameSelection.of(torch.arange(len(t)), t.double()) for t in times]
    asked = AskedQuestion(QUESTION, None, turns=turns)
    visual = wrapped.reduce_several(
        patches, kinds, chosen, asked, Budget(tokens=tokens), methods, [None] * len(kinds)
    )
    return asked, frames, visual


def plain_inputs(wrapped: BalancedModel, turns, frames) -> dict:
    """What the family's own processor makes of the conversation and its pixels, all in one call."""
    family, kinds, proc = wrapped.family, kinds_in(turns), wrapped.processor
    chat, label = [], 0
    for turn in turns:
        content = []
        for part in turn.parts:
            if isinstance(part, str):
                content.append({"type": "text", "text": part})
                continue
            label += 1
            if family.pictures:  # it knows no videos: frames are pictures behind a label
                name = "Video" if part.kind == "video" else "Picture"
                content.append({"type": "text", "text": f"{name} {label}: "})
                content += [{"type": "image"}] * len(frames[part.number])
            else:
                content.append({"type": part.kind})
        chat.append({"role": turn.role, "content": content})
    prompt = proc.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    given: dict = {"text": [prompt], "return_tensors": "pt"}
    seen = [f for f, kind in zip(frames, kinds) if kind == "image" or family.pictures]
    if seen:
        given |= {"images": [[picture for clip in seen for picture in clip]]}
        given |= dict(picture_form(wrapped.model.config).settings)
    videos = [f for f, kind in zip(frames, kinds) if kind == "video"]
    if not family.pictures:
        times = PLAIN_SECONDS.repeat_interleave(2) if family.pairs else PLAIN_SECONDS
        videos = [v.repeat_interleave(2, dim=0) if family.pairs else v for v in videos]
        ticks = (times * TICKS).long()
        given |= {"videos": videos, "do_sample_frames": False, **dict(family.settings)}
        given |= {"video_metadata": [metadata(ticks, v) for v in videos]}
    plain = dict(proc(**given))
    if wrapped.model.config.model_type == "smolvlm":  # whose processor keeps the videos' pixels alone
        del plain["pixel_attention_mask"]
        plain["pixel_values"] = torch.cat([smolvlm_pixels(proc, f, k) for f, k in zip(frames, kinds)], dim=1)
    return plain


def smolvlm_pixels(processor, frames: torch.Tensor, kind: str) -> torch.Tensor:
    """(1, F, 3, height, width) of a clip, by its own processors."""
    if kind == "image":
        made = processor.image_processor([list(frames)], do_image_splitting=False, return_tensors="pt")
    else:
        ticks = (PLAIN_SECONDS * TICKS).long()
        made = processor.video_processor(
            [frames], do_sample_frames=False, video_metadata=[metadata(ticks, frames)], return_tensors="pt"
        )
    return made["pixel_values"]


def test_every_family_has_a_row_in_the_table():
    rows = [line.split("|") for line in families_table().splitlines()[2:]]
    assert [row[1].strip(" `") for row in rows] == list(FAMILIES)
    assert {row[1].strip(" `"): row[-3].strip()[:3] == "yes" for row in rows} == {
        kind: kind in SEVERAL for kind in FAMILIES
    }
    assert {row[1].strip(" `"): row[-2].strip() for row in rows} == {
        kind: "yes" if kind in SEVERAL and SEVERAL[kind].picture else "no" for kind in FAMILIES
    }


@torch.no_grad()
def test_with_all_tokens_it_is_the_plain_model(wrapped):
    """Two videos, two pictures, words between them and an earlier turn: the family's own forward pass."""
    turns = layout(wrapped)
    asked, frames, visual = shown(wrapped, turns, iter([PLAIN_SECONDS] * 2), 10_000)
    given, plain = wrapped.prompt.inputs(asked, visual), plain_inputs(wrapped, turns, frames)
    assert torch.equal(given["input_ids"], plain["input_ids"])
    for name in ("attention_mask", "token_type_ids", "mm_token_type_ids"):
        assert (name in given) == (name in plain)
        assert name not in given or torch.equal(given[name], plain[name])
    if wrapped.model.config.model_type == "qwen2_5_vl":  # at true times, which the family cannot know
        plain["position_ids"] = given["position_ids"]
    ours, own = wrapped.model(**given).logits, wrapped.model(**plain).logits
    torch.testing.assert_close(ours, own, atol=2e-5, rtol=1e-5)
    said = wrapped.model.generate(**plain, max_new_tokens=5, do_sample=False)[
        0, given["input_ids"].shape[1] :
    ]
    assert (
        wrapped.generate(asked, visual, 5)
        == wrapped.processor.tokenizer.decode(said, skip_special_tokens=True).strip()
    )


@torch.no_grad()
@pytest.mark.parametrize("wrapped", sorted(set(MAKERS) - {"perception_lm"}), indirect=True)
def test_beams_are_the_plain_models(wrapped):
    """Not PerceptionLM: its `generate` repeats the pixels of two videos for beams as A, A, B, B."""
    turns = layout(wrapped)
    asked, frames, visual = shown(wrapped, turns, iter([PLAIN_SECONDS] * 2), 10_000)
    plain, given = plain_inputs(wrapped, turns, frames), wrapped.prompt.inputs(asked, visual)
    if "position_ids" in given:
        plain["position_ids"] = given["position_ids"]
    beams = {"num_beams": 3, "num_return_sequences": 2, "max_new_tokens": 3, "do_sample": False}
    said = wrapped.model.generate(**plain, **beams)[:, plain["input_ids"].shape[1] :]
    words = wrapped.processor.tokenizer.batch_decode(said, skip_special_tokens=True)
    assert wrapped.generate_as(asked, visual, **beams) == [text.strip() for text in words]


@torch.no_grad()
@pytest.mark.parametrize("tokens", [9, 31])
def test_with_fewer_it_is_the_model_whose_other_tokens_are_masked(wrapped, tokens):
    """Videos of unequal lengths; every kept token stands at its own frame and place of its own clip."""
    turns = layout(wrapped)
    asked, _, visual = shown(
        wrapped, turns, iter([torch.tensor([0.0, 2.0, 9.0]), torch.tensor([1.0, 4.0])]), tokens, MERGED
    )
    given = wrapped.prompt.inputs(asked, visual)
    assert sum(visual.lengths) <= tokens
    assert min(visual.lengths) >= 1
    assert int(wrapped.prompt.is_placeholder(given["input_ids"]).sum()) == sum(visual.lengths)
    clips = list(wrapped.prompt.placed(asked, visual))
    full = wrapped.prompt.written(asked, [clip.seconds for clip in clips])
    places = wrapped.prompt.is_placeholder(full["input_ids"][0]).nonzero()[:, 0]
    mask, at, outputs = torch.ones_like(full["input_ids"]), [], {"video": [], "image": []}
    mask[0, places] = 0
    for clip, kept, (_, columns) in zip(clips, visual.tokens, visual.grids):
        own, places = places[: clip.placeholders], places[clip.placeholders :]
        features = torch.randn(clip.placeholders, kept.features.shape[-1])  # what is masked may be anything
        row = torch.unique(kept.frame, return_inverse=True)[1]
        rows = row * clip.each + kept.row * columns + kept.column
        features[rows] = kept.features
        mask[0, own[rows]] = 1
        if clip.tail:
            features[-1] = wrapped.model.base_model.image_newline
            mask[0, own[-1]] = int(len(clip.kept) > len(kept))
        at.append(own)
        listed = (
            picture_listed(wrapped.family, picture_form(wrapped.model.config))
            if clip.kind == "image"
            else None
        )
        name = "image" if clip.kind == "image" else wrapped.family.modality
        outputs[name].append(wrapped.family.passed(features, wrapped.prompt.width, listed=listed))
    assert not len(places)
    oracle = {k: v for k, v in full.items() if k in ("input_ids", "token_type_ids", "mm_token_type_ids")}
    oracle["position_ids"] = (mask.cumsum(-1) - 1).clamp_min(0)
    positions = wrapped.prompt.positions(full, clips, at)
    if positions is not None:
        positions[0] = oracle["position_ids"]
        oracle["position_ids"] = positions
    oracle["mm_encoder_outputs"] = {k: wrapped.family.together(v) for k, v in outputs.items() if v}
    masked = wrapped.model(**oracle, attention_mask=mask).logits[0, mask[0].bool()]
    torch.testing.assert_close(wrapped.model(**given).logits[0], masked, atol=2e-5, rtol=1e-5)


@torch.no_grad()
def test_nothing_of_one_video_reaches_the_place_of_another(wrapped):
    """The second video made noise: all up to it stays as it was, tokens and logits; what follows does not."""
    turns = layout(wrapped, pictures=False)
    times = [torch.tensor([0.0, 2.0, 9.0]), torch.tensor([1.0, 4.0])]
    asked, _, visual = shown(wrapped, turns, iter(times), 20, MERGED)
    _, _, other = shown(wrapped, turns, iter(times), 20, MERGED, seeds=(0, 9))
    assert torch.equal(visual.pooler_output[0], other.pooler_output[0])
    assert not torch.allclose(visual.pooler_output[1], other.pooler_output[1], atol=1e-2)
    one, two = (wrapped.prompt.inputs(asked, v) for v in (visual, other))
    before = wrapped.prompt.is_placeholder(one["input_ids"][0]).nonzero()[visual.lengths[0], 0]
    first, second = (wrapped.model(**given).logits[0] for given in (one, two))
    torch.testing.assert_close(first[:before], second[:before], atol=1e-6, rtol=0)
    assert not torch.allclose(first[-1], second[-1], atol=1e-3)


@torch.no_grad()
def test_swapped_videos_are_swapped_in_the_prompt(wrapped):
    turns = layout(wrapped, pictures=False)
    times = [torch.tensor([0.0, 2.0, 9.0]), torch.tensor([1.0, 4.0])]
    tokens = 20 + 2 * wrapped.family.tail  # so many that shares need no rounding
    asked, _, visual = shown(wrapped, turns, iter(times), tokens, MERGED)
    _, _, swapped = shown(wrapped, turns, iter(times[::-1]), tokens, MERGED, seeds=(1, 0))
    for there, here in ((0, 1), (1, 0)):
        assert torch.equal(visual.pooler_output[there], swapped.pooler_output[here])
        assert visual.tokens[there].seconds.tolist() == swapped.tokens[here].seconds.tolist()
    one, two = (wrapped.prompt.inputs(asked, v) for v in (visual, swapped))
    name = wrapped.family.modality
    whole = [
        torch.cat([t.reshape(-1, t.shape[-1]) for t in g["mm_encoder_outputs"][name].pooler_output])
        for g in (one, two)
    ]
    assert not torch.equal(*whole)
    assert torch.equal(whole[0].sum(dim=0).round(decimals=3), whole[1].sum(dim=0).round(decimals=3))
    logits = [wrapped.model(**given).logits[0, -1] for given in (one, two)]
    assert not torch.allclose(*logits, atol=1e-4)


@torch.no_grad()
def test_a_batch_says_what_each_row_says_alone(wrapped):
    """A row of several clips beside a row of one video, padded on the left."""
    rows = []
    for turns, tokens in ((layout(wrapped), 25), (one_turn(["video"], "what is red"), 7)):
        asked, _, visual = shown(wrapped, turns, iter([PLAIN_SECONDS, PLAIN_SECONDS[:2]]), tokens, MERGED)
        rows.append((asked, visual))
    together = wrapped.model(**side_by_side(wrapped.prompt, rows)).logits
    for row, (asked, visual) in enumerate(rows):
        alone = wrapped.model(**wrapped.prompt.inputs(asked, visual)).logits[0]
        torch.testing.assert_close(together[row, -len(alone) :], alone, atol=2e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("wrapped", PLACED, indirect=True)
def test_times_are_those_of_each_video(wrapped):
    turns = layout(wrapped)
    times = [torch.tensor([0.0, 2.0, 9.0]), torch.tensor([100.0, 104.0])]
    asked, _, visual = shown(wrapped, turns, iter(times), 10_000)
    given = wrapped.prompt.inputs(asked, visual)
    step = wrapped.family.seconds_per_position or 0.5
    positions = given["position_ids"][1:, 0]
    assert bool((positions[0].diff() >= 0).all()), "nothing stands before what comes before it"
    places = (given["input_ids"][0] == wrapped.model.config.video_token_id).nonzero()[:, 0]
    for own, at in zip(places.split([27, 18]), times):
        temporal = positions[0, own].unflatten(0, (len(at), 9))
        assert bool((temporal == temporal[:, :1]).all())
        assert ((temporal[:, 0] - temporal[0, 0]) * step).tolist() == (at - at[0]).tolist()


def test_what_a_family_cannot_read_is_refused_by_its_name(wrapped, monkeypatch):
    kind, title = wrapped.model.config.model_type, wrapped.family.title
    wrapped.check_clips(["video", "video"], EVERY)
    if SEVERAL[kind].picture is None:
        line = rf"{title} must be asked about videos alone, since .*, got 1 video and 2 pictures: leave"
        with pytest.raises(ValueError, match=line):
            wrapped.check_clips(["video", "image", "image"], EVERY)
    else:
        wrapped.check_clips(["video", "image", "image"], EVERY)
    monkeypatch.delitem(SEVERAL, kind)
    with pytest.raises(ValueError, match=rf"{title} reads one video a prompt, got 2 videos: ask about each"):
        wrapped.check_clips(["video", "video"], EVERY)
    assert f"| {title} |" in families_table()
    [row] = [row for row in families_table().splitlines() if f"`{kind}`" in row]
    assert row.endswith("| no | no |")


def test_a_prompt_begins_once():
    """Where the template writes what a prompt begins with, the tokenizer does not write it again."""
    model, processor = MAKERS["internvl"]()
    words = processor.tokenizer
    begin = words.convert_tokens_to_ids("<end>")
    words.backend_tokenizer.post_processor = TemplateProcessing(
        single="<end> $A", special_tokens=[("<end>", begin)]
    )
    words.bos_token = "<end>"
    for template in (processor.chat_template, "<end>" + processor.chat_template):
        processor.chat_template = template
        video_llm = balance(model, processor, pipeline="uniform", frame_size=(SIDE, SIDE))
        ids = video_llm.prompt.written(video_llm.read(QUESTION), [PLAIN_SECONDS])["input_ids"][0]
        assert (ids == begin).nonzero()[:, 0].tolist() == [0]
