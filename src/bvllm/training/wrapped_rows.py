"""Make examples for a transformers video model: its own tokens of the frames that a budget leaves."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bvllm.common.text import Question
from bvllm.data.budget import FrameShare
from bvllm.data.dialogue import Dialogue
from bvllm.data.encode import read_media, up_to_one_round
from bvllm.data.faults import InvalidRow, InvalidRowLog
from bvllm.data.mixture import Mixture
from bvllm.data.training_set import TrainingSet
from bvllm.inference.balanced import BalancedModel
from bvllm.inference.balanced_prompt import with_replies
from bvllm.inference.model import AskedQuestion, VisualTokens
from bvllm.methods.names import OWN
from bvllm.stages.pipeline import frames_needed
from bvllm.training.rows import FAULTS, Corpus, order_of, parts, random_budget
from bvllm.training.settings import LoraSettings
from bvllm.types import Budget
from bvllm.video import SamplingPlan


@dataclass(frozen=True)
class BudgetedRow:
    """A question, the visual tokens that its budget leaves of its video, and the ids of the reply."""

    asked: AskedQuestion
    visual: VisualTokens
    reply: list[int]


@dataclass(frozen=True)
class BudgetedEncoder:
    """Reads rows and spends the budget on them, as `ask` does.

    A row is one question about one video or picture, without the rounds before it: of several rounds one is
    drawn at each visit, since every question has frames of its own.

    Attributes:
        wrapped: its tower and its scorer stay as they are.
        plan: which frames are sampled.
        budget: the most that a row may cost.
    """

    wrapped: BalancedModel
    plan: SamplingPlan
    budget: Budget

    def __call__(self, dialogue: Dialogue, budget: int | FrameShare | None, place: int) -> BudgetedRow:
        """Encode one row; see `RowEncoder`."""
        assert not isinstance(budget, FrameShare)  # only a Dynamic-VLM draws tokens of a frame
        spoken = up_to_one_round(dialogue, place).turns[-2:]
        asked, answer = spoken[0].text.strip(), spoken[1].text.strip()
        if len(dialogue.media) != 1 or not asked:
            raise InvalidRow(
                dialogue.where,
                "placeholder",
                f"a row for a wrapped model must ask about one video, got {len(dialogue.media)} media",
            )
        [media] = dialogue.media
        clip = read_media(media, dialogue.where, self.plan, self.wrapped.frame_size)
        question = self.wrapped.read(Question(asked))
        visual = self._spend(question, clip.pixels, clip.seconds, self.budget.with_parts(budget))
        words = self.wrapped.processor.tokenizer
        reply: list[int] = words(answer, add_special_tokens=False)["input_ids"]
        ends = words.eos_token_id
        return BudgetedRow(question, visual, reply if ends is None else [*reply, ends])

    def _spend(self, asked: AskedQuestion, pixels: Tensor, seconds: Tensor, budget: Budget) -> VisualTokens:
        """Choose frames, encode them, and reduce their tokens, with nothing to learn in it."""
        wrapped = self.wrapped
        network, was_training = wrapped.model, wrapped.model.training
        network.eval()  # no dropout in a frozen tower
        with torch.no_grad():
            features = torch.cat([wrapped.frame_features(part) for part in pixels.split(wrapped.chunk)])
            chosen = wrapped.select(features, seconds, asked, budget, OWN)
            patches = wrapped.patch_features(pixels[frames_needed(chosen).cpu()]).clone()
            visual = wrapped.reduce(patches, chosen, asked, budget, OWN)
        network.train(was_training)
        [tokens] = visual.pooler_output
        # Made under `inference_mode`, as the tower runs; a copy may take part in a backward pass.
        return replace(visual, pooler_output=[tokens.clone()])


@dataclass(frozen=True)
class BudgetedCollator:
    """Lays rows side by side: prompts, replies and labels."""

    model: BalancedModel

    def __call__(self, rows: Sequence[BudgetedRow]) -> dict[str, Any]:
        """What the model's `forward` takes."""
        pairs = [(row.asked, row.visual) for row in rows]
        return with_replies(self.model.prompt, pairs, [row.reply for row in rows])


def open_budgeted(settings: LoraSettings, model: BalancedModel, folder: Path) -> Corpus:
    """The rows that a wrapped model learns from.

    Args:
        settings: checked.
        model: what encodes them.
        folder: of the run; invalid rows are listed in it.

    Raises:
        ValueError: a file holds no rows.
        OSError: a stream cannot be opened.
    """
    data, own = settings.data, settings.model
    encoder = BudgetedEncoder(
        model,
        SamplingPlan(fps=data.fps, max_frames=data.max_frames),
        Budget(own.budget_tokens, own.num_selected_frames),
    )
    faults = InvalidRowLog(data.on_error, folder / FAULTS)
    order, budget = order_of(settings, "finetune"), random_budget(settings)
    per_step = None if budget is None else settings.instruction.batch
    train = TrainingSet(order, encoder, faults, budget=budget, rows_per_step=per_step)
    evaluate = None
    if data.evaluate:
        seen = Mixture(parts(data.evaluate, (), data.root), shuffle=False)
        evaluate = TrainingSet(seen, encoder, faults)
    return Corpus(train, BudgetedCollator(model), evaluate, order.state_dict(), faults.summary)
