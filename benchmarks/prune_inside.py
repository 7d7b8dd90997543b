"""What dropping tokens inside the language model saves: the time to read a prompt, by what is kept.

    python -m benchmarks.prune_inside [--frames 228] [--rounds 3]

A LLaVA-OneVision of random weights (16 layers of 256 channels, 9 tokens a frame) reads the same prompt,
first with FastV keeping less and less, then with every method as it was published; scoring is in the time.
Seconds are the processor's, on one thread, so that what else runs hardly counts; rounds take turns, and the
fastest counts.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace

import torch

from tests import torchvision_apart  # noqa: F401  # before transformers looks for it
from tests.model.backbones import tiny_families

LANGUAGE = {
    "hidden_size": 256,
    "intermediate_size": 768,
    "num_hidden_layers": 16,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32768,
    "initializer_range": 0.02,
}
SIDE = 24
KEPT = (0.75, 0.5, 0.25, 0.1)


def fastest(works: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Seconds of the fastest of some rounds of each, after one that does not count."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds + 1):
        for name, work in works.items():
            started = time.process_time()
            work()
            taken[name].append(time.process_time() - started)
    return {name: min(seconds[1:]) for name, seconds in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=228)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()

    from transformers import DynamicCache

    from bvllm import METHODS, balance
    from bvllm.common.text import Question
    from bvllm.methods.names import MethodNames
    from bvllm.model.backbones.families import placeholder_id
    from bvllm.model.backbones.pruning.applier import prune_inside
    from bvllm.types import Budget, FrameSelection

    torch.set_num_threads(1)
    torch.manual_seed(7)
    tiny_families.TEXT.update(LANGUAGE)
    model, processor = tiny_families.llava_onevision()
    video_llm = balance(model.eval(), processor, pipeline="uniform", frame_size=(SIDE, SIDE))
    frames = torch.randint(0, 256, (options.frames, 3, SIDE, SIDE), dtype=torch.uint8)
    asked = video_llm.read(Question("what is red"))
    chosen = FrameSelection.of(torch.arange(options.frames), torch.arange(float(options.frames)).double())
    layers = LANGUAGE["num_hidden_layers"]
    with torch.inference_mode():
        patches = video_llm.patch_features(frames)
        every = MethodNames(merge_tokens="none")
        visual = video_llm.reduce(patches, chosen, asked, Budget(10**6), every)
        given = video_llm.prompt.inputs(asked, visual)
        places = given["input_ids"] == placeholder_id(model)
        tokens = int(places.sum())

        def whole() -> object:
            return model(
                **given, past_key_values=DynamicCache(config=model.config.text_config), logits_to_keep=1
            )

        def pruned(method, budget: int) -> Callable[[], object]:
            def work() -> object:
                with prune_inside(model, method, places, budget) as pruning:
                    return model(**given, past_key_values=pruning.cache, logits_to_keep=1)

            return work

        fastv = METHODS["prune_layers"]["fastv"]
        methods = {f"fastv keeps {share:g}": replace(fastv(), cuts=((2, share),)) for share in KEPT}
        methods |= {name: made() for name, made in METHODS["prune_layers"].items()}
        means = {name: method.shape(layers).mean for name, method in methods.items()}
        budgets = {name: int(tokens * mean) + 1 for name, mean in means.items()}
        works = {"all": whole} | {name: pruned(method, budgets[name]) for name, method in methods.items()}
        found = fastest(works, options.rounds)
    print(f"{tokens} visual tokens, {layers} layers: read in {found['all']:.2f} s")
    print("| method | mean tokens | of all | seconds | of all |\n|---|---|---|---|---|")
    for name, method in methods.items():
        mean = method.schedule(tokens, budgets[name], layers).mean
        seconds = f"{found[name]:.2f} | {found[name] / found['all']:.3f}"
        print(f"| {name} | {mean:.0f} | {mean / tokens:.3f} | {seconds} |")


if __name__ == "__main__":
    main()
