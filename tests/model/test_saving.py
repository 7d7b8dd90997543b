"""Save, load, register: the same model comes back."""

import subprocess
import sys

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForImageTextToText,
    AutoModelForMultimodalLM,
    AutoProcessor,
    Gemma2Config,
    GPT2Config,
    GraniteConfig,
    LlamaConfig,
    PhiConfig,
    Qwen2MoeConfig,
    Qwen3Config,
)

import bvllm.hf  # noqa: F401  # registers with the Auto classes
from bvllm.model import BVLLMConfig, BVLLMForConditionalGeneration, BVLLMModel, BVLLMProcessor
from bvllm.model.language import build_head
from tests.model import tiny

DECODER = {
    "vocab_size": len(tiny.VOCABULARY), "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "initializer_range": 0.3,
    "bos_token_id": None, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
LANGUAGE_MODELS = {
    "llama": LlamaConfig(**DECODER),
    "tied": tiny.text_config(tie_word_embeddings=True),
    "gemma2": Gemma2Config(**DECODER, final_logit_softcapping=2.0, sliding_window=64),
    "qwen3": Qwen3Config(**DECODER),
    "granite": GraniteConfig(**DECODER, logits_scaling=4.0),
    "phi": PhiConfig(**{k: v for k, v in DECODER.items() if k != "head_dim"}),
    "qwen2_moe": Qwen2MoeConfig(
        **{k: v for k, v in DECODER.items() if k != "head_dim"}, num_experts=4, num_experts_per_tok=2,
        moe_intermediate_size=16, shared_expert_intermediate_size=16,
    ),
    "gpt2": GPT2Config(
        vocab_size=len(tiny.VOCABULARY), n_embd=32, n_layer=2, n_head=4, initializer_range=0.3,
        bos_token_id=None, eos_token_id=2, pad_token_id=0,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_any_decoder_answers_and_comes_back_bit_for_bit(name, tmp_path):
    model, inputs = tiny.model(text_config=LANGUAGE_MODELS[name]), tiny.batch(*tiny.mixed_chats())
    logits, written = model(**inputs).logits, model.generate(**inputs, max_new_tokens=4)
    model.save_pretrained(tmp_path)
    again = BVLLMForConditionalGeneration.from_pretrained(tmp_path).eval()
    assert torch.equal(again(**inputs).logits, logits)
    assert torch.equal(again.generate(**inputs, max_new_tokens=4), written)
    assert again.config.placeholders == model.config.placeholders
    assert again.config.text_config.model_type == LANGUAGE_MODELS[name].model_type


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_text_alone_is_what_the_released_class_says(name):
    from transformers import AutoModelForCausalLM

    model = tiny.model(text_config=LANGUAGE_MODELS[name])
    released = AutoModelForCausalLM.from_config(LANGUAGE_MODELS[name]).eval()
    released.base_model.load_state_dict(model.model.language_model.state_dict())
    released.get_output_embeddings().load_state_dict(model.lm_head.state_dict())
    inputs = tiny.batch(tiny.mixed_chats()[2])
    torch.testing.assert_close(model(**inputs).logits, released(**inputs).logits)


def test_a_tied_head_is_one_tensor(tmp_path):
    for name in ("tied", "gpt2"):
        model = tiny.model(text_config=LANGUAGE_MODELS[name])
        assert model.lm_head.weight is model.get_input_embeddings().weight
        model.save_pretrained(tmp_path / name)
        again = BVLLMForConditionalGeneration.from_pretrained(tmp_path / name)
        assert again.lm_head.weight is again.get_input_embeddings().weight
    untied = tiny.model()
    assert untied.lm_head.weight is not untied.get_input_embeddings().weight


def test_auto_classes_find_us(tmp_path):
    model = tiny.model()
    model.save_pretrained(tmp_path)
    tiny.processor().save_pretrained(tmp_path)
    assert isinstance(AutoConfig.from_pretrained(tmp_path), BVLLMConfig)
    assert isinstance(AutoModel.from_pretrained(tmp_path), BVLLMModel)
    for auto in (AutoModelForImageTextToText, AutoModelForMultimodalLM):
        assert isinstance(auto.from_pretrained(tmp_path), BVLLMForConditionalGeneration)
    assert isinstance(AutoProcessor.from_pretrained(tmp_path), BVLLMProcessor)


def test_half_precision_comes_back_and_answers(tmp_path):
    tiny.model().save_pretrained(tmp_path)
    model = BVLLMForConditionalGeneration.from_pretrained(tmp_path, dtype=torch.bfloat16).eval()
    model.save_pretrained(tmp_path)
    again = BVLLMForConditionalGeneration.from_pretrained(tmp_path).eval()
    assert {p.dtype for p in again.parameters()} == {torch.bfloat16}
    inputs = tiny.batch(*tiny.mixed_chats())
    assert torch.equal(again(**inputs).logits, model(**inputs).logits)
    assert again.generate(**inputs, max_new_tokens=3).shape[1] == inputs["input_ids"].shape[1] + 3


def test_eager_attention_agrees():
    model, inputs = tiny.model(), tiny.batch(*tiny.mixed_chats())
    logits = model(**inputs).logits
    model.set_attn_implementation("eager")
    torch.testing.assert_close(model(**inputs).logits, logits, rtol=1e-3, atol=1e-3)


def test_new_weights_start_where_they_should():
    model = BVLLMForConditionalGeneration(tiny.config(initializer_range=0.02))
    assert all(table.weight.abs().sum() == 0 for table in model.model.clock.children())
    for reader in (model.model.frame_selector.reader, model.model.token_sampler.reader):
        assert 0.01 < reader.queries.weight.std() < 0.03


def test_importing_the_package_loads_nothing_heavy():
    code = "import bvllm, sys; sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_family_with_a_rule_of_its_own_for_logits_is_refused_until_it_is_known():
    capped = Gemma2Config(**DECODER, final_logit_softcapping=2.0)
    capped.model_type = "gemma9"
    with pytest.raises(ValueError, match="'gemma9' must leave its logits as they are, got"):
        build_head(capped)
    capped.final_logit_softcapping = None
    assert build_head(capped).out_features == capped.vocab_size


def test_a_saved_model_says_how_it_is_loaded_and_keeps_what_it_says(tmp_path):
    tiny.model().save_pretrained(tmp_path)
    assert "import bvllm.hf" in (tmp_path / "README.md").read_text()
    (tmp_path / "README.md").write_text("measured: 90 %")
    tiny.model().save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text() == "measured: 90 %"


def test_another_models_processor_is_refused_by_name(tmp_path):
    (tmp_path / "processor_config.json").write_text('{"processor_class": "Qwen2_5_VLProcessor"}')
    with pytest.raises(ValueError, match="got Qwen2_5_VLProcessor"):
        BVLLMProcessor.from_pretrained(tmp_path)
