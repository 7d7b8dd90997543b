"""What a budget saves on a transformers video model: reading the prompt with all tokens, and with an eighth.

    python -m benchmarks.wrapped [--frames 32] [--rounds 3] [--tower tiny|released]

A Qwen2.5-VL of random weights (8 layers of 512 channels, 256 tokens a frame) reads the same frames both
ways; reducing is in the time of the second. Ratios of one run; the goal is a sixth at most. Also what
reducing costs beside encoding, which only a tower as large as the released one can say (`--tower released`
with few frames: half a minute each on a busy core).
"""

import argparse
import time
from collections.abc import Callable

import torch

from tests import torchvision_apart  # noqa: F401  # before transformers looks for it
from tests.model.backbones import tiny_families

SHARE = 8
TOWERS = {
    "tiny": {},
    "released": {  # of Qwen2.5-VL-3B
        "depth": 32,
        "hidden_size": 1280,
        "intermediate_size": 3420,
        "num_heads": 16,
        "patch_size": 14,
        "window_size": 112,
        "fullatt_block_indexes": [7, 15, 23, 31],
    },
}
LANGUAGE = {
    "hidden_size": 512,
    "intermediate_size": 1536,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 8,
    "max_position_embeddings": 32768,
    "initializer_range": 0.02,
}


def seconds(work: Callable[[], object], rounds: int) -> float:
    """The fastest of some rounds, after one that does not count."""
    work()
    taken = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return min(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tower", choices=TOWERS, default="tiny")
    options = parser.parse_args()

    from bvllm import balance
    from bvllm.common.text import Question
    from bvllm.methods.names import MethodNames
    from bvllm.types import Budget, FrameSelection

    tiny_families.TEXT.update(LANGUAGE)
    model, processor = tiny_families.qwen(
        "qwen2_5_vl", out=512, sections=[8, 12, 12], tower=TOWERS[options.tower]
    )
    video_llm = balance(model.eval(), processor, pipeline="uniform")
    frames = torch.randint(0, 256, (options.frames, 3, *video_llm.frame_size), dtype=torch.uint8)
    asked = video_llm.read(Question("what is red"))
    selection = FrameSelection.of(torch.arange(options.frames), torch.arange(float(options.frames)).double())
    with torch.inference_mode():
        encoding = seconds(lambda: video_llm.patch_features(frames), options.rounds)
        patches = video_llm.patch_features(frames)
        tokens = len(patches) * patches.shape[1]
        budget, every = Budget(tokens=tokens // SHARE), MethodNames(merge_tokens="none")

        def reduced() -> object:
            return video_llm.reduce(patches, selection, asked, budget)

        whole = video_llm.prompt.inputs(
            asked, video_llm.reduce(patches, selection, asked, Budget(tokens), every)
        )
        full = seconds(lambda: model(**whole, logits_to_keep=1), options.rounds)
        reducing = seconds(reduced, options.rounds)
        fewer = video_llm.prompt.inputs(asked, reduced())
        less = seconds(lambda: model(**fewer, logits_to_keep=1), options.rounds)
    method = f"{less:.2f} s and {reducing:.2f} s of reducing"
    print(f"{tokens} tokens are read in {full:.2f} s, {budget.tokens} in {method}")
    print(
        f"ratio {(less + reducing) / full:.3f} (goal 0.167); reducing over encoding {reducing / encoding:.3f}"
    )


if __name__ == "__main__":
    main()
