"""Tokens that are gone, and the same tokens masked: the same logits, for every method, while it goes on."""

from dataclasses import dataclass, field
from typing import ClassVar

import pytest
import torch

from bvllm.methods import METHODS
from bvllm.model.backbones.families import FAMILIES
from bvllm.model.backbones.pruning.applier import prune_inside
from bvllm.model.backbones.pruning.decoders import DECODERS, decoder_of
from bvllm.primitives.assignment import Assignment
from bvllm.stages.prune_layers import InnerMethod, LayerView
from bvllm.stages.schedule import Cut
from tests.model.backbones.pruning.oracle import masked
from tests.model.backbones.pruning.prompts import LAYERS, prompts, row, wrapped
from tests.model.backbones.tiny_families import MAKERS

INNER = METHODS["prune_layers"]
KINDS = ("llava_onevision", "qwen2_5_vl")


def budget(method, tokens: int) -> int:
    """So much that the method prunes about as published."""
    return int(tokens * method.shape(LAYERS).mean) + 2


@torch.inference_mode()
@pytest.mark.parametrize("name", INNER)
@pytest.mark.parametrize("kind", KINDS)
def test_gone_is_masked(kind, name):
    """A prompt that is read, and three tokens written behind it with the cache that is left."""
    asked, method = prompts(kind), INNER[name]()
    most = budget(method, int(asked.visual.sum()))
    with prune_inside(asked.model, method, asked.visual, most) as pruning:
        said = asked.model.generate(
            **asked.given,
            past_key_values=pruning.cache,
            max_new_tokens=4,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
        )
    [counts] = pruning.tokens_per_layer
    assert sum(counts) <= most * LAYERS
    assert counts[-1] < counts[0] == int(asked.visual.sum())
    text = asked.visual.shape[1] - counts[0]
    held = [layer.get_seq_length() for layer in pruning.cache.layers]
    assert held == [text + count + 3 for count in counts], "another length in every layer"
    whole = longer(asked, said.sequences)
    with masked(asked.model, asked.visual, asked.real, pruning.dropped, renumbers=renumbers(kind, method)):
        logits = asked.model(**whole, use_cache=False).logits[:, -4:]
    found = torch.stack(said.logits, dim=1)
    torch.testing.assert_close(found, logits, atol=5e-5, rtol=1e-4)
    plain = asked.model(**whole, use_cache=False).logits[:, -4:]
    assert (plain - logits).abs().max() > 1e-2, "what was dropped makes a difference"


def renumbers(kind: str, method) -> bool:
    return method.renumbers and not DECODERS[wrapped(kind).model.get_decoder().config.model_type].rotary_3d


def longer(asked, sequences):
    """The prompt with what was said behind it, but for the last token."""
    whole, behind = dict(asked.given), sequences[:, asked.visual.shape[1] : -1]
    whole["input_ids"] = torch.cat([asked.given["input_ids"], behind], dim=1)
    whole["attention_mask"] = torch.cat([asked.given["attention_mask"], torch.ones_like(behind)], dim=1)
    for name in ("token_type_ids", "mm_token_type_ids"):
        if name in whole:
            whole[name] = torch.cat([whole[name], torch.zeros_like(behind)], dim=1)
    if "position_ids" in whole:
        then = torch.arange(1, behind.shape[1] + 1)
        last = whole["position_ids"].amax(dim=-1)
        last[1:] = last[1:].amax(dim=0)
        whole["position_ids"] = torch.cat([whole["position_ids"], last[..., None] + then], dim=-1)
    return whole


@torch.inference_mode()
@pytest.mark.parametrize("kind", sorted(MAKERS))
def test_every_family_is_masked_alike_or_refused_by_name(kind):
    """FastV on each; where layers have visual tokens of their own, not before they have had them."""
    if not FAMILIES[kind].inner:
        with pytest.raises(ValueError, match=r"language model must be one of .* got 'gemma3_text': reduce"):
            decoder_of(wrapped(kind).model)
        return
    asked, method = prompts(kind), INNER["fastv"]()
    most = budget(method, int(asked.visual.sum()))
    with prune_inside(asked.model, method, asked.visual, most) as pruning:
        found = asked.model(**asked.given, past_key_values=pruning.cache).logits[:, -1]
    assert pruning.dropped
    with masked(asked.model, asked.visual, asked.real, pruning.dropped):
        expected = asked.model(**asked.given, use_cache=False).logits[:, -1]
    torch.testing.assert_close(found, expected, atol=5e-5, rtol=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize(
    "kind, name, attention",
    [("llava_onevision", name, "sdpa") for name in INNER]
    + [("llava_onevision", "sparsevlm", "eager"), ("qwen2_5_vl", "fastv", "sdpa")],
)
def test_padding_never_leaks(kind, name, attention):
    """Prompts of other lengths, clips and budgets, together and alone."""
    rows = [row(kind), row(kind, 2, "a red sign where does it move"), row(kind, 3, "a")]
    method, together = INNER[name](), prompts(kind, *rows)
    budgets = [budget(method, int(count)) for count in together.visual.sum(dim=1)]
    settings = {"max_new_tokens": 3, "output_logits": True, "return_dict_in_generate": True}

    def said(asked, most):
        with prune_inside(
            asked.model, method, asked.visual, most, attention_mask=asked.given["attention_mask"]
        ) as pruning:
            found = asked.model.generate(**asked.given, past_key_values=pruning.cache, **settings)
        return found.sequences[:, asked.visual.shape[1] :], torch.stack(found.logits, dim=1)

    together.model.set_attn_implementation({"text_config": attention})
    try:
        words, logits = said(together, budgets)
        for k, alone in enumerate(rows):
            one_words, one_logits = said(prompts(kind, alone), budgets[k])
            assert torch.equal(words[k], one_words[0])
            torch.testing.assert_close(logits[k], one_logits[0], atol=5e-5, rtol=1e-4)
    finally:
        together.model.set_attn_implementation({"text_config": "sdpa"})


# Families that write text between frames, such as the time of each: a frame may lose all its tokens, and
# what stands in front of it is then no word of the question.
TEXT_BETWEEN = ("qwen3_vl", "internvl", "smolvlm", "video_llama_3")


@torch.inference_mode()
@pytest.mark.parametrize("name", INNER)
@pytest.mark.parametrize("kind", TEXT_BETWEEN)
def test_small_budgets_over_several_frames_are_answered(kind, name):
    """Down to a token or two of five frames: what is gone is masked, whatever stood between the frames."""
    made, method, dropped = wrapped(kind), INNER[name](), 0
    for most in (2, 5, 8):
        one = row(kind, budget=most, prune_layers=name)
        assert isinstance(made.generate(*one, max_new_tokens=2), str)
        asked = prompts(kind, one)
        with prune_inside(asked.model, method, asked.visual, most) as pruning:
            found = asked.model(**asked.given, past_key_values=pruning.cache).logits[:, -1]
        assert all(sum(counts) <= most * LAYERS for counts in pruning.tokens_per_layer)
        dropped += len(pruning.dropped)
        with masked(
            asked.model, asked.visual, asked.real, pruning.dropped, renumbers=renumbers(kind, method)
        ):
            expected = asked.model(**asked.given, use_cache=False).logits[:, -1]
        torch.testing.assert_close(found, expected, atol=5e-5, rtol=1e-4)
    assert dropped


@dataclass(frozen=True)
class LastFramesFirst(InnerMethod):
    """The tokens of the last frames go first, and what the question was at each cut is noted."""

    paper: ClassVar[str] = "ours"
    cuts: tuple[Cut, ...] = ((8, 0.75), (16, 0.5), (24, 0.25))
    views: list[LayerView] = field(default_factory=list)

    def decide(self, view, keep):
        self.views.append(view)
        return Assignment.keep(torch.arange(keep), len(view.visual))


@torch.inference_mode()
@pytest.mark.parametrize("kind", TEXT_BETWEEN)
def test_the_question_is_the_same_words_at_every_layer(kind):
    """Also where the last frame lost its tokens, and the time in front of it is the last text but one."""
    rows = [row(kind), row(kind, 5, "a red sign where does it move")]
    asked, method = prompts(kind, *rows), LastFramesFirst()
    budgets = [int(count * method.shape(LAYERS).mean) + 1 for count in asked.visual.sum(dim=1).tolist()]
    with prune_inside(asked.model, method, asked.visual, budgets, attention_mask=asked.real) as pruning:
        asked.model(**asked.given, past_key_values=pruning.cache)
    words = [asked.visual.shape[1] - 1 - int(places.nonzero()[-1]) for places in asked.visual]
    assert 1 < min(words) < max(words)
    assert {len(view.question_inputs) for view in method.views} == set(words)
    between = set()
    for view in method.views:
        count = len(view.question_inputs)
        assert view.question.tolist() == list(range(len(view.states) - count, len(view.states)))
        between.add(len(view.states) - count - int(view.visual[-1]) - 1)
    assert min(between) == 0
    assert max(between) > 0, "text of frames that are gone stands behind the last token left"
