"""What a method is shown of a layer is what the layer does."""

import pytest
import torch
from transformers import AutoModel, MistralConfig, Qwen3Config

from bvllm.methods.prune_layers.fastv import FastV
from bvllm.methods.prune_layers.transprune import TransPrune
from bvllm.model.backbones.pruning.applier import prune_inside
from bvllm.model.backbones.pruning.decoders import DECODERS, decoder_of
from bvllm.model.backbones.pruning.scoring import LayerProjections, transition
from bvllm.primitives.attention import causal_blocks, causal_weights
from tests.model.backbones.pruning.prompts import prompts, row, wrapped
from tests.model.backbones.tiny_families import TEXT, make

PLACES = 9
FAMILIES = {
    "llama": "llava_next_video",
    "qwen2": "llava_onevision",
    "qwen2_vl_text": "qwen2_vl",
    "qwen2_5_vl_text": "qwen2_5_vl",
    "qwen3_vl_text": "qwen3_vl",
}
PLAIN = {"mistral": MistralConfig, "qwen3": Qwen3Config}


def model_of(kind: str):
    if kind in FAMILIES:
        return make(FAMILIES[kind])[0]
    torch.manual_seed(7)
    more = {"sliding_window": None} if kind == "mistral" else {"head_dim": 16}
    return AutoModel.from_config(PLAIN[kind](**TEXT, **more, vocab_size=50)).eval()


def test_every_decoder_is_compared():
    assert set(DECODERS) == {*FAMILIES, *PLAIN}


@torch.no_grad()
@pytest.mark.parametrize("kind", sorted(DECODERS))
def test_it_is_the_attention_of_the_layer(kind):
    decoder = decoder_of(model_of(kind))
    module = decoder.module
    module.set_attn_implementation("eager")
    states = torch.randn(1, PLACES, TEXT["hidden_size"])
    shown = module(inputs_embeds=states, output_attentions=True, output_hidden_states=True, use_cache=False)
    positions = torch.arange(PLACES)[None]
    positions = positions.expand(3, 1, -1) if decoder.kind.rotary_3d else positions
    cos, sin = (part[0] for part in module.rotary_emb(states, positions))
    places = torch.tensor([PLACES - 1, 2])
    for number, layer in enumerate(decoder.layers):
        made = LayerProjections(layer, decoder.kind, shown.hidden_states[number][0], cos, sin)
        found = causal_weights(made.queries(places), made.keys, places, made.scale)
        torch.testing.assert_close(found, shown.attentions[number][0][:, places], atol=1e-6, rtol=1e-5)
    assert (found - found.mean(dim=1, keepdim=True)).abs().max() > 1e-3, "rows differ"


@torch.inference_mode()
def test_bfloat16_is_weighed_in_float32():
    queries, keys = torch.randn(4, 2, 8).bfloat16(), torch.randn(2, 6, 8).bfloat16()
    places = torch.tensor([3, 5])
    found = causal_weights(queries, keys, places, 0.3)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, causal_weights(queries.float(), keys.float(), places, 0.3))


@torch.inference_mode()
def test_blocks_of_rows_are_the_rows():
    """Whatever the number of rows in a block, with what lies behind a block never computed."""
    queries, keys = torch.randn(7, 8).bfloat16(), torch.randn(7, 8).bfloat16()
    whole = causal_weights(queries[None], keys[None], torch.arange(7), 0.3)[0]
    for rows in (1, 3, 7, 256):
        blocks = causal_blocks(queries, keys, 0.3, rows)
        padded = [torch.nn.functional.pad(block, (0, 7 - block.shape[1])) for block in blocks]
        torch.testing.assert_close(torch.cat(padded), whole)


@torch.inference_mode()
def test_the_token_behind_a_video_is_no_word(monkeypatch):
    """LLaVA-OneVision's newline stays, and is no word whose attention counts."""
    asked, visual = row("llava_onevision", budget=25, prune_layers="fastv")
    model, shown = wrapped("llava_onevision"), []
    decide = FastV.decide
    monkeypatch.setattr(
        FastV, "decide", lambda self, view, keep: shown.append(view) or decide(self, view, keep)
    )
    given = model.prompt.inputs(asked, visual)
    with model._inside(given, [visual]) as states:
        model.model(**given, **states)
    ids, embed = given["input_ids"][0], model.model.get_input_embeddings()
    words = ids[int((ids == model.model.config.video_token_id).nonzero()[-1]) + 1 :]
    assert model.family.tail == 1
    assert len(shown[0].question) == len(words)
    torch.testing.assert_close(shown[0].question_inputs, embed(words))


@torch.inference_mode()
def test_transitions_are_of_the_watched_layers_and_of_each_prompts_own_places(monkeypatch):
    """Summed from what attention and feed-forward parts were given and gave, as the equation says."""
    asked, seen, shown = prompts("llava_onevision"), [], []

    def watch(module, args, kwargs, output):
        before = args[0] if args else kwargs["hidden_states"]
        seen.append((before[0], (output[0] if isinstance(output, tuple) else output)[0]))

    method = TransPrune()
    decide = TransPrune.decide
    monkeypatch.setattr(
        TransPrune, "decide", lambda self, view, keep: shown.append(view) or decide(self, view, keep)
    )
    layers = len(asked.decoder.layers)
    first = method.shape(layers).schedule(46, 26).cuts[0]
    watched = [k for k in method.watched(layers) if k < first]
    assert watched
    handles = [
        part.register_forward_hook(watch, with_kwargs=True)
        for k in watched
        for part in (asked.decoder.layers[k].self_attn, asked.decoder.layers[k].mlp)
    ]
    try:
        with prune_inside(asked.model, method, asked.visual, 26) as pruning:
            asked.model(**asked.given, past_key_values=pruning.cache)
    finally:
        for handle in handles:
            handle.remove()
    expected = torch.zeros(asked.visual.shape[1])
    for before, after in seen:
        turn = 1 - torch.nn.functional.cosine_similarity(before, after, dim=-1)
        expected += after.norm(dim=-1) / before.norm(dim=-1) * turn.exp() / turn.exp().sum()
    torch.testing.assert_close(shown[0].transitions, expected[asked.visual[0]], atol=1e-5, rtol=1e-4)
    assert not torch.equal(transition(before, after), transition(after, before))
