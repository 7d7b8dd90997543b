"""Tiny random video models of transformers' families, saved with processors as their makers save them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoTokenizer,
    CLIPConfig,
    CLIPModel,
    CLIPVisionConfig,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3Processor,
    Gemma3TextConfig,
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLProcessor,
    InternVLVisionConfig,
    LlamaConfig,
    LlavaNextVideoConfig,
    LlavaNextVideoForConditionalGeneration,
    LlavaNextVideoProcessor,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionProcessor,
    PerceptionLMConfig,
    PerceptionLMForConditionalGeneration,
    PerceptionLMProcessor,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2Config,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    SiglipVisionConfig,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
    SmolVLMProcessor,
    VideoLlama3Config,
    VideoLlama3ForConditionalGeneration,
    VideoLlama3Processor,
    VideoLlama3VisionConfig,
    VideoLlavaConfig,
    VideoLlavaForConditionalGeneration,
    VideoLlavaProcessor,
)

for _package in ("torchvision", "timm", "num2words"):  # see tests/torchvision_apart.py
    pytest.importorskip(_package, reason="the processors of video models need it; `make install` brings it")

WORDS = "what which colour is the star red blue green shown first last where does it move a sign".split()
LETTERS = [chr(c) for c in range(33, 127)]
QWEN = ["<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|video_pad|>", "<|image_pad|>"]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% for c in m.content %}{% if c.type == 'video' %}VIDEO"
    "{% elif c.type == 'image' %}IMAGE{% else %}{{ c.text }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def template(video: str, image: str) -> str:
    """A chat template, with what it writes for a video and for a picture."""
    return TEMPLATE.replace("VIDEO", video).replace("IMAGE", image)


TEXT: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 4096, "initializer_range": 0.3,
}  # fmt: skip


def tokenizer(special: list[str]) -> PreTrainedTokenizerFast:
    """One token for each of some words, one for every other letter."""
    special = ["<pad>", "<unk>", "<end>", *special]
    vocabulary = {word: k for k, word in enumerate(dict.fromkeys([*special, *WORDS, *LETTERS, "Ġ"]))}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.Digits(individual_digits=True)]
    )
    made.decoder = decoders.WordPiece()
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token="<pad>",
        unk_token="<unk>",
        eos_token="<end>",
        additional_special_tokens=special[3:],
    )


def _video_processor(name: str, **settings: Any) -> Any:
    import transformers

    return getattr(transformers, name)(**settings)


def qwen(
    kind: str, out: int = 32, sections: Sequence[int] = (1, 1, 2), tower: dict[str, Any] | None = None
) -> tuple[Any, Any]:
    """A tiny Qwen2-VL or Qwen2.5-VL: patches of 4, merged 2 x 2; `out` is the language model's width.

    `tower` has other settings of Qwen2.5-VL's vision tower, for a benchmark.
    """
    words = tokenizer(QWEN)
    ids = {f"{name}_token_id": words.convert_tokens_to_ids(f"<|{pad}|>") for name, pad in (
        ("video", "video_pad"), ("image", "image_pad"), ("vision_start", "vision_start"),
        ("vision_end", "vision_end"),
    )}  # fmt: skip
    text = {**TEXT, "vocab_size": len(words), "rope_parameters": {
        "rope_type": "default", "mrope_section": list(sections), "rope_theta": 1e4
    }}  # fmt: skip
    shared = {"depth": 2, "num_heads": 2, "patch_size": 4, "spatial_merge_size": 2, "temporal_patch_size": 2}
    if kind == "qwen2_vl":
        vision = {**shared, "embed_dim": 16, "hidden_size": out, "mlp_ratio": 2}
        model = Qwen2VLForConditionalGeneration(Qwen2VLConfig(text_config=text, vision_config=vision, **ids))
        processor = Qwen2VLProcessor
    else:
        vision = {
            **shared, "hidden_size": 16, "out_hidden_size": out, "intermediate_size": 24,
            "tokens_per_second": 2, "window_size": 16, "fullatt_block_indexes": [1], **(tower or {}),
        }  # fmt: skip
        config = Qwen2_5_VLConfig(text_config=text, vision_config=vision, **ids)
        model, processor = Qwen2_5_VLForConditionalGeneration(config), Qwen2_5_VLProcessor
    sizes = {
        "patch_size": int(vision["patch_size"]), "merge_size": 2, "temporal_patch_size": 2,
        "size": {"shortest_edge": 64, "longest_edge": 1 << 20},
    }  # fmt: skip
    video = "<|vision_start|><|video_pad|><|vision_end|>"
    made = processor(
        image_processor=_video_processor("Qwen2VLImageProcessor", **sizes),
        tokenizer=words,
        video_processor=_video_processor("Qwen2VLVideoProcessor", **sizes),
        chat_template=template(video, video.replace("video", "image")),
    )
    return model, made


def llava_onevision() -> tuple[Any, Any]:
    """A tiny LLaVA-OneVision: 6 x 6 patches of 4, pooled to 3 x 3."""
    words = tokenizer(["<|im_start|>", "<|im_end|>", "<image>", "<video>"])
    vision = SiglipVisionConfig(
        hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, image_size=24,
        patch_size=4,
    )  # fmt: skip
    config = LlavaOnevisionConfig(
        vision_config=vision,
        text_config=Qwen2Config(**TEXT, vocab_size=len(words)),
        image_token_id=words.convert_tokens_to_ids("<image>"),
        video_token_id=words.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=[[24, 24]],
        vision_feature_select_strategy="full",
    )
    size = {"height": 24, "width": 24}
    made = LlavaOnevisionProcessor(
        image_processor=_video_processor(
            "LlavaOnevisionImageProcessor", size=size, image_grid_pinpoints=[[24, 24]]
        ),
        tokenizer=words,
        video_processor=_video_processor("LlavaOnevisionVideoProcessor", size=size),
        num_image_tokens=36,
        vision_feature_select_strategy="full",
        chat_template=template("<video>", "<image>"),
    )
    return LlavaOnevisionForConditionalGeneration(config), made


def llava_next_video() -> tuple[Any, Any]:
    """A tiny LLaVA-NeXT-Video: 6 x 6 patches of 4, pooled to 3 x 3."""
    words = tokenizer(["<|im_start|>", "<|im_end|>", "<image>", "<video>"])
    vision = CLIPVisionConfig(
        hidden_size=16, intermediate_size=24, num_hidden_layers=3, num_attention_heads=2, image_size=24,
        patch_size=4,
    )  # fmt: skip
    config = LlavaNextVideoConfig(
        vision_config=vision,
        text_config=LlamaConfig(**TEXT, vocab_size=len(words), bos_token_id=1, eos_token_id=2),
        image_token_id=words.convert_tokens_to_ids("<image>"),
        video_token_id=words.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=[[24, 24]],
    )
    size = {"size": {"shortest_edge": 24}, "crop_size": {"height": 24, "width": 24}}
    made = LlavaNextVideoProcessor(
        image_processor=_video_processor("LlavaNextImageProcessor", **size),
        tokenizer=words,
        video_processor=_video_processor("LlavaNextVideoVideoProcessor", **size),
        patch_size=4,
        vision_feature_select_strategy="default",
        chat_template=template("<video>", "<image>"),
    )
    return LlavaNextVideoForConditionalGeneration(config), made


def video_llava() -> tuple[Any, Any]:
    """A tiny Video-LLaVA: [CLS] and 6 x 6 patches of 4."""
    words = tokenizer(["<|im_start|>", "<|im_end|>", "<image>", "<video>"])
    vision = CLIPVisionConfig(
        hidden_size=16, intermediate_size=24, num_hidden_layers=3, num_attention_heads=2, image_size=24,
        patch_size=4,
    )  # fmt: skip
    config = VideoLlavaConfig(
        vision_config=vision,
        text_config=LlamaConfig(**TEXT, vocab_size=len(words), bos_token_id=1, eos_token_id=2),
        image_token_id=words.convert_tokens_to_ids("<image>"),
        video_token_id=words.convert_tokens_to_ids("<video>"),
        image_seq_length=36,
        video_seq_length=37,
    )
    size = {"size": {"shortest_edge": 24}, "crop_size": {"height": 24, "width": 24}}
    made = VideoLlavaProcessor(
        image_processor=_video_processor("VideoLlavaImageProcessor", **size),
        video_processor=_video_processor("VideoLlavaVideoProcessor", **size),
        tokenizer=words,
        patch_size=4,
        chat_template=template("<video>", "<image>"),
    )
    return VideoLlavaForConditionalGeneration(config), made


def internvl() -> tuple[Any, Any]:
    """A tiny InternVL: 6 x 6 patches of 4, shuffled to 3 x 3."""
    words = tokenizer(["<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>", "<video>"])
    words._set_model_specific_special_tokens({
        "start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<video>",
    })  # fmt: skip
    vision = InternVLVisionConfig(
        hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, image_size=[24, 24],
        patch_size=[4, 4],
    )  # fmt: skip
    config = InternVLConfig(
        vision_config=vision.to_dict(),
        text_config=Qwen2Config(**TEXT, vocab_size=len(words)).to_dict(),
        image_token_id=words.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=9,
    )
    size = {"size": {"height": 24, "width": 24}}
    made = InternVLProcessor(
        image_processor=_video_processor("GotOcr2ImageProcessor", **size),
        tokenizer=words,
        video_processor=_video_processor("InternVLVideoProcessor", **size),
        image_seq_length=9,
        chat_template=template("<video>\n", "<IMG_CONTEXT>\n"),
    )
    return InternVLForConditionalGeneration(config), made


def video_llama_3() -> tuple[Any, Any]:
    """A tiny VideoLLaMA3: patches of 4, merged 2 x 2 in videos."""
    words = tokenizer(QWEN)
    vision = VideoLlama3VisionConfig(
        hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, patch_size=4
    )
    config = VideoLlama3Config(
        vision_config=vision.to_dict(),
        text_config=Qwen2Config(**TEXT, vocab_size=len(words)).to_dict(),
        image_token_id=words.convert_tokens_to_ids("<|image_pad|>"),
        video_token_id=words.convert_tokens_to_ids("<|video_pad|>"),
    )
    sizes = {"patch_size": 4, "merge_size": 2, "size": {"shortest_edge": 64, "longest_edge": 1 << 20}}
    made = VideoLlama3Processor(
        image_processor=_video_processor("VideoLlama3ImageProcessor", **sizes),
        tokenizer=words,
        video_processor=_video_processor("VideoLlama3VideoProcessor", **sizes),
        chat_template=template("<|video_pad|>", "<|image_pad|>"),
    )
    return VideoLlama3ForConditionalGeneration(config), made


def qwen3_vl() -> tuple[Any, Any]:
    """A tiny Qwen3-VL: patches of 4, merged 2 x 2, with tokens of their own for one layer."""
    words = tokenizer(QWEN)
    ids = {f"{name}_token_id": words.convert_tokens_to_ids(f"<|{pad}|>") for name, pad in (
        ("video", "video_pad"), ("image", "image_pad"), ("vision_start", "vision_start"),
        ("vision_end", "vision_end"),
    )}  # fmt: skip
    text = {**TEXT, "vocab_size": len(words), "head_dim": 8, "rope_parameters": {
        "rope_type": "default", "mrope_section": [2, 1, 1], "mrope_interleaved": True, "rope_theta": 1e4
    }}  # fmt: skip
    vision = {
        "depth": 2, "num_heads": 2, "patch_size": 4, "spatial_merge_size": 2, "temporal_patch_size": 2,
        "hidden_size": 16, "out_hidden_size": 32, "intermediate_size": 24, "num_position_embeddings": 36,
        "deepstack_visual_indexes": [0],
    }  # fmt: skip
    config = Qwen3VLConfig(text_config=text, vision_config=vision, **ids)
    sizes = {
        "patch_size": 4, "merge_size": 2, "temporal_patch_size": 2,
        "size": {"shortest_edge": 64, "longest_edge": 1 << 20},
    }  # fmt: skip
    made = Qwen3VLProcessor(
        image_processor=_video_processor("Qwen2VLImageProcessor", **sizes),
        tokenizer=words,
        video_processor=_video_processor("Qwen3VLVideoProcessor", **sizes),
        chat_template=template(
            "<|vision_start|><|video_pad|><|vision_end|>", "<|vision_start|><|image_pad|><|vision_end|>"
        ),
    )
    return Qwen3VLForConditionalGeneration(config), made


def smolvlm() -> tuple[Any, Any]:
    """A tiny SmolVLM2: 6 x 6 patches of 4, shuffled to 3 x 3."""
    special = (
        "<fake_token_around_image> <image> <global-img> <end_of_utterance> <video> <|im_start|> <|im_end|>"
    )
    words = tokenizer(special.split())
    vision = {
        "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
        "image_size": 24, "patch_size": 4,
    }  # fmt: skip
    config = SmolVLMConfig(
        vision_config=vision,
        text_config=LlamaConfig(**TEXT, vocab_size=len(words), bos_token_id=1, eos_token_id=2).to_dict(),
        image_token_id=words.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        pad_token_id=0,
    )
    size = {"size": {"longest_edge": 24}, "max_image_size": {"longest_edge": 24}}
    made = SmolVLMProcessor(
        image_processor=_video_processor("SmolVLMImageProcessor", **size),
        tokenizer=words,
        video_processor=_video_processor("SmolVLMVideoProcessor", **size, num_frames=64, fps=1),
        image_seq_len=9,
        chat_template=template("<video>", "<image>"),
    )
    return SmolVLMForConditionalGeneration(config), made


def gemma3() -> tuple[Any, Any]:
    """A tiny Gemma 3: 6 x 6 patches of 4, pooled to 3 x 3; its window is longer than any prompt here."""
    special = ["<|im_start|>", "<|im_end|>", "<start_of_image>", "<image_soft_token>", "<end_of_image>"]
    words = tokenizer(special)
    words._set_model_specific_special_tokens({
        "boi_token": "<start_of_image>", "image_token": "<image_soft_token>", "eoi_token": "<end_of_image>"
    })  # fmt: skip
    vision = SiglipVisionConfig(
        hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, image_size=24,
        patch_size=4,
    )  # fmt: skip
    text = Gemma3TextConfig(
        **{**TEXT, "head_dim": 8}, vocab_size=len(words), sliding_window=4096, bos_token_id=1, eos_token_id=2
    )
    config = Gemma3Config(
        vision_config=vision.to_dict(),
        text_config=text.to_dict(),
        mm_tokens_per_image=9,
        boi_token_index=words.convert_tokens_to_ids("<start_of_image>"),
        eoi_token_index=words.convert_tokens_to_ids("<end_of_image>"),
        image_token_id=words.convert_tokens_to_ids("<image_soft_token>"),
    )
    size = {"size": {"height": 24, "width": 24}}
    made = Gemma3Processor(
        image_processor=_video_processor("Gemma3ImageProcessor", **size),
        tokenizer=words,
        image_seq_length=9,
        chat_template=template("", "<start_of_image>"),
    )
    model = Gemma3ForConditionalGeneration(config)
    torch.nn.init.normal_(model.model.multi_modal_projector.mm_input_projection_weight, std=0.3)  # else zeros
    return model, made


def perception_lm() -> tuple[Any, Any]:
    """A tiny PerceptionLM: 6 x 6 patches of 4, pooled to 3 x 3."""
    words = tokenizer(["<|im_start|>", "<|im_end|>", "<|image|>", "<|video|>"])
    words._set_model_specific_special_tokens({"image_token": "<|image|>", "video_token": "<|video|>"})
    config = PerceptionLMConfig(
        vision_config={
            "architecture": "vit_pe_core_large_patch14_336",
            "model_args": {
                "embed_dim": 16, "img_size": [24, 24], "patch_size": 4, "depth": 2, "num_heads": 2,
                "mlp_ratio": 2, "global_pool": "", "use_post_transformer_norm": False, "init_values": 0.1,
                "ref_feat_shape": [6, 6],
            },
        },
        text_config=LlamaConfig(**TEXT, vocab_size=len(words), bos_token_id=1, eos_token_id=2).to_dict(),
        vision_use_cls_token=True,
        projector_pooling_ratio=2,
        image_token_id=words.convert_tokens_to_ids("<|image|>"),
        video_token_id=words.convert_tokens_to_ids("<|video|>"),
    )  # fmt: skip
    size = {"size": {"height": 24, "width": 24}}
    made = PerceptionLMProcessor(
        image_processor=_video_processor("PerceptionLMImageProcessor", **size, tile_size=24, max_num_tiles=1),
        tokenizer=words,
        video_processor=_video_processor("PerceptionLMVideoProcessor", **size),
        patch_size=4,
        pooling_ratio=2,
        chat_template=template("<|video|>", "<|image|>"),
    )
    return PerceptionLMForConditionalGeneration(config), made


MAKERS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "qwen2_vl": lambda: qwen("qwen2_vl"),
    "qwen2_5_vl": lambda: qwen("qwen2_5_vl"),
    "llava_onevision": llava_onevision,
    "llava_next_video": llava_next_video,
    "video_llava": video_llava,
    "internvl": internvl,
    "smolvlm": smolvlm,
    "perception_lm": perception_lm,
    "gemma3": gemma3,
    "video_llama_3": video_llama_3,
    "qwen3_vl": qwen3_vl,
}


def make(kind: str, layers: int = 2) -> tuple[Any, Any]:
    """A model of a family, in evaluation, with so many layers in its language model, and its processor."""
    torch.manual_seed(7)
    with patch.dict(TEXT, num_hidden_layers=layers):
        model, processor = MAKERS[kind]()
    model.generation_config.pad_token_id = processor.tokenizer.pad_token_id
    model.generation_config.eos_token_id = processor.tokenizer.eos_token_id
    return model.eval(), processor


def save(kind: str, folder: Path) -> Path:
    """The same in a folder, as `from_pretrained` reads it."""
    model, processor = make(kind)
    model.save_pretrained(folder / kind)
    processor.save_pretrained(folder / kind)
    return folder / kind


def save_clip(folder: Path) -> Path:
    """A tiny CLIP with a tokenizer, for a scorer."""
    torch.manual_seed(11)
    words = tokenizer([])
    part = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config={
            **part,
            "vocab_size": len(words),
            "max_position_embeddings": 32,
            "bos_token_id": 1,
            "eos_token_id": 2,
        },
        vision_config={**part, "image_size": 16, "patch_size": 4},
        projection_dim=12,
    )
    CLIPModel(config).save_pretrained(folder / "clip")
    words.save_pretrained(folder / "clip")
    assert AutoTokenizer.from_pretrained(folder / "clip").pad_token == "<pad>"
    return folder / "clip"
