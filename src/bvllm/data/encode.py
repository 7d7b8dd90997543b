"""Encode a row for a batch: read its media, tokenize its text, put labels on the answers alone."""

import re
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from bvllm.data.budget import FrameShare
from bvllm.data.dialogue import Dialogue, Media
from bvllm.data.faults import FaultKind, InvalidRow
from bvllm.model import BVLLMProcessor
from bvllm.model.dynamic import DynamicVLMProcessor
from bvllm.stages.frame_grids import Grid
from bvllm.video import FrameChunk, FrameList, Limits, SamplingPlan, VideoError, read_video
from bvllm.video.inspection.frame_times import as_clip

IGNORED = -100  # the label that transformers' losses pass over
GENERATION_MARK = re.compile(r"\{%-?\s*generation\s*-?%\}")
Learn = Literal["all", "last", "one"]
ROUND_SEED = 71
KIND_OF: dict[str, FaultKind] = {
    "missing": "missing",
    "outside_root": "outside_root",
}  # every other VideoError is "media"


@dataclass(frozen=True)
class Example:
    """One row, ready for a batch.

    Shapes: `input_ids`, `labels` (S,) int64; `pixels` (sum T_i, 3, h, w) uint8; `seconds` (sum T_i,) float64;
        `question_ids` (Q,) int64.

    Attributes:
        frames: T_i of each clip; () for text alone.
        budget: most visual tokens of a clip that the placeholders were written for; None is the model's own.
        grids: rows and columns of each frame, of a Dynamic-VLM; () for others.
    """

    input_ids: Tensor
    labels: Tensor
    pixels: Tensor
    seconds: Tensor
    frames: tuple[int, ...]
    question_ids: Tensor
    budget: int | None = None
    grids: tuple[Grid, ...] = ()


class Encoder:
    """Reads and tokenizes rows with a processor, as inference does.

    Args:
        processor: the model's.
        max_tokens: of a sequence, placeholders included; see `tokenize` for what is cut.
        max_frames: of a video; a longer one is thinned evenly. None for any number, or what a Dynamic-VLM
            keeps.
        learn: "all" answers of a row; the "last", whose question chose the frames; or "one" of them, another
            at each place in a run: rounds behind it are left out, so its own question chooses the frames.
        limits: what reading one file may cost.

    Raises:
        ValueError: a chat template without generation marks
        InvalidRow: from calling it.
    """

    def __init__(
        self,
        processor: BVLLMProcessor,
        *,
        max_tokens: int | None = None,
        max_frames: int | None = None,
        learn: Learn = "all",
        limits: Limits | None = None,
    ) -> None:
        check_template(processor)
        if max_tokens is not None and max_tokens < 1:
            raise ValueError(f"max_tokens must be at least 1, got {max_tokens}: use None for any number")
        if learn not in ("all", "last", "one"):
            raise ValueError(f"learn must be 'all', 'last' or 'one', got {learn!r}: choose one of them")
        self.processor = processor
        self.max_tokens, self.learn, self.limits = max_tokens, learn, limits
        reader = processor.video_processor
        most = max_frames or reader.max_frames
        if most is None and isinstance(processor, DynamicVLMProcessor):
            most = processor.max_frames  # more are never kept
        self.plan = SamplingPlan(reader.fps, most)
        self.size = (reader.size["height"], reader.size["width"])

    def __call__(self, dialogue: Dialogue, budget: int | FrameShare | None = None, place: int = 0) -> Example:
        """Encode one row.

        Args:
            dialogue: the row.
            budget: most visual tokens per clip, or of a Dynamic-VLM per frame, or how they are drawn there;
                the processor's own where None.
            place: in the run; it decides which round is learned where one of them is.

        Raises:
            InvalidRow: anything wrong with its media or its length.
        """
        if self.learn == "one":
            dialogue = up_to_one_round(dialogue, place)
        clips = [
            read_media(media, dialogue.where, self.plan, self.size, self.limits) for media in dialogue.media
        ]
        if isinstance(self.processor, DynamicVLMProcessor):
            return self._compressed(dialogue, clips, self.processor, budget)
        assert not isinstance(budget, FrameShare)  # only a Dynamic-VLM draws tokens of a frame
        slots = self.processor.placeholders
        slots = slots if budget is None else replace(slots, budget_tokens=budget)
        left, text = self._tokenize(dialogue, [slots.count(len(clip)) for clip in clips])
        clips = clips[: len(left.media)]
        return Example(
            text.input_ids,
            text.labels,
            torch.cat([clip.pixels for clip in clips]) if clips else self._no_pixels(),
            _seconds(clips),
            tuple(len(clip) for clip in clips),
            text.question_ids,
            budget,
        )

    def _compressed(
        self,
        dialogue: Dialogue,
        clips: list[FrameChunk],
        processor: DynamicVLMProcessor,
        each: int | FrameShare | None,
    ) -> Example:
        """A row whose frames share the budget, each with at most `each` tokens."""
        counts, tokens = [len(clip) for clip in clips], processor.budget_tokens
        frames = sum(min(count, processor.max_frames) for count in counts)  # others are thinned away
        if isinstance(each, FrameShare):
            each = each.of(tokens // max(frames, 1))
        if each is not None:
            tokens = min(tokens, max(1, each * frames))
        plan = processor.plan(counts, tokens)
        clips = [FrameChunk(clip.pixels[k], clip.seconds[k]) for clip, k in zip(clips, plan.kept)]
        written = [
            processor.write_clip([grid.cells for grid in grids], clip.seconds.tolist())
            for clip, grids in zip(clips, plan.grids)
        ]
        left, text = self._tokenize(dialogue, written)
        clips = clips[: len(left.media)]
        return Example(
            text.input_ids,
            text.labels,
            torch.cat([clip.pixels for clip in clips]) if clips else self._no_pixels(),
            _seconds(clips),
            tuple(len(clip) for clip in clips),
            text.question_ids,
            grids=tuple(grid for grids in plan.grids[: len(clips)] for grid in grids),
        )

    def _tokenize(self, dialogue: Dialogue, visual: list[int] | list[str]) -> tuple[Dialogue, "Sequence"]:
        return tokenize(
            dialogue,
            visual,
            self.processor,
            max_tokens=self.max_tokens,
            learn="all" if self.learn == "all" else "last",
        )

    def _no_pixels(self) -> Tensor:
        return torch.zeros(0, 3, *self.size, dtype=torch.uint8)


def up_to_one_round(dialogue: Dialogue, place: int) -> Dialogue:
    """The rounds up to one of them, drawn by the place in a run, so the same every time.

    B-VLLM chooses frames and tokens anew in every round (arXiv 2412.09919, Sec. 8.6), so an answer is
    learned with the frames of its own question only if that question is the last.
    """
    drawn = int(np.random.default_rng((ROUND_SEED, place)).integers(dialogue.rounds))
    for _ in range(drawn):
        dialogue = dialogue.without_last_round()
    return dialogue


def _seconds(clips: list[FrameChunk]) -> Tensor:
    return torch.cat([clip.seconds for clip in clips]) if clips else torch.zeros(0, dtype=torch.float64)


@dataclass(frozen=True)
class Sequence:
    """One row as tokens.

    Shapes: `input_ids` and `labels` (S,) int64, labels `IGNORED` but on answers; `question_ids` (Q,) int64,
        what the Q-Formers read, empty where the row has no media.
    """

    input_ids: Tensor
    labels: Tensor
    question_ids: Tensor


def check_template(processor: BVLLMProcessor) -> None:
    """Refuse a chat template that does not mark what the assistant says: nothing could be learned by it.

    Raises:
        ValueError: the template has no generation marks.
    """
    if not GENERATION_MARK.search(processor.chat_template or ""):
        raise ValueError(
            "chat_template must put what the assistant says between {% generation %} and "
            f"{{% endgeneration %}}, got {str(processor.chat_template)[:40]!r}: leave it out for ChatML"
        )


def tokenize(
    dialogue: Dialogue,
    visual_tokens: list[int] | list[str],
    processor: BVLLMProcessor,
    *,
    max_tokens: int | None = None,
    learn: Learn = "all",
) -> tuple[Dialogue, Sequence]:
    """A row to tokens and labels, cut to length where it must be.

    Whole rounds go from the end as long as more than one is left; the media of a round go with it. Then the
    last answer loses its end. Placeholders are never cut.

    Args:
        dialogue: the row.
        visual_tokens: placeholders for each of its media, or what is written in the place of each.
        processor: whose chat template marks what the assistant says.
        max_tokens: most tokens in all; None for any number.
        learn: "all" answers, or the "last" one only, whose question chose the frames.

    Returns:
        What is left of the row, and its tokens.

    Raises:
        InvalidRow: not one token of an answer fits, or the text holds the placeholder token.
    """
    if any(processor.video_token in turn.text + turn.beside for turn in dialogue.turns):
        raise InvalidRow(dialogue.where, "placeholder", f"text must not hold {processor.video_token}, got it")
    sequence = _encode(dialogue, visual_tokens, processor, learn)
    while max_tokens is not None and len(sequence.input_ids) > max_tokens and dialogue.rounds > 1:
        dialogue = dialogue.without_last_round()
        sequence = _encode(dialogue, visual_tokens[: len(dialogue.media)], processor, learn)
    if max_tokens is not None and len(sequence.input_ids) > max_tokens:
        lost = sequence.input_ids[max_tokens:]
        cut = replace(
            sequence, input_ids=sequence.input_ids[:max_tokens], labels=sequence.labels[:max_tokens]
        )
        if bool((lost == processor.video_token_id).any()) or not bool((cut.labels != IGNORED).any()):
            needed = len(sequence.input_ids)
            raise InvalidRow(
                dialogue.where, "too_long", f"a row must fit {max_tokens} tokens, got {needed} in one round"
            )
        sequence = cut
    if not bool((sequence.labels != IGNORED).any()):
        raise InvalidRow(dialogue.where, "no_answer", "an answer must have a token, got none")
    return dialogue, sequence


def _encode(
    dialogue: Dialogue, visual_tokens: list[int] | list[str], processor: BVLLMProcessor, learn: Learn
) -> Sequence:
    encoded: Any = processor.apply_chat_template(
        dialogue.messages(),
        tokenize=True,
        return_assistant_tokens_mask=True,
        visual_tokens=visual_tokens,
    )
    ids, said = encoded["input_ids"][0], encoded["assistant_masks"][0].bool()
    if learn == "last":
        said = _last_run(said)
    question = encoded.get("qformer_input_ids")
    mask = encoded.get("qformer_attention_mask")
    asked = torch.zeros(0, dtype=torch.long) if question is None else question[0][mask[0].bool()]
    return Sequence(ids, ids.masked_fill(~said, IGNORED), asked)


def _last_run(said: Tensor) -> Tensor:
    """Only the last unbroken stretch of True."""
    breaks = (~said).long().flip(0).cumsum(0).flip(0)  # breaks from here to the end
    last = breaks[said].min() if bool(said.any()) else 0
    return said & (breaks == last)


def read_media(
    media: Media, where: str, plan: SamplingPlan, size: tuple[int, int], limits: Limits | None = None
) -> FrameChunk:
    """All wanted frames: (T, 3, h, w) uint8 and (T,) seconds.

    Args:
        media: what to open.
        where: the row, for messages.
        plan: which frames of a video to keep; a picture has one.
        size: (height, width) of every frame.
        limits: what reading may cost; the folder is confined to `media.root` in any case.

    Raises:
        InvalidRow: the file cannot be read, ends early, or is no picture where one was promised.
    """
    limits = replace(limits or Limits(), root=media.root)
    given: Any = list(media.source) if isinstance(media.source, tuple) else media.source
    try:
        source, part = as_clip(
            given, media.part, seconds=media.seconds, step=1.0 / (plan.fps or 1.0), limits=limits
        )
        every = media.kind == "image" or isinstance(source, FrameList)  # what was picked is not sampled again
        plan = part.plan(SamplingPlan(fps=None) if every else plan)
    except VideoError as error:
        raise _bad(where, media, KIND_OF.get(error.kind, "media"), str(error)) from None
    except ValueError as error:
        raise _bad(where, media, "schema", str(error)) from None
    pixels: list[Tensor] = []
    seconds: list[Tensor] = []
    try:
        with read_video(source, plan, limits, size) as stream:
            for chunk in stream:
                pixels.append(chunk.pixels)
                seconds.append(chunk.seconds)
                if media.kind == "image" and sum(map(len, seconds)) > 1:
                    raise _bad(where, media, "media", "an image must be one picture, got several frames")
            report = stream.report
    except VideoError as error:
        raise _bad(where, media, KIND_OF.get(error.kind, "media"), str(error)) from None
    if report.truncated:
        why = report.first("truncated", "limit", "io") or "no warning"
        raise _bad(where, media, "truncated", f"a file must be whole, got {why}")
    if not pixels:
        raise _bad(where, media, "media", "a file must give a frame, got none")
    return FrameChunk(torch.cat(pixels), torch.cat(seconds))


def _bad(where: str, media: Media, kind: FaultKind, reason: str) -> InvalidRow:
    names = media.source if isinstance(media.source, tuple) else (media.source,)
    name = f"{len(names[0])} bytes" if isinstance(names[0], bytes) else str(names[0])
    name += f" and {len(names) - 1} more" if len(names) > 1 else ""
    return InvalidRow(where, kind, f"{media.kind} {name}: {reason}")
