"""Build full configurations by functions: each call returns a new one, so change it before use."""

from transformers import CLIPVisionConfig, InstructBlipQFormerConfig, InstructBlipVisionConfig, Qwen2Config

from bvllm.model import BVLLMConfig

# About 1 / sqrt(width). From the usual 0.02, attention this narrow starts almost uniform: a nano LLM could
# not look anything up after 650 steps; from here it does after 300.
INITIALIZER_RANGE = 0.07
NANO_MEAN = NANO_STD = (0.5, 0.5, 0.5)
NANO_PLACES = 16  # channels that tell of places


def nano(vocabulary: int, *, pad_token_id: int, eos_token_id: int, video_token_id: int) -> BVLLMConfig:
    """The embedded model: everything of B-VLLM, at a size that a laptop trains in an hour or two.

    Where it leaves the paper: 8 tokens a frame instead of 32 (a nano frame has 64 patches), Q-Formers of two
    layers that cross-attend in each, and a selector that knows where in the video a frame stands.
    """
    q_former = _small_q_former(vocabulary, pad_token_id, width=128, heads=4, inner=384)
    text = nano_text(vocabulary, pad_token_id=pad_token_id, eos_token_id=eos_token_id)
    return BVLLMConfig(
        vision_config=nano_vision().to_dict(),
        frame_qformer_config=q_former,
        spatial_qformer_config=q_former,
        text_config=text.to_dict(),
        num_selected_frames=32,
        tokens_per_frame=8,
        budget_tokens=512,
        time_channels=32,
        place_channels=NANO_PLACES,
        second_choices=0.2,
        video_token_id=video_token_id,
        image_token_id=video_token_id,
        tie_word_embeddings=True,
    )


def nano_vision() -> CLIPVisionConfig:
    """A CLIP tower for 128 x 128 pixels: 8 x 8 patches of 128 channels."""
    return CLIPVisionConfig(
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=5,
        num_attention_heads=4,
        image_size=128,
        patch_size=16,
        hidden_act="gelu",
    )


def nano_text(vocabulary: int, *, pad_token_id: int, eos_token_id: int) -> Qwen2Config:
    """A Qwen2 of 2 million parameters."""
    return Qwen2Config(
        vocab_size=vocabulary,
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=5,
        num_attention_heads=6,
        num_key_value_heads=6,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        use_sliding_window=False,
        initializer_range=INITIALIZER_RANGE,
        pad_token_id=pad_token_id,
        eos_token_id=eos_token_id,
        bos_token_id=None,
    )


def paper_7b() -> BVLLMConfig:
    """The paper's model (Sec. 3.5 and 7.4): EVA-CLIP and Q-Formers before a Qwen2, here Qwen2-7B-Instruct.

    The text names no sizes but 7.6 + 1.2 billion parameters (Table 8). Tower and Q-Formers are
    InstructBLIP's, as in the authors' released code: EVA ViT-g, here at the 224 x 224 pixels that it was
    trained on, 256 patches a frame. (The released scripts run it at 336, 576 patches; Sec. 3.4 names both
    numbers, Sec. 7.4 counts 768.) The Q-Formers read what the tower gives behind its last LayerNorm, as they
    were trained to. Tokens carry no clock: the paper has none. gamma 0.75 and theta 512 are ours (see
    `BVLLMConfig`): Sec. 7.4 has 32 x 32 tokens and names no limit, and Sec. 3.4 calls merging to one
    optional; 32 full frames are halved here. `budget_tokens` 1024 keeps them whole. The sizes are those of
    the released parts, for a plan without their weights; `bvllm.model.assemble.assemble` reads them from the
    parts themselves.
    """
    q_former = {"vocab_size": 30523, "encoder_hidden_size": 1408}
    text = Qwen2Config(
        vocab_size=152064,
        hidden_size=3584,
        intermediate_size=18944,
        num_hidden_layers=28,
        num_attention_heads=28,
        num_key_value_heads=4,
        max_position_embeddings=32768,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        tie_word_embeddings=False,
    )
    return BVLLMConfig(
        vision_config=InstructBlipVisionConfig().to_dict(),
        frame_qformer_config=InstructBlipQFormerConfig(**q_former).to_dict(),
        spatial_qformer_config=InstructBlipQFormerConfig(**q_former).to_dict(),
        text_config=text.to_dict(),
        vision_feature_layer="final",
        clock=False,
    )


def tiny(vocabulary: int, *, pad_token_id: int, eos_token_id: int, video_token_id: int) -> BVLLMConfig:
    """For tests and first steps: every part, trained in a minute on two CPU cores. It is no use."""
    q_former = _small_q_former(vocabulary, pad_token_id, width=32, heads=2, inner=64)
    vision = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=64,
        patch_size=16,
        initializer_range=INITIALIZER_RANGE,
    )
    text = Qwen2Config(
        vocab_size=vocabulary,
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        use_sliding_window=False,
        initializer_range=INITIALIZER_RANGE,
        pad_token_id=pad_token_id,
        eos_token_id=eos_token_id,
        bos_token_id=None,
    )
    return BVLLMConfig(
        vision_config=vision.to_dict(),
        frame_qformer_config=q_former,
        spatial_qformer_config=q_former,
        text_config=text.to_dict(),
        num_selected_frames=8,
        tokens_per_frame=4,
        budget_tokens=16,
        time_channels=8,
        video_token_id=video_token_id,
        image_token_id=video_token_id,
        tie_word_embeddings=True,
    )


def _small_q_former(
    vocabulary: int, pad_token_id: int, *, width: int, heads: int, inner: int
) -> dict[str, object]:
    """A Q-Former of two layers that cross-attends in each, for a tower of its own width."""
    return InstructBlipQFormerConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=2,
        num_attention_heads=heads,
        intermediate_size=inner,
        max_position_embeddings=256,
        cross_attention_frequency=1,
        encoder_hidden_size=width,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        pad_token_id=pad_token_id,
        initializer_range=INITIALIZER_RANGE,
    ).to_dict()
