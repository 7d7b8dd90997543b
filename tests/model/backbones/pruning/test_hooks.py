"""Nothing of a pruning is left behind, and nothing beside it notices: hooks, threads, copies, wrong use."""

import copy
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import torch
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from bvllm.methods import METHODS
from bvllm.methods.prune_layers.fastv import FastV
from bvllm.methods.prune_layers.transprune import TransPrune
from bvllm.model.backbones.pruning.applier import prune_inside
from tests.model.backbones.pruning.prompts import prompts, row

BUDGET = 26


@pytest.fixture(scope="module")
def asked():
    return prompts("llava_onevision")


def hooks(model) -> int:
    return sum(
        len(module._forward_pre_hooks) + len(module._forward_hooks) + len(module._forward_hooks_with_kwargs)
        for module in model.modules()
    )


def everything(model) -> tuple:
    """What a pruning might have left somewhere."""
    tables = [tuple(table._global_mapping) for table in (AttentionInterface, AttentionMaskInterface)]
    configs = model.config.to_dict(), model.get_decoder().config._attn_implementation
    return hooks(model), *tables, *configs, [type(module) for module in model.modules()]


def said(asked, method=None, **options):
    """Greedy tokens, pruned or not."""
    # `generate` repeats visual tokens for beams in place.
    options = {**copy.deepcopy(asked.given), "max_new_tokens": 4, "do_sample": False, **options}
    if method is None:
        return asked.model.generate(**options)
    with prune_inside(asked.model, method, asked.visual, BUDGET) as pruning:
        return asked.model.generate(**options, past_key_values=pruning.cache)


@torch.inference_mode()
@pytest.mark.parametrize("method", [FastV(), TransPrune()])
def test_nothing_is_left_behind(asked, method):
    before, plain = everything(asked.model), asked.model(**asked.given).logits
    with prune_inside(asked.model, method, asked.visual, BUDGET) as pruning:
        assert hooks(asked.model) > before[0]
        asked.model(**asked.given, past_key_values=pruning.cache)
        assert torch.equal(asked.model(**asked.given).logits, plain), "a call without the cache is untouched"
    assert everything(asked.model) == before
    assert torch.equal(asked.model(**asked.given).logits, plain)


def test_an_error_while_hooks_are_attached_leaves_none(asked, monkeypatch):
    """The layers in front of the one that cannot be watched have theirs already."""
    before = everything(asked.model)

    def fail(*_args, **_kwargs):
        raise ZeroDivisionError("no hook here")

    monkeypatch.setattr(asked.decoder.layers[4], "register_forward_pre_hook", fail)
    with pytest.raises(ZeroDivisionError), prune_inside(asked.model, TransPrune(), asked.visual, BUDGET):
        pass
    assert everything(asked.model) == before


@torch.inference_mode()
@pytest.mark.parametrize("where", ["in a layer", "in the method", "by the caller"])
def test_an_exception_leaves_no_hooks(asked, where, monkeypatch):
    before = everything(asked.model)

    def fail(*_args, **_kwargs):
        raise ZeroDivisionError(where)

    handle = None
    if where == "in a layer":
        handle = asked.decoder.layers[4].mlp.register_forward_pre_hook(fail)
    if where == "in the method":
        monkeypatch.setattr(TransPrune, "decide", fail)
    seen = []

    def run():
        with prune_inside(asked.model, TransPrune(), asked.visual, BUDGET) as pruning:
            seen.append(pruning)
            asked.model(**asked.given, past_key_values=pruning.cache)
            fail()

    with pytest.raises(ZeroDivisionError, match=where):
        run()
    if handle is not None:
        handle.remove()
    assert everything(asked.model) == before
    with pytest.raises(
        RuntimeError, match="past_key_values must be used while tokens are dropped, got a cache"
    ):
        asked.model(**asked.given, past_key_values=seen[0].cache)


@torch.inference_mode()
def test_threads_do_not_notice_each_other(asked):
    """One model, several callers at once: two methods, and none."""
    methods = [FastV(), TransPrune(), None, METHODS["prune_layers"]["pyramiddrop"]()]
    before, alone = hooks(asked.model), [said(asked, method) for method in methods]
    assert len({tuple(tokens[0].tolist()) for tokens in alone}) > 1, (
        "else threads would have nothing to mix up"
    )
    start = Barrier(len(methods))

    def run(method):
        with torch.inference_mode():
            start.wait()
            return [said(asked, method) for _ in range(3)]

    with ThreadPoolExecutor(len(methods)) as pool:
        together = list(pool.map(run, methods))
    for tokens, expected in zip(together, alone):
        assert all(torch.equal(found, expected) for found in tokens)
    assert hooks(asked.model) == before


@torch.inference_mode()
def test_beams_samples_and_streams(asked):
    """What transformers' `generate` can do goes on with another length in every layer."""

    class Streamer:
        def __init__(self):
            self.tokens = []

        def put(self, value):
            self.tokens += value.flatten().tolist()

        def end(self):
            self.tokens.append("end")

    streamer = Streamer()
    greedy = said(asked, FastV(), streamer=streamer)
    assert streamer.tokens == [*greedy[0].tolist(), "end"]
    torch.manual_seed(1)
    sampled = said(asked, FastV(), do_sample=True, temperature=3.0, num_return_sequences=3)
    torch.manual_seed(1)
    again = said(asked, FastV(), do_sample=True, temperature=3.0, num_return_sequences=3)
    assert sampled.shape == (3, greedy.shape[1])
    assert torch.equal(sampled, again)
    assert len({tuple(tokens.tolist()) for tokens in sampled}) > 1
    options = {"output_scores": True, "return_dict_in_generate": True}
    beams = said(asked, FastV(), num_beams=3, **options)
    assert beams.sequences_scores[0] >= score(asked, greedy) - 1e-4


def score(asked, sequences) -> torch.Tensor:
    """Mean log-probability of what was said, read with the same pruning."""
    behind = sequences[:, asked.visual.shape[1] :]
    with prune_inside(asked.model, FastV(), asked.visual, BUDGET) as pruning:
        logits = [asked.model(**asked.given, past_key_values=pruning.cache).logits[:, -1:]]
        more = asked.model(behind[:, :-1], past_key_values=pruning.cache).logits
    chances = torch.cat([*logits, more], dim=1).log_softmax(dim=-1)
    return chances.gather(-1, behind[..., None]).mean()


@torch.inference_mode()
def test_padding_that_only_the_model_knows_of_is_refused():
    """It would be counted as text, and its places kept; whichever form the attention takes its mask in."""
    together = prompts("llava_onevision", row("llava_onevision"), row("llava_onevision", 2, "a"))
    for attention in ("sdpa", "eager"):
        together.model.set_attn_implementation({"text_config": attention})
        try:
            refused(
                together, r"attention_mask must be the same .* got \d+ places that are read and \d+ that are"
            )
        finally:
            together.model.set_attn_implementation({"text_config": "sdpa"})


@torch.inference_mode()
def test_a_second_model_of_the_class_is_untouched(asked):
    other = copy.deepcopy(asked.model)
    before, plain = everything(other), other(**asked.given).logits
    with prune_inside(asked.model, FastV(), asked.visual, BUDGET) as pruning:
        assert torch.equal(other(**asked.given).logits, plain)
        with pytest.raises(
            RuntimeError, match="past_key_values must be used with the model whose tokens are"
        ):
            other(**asked.given, past_key_values=pruning.cache)
    assert everything(other) == before


@torch.inference_mode()
def test_a_generation_that_is_broken_off_leaves_nothing(asked):
    """Some words are written when somebody has enough; the next answers are as ever."""
    before, pruned, plain = everything(asked.model), said(asked, FastV()), said(asked)
    steps = []

    def enough(_ids, scores):
        steps.append(scores)
        if len(steps) == 3:
            raise KeyboardInterrupt
        return scores

    with pytest.raises(KeyboardInterrupt):
        said(asked, FastV(), logits_processor=[enough])
    assert everything(asked.model) == before
    assert torch.equal(said(asked, FastV()), pruned)
    assert torch.equal(said(asked), plain)


@torch.inference_mode()
@pytest.mark.parametrize("name", ["fastv", "pyramiddrop"])
def test_a_copied_cache_goes_on_with_rows_of_its_own(name):
    """As replies are scored: the prompt is read once, and several replies behind copies of its cache."""
    asked, method = prompts("llava_onevision", row("llava_onevision"), row("llava_onevision", 2)), None
    method = METHODS["prune_layers"][name]()
    mask = asked.given["attention_mask"]
    replies = torch.tensor([[5, 9, 7], [8, 6, 4]])
    settings = {"attention_mask": torch.cat([mask, torch.ones_like(replies)], dim=1)}
    with prune_inside(asked.model, method, asked.visual, [26, 14], attention_mask=mask) as pruning:
        asked.model(**asked.given, past_key_values=pruning.cache)
        shared = copy.deepcopy(pruning.cache)
        shared.batch_repeat_interleave(2)
        shared.batch_select_indices(torch.tensor([1, 2]))  # the first row again, and the second
        at_once = asked.model(replies, past_key_values=shared, **settings).logits
        step = [
            asked.model(replies[:, k : k + 1], past_key_values=pruning.cache, attention_mask=part).logits
            for k, part in enumerate(settings["attention_mask"][:, : mask.shape[1] + k + 1] for k in range(3))
        ]
        torch.testing.assert_close(at_once, torch.cat(step, dim=1), atol=5e-5, rtol=1e-4)
        shared.crop(-2)
        back = asked.model(replies[:, 1:], past_key_values=shared, **settings).logits
        torch.testing.assert_close(back, at_once[:, 1:], atol=5e-5, rtol=1e-4)
        with pytest.raises(ValueError, match="tokens_to_remove must be at most the 3 written behind"):
            shared.crop(-4)


def refused(asked, message, visual=None, budget=BUDGET, **more):
    """A use that is refused with a message, when the block begins or when the prompt is read."""
    visual = asked.visual if visual is None else visual
    with pytest.raises(ValueError, match=message):  # noqa: SIM117  # the block's own errors are meant
        with prune_inside(asked.model, FastV(), visual, budget, **more) as pruning:
            asked.model(**asked.given, past_key_values=pruning.cache)


def test_wrong_use_is_refused_by_name(asked):
    refused(asked, r"tokens must be at most \d+ for a mean of 2 over 8 layers, got 46: raise", budget=2)
    right = torch.ones_like(asked.visual)
    right[:, -1] = False
    refused(asked, "attention_mask must be padded on the left, got padding on the", attention_mask=right)
    refused(asked, r"prompts must be read whole, as \(1, \d+\) places, got", asked.visual[:, 1:])
    with pytest.raises(ValueError, match=r"use_cache must be on where tokens are dropped .* got False"):
        said(asked, FastV(), use_cache=False)
    asked.model.train()
    try:
        refused(asked, "model must be in evaluation for tokens to be dropped inside it, got one in training")
    finally:
        asked.model.eval()
    asked.model.set_attn_implementation({"text_config": "flex_attention"})
    try:
        refused(asked, r"attn_implementation must be one of sdpa, eager .* got 'flex_attention': load it")
    finally:
        asked.model.set_attn_implementation({"text_config": "sdpa"})
    config = asked.decoder.config
    kept, config.layer_types = config.layer_types, ["sliding_attention", *config.layer_types[1:]]
    try:
        refused(asked, r"language model must see the whole prompt .* got sliding_attention: what")
    finally:
        config.layer_types = kept
