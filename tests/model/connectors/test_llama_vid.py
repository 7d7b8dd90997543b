"""LLaMA-VID's connector: the authors' outputs, the context token by hand, content in all its forms."""

import pytest
import torch
from torch import nn
from transformers import InstructBlipQFormerConfig

from bvllm.model.connectors import LlamaVidConfig, LlamaVidConnector, llama_vid_weights
from tests.model.connectors import golden


def reader_config(**changes) -> InstructBlipQFormerConfig:
    return InstructBlipQFormerConfig(
        **{
            "vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
            "intermediate_size": 24, "max_position_embeddings": 32, "encoder_hidden_size": 8,
        } | changes
    )  # fmt: skip


def connector(channels: int = 8, shape: dict | None = None, **settings) -> LlamaVidConnector:
    config = LlamaVidConfig(**{"queries": 3} | settings)
    made = LlamaVidConnector(config, reader_config(**shape or {}), channels, 12).eval()
    generator = torch.Generator().manual_seed(1)
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.4, generator=generator)
    return made


IDS = torch.tensor([[5, 9, 3, 0], [7, 2, 8, 6]])
MASK = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]])


@torch.no_grad()
def test_the_authors_modules_say_the_same():
    stored = golden.load("llama_vid_mean")
    changes = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 64}
    config = reader_config(encoder_hidden_size=24, max_position_embeddings=64, **changes)
    made = LlamaVidConnector(LlamaVidConfig(queries=6), config, channels=24, width=40).eval()
    made.load_state_dict(llama_vid_weights(stored.weights))
    prompts, frames = len(stored.data["input_ids"]), len(stored.data["features"])
    ids, mask = (stored.data[k].repeat_interleave(frames, 0) for k in ("input_ids", "attention_mask"))
    tokens = made(stored.data["features"].repeat(prompts, 1, 1), ids, mask, prefix=1).tokens
    assert (tokens.reshape(prompts, -1, 40) - stored.data["output"]).abs().max() < 1e-4


@torch.no_grad()
def test_the_context_token_by_hand():
    made, states = connector(), torch.randn(2, 10, 8)
    tokens, attention = made(states, IDS, MASK, prefix=1)
    patches = states[:, 1:]
    text = made.query_proj(made.reader(made.reader_norm(states), None, IDS, MASK).queries)
    for frame in range(2):
        looks = [
            torch.softmax(torch.stack([query @ made.key_proj(x) / 8**0.5 for x in patches[frame]]), 0)
            for query in text[frame]
        ]
        look = torch.stack(looks).mean(0)
        torch.testing.assert_close(attention[frame, 0], look)
        torch.testing.assert_close(tokens[frame, 0], made.context_proj(look @ patches[frame]))
        torch.testing.assert_close(tokens[frame, 1], made.content_proj(patches[frame].mean(0)))


@torch.no_grad()
@pytest.mark.parametrize(
    "settings, count",
    [
        ({"content": "mean"}, 2),
        ({"content": "grid", "grid": 2}, 1 + 4),  # 7 = 2 cells of 3, and a rest that is cut off
        ({"content": "grid", "grid": 3}, 1 + 9),
        ({"content": "grid", "grid": 5}, 1 + 49),  # cells of 1
        ({"content": "grid", "grid": 7}, 1 + 49),
        ({"content": "all"}, 1 + 49),
    ],
)
def test_content_tokens(settings, count):
    made, patches = connector(**settings), torch.randn(3, 49, 8)
    tokens, attention = made(patches, IDS[:1].expand(3, -1), None)
    assert tokens.shape == (3, count, 12)
    assert attention.shape == (3, count, 49)
    assert count == made.config.tokens_per_frame(49)
    torch.testing.assert_close(attention.sum(-1), torch.ones(3, count))
    torch.testing.assert_close(tokens[:, 1:], made.content_proj(attention[:, 1:] @ patches))


@torch.no_grad()
def test_the_question_leads_the_context_alone():
    made, patches = connector(), torch.randn(1, 9, 8)
    one, other = made(patches, IDS[:1], MASK[:1]).tokens[0], made(patches, IDS[1:], MASK[1:]).tokens[0]
    assert not torch.allclose(one[0], other[0], atol=1e-4)
    torch.testing.assert_close(one[1], other[1])


@torch.no_grad()
@pytest.mark.parametrize("reader", ["qformer", "bert"])
def test_padding_says_nothing(reader):
    made, patches = connector(reader=reader), torch.randn(1, 9, 8)
    padded = made(patches, IDS[:1], MASK[:1]).tokens
    torch.testing.assert_close(made(patches, IDS[:1, :3], MASK[:1, :3]).tokens, padded, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_layer_stands_between_towers_and_readers_of_other_widths():
    made = connector(shape={"encoder_hidden_size": 20}, reader_width=20)
    assert made.reader_proj.weight.shape == (20, 8)
    assert made.reader_norm.weight.shape == (20,)
    assert made(torch.randn(2, 9, 8), IDS, MASK).tokens.shape == (2, 2, 12)


def test_names_go_over_and_strange_ones_are_refused():
    made = llama_vid_weights(
        {"mm_projector.weight": IDS, "vlm_att_encoder.bert.embeddings.position_ids": IDS}
    )
    assert list(made) == ["content_proj.0.weight"]
    for strange in ("vlm_att_visual_proj.weight", "vlm_att_ln", "lm_head.weight"):
        with pytest.raises(ValueError, match="name that its release uses"):
            llama_vid_weights({strange: IDS})


@pytest.mark.parametrize("shape, prefix", [((9, 8), 0), ((2, 1, 8), 1)])
def test_wrong_shapes_are_named(shape, prefix):
    with pytest.raises(ValueError, match="states must be"):
        connector()(torch.zeros(shape), prefix=prefix)
    with pytest.raises(ValueError, match="must cut a square"):
        connector(content="grid", grid=2)(torch.zeros(1, 8, 8))
