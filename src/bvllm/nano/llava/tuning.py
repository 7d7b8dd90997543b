"""Tune llava-nano on cached patch features: by the answers alone, through its own projector and packing."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import LlavaOnevisionForConditionalGeneration, PreTrainedTokenizerBase

from bvllm.nano.captions import IGNORE
from bvllm.nano.feature_cache import FeatureCache
from bvllm.nano.language import answer_loss
from bvllm.nano.llava.clips import SeenClip, clip_batches
from bvllm.nano.loop import Control, StageLoop
from bvllm.synthetic.tokenizer import ASSISTANT, END, USER


@dataclass(frozen=True)
class LlavaStage:
    """One stage of training.

    Attributes:
        name: for the log and the checkpoint.
        trained: names of the sub-modules of `LlavaOnevisionModel` that learn, beside the newline.
        steps, minutes: the most of each.
        lr: highest learning rate.
        batch: clips a step.
        seconds: shortest and longest video.
        busy: share of busy examples.
    """

    name: str
    trained: tuple[str, ...]
    steps: int
    minutes: float
    lr: float
    batch: int = 32
    seconds: tuple[float, float] = (8, 64)
    busy: float = 0.8


PROJECTOR = LlavaStage("projector", ("multi_modal_projector",), steps=120, minutes=4, lr=2e-3, batch=24)
WHOLE = LlavaStage(
    "whole", ("multi_modal_projector", "language_model"), steps=1750, minutes=26, lr=6e-4, batch=20
)


def tune_llava(
    model: LlavaOnevisionForConditionalGeneration,
    tokenizer: PreTrainedTokenizerBase,
    bank: FeatureCache,
    stage: LlavaStage,
    *,
    seed: int,
    control: Control | None = None,
) -> None:
    """Train one stage in place."""
    model.set_attn_implementation("eager")  # whose backward pass is the faster one on a CPU
    loop = StageLoop(
        stage.name,
        freed(model, stage.trained),
        steps=stage.steps,
        minutes=stage.minutes,
        lr=stage.lr,
        warmup=100,
        decay=0.03,
        seed=seed,
        control=control,
    )
    stream = clip_batches(bank, stage.seconds, stage.busy, stage.batch, loop.seed)
    model.train()
    for _ in loop:
        batch = next(stream)
        loss, right = reply_loss(model, tokenizer, bank, batch)
        loss.backward()
        loop.descend()
        tokens = float(np.mean([len(clip.rows) for clip in batch]))
        loop.record(answer=loss.item(), right=right.item(), frames=tokens)
    model.eval()


def freed(model: LlavaOnevisionForConditionalGeneration, names: tuple[str, ...]) -> list[nn.Parameter]:
    """Freeze all but the named parts and the newline; returns what is left to train."""
    model.requires_grad_(False)
    for name in names:
        model.model.get_submodule(name).requires_grad_(True)
    model.model.image_newline.requires_grad_(True)
    return [p for p in model.parameters() if p.requires_grad]


def packed(model: LlavaOnevisionForConditionalGeneration, patches: Tensor) -> Tensor:
    """A clip's tokens as `get_video_features` packs them: (F, N, C) patches -> (F * N' + 1, D).

    From patch features rather than pixels; else the same calls in the same order.
    """
    inner = model.model
    tokens = inner.apply_pooling(inner.multi_modal_projector(patches)).flatten(0, 1)
    return torch.cat([tokens, inner.image_newline[None].to(tokens)])


def reply_loss(
    model: LlavaOnevisionForConditionalGeneration,
    tokenizer: PreTrainedTokenizerBase,
    bank: FeatureCache,
    batch: list[SeenClip],
    *,
    blind: bool = False,
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the replies, and the share that is right in every token.

    Args:
        blind: show zeros in place of what the video shows.
    """
    embed, rows, labels = model.get_input_embeddings(), [], []
    lengths = [len(clip.rows) for clip in batch]
    together = bank.patches[torch.cat([clip.rows for clip in batch])].float()
    parts = together.split(lengths)
    for clip, patches in zip(batch, parts, strict=True):
        before, after, reply = (
            tokenizer(text, add_special_tokens=False).input_ids
            for text in (USER, clip.example.prompt + ASSISTANT, clip.example.reply + END)
        )
        text = embed(torch.tensor(before + after + reply))
        shown = packed(model, patches)
        shown = torch.zeros_like(shown) if blind else shown
        rows.append(torch.cat([text[: len(before)], shown, text[len(before) :]]))
        labels.append(torch.tensor([IGNORE] * (len(rows[-1]) - len(reply)) + reply))
    mask = pad_sequence([torch.ones(len(r), dtype=torch.long) for r in rows], batch_first=True)
    hidden = model.model.language_model(
        inputs_embeds=pad_sequence(rows, batch_first=True), attention_mask=mask, use_cache=False
    ).last_hidden_state
    wanted = pad_sequence(labels, batch_first=True, padding_value=IGNORE)
    return answer_loss(hidden, model.lm_head.weight, wanted)
