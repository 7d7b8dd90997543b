"""What a budget saves on a transformers video model: reading the prompt with all tokens, and with an eighth.

    python -m benchmarks.wrapped [--frames 32] [--rounds 3] [--tower tiny|released]

A Qwen2.5-VL of random weights reads the same frames both ways; reducing is in the time of the second. Ratios
of one run, in CPU time, so that a busy core does not change them; the goal is a sixth at most.

`--tower released` asks instead what reducing costs beside encoding (goal 3 % at most), which only a tower of
the released size can say: 32 layers of Qwen2.5-VL-3B's sizes, one layer's weights for all of them, which
takes as long and 80 MB. Frames are encoded each alone, so one of them is, and stands for the others.
"""

import argparse
import time
from collections.abc import Callable

import torch
from torch import nn

from tests import torchvision_apart  # noqa: F401  # before transformers looks for it
from tests.model.backbones import tiny_families

SHARE = 8
RELEASED = {  # the tower of Qwen2.5-VL-3B, but for its depth
    "hidden_size": 1280,
    "intermediate_size": 3420,
    "num_heads": 16,
    "patch_size": 14,
    "window_size": 112,
    "fullatt_block_indexes": [7, 15, 23, 31],
}
DEPTH, WIDTH = 32, 2048  # of its layers, and of its language model's channels
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
    """CPU seconds of the fastest of some rounds, after one that does not count."""
    work()
    taken = []
    for _ in range(rounds):
        started = time.process_time()
        work()
        taken.append(time.process_time() - started)
    return min(taken)


def reading(frames: int, rounds: int) -> None:
    """Prefill with every token, against an eighth of them and the reduction to it."""
    from bvllm import balance
    from bvllm.common.text import Question
    from bvllm.methods.names import MethodNames
    from bvllm.types import Budget, FrameSelection

    tiny_families.TEXT.update(LANGUAGE)
    model, processor = tiny_families.qwen("qwen2_5_vl", out=512, sections=[8, 12, 12])
    video_llm = balance(model.eval(), processor, pipeline="uniform")
    shown = torch.randint(0, 256, (frames, 3, *video_llm.frame_size), dtype=torch.uint8)
    asked = video_llm.read(Question("what is red"))
    selection = FrameSelection.of(torch.arange(frames), torch.arange(float(frames)).double())
    with torch.inference_mode():
        patches = video_llm.patch_features(shown)
        tokens = len(patches) * patches.shape[1]
        budget, every = Budget(tokens=tokens // SHARE), MethodNames(merge_tokens="none")

        def reduced() -> object:
            return video_llm.reduce(patches, selection, asked, budget)

        whole = video_llm.prompt.inputs(
            asked, video_llm.reduce(patches, selection, asked, Budget(tokens), every)
        )
        full = seconds(lambda: model(**whole, logits_to_keep=1), rounds)
        reducing = seconds(reduced, rounds)
        fewer = video_llm.prompt.inputs(asked, reduced())
        less = seconds(lambda: model(**fewer, logits_to_keep=1), rounds)
    method = f"{less:.2f} s and {reducing:.2f} s of reducing"
    print(f"{tokens} tokens are read in {full:.2f} s, {budget.tokens} in {method}")
    print(f"ratio {(less + reducing) / full:.3f} (goal 0.167)")


def overhead(frames: int, rounds: int) -> None:
    """Encoding with a tower of the released size, against reducing what it gave to an eighth."""
    from bvllm import balance
    from bvllm.common.text import Question
    from bvllm.methods.names import MethodNames
    from bvllm.types import Budget, FrameSelection

    tiny_families.TEXT.update(LANGUAGE, hidden_size=WIDTH, num_hidden_layers=1)
    model, processor = tiny_families.qwen(
        "qwen2_5_vl", out=WIDTH, sections=[32, 48, 48], tower={**RELEASED, "depth": 1}
    )
    tower = model.base_model.visual
    tower.blocks = nn.ModuleList([tower.blocks[0]] * DEPTH)
    video_llm = balance(model.eval(), processor, pipeline="uniform")
    frame = torch.randint(0, 256, (1, 3, *video_llm.frame_size), dtype=torch.uint8)
    asked = video_llm.read(Question("what is red"))
    selection = FrameSelection.of(torch.arange(frames), torch.arange(float(frames)).double())
    with torch.inference_mode():
        taken, one = [], torch.empty(0)
        for _ in range(rounds):  # no warm-up: beside half a minute it is nothing
            started = time.process_time()
            [one] = video_llm.patch_features(frame)
            taken.append(time.process_time() - started)
        each = min(taken)
        patches = one + one.std() * torch.randn(frames, *one.shape)  # frames that are not all the same
        budget = Budget(tokens=patches[..., 0].numel() // SHARE)
        print(f"a frame of {len(one)} tokens is encoded in {each:.2f} s; {frames} of them are reduced")
        for policy in ("none", "balanced"):
            names = MethodNames(tokens_policy=policy)
            reducing = seconds(lambda: video_llm.reduce(patches, selection, asked, budget, names), 3)  # noqa: B023
            share = reducing / (frames * each)
            print(f"to {budget.tokens} in {reducing:.3f} s (shares: {policy}): {share:.2%} (goal 3 %)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tower", choices=("tiny", "released"), default="tiny")
    options = parser.parse_args()
    torch.set_num_threads(1)  # threads that wait for one another spin, and CPU time counts it
    measure = overhead if options.tower == "released" else reading
    measure(options.frames, options.rounds)


if __name__ == "__main__":
    main()
