"""Build the model that is timed: a small B-VLLM with the same random weights each time.

Speed does not depend on what the weights say. A tower of 12 layers at 224 x 224 pixels and Q-Formers of 12
layers are nearer to what people run than nano is.
"""

from dataclasses import replace

import torch
from transformers import CLIPVisionConfig, InstructBlipQFormerConfig

from bvllm.inference.loading import LoadedModel, load_model
from bvllm.model import BVLLMConfig, BVLLMForConditionalGeneration
from bvllm.model.fast_tower import fast_tower
from bvllm.model.presets import NANO_MEAN, NANO_STD, nano_text
from bvllm.nano.build import build_processor
from bvllm.synthetic.tokenizer import VIDEO, build_tokenizer

RANDOM = "random"
SEED = 7


def bench_model(name: str) -> LoadedModel:
    """`random`, or whatever `load_model` knows."""
    return random_model() if name == RANDOM else load_model(name, device="cpu")


def random_model() -> LoadedModel:
    """ViT-Ti/16 at 224 pixels, two Q-Formers of 12 layers, L* = R = 32, a nano language model."""
    tokenizer = build_tokenizer()
    special = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    video = tokenizer.convert_tokens_to_ids(VIDEO)
    q_former = InstructBlipQFormerConfig(vocab_size=len(tokenizer)).to_dict()
    config = BVLLMConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=192,
            intermediate_size=768,
            num_hidden_layers=12,
            num_attention_heads=3,
            image_size=224,
            patch_size=16,
        ).to_dict(),
        frame_qformer_config=q_former,
        spatial_qformer_config=q_former,
        text_config=nano_text(len(tokenizer), **special).to_dict(),
        video_token_id=video,
        image_token_id=video,
        tie_word_embeddings=True,
    )
    # In bfloat16, as the plain way is: the two differ in what they do, not in how exactly.
    slow = with_random_weights(config, RANDOM)
    tower = fast_tower(slow.model.vision_tower, NANO_MEAN, NANO_STD, dtype=torch.bfloat16)
    return replace(slow, fast=tower)


def with_random_weights(config: BVLLMConfig, name: str, device: str = "cpu") -> LoadedModel:
    """A model of any size in bfloat16, with nano's tokenizer; the same weights each time."""
    tokenizer = build_tokenizer()
    torch.manual_seed(SEED)
    with torch.device(device):
        model = BVLLMForConditionalGeneration._from_config(config, dtype=torch.bfloat16).eval()
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.eos_token_id = None  # random weights may stop at once
    return LoadedModel(model, build_processor(tokenizer, model), name)
