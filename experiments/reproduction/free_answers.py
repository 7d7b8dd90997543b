"""What variants of the miniature say when they may speak, beside what the exam marks.

    python -m experiments.reproduction.free_answers MINIATURE full none [--seeds 1 2 3]

The exam scores the options' words right behind the prompt. Replies were taught with their evidence in front
of counts and of "yes" (`00:11, 01:06 = 2`), so that these tasks come out too low there. Here the same models
answer the same questions greedily, and what stands behind the last "=" counts, as in `bvllm eval`.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from bvllm.common.reply import named_letter
from bvllm.data.chat import LETTERS
from bvllm.inference.loading import load_model
from bvllm.model import BVLLMForConditionalGeneration
from bvllm.nano.feature_cache import FeatureCache
from bvllm.nano.steps import TrainingClip, mix_patches, question_tokens, select_batch
from experiments.reproduction.feature_caches import read_bank
from experiments.reproduction.run import SCALE
from experiments.reproduction.score import FAMILIES, likeliest_options, prompt_of, questions
from experiments.reproduction.train import EXAM_BANK

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
        liked = likeliest_options(model, tokenizer, batch, visual)
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
    tokenizer, bank = load_model("nano").processor.tokenizer, read_bank(options.folder / EXAM_BANK)
    scale = json.loads((options.folder / SCALE).read_text())
    family = {task: name for name, tasks in FAMILIES.items() for task in tasks}
    family["existence"] = "existence"
    print("| variant | tasks | questions | exam | spoken |\n|---|---|---|---|---|")
    for variant in options.variants:
        marks: dict[str, list[tuple[bool, bool]]] = defaultdict(list)
        for seed in options.seeds:
            folder = options.folder / "models" / f"{variant}-{seed}"
            model = BVLLMForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
            queries = model.config.num_selected_frames
            asked = questions(bank, queries, scale["questions"], scale["world_seed"] * 100)
            clips = [clip for duration, some in asked.items() if duration != "image" for clip in some]
            for task, exam, said in compare(model, tokenizer, bank, clips):
                for name in (family[task], "all videos"):
                    marks[name].append((exam, said))
        for name, pairs in sorted(marks.items()):
            exam, said = (100 * sum(column) / len(pairs) for column in zip(*pairs, strict=True))
            print(f"| {variant} | {name} | {len(pairs)} | {exam:.1f} % | {said:.1f} % |", flush=True)


if __name__ == "__main__":
    main()
