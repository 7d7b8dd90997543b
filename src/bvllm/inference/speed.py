"""Time a few layers of random numbers to estimate how fast a model of that shape would run here."""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig

from bvllm.common.threads import one_kernel_thread
from bvllm.inference.loading import CHUNK
from bvllm.model import BVLLMConfig
from bvllm.model.fast_tower import fast_tower
from bvllm.model.vision_tower import frame_features, frame_size, tower_of

ANSWER_TOKENS = 16  # a short answer
PROMPT_TOKENS = 40  # the question and what the chat template puts around it
MOST_WORK = 2e9  # weights x tokens that are run at a time: about a second on one core
FEWEST_WORDS = 64  # rows of the sample's vocabulary: looking up words costs nothing
TRIES = 3


@dataclass(frozen=True)
class ModelSpeed:
    """Seconds of one core: per frame looked at, to read the prompt, and per token written."""

    frame: float
    read: float
    token: float
    device: str


def model_speed(config: BVLLMConfig, tokens: int) -> ModelSpeed:
    """Time a few layers of the tower and of the language model, and multiply.

    Args:
        config: the model's shape; its weights are not read.
        tokens: visual tokens in the prompt.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = torch.float32 if device.type == "cpu" else config.dtype or torch.float32  # as it is loaded
    with torch.inference_mode(), one_kernel_thread():
        frame = _tower(config.vision_config, device, dtype)
        read = _language(config.text_config, tokens + PROMPT_TOKENS, device, dtype)
        token = _language(config.text_config, 1, device, dtype)
    return ModelSpeed(frame, read, token, device.type)


def _tower(config: PreTrainedConfig, device: torch.device, dtype: torch.dtype) -> float:
    height, width = frame_size(config)
    sample, scale = _sample(config, (height // 16) * (width // 16) * CHUNK)
    record = tower_of(sample)
    tower = record.model._from_config(sample).eval().to(device, dtype)
    fast = fast_tower(tower, record.mean, record.std)
    if fast is not None:
        count = max(CHUNK, fast.step)
        frames = torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8)
        return scale * _timed(lambda: fast.frame_features(frames), device) / count
    pixels = torch.rand(CHUNK, 3, height, width, device=device, dtype=dtype)
    return scale * _timed(lambda: frame_features(tower, pixels), device) / CHUNK


def _language(config: PreTrainedConfig, tokens: int, device: torch.device, dtype: torch.dtype) -> float:
    sample, scale = _sample(config, tokens)
    sample.vocab_size = FEWEST_WORDS
    for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
        setattr(sample, name, None)  # those of the large vocabulary are not in this one
    model = AutoModelForCausalLM.from_config(sample).eval().to(device, dtype)
    ids = torch.zeros(1, tokens, dtype=torch.long, device=device)
    return scale * _timed(lambda: model(ids, logits_to_keep=1), device)


def _sample(config: PreTrainedConfig, tokens: int) -> tuple[PreTrainedConfig, float]:
    """The configuration with as many layers as run in a moment, and what to multiply their time with."""
    sample = copy.deepcopy(config)
    weights = 4 * config.hidden_size**2 + 3 * config.hidden_size * config.intermediate_size
    layers = max(1, min(config.num_hidden_layers, int(MOST_WORK / (weights * tokens))))
    sample.num_hidden_layers = layers
    if getattr(sample, "layer_types", None) is not None:  # some language models name the kind of each layer
        sample.layer_types = sample.layer_types[:layers]
    return sample, config.num_hidden_layers / layers


def _timed(work: Callable[[], object], device: torch.device) -> float:
    """The least of a few tries: what disturbs a measurement only ever makes it longer."""
    found = []
    for _ in range(TRIES):
        if device.type == "cuda":
            torch.cuda.synchronize()
            started = time.perf_counter()
            work()
            torch.cuda.synchronize()
            found.append(time.perf_counter() - started)
        else:
            started = time.process_time()
            work()
            found.append(time.process_time() - started)
    return min(found)
