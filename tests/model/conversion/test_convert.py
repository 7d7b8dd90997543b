"""Tiny random releases in the authors' layout: every key finds its place, and the towers say the same."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    CLIPVisionConfig,
    CLIPVisionModel,
    LlamaConfig,
    MistralConfig,
    PreTrainedTokenizerFast,
    SiglipVisionConfig,
    SiglipVisionModel,
)

from bvllm.inference.loading import load_model
from bvllm.model import BVLLMForConditionalGeneration, BVLLMProcessor
from bvllm.model.connectors import FORMS, LlamaVidConfig, VideoLlama2Config, VideoLlama2Connector
from bvllm.model.conversion.convert import ConvertError, convert
from tests.model import tiny

WORDS = ["<pad>", "<unk>", "</s>", *tiny.WORDS]
DECODER = {
    "vocab_size": len(WORDS), "hidden_size": 64, "intermediate_size": 48, "num_hidden_layers": 1,
    "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 512,
}  # fmt: skip
TOWER = "model.vision_tower.vision_tower."
Weights = dict[str, Tensor]


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape) * 0.2


def tokenizer(folder: Path) -> None:
    core = Tokenizer(models.WordLevel({word: k for k, word in enumerate(WORDS)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", unk_token="<unk>", eos_token="</s>"
    )
    fast.save_pretrained(folder)


def language(family: type) -> tuple[dict, Weights]:
    config = family(**DECODER)
    state = {k: drawn(*v.shape) for k, v in AutoModelForCausalLM.from_config(config).state_dict().items()}
    state["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(16)
    return config.to_dict(), state


def clip_tower() -> Weights:
    config = CLIPVisionConfig(
        hidden_size=64,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=1,
        image_size=16,
        patch_size=4,
    )
    state = {k: drawn(*v.shape) for k, v in CLIPVisionModel(config).state_dict().items()}
    return {f"vision_model.{k}": v for k, v in state.items()} | {
        "vision_model.embeddings.position_ids": torch.arange(17)[None]
    }


def siglip_tower() -> Weights:
    config = SiglipVisionConfig(
        hidden_size=64,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=1,
        image_size=16,
        patch_size=4,
    )
    state = SiglipVisionModel(config).state_dict()
    return {f"vision_model.{k}": drawn(*v.shape) for k, v in state.items()}


def eva_tower() -> Weights:
    width, hidden = 88, 40
    made = {
        "cls_token": drawn(1, 1, width), "pos_embed": drawn(1, 17, width),
        "patch_embed.proj.weight": drawn(width, 3, 4, 4), "patch_embed.proj.bias": drawn(width),
    }  # fmt: skip
    for k in range(2):
        block = {
            "norm1.weight": (width,), "norm1.bias": (width,),
            "norm2.weight": (width,), "norm2.bias": (width,),
            "attn.q_bias": (width,), "attn.v_bias": (width,), "attn.qkv.weight": (3 * width, width),
            "attn.proj.weight": (width, width), "attn.proj.bias": (width,),
            "mlp.fc1.weight": (hidden, width), "mlp.fc1.bias": (hidden,),
            "mlp.fc2.weight": (width, hidden), "mlp.fc2.bias": (width,),
        }  # fmt: skip
        made |= {f"blocks.{k}.{name}": drawn(*shape) for name, shape in block.items()}
    return made


def qformer(width: int, encoder: int, layers: int = 2) -> Weights:
    made = {
        "embeddings.word_embeddings.weight": drawn(len(WORDS), width),
        "embeddings.position_embeddings.weight": drawn(32, width),
        "embeddings.position_ids": torch.arange(32)[None],
        "embeddings.LayerNorm.weight": drawn(width), "embeddings.LayerNorm.bias": drawn(width),
    }  # fmt: skip
    for k in range(layers):
        at = f"encoder.layer.{k}."
        kinds = ("attention", "crossattention") if k % 2 == 0 else ("attention",)
        for kind in kinds:
            read = encoder if kind == "crossattention" else width
            for part, channels in (("query", width), ("key", read), ("value", read)):
                made[f"{at}{kind}.self.{part}.weight"] = drawn(width, channels)
                made[f"{at}{kind}.self.{part}.bias"] = drawn(width)
            made |= dense(f"{at}{kind}.output.", width, width)
        for branch in ("", "_query"):
            made[f"{at}intermediate{branch}.dense.weight"] = drawn(24, width)
            made[f"{at}intermediate{branch}.dense.bias"] = drawn(24)
            made |= dense(f"{at}output{branch}.", width, 24)
    return {f"model.vlm_att_encoder.bert.{k}": v for k, v in made.items()}


def dense(at: str, width: int, channels: int) -> Weights:
    return {
        f"{at}dense.weight": drawn(width, channels), f"{at}dense.bias": drawn(width),
        f"{at}LayerNorm.weight": drawn(width), f"{at}LayerNorm.bias": drawn(width),
    }  # fmt: skip


def linear(name: str, width: int, channels: int) -> Weights:
    return {f"{name}.weight": drawn(width, channels), f"{name}.bias": drawn(width)}


def write(folder: Path, settings: dict, weights: Weights, shards: int = 2) -> Path:
    """As released: a config.json with both halves' settings, a tokenizer, and shards."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(settings))
    tokenizer(folder)
    names = sorted(weights)
    for k in range(shards):
        part = {name: weights[name].contiguous() for name in names[k::shards]}
        save_file(part, folder / f"model-{k + 1:05}-of-{shards:05}.safetensors")
    return folder


def llama_vid(folder: Path, *, changes: Weights | None = None, eva: bool = True, **settings) -> Path:
    torch.manual_seed(5)
    config, weights = language(LlamaConfig)
    width = 88 if eva else 64
    weights |= {TOWER + k: v for k, v in (eva_tower() if eva else clip_tower()).items()}
    weights |= qformer(64, encoder=width) | {"model.vlm_att_query": drawn(1, 3, 64)}
    weights |= linear("model.vlm_att_projector", width, 64) | linear(
        "model.vlm_att_key_projector", width, width
    )
    weights |= linear("model.vlm_att_val_projector", 64, width) | linear("model.mm_projector.0", 64, width)
    weights |= linear("model.mm_projector.2", 64, 64)
    weights |= {"model.vlm_att_ln.weight": drawn(width), "model.vlm_att_ln.bias": drawn(width)}
    config |= {
        "model_type": "llava", "mm_vision_select_layer": -2, "mm_vision_select_feature": "patch",
        "compress_type": "mean", "bert_type": "qformer_pretrain", "num_query": 3, "max_token": 64,
    }  # fmt: skip
    return write(folder, config | settings, weights | (changes or {}))


def videollama2(folder: Path, form: str = "stc_connector", *, tower=clip_tower, **settings) -> Path:
    torch.manual_seed(6)
    config, weights = language(MistralConfig)
    settings = {"mm_projector_type": form, "num_frames": 4} | settings
    depth = None if FORMS.get(form, FORMS["stc_connector"]).depth == 0 else 1
    known = form if form in FORMS else "stc_connector"
    connector = VideoLlama2Connector(VideoLlama2Config(known, depth=depth), channels=64, width=64)
    weights |= {f"model.mm_projector.{k}": drawn(*v.shape) for k, v in connector.state_dict().items()}
    weights |= {} if tower is None else {TOWER + k: v for k, v in tower().items()}
    config |= {"model_type": "videollama2_mistral", "mm_vision_select_layer": -2}
    return write(folder, config | settings, weights)


def released(folder: Path) -> Weights:
    return {k: v for path in sorted(folder.glob("*.safetensors")) for k, v in load_file(path).items()}


def answers(folder: Path) -> str:
    """The prompt that a converted model answers; its placeholder not yet repeated."""
    model = load_model(str(folder))
    model.model.generation_config.eos_token_id = None
    chat = tiny.ask(tiny.clip(5))
    inputs = model.processor.apply_chat_template(chat, tokenize=True, add_generation_prompt=True)
    written = model.model.generate(**inputs, max_new_tokens=3)
    assert written.shape[1] == inputs["input_ids"].shape[1] + 3
    return model.processor.apply_chat_template(chat, add_generation_prompt=True)


@torch.no_grad()
def test_llama_vid_with_eva(tmp_path):
    source, target = llama_vid(tmp_path / "release"), tmp_path / "ours"
    made = convert("llama-vid", source, target, question_tokenizer=source)
    assert set(made.computed) == {
        "model.layers.0.self_attn.rotary_emb.inv_freq", "model.vlm_att_encoder.bert.embeddings.position_ids",
    }  # fmt: skip
    model, report = BVLLMForConditionalGeneration.from_pretrained(target, output_loading_info=True)
    assert not any(report.values())
    config = model.config
    assert config.connector == LlamaVidConfig(queries=3)
    assert (config.vision_feature_layer, config.frame_selector, config.budget_tokens) == (-1, "none", 64)
    assert config.spatial_qformer_config.num_hidden_layers == 2
    theirs, ours = released(source), model.state_dict()
    same = {
        "model.vlm_att_val_projector.weight": "model.multi_modal_projector.context_proj.weight",
        "model.mm_projector.2.weight": "model.multi_modal_projector.content_proj.2.weight",
        "model.vlm_att_encoder.bert.encoder.layer.0.crossattention.self.key.weight":
            "model.multi_modal_projector.reader.model.encoder.layer.0.crossattention.attention.key.weight",
        "model.layers.0.mlp.up_proj.weight": "model.language_model.layers.0.mlp.up_proj.weight",
        TOWER + "blocks.1.norm2.bias": "model.vision_tower.encoder.layers.1.layer_norm2.bias",
    }  # fmt: skip
    for name, other in same.items():
        assert torch.equal(theirs[name], ours[other])
    assert torch.equal(theirs["lm_head.weight"], ours["lm_head.weight"][: len(WORDS)])
    prompt = answers(target)
    assert prompt.startswith("A chat between a curious user")
    assert prompt.endswith(" USER: <|video|>\nwhich colour is the sign ? ASSISTANT:")


@torch.no_grad()
def test_evas_tower_is_computed_as_its_authors_do(tmp_path):
    """Two blocks by hand: patches, q, k and v in one product with biases for q and v only, no last norm."""
    source, target = llama_vid(tmp_path / "release"), tmp_path / "ours"
    convert("llama-vid", source, target, question_tokenizer=source)
    model = BVLLMForConditionalGeneration.from_pretrained(target).eval()
    w = {k.removeprefix(TOWER): v for k, v in released(source).items() if k.startswith(TOWER)}
    pixels = torch.randn(2, 3, 16, 16)
    x = torch.nn.functional.conv2d(pixels, w["patch_embed.proj.weight"], w["patch_embed.proj.bias"], stride=4)
    x = torch.cat([w["cls_token"].expand(2, -1, -1), x.flatten(2).mT], dim=1) + w["pos_embed"]
    norm, linear_ = torch.nn.functional.layer_norm, torch.nn.functional.linear
    for k in range(2):
        b = {n.removeprefix(f"blocks.{k}."): v for n, v in w.items() if n.startswith(f"blocks.{k}.")}
        bias = torch.cat([b["attn.q_bias"], torch.zeros(88), b["attn.v_bias"]])
        y = norm(x, (88,), b["norm1.weight"], b["norm1.bias"], 1e-6)
        q, key, v = linear_(y, b["attn.qkv.weight"], bias).chunk(3, dim=-1)  # one head of 88
        looks = (q @ key.mT / 88**0.5).softmax(-1)
        x = x + linear_(looks @ v, b["attn.proj.weight"], b["attn.proj.bias"])
        y = norm(x, (88,), b["norm2.weight"], b["norm2.bias"], 1e-6)
        y = torch.nn.functional.gelu(linear_(y, b["mlp.fc1.weight"], b["mlp.fc1.bias"]))
        x = x + linear_(y, b["mlp.fc2.weight"], b["mlp.fc2.bias"])
    torch.testing.assert_close(model.model.encode_patches(pixels), x, rtol=1e-4, atol=1e-5)


def test_llama_vid_with_clip_and_a_grid(tmp_path):
    wide = {"model.vlm_att_bert_proj.weight": drawn(64, 64), "model.vlm_att_bert_proj.bias": drawn(64)}
    source = llama_vid(tmp_path / "release", eva=False, compress_type="grid:2")
    convert("llama-vid", source, tmp_path / "ours", question_tokenizer=source)
    config = BVLLMForConditionalGeneration.from_pretrained(tmp_path / "ours").config
    assert config.connector == LlamaVidConfig(queries=3, content="grid", grid=2, show_cls=False)
    assert (config.vision_feature_layer, config.tokens_per_frame) == (-2, 5)
    strange = llama_vid(tmp_path / "other", eva=False, changes=wide)
    with pytest.raises(ConvertError, match="reader_proj"):
        convert("llama-vid", strange, tmp_path / "never", question_tokenizer=strange)


@pytest.mark.parametrize("form", FORMS)
def test_videollama2_in_every_form(form, tmp_path):
    source, target = videollama2(tmp_path / "release", form), tmp_path / "ours"
    convert("videollama2", source, target)
    model, report = BVLLMForConditionalGeneration.from_pretrained(target, output_loading_info=True)
    assert not any(report.values())
    assert model.config.connector.form == form
    assert (
        model.config.placeholders.count(100)
        == model.config.placeholders.count(1)
        == model.config.budget_tokens
    )
    theirs, ours = released(source), model.state_dict()
    for name, weight in theirs.items():
        if name.startswith("model.mm_projector."):
            assert torch.equal(weight, ours[name.replace("mm_projector", "multi_modal_projector")])
    if form == "stc_connector":
        assert answers(target) == "<s>[INST] <|video|>\nwhich colour is the sign ? [/INST]"


def test_a_siglip_tower(tmp_path):
    convert("videollama2", videollama2(tmp_path / "release", tower=siglip_tower), tmp_path / "ours")
    config = BVLLMForConditionalGeneration.from_pretrained(tmp_path / "ours").config
    assert config.vision_config.model_type == "siglip_vision_model"


def test_a_tower_released_apart(tmp_path):
    source = videollama2(tmp_path / "release", tower=None)
    with pytest.raises(ConvertError, match="give the vision tower"):
        convert("videollama2", source, tmp_path / "ours")
    tower = tmp_path / "tower"
    tower.mkdir()
    save_file(clip_tower() | {"text_model.final_layer_norm.bias": drawn(4)}, tower / "model.safetensors")
    assert convert("videollama2", source, tmp_path / "ours", tower=tower).weights > 50


def test_shards_and_precision_stay(tmp_path, monkeypatch):
    monkeypatch.setattr("bvllm.model.conversion.convert.SHARD_BYTES", 20_000)
    source = videollama2(tmp_path / "release")
    for path in source.glob("*.safetensors"):
        save_file({k: v.to(torch.bfloat16) for k, v in load_file(path).items()}, path)
    convert("videollama2", source, tmp_path / "ours")
    assert len(list((tmp_path / "ours").glob("model-*.safetensors"))) > 2
    model = BVLLMForConditionalGeneration.from_pretrained(tmp_path / "ours")
    assert model.dtype == torch.bfloat16
    assert isinstance(BVLLMProcessor.from_pretrained(tmp_path / "ours"), BVLLMProcessor)


@pytest.mark.parametrize(
    "changes, complaint",
    [
        ({"model.audio_tower.proj.weight": torch.ones(2)}, "model.audio_tower.proj.weight"),
        ({"base_model.lora_A.weight": torch.ones(2)}, "base_model.lora_A.weight"),
        ({"model.vlm_att_visual_proj.weight": torch.ones(2)}, "vlm_att_visual_proj"),
        ({"model.layers.7.mlp.up_proj.weight": torch.ones(2)}, "language_model.layers.7"),
        ({"model.norm.weight": torch.ones(3)}, "language_model.norm"),
    ],
)
def test_leftover_keys_are_named(changes, complaint, tmp_path):
    source = llama_vid(tmp_path / "release", changes=changes)
    with pytest.raises(ConvertError, match=complaint):
        convert("llama-vid", source, tmp_path / "ours", question_tokenizer=source)
    assert not (tmp_path / "ours").exists()


def test_what_is_refused(tmp_path):
    source, ours = videollama2(tmp_path / "release"), tmp_path / "ours"
    with pytest.raises(ConvertError, match="kind must be one of"):
        convert("llava", source, ours)
    with pytest.raises(ConvertError, match="question_tokenizer must be given"):
        convert("llama-vid", source, ours)
    with pytest.raises(ConvertError, match="target must be a new or empty folder"):
        convert("videollama2", source, source)
    (bare := tmp_path / "bare").mkdir()
    save_file({"model.norm.weight": torch.ones(2)}, bare / "model.safetensors")
    with pytest.raises(ConvertError, match=r"source must hold a config\.json"):
        convert("videollama2", bare, ours)
    (pickled := tmp_path / "pickled").mkdir()
    (pickled / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ConvertError, match="can run code when it is opened"):
        convert("videollama2", pickled, ours)
    (broken := tmp_path / "broken").mkdir()
    (broken / "model.safetensors").write_bytes(b"not at all")
    with pytest.raises(ConvertError, match="must be a safetensors file"):
        convert("videollama2", broken, ours)


@pytest.mark.parametrize(
    "settings, complaint",
    [
        ({"form": "mlp2x_gelu"}, "mm_projector_type must be one of"),
        ({"mm_vision_select_feature": "cls_patch"}, "mm_vision_select_feature must be"),
        ({"model_type": "t5"}, "model_type must be that of"),
    ],
)
def test_settings_that_cannot_be_converted_are_named(settings, complaint, tmp_path):
    source = videollama2(tmp_path / "release", **settings)
    with pytest.raises(ConvertError, match=complaint):
        convert("videollama2", source, tmp_path / "ours")


def test_the_command_line(tmp_path, capsys):
    from bvllm.cli import main

    source = videollama2(tmp_path / "release", "spatial_pool")
    assert main(["convert", "videollama2", str(source), str(tmp_path / "ours")]) == 0
    assert "weights; 2 computed ones left out" in capsys.readouterr().out
    assert main(["convert", "llama-vid", str(source), str(tmp_path / "never")]) == 1
    assert capsys.readouterr().err.startswith("error: question_tokenizer must be given")
