"""Tune llava-nano on cached patch features: by the answers alone, through its own projector and packing."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import LlavaOnevisionForConditionalGeneration, PreTrainedTokenizerBase

from bvllm.nano.captions import IGNORE
from bvllm.nano.feature_cache import FeatureCache
from bvllm.nano.halves import PARTS, gradients_of, put_mean, side_by_side
from bvllm.nano.language import answer_loss
from bvllm.nano.llava.clips import SeenClip, clip_batches
from bvllm.nano.loop import Control, StageLoop
from bvllm.nano.packed import run_packed
from bvllm.nano.turns import ids_of, write_turn
from bvllm.synthetic.tokenizer import USER


@dataclass(frozen=True)
class LlavaStage:
    """One stage of training.

    Attributes:
        name: for the log and the checkpoint.
        trained: names of the sub-modules of `LlavaOnevisionModel` that learn, beside the newline.
        steps, minutes: the most of each.
        lr: highest learning rate.
        batch: clips a step, half of them on each core.
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


PROJECTOR = LlavaStage("projector", ("multi_modal_projector",), steps=400, minutes=2, lr=2e-3, batch=16)
WHOLE = LlavaStage(
    "whole", ("multi_modal_projector", "language_model"), steps=6000, minutes=40, lr=6e-4, batch=16
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
    stream = clip_batches(bank, stage.seconds, stage.busy, stage.batch // PARTS, loop.seed)
    model.train()

    def half(batch: list[SeenClip]) -> tuple[float, float, tuple[Tensor | None, ...]]:
        loss, right = reply_loss(model, tokenizer, bank, batch)
        return loss.item(), right.item(), gradients_of(loss, loop.parameters)

    with side_by_side() as over:
        for _ in loop:
            batches = [next(stream) for _ in range(PARTS)]
            losses, right, gradients = zip(*over(half, batches), strict=True)
            put_mean(loop.parameters, gradients)
            loop.descend()
            clips = [clip for batch in batches for clip in batch]
            loop.record(
                answer=float(np.mean(losses)),
                right=float(np.mean(right)),
                frames=float(np.mean([len(clip.rows) for clip in clips])),
                questions=float(np.mean([1 + len(clip.further) for clip in clips])),
            )
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
    """Cross-entropy of the replies, and the share of the clips whose replies are right in every token.

    Args:
        blind: show zeros in place of what the video shows.
    """
    embed, rows, labels = model.get_input_embeddings(), [], []
    lengths = [len(clip.rows) for clip in batch]
    together = bank.patches[torch.cat([clip.rows for clip in batch])].float()
    parts = together.split(lengths)
    begin = len(ids_of(tokenizer, USER))
    for clip, patches in zip(batch, parts, strict=True):
        turns = [write_turn(tokenizer, example) for example in (clip.example, *clip.further)]
        text = embed(torch.tensor([one for turn in turns for one in turn.ids]))
        said = torch.tensor([one for turn in turns for one in turn.labels])
        shown = packed(model, patches)
        shown = torch.zeros_like(shown) if blind else shown
        rows.append(torch.cat([text[:begin], shown, text[begin:]]))
        labels.append(torch.cat([said[:begin], said.new_full((len(shown),), IGNORE), said[begin:]]))
    mask = pad_sequence([torch.ones(len(r), dtype=torch.long) for r in rows], batch_first=True)
    hidden = run_packed(model.model.language_model, pad_sequence(rows, batch_first=True), mask)
    wanted = pad_sequence(labels, batch_first=True, padding_value=IGNORE)
    return answer_loss(hidden, model.lm_head.weight, wanted)
