"""What variants of the miniature say when they may speak, beside what the exam marks.

    python -m experiments.reproduction.free_answers MINIATURE full none [--seeds 1 2 3]

The exam lets a model say what its answer rests on, up to "=" (`00:11, 01:06 = 2`), and then compares the
options' words. Here the same models answer the same questions greedily, and what stands behind the last "="
counts, as in `bvllm eval`.
"""

import argparse
from collections import defaultdict
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from bvllm.common.reply import named_letter
from bvllm.data.chat import LETTERS
from bvllm.model import BVLLMForConditionalGeneration
from bvllm.nano.feature_cache import FeatureCache
from bvllm.nano.steps import TrainingClip, mix_patches, question_tokens, select_batch
from bvllm.nano.train import stage_model
from bvllm.synthetic.tokenizer import build_tokenizer
from experiments.reproduction.prepare import scale_of
from experiments.reproduction.questions import FAMILIES
from experiments.reproduction.run import exam_of
from experiments.reproduction.scale import World
from experiments.reproduction.score import likeliest_options, prompt_of

LONGEST_REPLY = 60  # tokens
BATCH = 16


def spoken(
    model: BVLLMForConditionalGeneration,
    tokenizer: PreTrainedTokenizerBase,
    clip: TrainingClip,
    tokens: Tensor,
) -> str:
    """The reply, greedily."""
    embed = model.get_input_embeddings()
    said: list[int] = []
    x, cache = prompt_of(tokenizer, embed, clip, tokens)[None], None
    for _ in range(LONGEST_REPLY):
        out = model.model.language_model(inputs_embeds=x, past_key_values=cache, use_cache=True)
        cache, token = out.past_key_values, int(model.lm_head(out.last_hidden_state[0, -1]).argmax())
        if token == tokenizer.eos_token_id:
            break
        said.append(token)
        x = embed(torch.tensor([[token]]))
    return tokenizer.decode(said)


@torch.inference_mode()
def compare(
    model: BVLLMForConditionalGeneration,
    tokenizer: PreTrainedTokenizerBase,
    bank: FeatureCache,
    clips: list[TrainingClip],
) -> list[tuple[str, bool, bool]]:
    """Task, whether the exam marks it right, whether what is said is right."""
    found = []
    for start in range(0, len(clips), BATCH):
        batch = clips[start : start + BATCH]
        ids, mask = question_tokens(tokenizer, batch)
        chosen, _, _ = select_batch(model, bank, batch, ids, mask)
        patches = torch.cat([mix_patches(bank, c, s) for c, s in zip(batch, chosen, strict=True)])
        visual = model.model.reduce_to_budget(patches, chosen, ids, mask).pooler_output
        liked = likeliest_options(model, tokenizer, batch, visual, evidence=True)
        for clip, tokens, option in zip(batch, visual, liked, strict=True):
            question = clip.example.question
            letter = named_letter(spoken(model, tokenizer, clip, tokens), question.options)
            found.append((question.task, option == question.right, letter == LETTERS[question.right]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("variants", nargs="+")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    options = parser.parse_args()
    torch.set_num_threads(1)
    tokenizer, scale = build_tokenizer(), scale_of(options.folder)
    print("| variant | world | tasks | questions | exam | spoken |\n|---|---|---|---|---|---|")
    for variant in options.variants:
        marks: dict[tuple[str, str], list[tuple[bool, bool]]] = defaultdict(list)
        for seed in options.seeds:
            model = stage_model(options.folder / "models" / f"{variant}-{seed}").eval()
            bank, asked = exam_of(options.folder, scale, model.config.num_selected_frames)
            for (world, duration), clips in asked.items():
                if duration == "image":
                    continue
                for task, exam, said in compare(model, tokenizer, bank, clips):
                    for name in (family_of(world, task), "all videos"):
                        marks[world, name].append((exam, said))
        for (world, name), pairs in sorted(marks.items()):
            exam, said = (100 * sum(column) / len(pairs) for column in zip(*pairs, strict=True))
            row = f"| {variant} | {world} | {name} | {len(pairs)} | {exam:.1f} % | {said:.1f} % |"
            print(row, flush=True)


def family_of(world: World, task: str) -> str:
    """The family of a task."""
    return next(name for name, tasks in FAMILIES[world].items() if task in tasks)


if __name__ == "__main__":
    main()
