"""A new model from released weights: everything that was released arrives, and the rest is named."""

import pytest
import torch
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPVisionModel,
    Dinov2Config,
    Dinov2Model,
    InstructBlipConfig,
    InstructBlipForConditionalGeneration,
    InstructBlipVisionConfig,
    OPTConfig,
    Qwen2ForCausalLM,
    SiglipVisionConfig,
    SiglipVisionModel,
)

from bvllm.model import BVLLMForConditionalGeneration
from bvllm.model.assemble import add_video_token, assemble
from tests.model import tiny

SIZES = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "image_size": 16, "patch_size": 4, "initializer_range": 0.3,
}  # fmt: skip
WIDE = {**SIZES, "hidden_size": 20}
ALWAYS_FRESH = {
    "model.frame_selector.proj", "model.multi_modal_projector.linear_1",
    "model.multi_modal_projector.linear_2",
    "model.clock.hours", "model.clock.minutes", "model.clock.seconds",
}  # fmt: skip


def instructblip():
    text = OPTConfig(
        vocab_size=30,
        hidden_size=16,
        num_hidden_layers=1,
        ffn_dim=16,
        num_attention_heads=2,
        word_embed_proj_dim=16,
    )
    config = InstructBlipConfig(
        vision_config=InstructBlipVisionConfig(**SIZES).to_dict(),
        qformer_config=tiny.qformer_config().to_dict(),
        text_config=text.to_dict(),
        num_query_tokens=6,
    )
    model = InstructBlipForConditionalGeneration(config).eval()
    torch.nn.init.normal_(model.query_tokens)
    return model


def clip():
    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    return CLIPModel(CLIPConfig(vision_config=tiny.vision_config().to_dict(), text_config=text))


MAKERS = {
    "instructblip": instructblip,
    "clip": clip,
    "clip_tower": lambda: CLIPVisionModel(tiny.vision_config()),
    "siglip": lambda: SiglipVisionModel(SiglipVisionConfig(**SIZES)),
    "dinov2": lambda: Dinov2Model(Dinov2Config(**WIDE)),
    "language": lambda: Qwen2ForCausalLM(tiny.text_config()),
    "tied": lambda: Qwen2ForCausalLM(tiny.text_config(tie_word_embeddings=True)),
}


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    folder = tmp_path_factory.mktemp("released")
    torch.manual_seed(5)
    made = {name: make().eval() for name, make in MAKERS.items()}
    for name, model in made.items():
        model.save_pretrained(folder / name)
    return folder, made


@pytest.mark.parametrize("tower", ["instructblip", "clip", "clip_tower", "siglip", "dinov2"])
def test_every_tower_meets_the_released_qformer(released, tower):
    folder, made = released
    assembly = assemble(folder / tower, folder / "language", folder / "instructblip", config=tiny.config())
    model = assembly.model.eval()
    modules = {name.rpartition(".")[0] for name in assembly.fresh}
    crossings = {name for name in modules if ".crossattention.attention." in name}
    assert modules - crossings == ALWAYS_FRESH
    assert bool(crossings) is (tower == "dinov2"), "only a tower of another width needs new keys and values"
    pixels = torch.randn(2, 3, 16, 16)
    source = made[tower]
    inner = source.vision_model if tower in ("instructblip", "clip") else source
    states = inner(pixel_values=pixels, output_hidden_states=True).hidden_states[-2]
    torch.testing.assert_close(model.model.encode_patches(pixels), states[:, -16:])
    assert model.generate(**tiny.batch(*tiny.mixed_chats()), max_new_tokens=2).shape[0] == 4


def test_both_readers_read_as_the_released_qformer_does(released):
    folder, made = released
    settings = tiny.config(frame_feature="qformer")
    model = assemble(
        folder / "instructblip", folder / "language", folder / "instructblip", config=settings
    ).model.eval()
    source, states = made["instructblip"], torch.randn(2, 5, 16)
    ids = torch.tensor([[8, 10, 11], [11, 24, 14]])
    queries = source.query_tokens[:, :4].expand(2, -1, -1)
    expected = source.qformer(
        input_ids=ids,
        attention_mask=torch.ones(2, 7, dtype=torch.long),
        query_embeds=queries,
        encoder_hidden_states=states,
    ).last_hidden_state[:, :4]
    for reader in (model.model.frame_selector.reader, model.model.token_sampler.reader):
        torch.testing.assert_close(reader(states, None, ids, torch.ones_like(ids)).queries, expected)
    torch.testing.assert_close(model.model.frame_reader.reader.queries.weight, source.query_tokens[0, :1])


def test_final_patches_are_what_instructblip_shows_its_qformer(released):
    """Whole, from pixels: what the Q-Former is given in transformers' own forward pass, [CLS] taken off."""
    folder, made = released
    settings = tiny.config(vision_feature_layer="final")
    model = assemble(
        folder / "instructblip", folder / "language", folder / "instructblip", config=settings
    ).model.eval()
    source, shown = made["instructblip"], []
    hook = source.qformer.register_forward_pre_hook(
        lambda _, __, kwargs: shown.append(kwargs["encoder_hidden_states"]), with_kwargs=True
    )
    pixels, ids = torch.randn(2, 3, 16, 16), torch.tensor([[8, 10, 11], [11, 24, 14]])
    try:
        source.get_image_features(pixels, qformer_input_ids=ids, qformer_attention_mask=torch.ones_like(ids))
    finally:
        hook.remove()
    [states] = shown
    torch.testing.assert_close(model.model.encode_patches(pixels), states[:, 1:])
    torch.testing.assert_close(model.model.encode_frames(pixels), states[:, 0])
    raw = tiny.config(vision_feature_layer=-1)
    other = assemble(folder / "instructblip", folder / "language", config=raw).model.eval()
    assert not torch.allclose(other.model.encode_patches(pixels), states[:, 1:], atol=0.1)


def test_the_language_model_speaks_as_before(released):
    folder, made = released
    inputs = tiny.batch(tiny.mixed_chats()[2])
    for name in ("language", "tied"):
        model = assemble(folder / "clip", folder / name, config=tiny.config()).model.eval()
        torch.testing.assert_close(model(**inputs).logits, made[name](**inputs).logits)
        tied = model.lm_head.weight is model.get_input_embeddings().weight
        assert tied is (name == "tied")


def test_without_a_qformer_the_readers_start_fresh(released, tmp_path):
    folder, _ = released
    assembly = assemble(folder / "clip", folder / "language", config=tiny.config())
    assert "model.token_sampler.reader.queries.weight" in assembly.fresh
    assert not any("vision_tower" in name or "language_model" in name for name in assembly.fresh)
    weights = assembly.model.model.token_sampler.reader.queries.weight
    assert torch.pdist(weights).min() > 1e-3
    assembly.model.save_pretrained(tmp_path)
    again = BVLLMForConditionalGeneration.from_pretrained(tmp_path).eval()
    inputs = tiny.batch(*tiny.mixed_chats())
    assert torch.equal(again(**inputs).logits, assembly.model.eval()(**inputs).logits)


def test_more_queries_than_released_start_fresh(released):
    folder, _ = released
    settings = tiny.config(num_selected_frames=7)
    assembly = assemble(folder / "clip", folder / "language", folder / "instructblip", config=settings)
    assert "model.frame_selector.reader.queries.weight" in assembly.fresh
    assert "model.token_sampler.reader.queries.weight" not in assembly.fresh


def test_settings_are_kept_and_precision_is_chosen(released):
    folder, _ = released
    model = BVLLMForConditionalGeneration.from_pretrained_parts(
        folder / "clip", folder / "language", config=tiny.config(budget_tokens=7, choice="softmax"),
        dtype=torch.bfloat16,
    )  # fmt: skip
    assert (model.config.budget_tokens, model.config.choice) == (7, "softmax")
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}


def test_a_placeholder_may_be_one_new_word(released):
    folder, _ = released
    tokenizer = tiny.tokenizer()
    assert add_video_token(tokenizer) == tiny.VIDEO_ID
    new = add_video_token(tokenizer, "<|film|>")
    assert new == len(tiny.VOCABULARY)
    model = assemble(folder / "clip", folder / "language", config=tiny.config(video_token_id=new)).model
    assert len(model.get_input_embeddings().weight) == new + 1
    assert model.config.text_config.vocab_size == new + 1
    with pytest.raises(ValueError, match=r"video_token_id must be at most 27, .* got 28: take it from"):
        assemble(folder / "clip", folder / "language", config=tiny.config(video_token_id=new + 1))


def test_wrong_parts_are_refused(released):
    folder, _ = released
    with pytest.raises(ValueError, match="qformer must be an InstructBLIP checkpoint, got 'clip'"):
        assemble(folder / "clip", folder / "language", folder / "clip", config=tiny.config())
    with pytest.raises(ValueError, match=r"vision_config must be one of .* got .qwen2."):
        assemble(folder / "language", folder / "language", config=tiny.config())
