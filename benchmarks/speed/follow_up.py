"""Measure G10: a second question about the same visual tokens, with the prompt's states kept."""

import statistics
import time

import torch
from transformers import CLIPVisionConfig, Qwen2Config

from benchmarks.speed.model import with_random_weights
from benchmarks.speed.result import Figure
from bvllm.common.text import Question
from bvllm.common.threads import one_kernel_thread
from bvllm.inference.loading import LoadedModel
from bvllm.inference.session import PromptCache
from bvllm.model import BVLLMConfig
from bvllm.model.outputs import BVLLMVisualOutput
from bvllm.synthetic.tokenizer import VIDEO, build_tokenizer

VISUAL_TOKENS = 640
QUESTION = "which of the words was shown before the second red star and after the first blue circle?"


def follow_up(rounds: int) -> list[Figure]:
    """Time to the first token of an answer, with and without what the first question left behind.

    A language model of Qwen2-0.5B's shape in bfloat16 on one thread; weights and visual tokens are random.
    """
    loaded, visual = _half_a_billion()
    fresh, kept = [], []
    prompt = PromptCache()
    with torch.inference_mode(), one_kernel_thread():
        loaded.generate(loaded.read(Question("how many?")), visual, 1, prompt)
        for _ in range(rounds):
            fresh.append(_cpu_seconds(loaded, visual, PromptCache()))
            kept.append(_cpu_seconds(loaded, visual, prompt))
    slow, fast = statistics.median(fresh), statistics.median(kept)
    details = {"fresh_s": slow, "kept_s": fast, "visual_tokens": VISUAL_TOKENS}
    what = "follow-up question on the same visual tokens, prompt kept"
    return [Figure("G10", what, slow / fast, 4.0, details=details)]


def _cpu_seconds(loaded: LoadedModel, visual: BVLLMVisualOutput, prompt: PromptCache) -> float:
    started = time.process_time()
    loaded.generate(loaded.read(Question(QUESTION)), visual, 1, prompt)
    return time.process_time() - started


def _half_a_billion() -> tuple[LoadedModel, BVLLMVisualOutput]:
    tokenizer = build_tokenizer()
    video = tokenizer.convert_tokens_to_ids(VIDEO)
    text = Qwen2Config(
        vocab_size=151_936,
        hidden_size=896,
        intermediate_size=4864,
        num_hidden_layers=24,
        num_attention_heads=14,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    config = BVLLMConfig(
        vision_config=CLIPVisionConfig(hidden_size=64, num_hidden_layers=2, num_attention_heads=2).to_dict(),
        text_config=text.to_dict(),
        budget_tokens=VISUAL_TOKENS,
        video_token_id=video,
        frame_selector="uniform",
        token_sampler="pool",
        tie_word_embeddings=True,
    )
    loaded = with_random_weights(config, "half a billion")
    tokens = torch.randn(VISUAL_TOKENS, text.hidden_size).bfloat16()
    return loaded, BVLLMVisualOutput([tokens], [VISUAL_TOKENS])
