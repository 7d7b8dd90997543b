"""Connectors inside a model: alone and with B-VLLM's frames; slots, budget, provenance, saving, answering."""

import pytest
import torch
from peft import LoraConfig, get_peft_model

from bvllm.model import BVLLMConfig, BVLLMForConditionalGeneration
from bvllm.model.connectors import LlamaVidConfig, VideoLlama2Config, VideoLlama2Connector
from bvllm.types import Budget
from tests.model import tiny

LLAMA_VID = LlamaVidConfig(queries=3)
GRID = LlamaVidConfig(queries=3, content="grid", grid=2)
SYSTEMS = {
    "llama_vid": {"connector": LLAMA_VID, "frame_selector": "none", "budget_tokens": 64},
    "llama_vid with b-vllm": {"connector": LLAMA_VID, "frame_selector": "qformer"},
    "llama_vid grid": {"connector": GRID, "frame_selector": "qformer", "merge_frames": False},
    "llama_vid bert": {"connector": LlamaVidConfig("bert", content="all"), "frame_selector": "uniform"},
    "llama_vid, wide reader": {
        "connector": LlamaVidConfig(queries=3, reader_width=20, show_cls=False),
        "frame_selector": "resampler",
    },
    "videollama2": {
        "connector": VideoLlama2Config(depth=1), "frame_selector": "uniform", "budget_tokens": 64,
    },
    "videollama2 with b-vllm": {"connector": VideoLlama2Config(depth=1), "frame_selector": "qformer"},
    "stc v35": {"connector": VideoLlama2Config("stc_connector_v35", depth=1), "budget_tokens": 64},
    "stp": {"connector": VideoLlama2Config("stp_connector", depth=1), "frame_selector": "uniform"},
    "spatial conv": {"connector": VideoLlama2Config("spatial_conv"), "frame_selector": "uniform"},
    "spatial pool": {"connector": VideoLlama2Config("spatial_pool"), "merge_frames": False},
}  # fmt: skip


# Both baselines with B-VLLM whole: its frames, and its token sampler's tokens of them.
SAMPLED = {
    "llama_vid with b-vllm whole": LlamaVidConfig(queries=3),
    "videollama2 with b-vllm whole": VideoLlama2Config(depth=1),
    "spatial pool with b-vllm whole": VideoLlama2Config("spatial_pool"),
}
SYSTEMS |= {name: {"connector": how, "token_sampler": "qformer"} for name, how in SAMPLED.items()}


def settings(name: str, **changes) -> dict:
    return {"token_sampler": "none"} | SYSTEMS[name] | changes


def inputs(model, *chats):
    return tiny.batch(*chats, configuration=model.config)


@torch.no_grad()
@pytest.mark.parametrize("name", SYSTEMS)
def test_a_model_answers_keeps_its_budget_and_comes_back_bit_for_bit(name, tmp_path):
    model = tiny.model(**settings(name))
    batch = inputs(model, *tiny.mixed_chats())
    logits, written = model(**batch).logits, model.generate(**batch, max_new_tokens=3)
    visual = model.get_video_features(
        **{k: v for k, v in batch.items() if k not in ("input_ids", "attention_mask")}
    )
    assert max(visual.lengths) <= model.config.budget_tokens
    for tokens, selection in zip(visual.tokens, visual.selections):
        assert set(tokens.frame.tolist()) <= set(selection.frames.tolist())
        assert set(tokens.seconds.tolist()) <= set(selection.seconds.tolist())
        assert int(tokens.row.max()) < 4
        assert int(tokens.column.max()) < 4
    model.save_pretrained(tmp_path)
    again = BVLLMForConditionalGeneration.from_pretrained(tmp_path).eval()
    assert again.config.connector == model.config.connector
    assert again.config.placeholders == model.config.placeholders
    assert torch.equal(again(**batch).logits, logits)
    assert torch.equal(again.generate(**batch, max_new_tokens=3), written)


@pytest.mark.parametrize("name", SAMPLED)
def test_layers_behind_the_sampler_read_nothing_else(name):
    model = tiny.model(**settings(name))
    with pytest.raises(ValueError, match="sample_tokens must be 'qformer', which this model was trained"):
        model.model.pipeline(model.config.with_methods(sample_tokens="none"))


@torch.no_grad()
@pytest.mark.parametrize("name", SYSTEMS)
def test_a_batch_says_what_each_row_says_alone(name):
    model, chats = tiny.model(**settings(name)), tiny.mixed_chats()
    together = model.generate(**inputs(model, *chats), max_new_tokens=3)[:, -3:]
    for k, chat in enumerate(chats):
        assert (
            model.generate(**inputs(model, chat), max_new_tokens=3)[0, -3:].tolist() == together[k].tolist()
        )


@torch.no_grad()
def test_as_many_tokens_as_the_systems_need():
    def lengths(name, **changes):
        model = tiny.model(**settings(name, **changes))
        batch = inputs(model, tiny.ask(tiny.clip(9)), tiny.ask(tiny.picture()))
        seen = {k: v for k, v in batch.items() if k not in ("input_ids", "attention_mask")}
        assert int((batch["input_ids"] == tiny.VIDEO_ID).sum()) >= sum(
            model.get_video_features(**seen).lengths
        )
        return model.get_video_features(**seen).lengths

    assert lengths("llama_vid") == [18, 2]
    assert lengths("llama_vid grid", budget_tokens=64) == [20, 5]
    assert lengths("videollama2") == [27, 27]  # 3 steps of 3 x 3 tokens from 4 frames of 4 x 4 patches
    assert lengths("videollama2", num_selected_frames=8) == [45, 45]
    assert lengths("videollama2", budget_tokens=20) == [20, 20]
    assert lengths("spatial conv", budget_tokens=99) == [54, 54]


@torch.no_grad()
def test_the_callers_budget_is_kept():
    model = tiny.backbone(**settings("videollama2"))
    selection = model.select([torch.zeros(6, 16)], [torch.arange(6.0)])
    patches = torch.randn(4, 16, 16)
    for tokens in (1, 5, 27, 500):
        spent = model.reduce_to_budget(patches, selection, budget=Budget(tokens=tokens))
        assert spent.lengths == [min(tokens, 27)]
        assert bool((spent.tokens[0].frame.diff() >= 0).all())
    thinned = tiny.backbone(**settings("videollama2", merge_tokens=False))
    assert thinned.reduce_to_budget(patches, selection, budget=Budget(tokens=5)).lengths == [5]


@torch.no_grad()
def test_a_picture_is_shown_as_often_as_a_video_has_frames():
    model = tiny.backbone(**settings("videollama2", clock=False))
    patches = torch.randn(1, 16, 16)
    [selection] = model.select([torch.zeros(1, 16)], [torch.zeros(1)])
    connector: VideoLlama2Connector = model.multi_modal_projector
    expected = connector(patches.expand(1, 4, 16, 16).reshape(1, 4, 16, 16))[0]
    torch.testing.assert_close(model.reduce_to_budget(patches, [selection]).pooler_output[0], expected)


@torch.no_grad()
def test_the_question_reaches_llama_vids_tokens():
    model = tiny.model(**settings("llama_vid"))
    clip = tiny.clip(3)
    one = inputs(model, tiny.ask(clip, text="which colour is the sign ?"))
    other = inputs(model, tiny.ask(clip, text="is the star blue ?"))
    seen = [
        model.get_video_features(
            **{k: v for k, v in batch.items() if k not in ("input_ids", "attention_mask")}
        )
        for batch in (one, other)
    ]
    context, content = (torch.stack([s.pooler_output[0][k::2] for s in seen]) for k in (0, 1))
    assert not torch.allclose(context[0], context[1], atol=1e-4)
    torch.testing.assert_close(content[0], content[1])


@pytest.mark.parametrize(
    "name", ["llama_vid with b-vllm", "videollama2 with b-vllm", "llama_vid bert", *SAMPLED]
)
def test_gradients_reach_everything_that_is_trained(name):
    model = tiny.model(**settings(name)).train()
    batch = inputs(model, *tiny.mixed_chats())
    model(**batch, labels=batch["input_ids"].where(batch["input_ids"] != tiny.VIDEO_ID, -100)).loss.backward()
    unmoved = [n for n, p in model.model.multi_modal_projector.named_parameters() if p.grad is None]
    # The text branch of the reader's last layer leads nowhere: only its queries are read.
    assert all(".output." in n or ".intermediate." in n for n in unmoved)
    if model.model.frame_selector is not None:
        assert all(p.grad is not None for p in model.model.frame_selector.proj.parameters())


@pytest.mark.parametrize(
    "changes, complaint",
    [
        (
            {"connector": LLAMA_VID, "token_sampler": "pool"},
            'sample_tokens must be "none" or "qformer" with a connector',
        ),
        ({"connector": VideoLlama2Config(), "frame_selector": "none"}, "select_frames must choose"),
        ({"connector": {"kind": "videolama2"}}, "did you mean 'videollama2'"),
        ({"connector": {"kind": "videollama2", "dept": 3}}, "did you mean 'depth'"),
        ({"connector": VideoLlama2Config("stp_connector"), "num_selected_frames": 1}, "take more frames"),
        ({"connector": LlamaVidConfig(content="grid", grid=9)}, "must cut a square"),
    ],
)
def test_what_does_not_go_together_is_refused(changes, complaint):
    with pytest.raises(ValueError, match=complaint):
        tiny.config(**{"token_sampler": "none"} | changes)


@torch.no_grad()
@pytest.mark.parametrize("name", SAMPLED)
def test_with_b_vllm_whole_the_token_samplers_tokens_pass_the_baselines_last_layers(name):
    """R tokens of each frame and of a picture, by hand: the sampler's queries, then what is left over."""
    model = tiny.backbone(**settings(name, clock=False))
    ids, patches = torch.tensor([[8, 10, 11]]), torch.randn(3, 16, 16)
    mask = torch.ones_like(ids)
    [selection] = model.select([torch.randn(6, 16)], [torch.arange(6.0)], ids, mask)
    patches = patches[: len(selection)]
    found = model.reduce_to_budget(patches, [selection], ids, mask, budget=Budget(tokens=99))
    count, each = len(selection), model.config.tokens_per_frame
    queries = model.token_sampler.reader(patches, None, ids.expand(count, -1), mask.expand(count, -1)).queries
    bridge, states = model.multi_modal_projector, queries.flatten(0, 1)
    if name.startswith("llama_vid"):
        expected = bridge.context_proj(bridge.query_proj(states))
    else:
        expected = bridge.readout(bridge.widen(states))
    assert found.lengths == [count * each]
    torch.testing.assert_close(found.pooler_output[0], expected)
    [picture] = model.select([torch.randn(1, 16)], [torch.zeros(1)], ids, mask)
    assert model.reduce_to_budget(patches[:1], [picture], ids, mask).lengths == [each]
    other = model.reduce_to_budget(patches, [selection], ids.flip(1), mask, budget=Budget(tokens=99))
    assert not torch.allclose(other.pooler_output[0], expected, atol=1e-4)


def test_without_a_connector_nothing_changes():
    assert BVLLMConfig().connector is None
    assert BVLLMConfig().to_dict()["connector"] is None


@torch.no_grad()
@pytest.mark.parametrize("name", ["llama_vid with b-vllm", "videollama2 with b-vllm", *SAMPLED])
def test_a_connector_under_an_adapter_is_still_one(name):
    """PEFT wraps the module, so that its class says nothing."""
    model = tiny.model(**settings(name))
    batch = inputs(model, *tiny.mixed_chats())
    plain = model(**batch).logits
    adapter = LoraConfig(
        target_modules=r".*language_model.*q_proj", modules_to_save=["multi_modal_projector"]
    )
    wrapped = get_peft_model(model, adapter)
    torch.testing.assert_close(wrapped(**batch).logits, plain)
