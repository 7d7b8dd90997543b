"""Encode, select, spend: what each option changes, and what none may."""

import pytest
import torch
from transformers import (
    Blip2VisionConfig,
    Dinov2Config,
    Dinov2WithRegistersConfig,
    InstructBlipVisionConfig,
    SiglipVisionConfig,
)

from bvllm.model import visual
from bvllm.stages.pipeline import thin_evenly
from bvllm.types import Budget, FrameSelection
from tests.model import tiny

SIZES = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "image_size": 16, "patch_size": 4, "initializer_range": 0.3,
}  # fmt: skip
TOWERS = {
    "clip": tiny.vision_config(),
    "siglip": SiglipVisionConfig(**SIZES),
    "dinov2": Dinov2Config(**SIZES),
    "registers": Dinov2WithRegistersConfig(**SIZES, num_register_tokens=3),
    "instructblip": InstructBlipVisionConfig(**SIZES),
    "blip2": Blip2VisionConfig(**SIZES),
}
QUESTION = torch.tensor([[8, 10, 11, 12, 13, 22], [11, 24, 14, 22, 0, 0]])
MASK = (QUESTION != 0).long()


def cached(model, lengths=(9, 4), seed=0):
    """Frame features and seconds of clips, as training keeps them."""
    torch.manual_seed(seed)
    width = model.config.vision_config.hidden_size
    return [torch.randn(n, width) for n in lengths], [torch.arange(float(n)) for n in lengths]


@pytest.mark.parametrize("name", TOWERS)
def test_every_tower_gives_a_feature_per_frame_and_the_patches_alone(name):
    model = tiny.backbone(vision_config=TOWERS[name])
    pixels = torch.randn(3, 3, 16, 16)
    tower = model.vision_tower(pixel_values=pixels, output_hidden_states=True)
    patches, frames = model.encode_patches(pixels), model.encode_frames(pixels)
    assert patches.shape == (3, 16, 16)
    torch.testing.assert_close(patches, tower.hidden_states[-2][:, -16:])
    expected = tower.pooler_output if name in ("clip", "siglip") else tower.last_hidden_state[:, 0]
    torch.testing.assert_close(frames, expected)
    assert frames.std() > 1e-3, "a feature that is nothing proves nothing"


def test_the_first_layer_can_give_the_patches():
    model = tiny.backbone(vision_feature_layer=0)
    pixels = torch.randn(2, 3, 16, 16)
    states = model.vision_tower(pixel_values=pixels, output_hidden_states=True).hidden_states
    torch.testing.assert_close(model.encode_patches(pixels), states[0][:, 1:])


def test_many_frames_pass_in_chunks(monkeypatch):
    model, pixels = tiny.backbone(), torch.randn(7, 3, 16, 16)
    whole = model.encode_frames(pixels), model.encode_patches(pixels)
    seen = []
    model.vision_tower.register_forward_pre_hook(
        lambda _, __, inputs: seen.append(len(inputs["pixel_values"])), with_kwargs=True
    )
    monkeypatch.setattr(visual, "FRAMES_PER_CALL", 3)
    monkeypatch.setattr(visual, "PATCH_FRAMES_PER_CALL", 2)
    torch.testing.assert_close(model.encode_frames(pixels), whole[0])
    torch.testing.assert_close(model.encode_patches(pixels), whole[1])
    assert seen == [3, 3, 1, 2, 2, 2, 1]


@pytest.mark.parametrize("feature", ["mean", "max", "qformer"])
def test_other_frame_features(feature):
    model, pixels = tiny.backbone(frame_feature=feature), torch.randn(4, 3, 16, 16)
    patches, frames = model.encode_patches(pixels), model.encode_frames(pixels)
    expected = {"mean": patches.mean(1), "max": patches.amax(1)}
    if feature == "qformer":
        assert (frames.shape, frames.std() > 1e-3) == ((4, 16), True)
    else:
        torch.testing.assert_close(frames, expected[feature])


def test_cls_and_mean_together_cost_one_pass():
    model, pixels = tiny.backbone(frame_feature="cls_mean"), torch.randn(4, 3, 16, 16)
    cls, mean = tiny.backbone().encode_frames(pixels), model.encode_patches(pixels).mean(1)
    calls = []
    model.vision_tower.register_forward_hook(lambda *_: calls.append(1))
    found = model.encode_frames(pixels)
    assert len(calls) == 1
    expected = [torch.nn.functional.layer_norm(x, x.shape[-1:]) for x in (cls, mean)]
    torch.testing.assert_close(found, sum(expected) / 2)


@pytest.mark.parametrize(
    ("budget", "kept"), [(12, (4, 4)), (6, (3, 3)), (5, (2, 3)), (2, (1, 1)), (1, (1, 1))]
)
def test_adaptive_tokens_share_the_budget_among_the_frames_that_are_left(budget, kept):
    model = tiny.backbone(adaptive_tokens=True, tokens_per_frame=4, budget_tokens=budget)
    fixed = tiny.backbone(tokens_per_frame=4, budget_tokens=99)
    frames = [FrameSelection.of(thin_evenly(8, 2).anchor, torch.arange(8.0))]
    patches = torch.randn(2, 16, 16)
    found = model.reduce_to_budget(patches, frames, QUESTION[:1], MASK[:1])
    every = fixed.reduce_to_budget(patches, frames, QUESTION[:1], MASK[:1])
    most = max(kept) if len(set(kept)) == 1 else 4  # maps of frames that keep as many are cut alike
    assert found.attention[0].shape[1] == most
    torch.testing.assert_close(found.attention[0], every.attention[0][:, :most])
    assert found.lengths == [min(sum(kept), budget)]
    if sum(kept) <= budget:  # else they have been merged
        whole = every.pooler_output[0].unflatten(0, (2, 4))
        expected = torch.cat([frame[:count] for frame, count in zip(whole, kept)])
        torch.testing.assert_close(found.pooler_output[0], expected)


@pytest.mark.parametrize("selector", ["qformer", "resampler"])
def test_selection_is_hard_in_evaluation_and_soft_in_training(selector):
    model = tiny.backbone(frame_selector=selector)
    hard = model.select(*cached(model), QUESTION, MASK)
    for chosen, total in zip(hard, (9, 4)):
        assert torch.equal(chosen.weights, torch.nn.functional.one_hot(chosen.frames, total).float())
        assert torch.equal(chosen.frames, chosen.frames.unique()), "each frame once, oldest first"
        assert chosen.size.sum() == 4
        sure, voted = chosen.logits.softmax(-1).max(-1)
        expected = torch.stack([sure[voted == frame].amax() for frame in chosen.frames])
        torch.testing.assert_close(chosen.scores, expected)
    soft = model.train().select(*cached(model), QUESTION, MASK)
    sum((s.weights**2).sum() for s in soft).backward()
    grads = [
        p.grad for n, p in model.frame_selector.named_parameters() if "queries" in n or n == "proj.weight"
    ]
    assert all(g is not None and g.abs().sum() > 0 for g in grads)


def test_noise_is_for_gumbel_training_only():
    def draws(choice, training):
        model = tiny.backbone(choice=choice, tau=5.0, merge_frames=False).train(training)
        model.frame_selector.eval()  # no dropout
        clips = cached(model)
        return [model.select(*clips, QUESTION, MASK)[0].weights for _ in range(2)]

    assert not torch.equal(*draws("gumbel", training=True))
    assert torch.equal(*draws("softmax", training=True))
    assert torch.equal(*draws("gumbel", training=False))


def test_a_clip_is_chosen_from_as_if_it_were_alone():
    model = tiny.backbone(time_channels=6)
    frames, seconds = cached(model)
    together = model.select(frames, seconds, QUESTION, MASK)
    for k, chosen in enumerate(together):
        alone = model.select(frames[k : k + 1], seconds[k : k + 1], QUESTION[k : k + 1], MASK[k : k + 1])[0]
        torch.testing.assert_close(chosen.logits, alone.logits, rtol=1e-4, atol=1e-4)
        assert torch.equal(chosen.frames, alone.frames)


def test_all_clips_of_a_batch_share_one_call():
    model, calls = tiny.backbone(), []
    model.frame_selector.register_forward_hook(lambda *_: calls.append("select"))
    model.token_sampler.register_forward_hook(lambda *_: calls.append("sample"))
    model.get_video_features(**video_inputs(tiny.batch(*tiny.mixed_chats())))
    assert calls == ["select", "sample"]


def video_inputs(inputs):
    return {k: v for k, v in inputs.items() if k not in ("input_ids", "attention_mask")}


def test_only_chosen_frames_are_encoded_twice():
    model, passes = tiny.backbone(), []
    model.vision_tower.register_forward_pre_hook(
        lambda _, __, inputs: passes.append(inputs["pixel_values"]), with_kwargs=True
    )
    inputs = video_inputs(tiny.batch(*tiny.mixed_chats()))
    out = model.get_video_features(**inputs)
    distinct = sum(len(s.frames.unique()) for s in out.selections)
    assert [len(p) for p in passes] == [12, distinct]
    assert distinct < 12
    starts = [0, 7, 8, 11]
    chosen = torch.cat([s.frames + start for s, start in zip(out.selections, starts)])
    assert torch.equal(passes[1], inputs["pixel_values_videos"][chosen])


def test_the_two_passes_equal_the_dense_way():
    model, inputs = tiny.backbone(), video_inputs(tiny.batch(*tiny.mixed_chats()))
    lengths, pixels = inputs["video_num_frames"].tolist(), inputs["pixel_values_videos"]
    question = inputs["qformer_input_ids"], inputs["qformer_attention_mask"]
    frames = list(model.encode_frames(pixels).split(lengths))
    chosen = model.select(frames, list(inputs["video_seconds"].split(lengths)), *question)
    patches = model.encode_patches(pixels).split(lengths)
    dense = torch.cat([torch.einsum("ft,tnc->fnc", s.weights, p) for s, p in zip(chosen, patches)])
    expected = model.reduce_to_budget(dense, chosen, *question)
    actual = model.get_video_features(**inputs)
    assert actual.lengths == expected.lengths
    torch.testing.assert_close(torch.cat(actual.pooler_output), torch.cat(expected.pooler_output))


OPTIONS = [
    {},
    {"merge_frames": False},
    {"merge_tokens": False},
    {"token_sampler": "pool"},
    {"token_sampler": "none"},
    {"token_sampler": "none", "merge_tokens": False},
    {"frame_selector": "uniform"},
    {"frame_selector": "none"},
    {"frame_selector": "none", "merge_tokens": False},
    {"frame_selector": "resampler", "frame_feature": "qformer"},
    {"adaptive_tokens": True, "budget_tokens": 12},
    {"adaptive_tokens": True, "budget_tokens": 1},
    {"certainty": 0.9},
    {"second_choices": 0.2},
    {"second_choices": 0.2, "merge_frames": False},
    {"certainty": 0.9, "merge_frames": False},
    {"frame_feature": "cls_mean"},
    {"clock": False},
    {"time_channels": 5},
    {"place_channels": 8},
    {"place_channels": 8, "token_sampler": "none"},
    {"budget_tokens": 3},
    {"budget_tokens": 1000},
]


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_option_keeps_the_budget_and_fits_the_prompt(options, training):
    model = tiny.model(**options).train(training)
    inputs = tiny.batch(*tiny.mixed_chats(), configuration=model.config)
    out = model.get_video_features(**video_inputs(inputs))
    assert len(out.lengths) == 4
    parts = out.pooler_output, out.lengths, out.tokens, out.selections, out.attention
    for features, length, tokens, chosen, looks in zip(*parts):
        assert len(features) == length == len(tokens) <= model.config.budget_tokens
        assert features.shape[1] == 32
        assert len(looks) == len(chosen)
        torch.testing.assert_close(looks.sum(-1), torch.ones(looks.shape[:2]))
        assert (tokens.row < 4).all()
        assert (tokens.column < 4).all()
    assert [len(s) for s in out.selections][1] == 1, "a picture is one frame"
    assert model(**inputs).logits.isfinite().all()


def test_tokens_know_where_they_come_from():
    model = tiny.backbone(budget_tokens=1000)
    out = model.get_video_features(**video_inputs(tiny.batch(tiny.ask(tiny.clip(7, seed=1, step=0.5)))))
    tokens, chosen = out.tokens[0], out.selections[0]
    assert tokens.frame.tolist() == chosen.frames.repeat_interleave(4).tolist()
    torch.testing.assert_close(tokens.seconds, 0.5 * tokens.frame.double())
    patch = out.attention[0].argmax(-1).flatten()
    assert (tokens.row * 4 + tokens.column).tolist() == patch.tolist()
    merged = tiny.backbone(budget_tokens=3)
    total = merged.get_video_features(**video_inputs(tiny.batch(tiny.ask(tiny.clip(7, seed=1)))))
    assert total.tokens[0].size.sum() == 4 * len(total.selections[0]), "merging loses no token"


def test_queries_differ_from_the_start():
    model = tiny.backbone(initializer_range=0.02)
    reader = model.token_sampler.reader
    states = reader(torch.randn(2, 16, 16), None, QUESTION, MASK).queries
    assert torch.pdist(states[0]).min() > 1e-3


def test_uniform_frames_need_no_question_and_keep_the_middles():
    model = tiny.backbone(frame_selector="uniform")
    assert model.frame_selector is None
    chosen = model.select([torch.zeros(9, 16)], [torch.arange(9.0)], budget=Budget(frames=3))
    assert chosen[0].frames.tolist() == [1, 4, 7]
    everything = tiny.backbone(frame_selector="none").select([torch.zeros(9, 16)], [torch.arange(9.0)])
    assert everything[0].frames.tolist() == list(range(9))


def test_a_clock_tells_seconds_apart():
    clock = tiny.backbone().clock
    assert torch.equal(clock(torch.tensor([59.9999])), clock(torch.tensor([60.0])))
    times = torch.tensor([0.0, 1.0, 60.0, 3600.0, 3661.0])
    assert torch.pdist(clock(times)).min() > 1e-3
    assert tiny.backbone().clock.__class__(8)(times).abs().sum() == 0


def test_a_method_that_asks_for_words_is_refused_in_one_line():
    model = tiny.backbone()
    for slot in ("merge_tokens", "sample_tokens"):
        with pytest.raises(
            ValueError, match=f"{slot} must be a method that asks for no words .*, got 'catp'"
        ):
            model.pipeline(model.config.with_methods(**{slot: "catp"}))


def test_patches_are_refused_where_the_projector_reads_the_samplers_tokens():
    model = tiny.backbone()  # 24 wide, of patches 16 wide
    with pytest.raises(ValueError, match=r'sample_tokens must be "qformer" where its tokens are 24 wide'):
        model.pipeline(model.config.with_methods(sample_tokens="divprune"))
    alike = tiny.backbone(spatial_qformer_config=tiny.qformer_config(hidden_size=16))
    assert alike.pipeline(alike.config.with_methods(sample_tokens="divprune"))


def test_wrong_inputs_say_what_to_change():
    model = tiny.backbone()
    inputs = video_inputs(tiny.batch(tiny.mixed_chats()[0]))
    with pytest.raises(ValueError, match=r"video_num_frames must add up to the 7 frames and 7 seconds"):
        model.get_video_features(**{**inputs, "video_num_frames": torch.tensor([6])})
    with pytest.raises(ValueError, match=r"pixel_values must be .* got shape \(0, 3, 16, 16\)"):
        model.encode_frames(torch.zeros(0, 3, 16, 16))
    with pytest.raises(ValueError, match=r"seconds must be given for 1 clips, got 2"):
        model.select([torch.zeros(2, 16)], [torch.zeros(2)] * 2)
    with pytest.raises(
        ValueError, match=r"seconds must be one time for each frame .* got \(3,\) for 2 frames"
    ):
        model.select([torch.zeros(2, 16)], [torch.zeros(3)])
    chosen = model.select(*cached(model), QUESTION, MASK)
    with pytest.raises(ValueError, match=r"patches must be given for the \d+ chosen frames, got 1"):
        model.reduce_to_budget(torch.zeros(1, 16, 16), chosen, QUESTION, MASK)
    patches = torch.zeros(sum(len(s) for s in chosen), 16, 16)
    with pytest.raises(ValueError, match=r"question_ids must be given for 2 clips, got 1"):
        model.reduce_to_budget(patches, chosen, QUESTION[:1], MASK[:1])


@pytest.mark.parametrize("size", [(32, 16), (16, 36)])
@pytest.mark.parametrize("sampler", ["qformer", "pool", "none", "tome"])
def test_tokens_lie_where_they_lie_in_a_picture_that_is_not_square(size, sampler):
    """An upright tower of 8 x 4 patches, and one of 4 x 9, which would fill a square of 6 x 6, too."""
    rows, columns = size[0] // 4, size[1] // 4
    built = tiny.backbone(
        vision_config=Dinov2Config(**{**SIZES, "image_size": size}), sample_tokens=sampler, tokens_per_frame=4
    )
    features, seconds = cached(built, (5, 4))
    selections = built.select(features, seconds, QUESTION, MASK)
    chosen = sum(map(len, selections))
    found = built.reduce_to_budget(
        torch.randn(chosen, rows * columns, 16), selections, QUESTION, MASK, budget=Budget(tokens=500)
    )
    assert found.grid == (rows, columns)
    tokens = found.tokens[0]
    place = tokens.row * columns + tokens.column
    assert int(tokens.row.max()) < rows
    assert int(tokens.column.max()) < columns
    if sampler == "tome":  # merges patches of the whole clip, and has no maps
        return
    shares = found.attention[0].flatten(0, 1)
    assert torch.equal(shares.argmax(dim=1), place)
    if sampler == "pool":  # 2 x 2 cells, each over a quarter of the picture
        first = shares[0].view(rows, columns)
        assert bool((first[: rows // 2, : columns // 2] > 0).all())
        assert not bool(first[-(-rows // 2) :].any())


def test_where_patches_lie_reaches_the_tokens():
    model = tiny.backbone(place_channels=8, merge_tokens=False)
    torch.manual_seed(0)
    patches = torch.randn(1, 16, 16)
    turned = patches.flip(1)
    chosen = [FrameSelection.of(torch.tensor([0]), torch.arange(1.0).double())]

    def tokens(of):
        return model.reduce_to_budget(of, chosen, QUESTION[:1], MASK[:1]).pooler_output[0]

    assert (tokens(patches) - tokens(turned)).abs().max() > 1e-3
    model.places = None
    torch.testing.assert_close(tokens(patches), tokens(turned), atol=1e-4, rtol=0)


def test_new_places_are_as_large_as_patches():
    model = tiny.backbone(place_channels=16, initializer_range=0.02)
    told = model.tell_places(torch.zeros(1, 16, 16))
    assert told.std().item() == pytest.approx(1.0, abs=0.35)
